"""The inbox as a service: a handler for the SMTP server, and a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.handlers import Chain
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.inbox.chaos import Chaos
from twisted_smtpserver.inbox.desk import Desk, Listening
from twisted_smtpserver.inbox.handler import AnyLoginHandler, ChaosLogin, InboxCopy, InboxHandler
from twisted_smtpserver.inbox.site import makeSite
from twisted_smtpserver.inbox.store import DEFAULT_MESSAGES, DEFAULT_OCTETS, MessageStore
from twisted_smtpserver.message.files import RunInThread

__all__ = ["Inbox"]

_log = Logger()

#: The page's address by default.
DEFAULT_ADDRESS = ("127.0.0.1", 8025)


class Inbox(Service):
    """
    Receives mail for anybody and shows it on a page, with Mailpit's API::

        inbox = Inbox()
        inbox.setServiceParent(application)
        SMTPService([("tcp:2525", SMTPServerFactory(inbox.handler))]).setServiceParent(application)

    Start it before the SMTP server, and :meth:`close` it when all SMTP connections are gone.

    :param address: the host and port of the page. Port 0 is any that is free.
    :param database: an SQLite database for the messages, created when the service starts; ``None``
        keeps them until it ends.
    :param maxMessages: how many messages are kept; if there are more, the oldest are deleted.
    :param maxOctets: how many octets the messages may take in the database, about; if they take
        more, the oldest are deleted.
    :param password: what the page asks for: ``"name:password"``, or a password for any name.
    :param hosts: names that the page may be called by, besides ``localhost`` and addresses.
    :param acceptLogins: whether AUTH is offered, and every login accepted.
    :param relay: a handler, such as :class:`~twisted_smtpserver.stores.forward.Forward`, that gets
        what somebody releases on the page, by its ``onData``; by default there is no such button.
        It is closed with the page.
    :param reactor: by default the global one.
    :param runInThread: where the database is waited for; by default the reactor's thread pool.
    :ivar handler: for :class:`~twisted_smtpserver.SMTPServerFactory`.
    :ivar chaosLogin: a stage that fails logins when the API says so, for a
        :class:`~twisted_smtpserver.Chain` with stages that know users.
    :ivar url: the page's address, when the port is bound.
    """

    name = "inbox"

    def __init__(
        self,
        address: tuple[str, int] = DEFAULT_ADDRESS,
        *,
        database: str | None = None,
        maxMessages: int = DEFAULT_MESSAGES,
        maxOctets: int = DEFAULT_OCTETS,
        password: str | None = None,
        hosts: Iterable[str] = (),
        acceptLogins: bool = False,
        relay: Any = None,
        reactor: Any = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        if reactor is None:
            reactor = theReactor()
        self._reactor = reactor
        self._address = address
        self._database = database
        self._maxMessages = maxMessages
        self._maxOctets = maxOctets
        self._hasPassword = password is not None
        self._listening: Deferred[IListeningPort] | None = None
        self._isOpen = False
        self.desk = Desk(reactor, Chaos(), runInThread)
        self.desk.relay = relay
        self.site = makeSite(self.desk, hosts, password, reactor)
        self.handler = (AnyLoginHandler if acceptLogins else InboxHandler)(self.desk)
        self.chaosLogin = ChaosLogin(self.desk)
        self.url = ""

    def announce(self, server: Listening) -> None:
        """
        Let the page say where mail is to be sent.

        :param server: an :class:`~twisted_smtpserver.SMTPService` with the inbox's handler.
        """
        self.desk.servers.append(server)

    def besides(self, store: object) -> object:
        """
        Make a handler that copies to the inbox what another one stores.

        :param store: a handler. What it refuses at MAIL or RCPT isn't in the inbox; if it has no
            ``onData``, the inbox is where messages go.
        """
        if findHook(store, "onData") is None:
            return Chain(store, self.handler)
        return Filtered(store, InboxCopy(self.desk))

    def privilegedStartService(self) -> None:
        """
        Bind the page's port.

        :raises ConfigurationError: if that can't be done.
        """
        super().privilegedStartService()
        host, port = self._address
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        self._listening = kind(self._reactor, port, interface=host).listen(self.site)
        failures: list[Any] = []
        self._listening.addCallbacks(self._bound, failures.append)
        if failures:
            self._listening = None
            failures[0].trap(CannotListenError)
            raise ConfigurationError(
                f"--inbox: {failures[0].value.socketError or failures[0].value}: "
                f"{host} port {port}; choose another port"
            )

    def _bound(self, port: Any) -> Any:
        host = self._address[0]
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{port.getHost().port}/"
        _log.info("The inbox is at {url}", url=self.url)
        if not self._hasPassword and not _isLoopback(host):
            _log.warn(
                "Anybody who can reach {url} can read the mail: set a password with "
                "--inbox-password-file",
                url=self.url,
            )
        return port

    def startService(self) -> None:
        """
        Open the database. Binds the port if :meth:`privilegedStartService` wasn't called.

        :raises ConfigurationError: if either can't be done.
        """
        self.desk.store = MessageStore(
            self._database, maxMessages=self._maxMessages, maxOctets=self._maxOctets
        )
        self._isOpen = True
        if self._listening is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[Any] | None:
        """
        Close the page. The handler still takes messages until :meth:`close`.

        :returns: a Deferred that fires when the port is free.
        """
        super().stopService()
        self.desk.events.close()
        self.site.closeAll()
        listening, self._listening = self._listening, None
        if listening is None:
            return None
        stopping = [listening.addCallback(lambda port: port.stopListening())]
        if self.desk.relay is not None:
            stopping.append(maybeDeferred(self.desk.relay.close))
        return DeferredList(stopping)

    def close(self) -> None:
        """Close the database."""
        if self._isOpen:
            self._isOpen = False
            self.desk.store.close()


def _isLoopback(host: str) -> bool:
    return host in {"::1", "localhost"} or host.startswith("127.")

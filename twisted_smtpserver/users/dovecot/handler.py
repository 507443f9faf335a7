"""The stage that asks Dovecot who may log in."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.errors import AuthenticationFailed, ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.interfaces import IAuthHandler
from twisted_smtpserver.replies import CONTROLS
from twisted_smtpserver.session import Session
from twisted_smtpserver.stores.base import BackOff, Unavailable, reasonOf, within
from twisted_smtpserver.users.dovecot.codec import Verdict
from twisted_smtpserver.users.dovecot.link import Link

__all__ = ["DEADLINE", "DovecotAuth"]

_log = Logger()

#: How long Dovecot may take for an answer, in seconds. It delays those to clients that guess by up
#: to 17 seconds.
DEADLINE = 30.0


@implementer(IAuthHandler)
class DovecotAuth:
    """
    A stage that lets Dovecot's users log in::

        Chain(DovecotAuth("/run/dovecot/auth-client"), Maildir("mail"))

    It speaks Dovecot's authentication protocol, version 1, over one connection for all. Passwords
    come by PLAIN and LOGIN; Dovecot is asked by PLAIN. The name that Dovecot answers is the user.

    While Dovecot can't be reached, doesn't answer in time or says that it can't tell, clients get
    454 4.7.0, and the log has the reason.

    :param where: the path of a ``unix_listener`` of Dovecot's ``service auth``, or one of Twisted's
        client endpoints: ``tcp:192.0.2.1:12345``.
    :param service: the service's name for Dovecot, whose configuration may distinguish services.
    :param deadline: how long an answer may take, in seconds.
    :param backOff: decides when to try again to connect.
    :param reactor: Twisted's, by default.
    :raises ConfigurationError: if the endpoint is invalid.
    """

    def __init__(
        self,
        where: str,
        *,
        service: str = "smtp",
        deadline: float = DEADLINE,
        backOff: BackOff | None = None,
        reactor: Any = None,
    ) -> None:
        self._reactor = theReactor() if reactor is None else reactor
        self._where = where
        path = f"unix:{quoteStringArgument(where)}" if where.startswith("/") else where
        try:
            self._endpoint = clientFromString(self._reactor, path)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{where!r} is neither a socket's path nor a client endpoint: {error}"
            ) from None
        self._service = service
        self._deadline = deadline
        self._backOff = backOff or BackOff(self._reactor)
        self._link: Link | None = None
        self._waiting: list[Deferred[Link]] = []

    def __repr__(self) -> str:
        return f"<DovecotAuth {self._where!r}>"

    async def onAuth(self, credentials: Credentials, session: Session) -> str | None:
        """
        See :meth:`~twisted_smtpserver.interfaces.IAuthHandler.onAuth`.

        :raises AuthenticationFailed: 454 4.7.0 if Dovecot doesn't tell.
        """
        if credentials.password is None:
            return None
        try:
            verdict = await self._ask(credentials.username, credentials.password, session)
            return _userOf(verdict)
        except (Unavailable, ConnectError, OSError) as error:
            _log.error(
                "{session}: a login can't be checked by {dovecot}: {reason}; the client got 454",
                session=session.id,
                dovecot=self,
                reason=reasonOf(error),
            )
            text = "Temporary authentication failure"
            raise AuthenticationFailed(text, 454, enhanced="4.7.0") from None

    async def _ask(self, username: str, password: str, session: Session) -> Verdict:
        link = await self._connected()
        begun = self._reactor.seconds()
        answer = link.ask(username, password, self._parametersOf(session))
        try:
            return await within(self._reactor, self._deadline, answer, "Dovecot")
        except Unavailable as error:
            if link.isSilentSince(begun):  # it hangs; a new connection may not
                link.abort(str(error))
            raise

    def _parametersOf(self, session: Session) -> dict[str, str | None]:
        return {
            "service": self._service,
            "secured": "" if session.secure else None,
            "nologin": "",  # no other process will fetch the user afterwards
            "lip": session.localAddress,
            "rip": session.remoteAddress,
            "lport": _text(session.localPort),
            "rport": _text(session.remotePort),
            "session": session.id,
        }

    # -- The connection ----------------------------------------------------------------------------

    async def ready(self) -> None:
        """
        Whether Dovecot can be reached, for ``/readyz``.

        :raises Unavailable: (or ConnectError) if it can't.
        """
        await self._connected()

    def check(self) -> None:
        """Connect now. If that fails the log says why, and logins get 454 until it succeeds."""
        connecting = Deferred.fromCoroutine(self._connected())
        connecting.addCallbacks(self._reached, self._notReached)

    def _reached(self, _: Link) -> None:
        _log.info("{dovecot} can be reached", dovecot=self)

    def _notReached(self, failure: Failure) -> None:
        assert failure.value is not None  # as only a Failure of Twisted's past could be
        _log.error(
            "{dovecot} can't be reached: {reason}; logins get 454 until it can",
            dovecot=self,
            reason=reasonOf(failure.value),
        )

    async def _connected(self) -> Link:
        """
        :returns: the connection, a new one if need be; all callers wait for the same one.
        :raises Unavailable: (or ConnectError) if it can't be made.
        """
        if self._link is not None and self._link.isUsable:
            return self._link
        self._backOff.check()
        waiting: Deferred[Link] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._connect()).addBoth(self._tell)
        return await waiting

    async def _connect(self) -> Link:
        link = Link(self._reactor.seconds)
        try:
            connecting = self._endpoint.connect(_Once(link))
            await within(self._reactor, self._deadline, connecting, "Dovecot")
            try:
                await within(self._reactor, self._deadline, link.ready, "Dovecot")
                if "PLAIN" not in link.mechanisms:
                    raise Unavailable("its auth_mechanisms don't have PLAIN")
            except BaseException as error:
                link.abort(str(error))
                raise
        except Exception:
            self._backOff.failed()
            raise
        self._backOff.succeeded()
        self._link = link
        return link

    def _tell(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(result)  # or its errback, for a Failure

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None and self._link.isUsable:
            self._link.abort("the server stops")


class _Once(Factory):
    """Makes one protocol, the one that it is given."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._link


def _userOf(verdict: Verdict) -> str | None:
    """
    :returns: who logged in; ``None`` if the password was wrong.
    :raises Unavailable: if Dovecot can't tell.
    """
    if verdict.kind == b"OK":
        user = verdict.values.get("user", "")
        if not user or re.search(CONTROLS, user):
            raise Unavailable("it accepts a login without a user's name")
        return user
    if verdict.isTemporary:
        raise Unavailable("it has a temporary failure; its own log says which")
    return None


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)

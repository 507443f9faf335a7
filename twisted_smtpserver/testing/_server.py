"""A server for tests, in a thread of its own."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.testing._authority import theAuthority
from twisted_smtpserver.testing._capturing import CapturingHandler, Limits, LoginHandler
from twisted_smtpserver.testing._faults import DROP, Fault, Faults, Stage, Step, refusal
from twisted_smtpserver.testing._mailbox import Mailbox
from twisted_smtpserver.threaded import ServerThread, privateReactor

#: The options whose defaults differ from those of a server on the Internet.
_DEFAULTS: dict[str, Any] = {
    "name": "smtpserver.test",
    "authFailureDelay": 0,
    "loginDelay": 0,
    "closeTimeout": 0,
    "disableReverseLookup": True,
}


class CapturingServer(Mailbox):
    """
    A real server that keeps what it receives, for tests::

        with CapturingServer() as server:
            signUp("ann@example.org", smtpPort=server.port)
            mail = server.waitFor(subject="Welcome", to="ann@example.org")

    It listens on 127.0.0.1 only. It runs in a daemon thread with a reactor of its own, so it works
    together with any reactor or event loop, or without one; its methods may be called from any
    thread.

    :param host: the address to listen on.
    :param port: the port; by default the system chooses one.
    :param tls: offer STARTTLS, with a certificate for localhost, 127.0.0.1 and ::1 that
        :meth:`clientContext` trusts. Needs ``twisted-smtpserver[testing]``.
    :param secure: begin each connection with TLS (port 465's way), with the same certificate.
    :param users: require a login: passwords by user name.
    :param anyLogin: require a login, and accept any.
    :param seed: makes the faults with ``rate=`` the same in each run.
    :param options: options of the server (:class:`~twisted_smtpserver.Options`). Without TLS,
        logins are offered in clear; with TLS they aren't.
    :ivar host: the address that it listens on.
    :ivar port: the port that it listens on.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        secure: bool = False,
        users: Mapping[str, str] | None = None,
        anyLogin: bool = False,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        thread = privateReactor()
        faults = Faults(seed)
        self._handler = CapturingHandler(thread.reactor, self, faults)
        if users is not None or anyLogin:
            if users is not None and anyLogin:
                raise ConfigurationError("give either users or anyLogin, not both")
            self._handler = LoginHandler(thread.reactor, self, faults, users=users)
        hasTLS = tls or secure
        if hasTLS:
            authority = theAuthority()
            options = {"key": authority.key, "cert": authority.cert, "secure": secure} | options
        options = _DEFAULTS | {"allowInsecureAuth": not hasTLS} | options
        self._server = ServerThread(self._handler, host=host, port=port, thread=thread, **options)
        self._handler.factory = self._server.factory

    def __enter__(self) -> CapturingServer:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """
        Listen. When this returns, clients can connect.

        :raises twisted.internet.error.CannotListenError: if the port is taken.
        """
        self._server.start()

    def stop(self) -> None:
        """Stop listening and close what is open. The messages stay."""
        self._server.stop()

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self._server.host

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.factory.connections)

    # -- TLS --------------------------------------------------------------------------------------

    def clientContext(self) -> ssl.SSLContext:
        """
        Make a context for clients, which trusts this server only::

            smtplib.SMTP(server.host, server.port).starttls(context=server.clientContext())
        """
        return theAuthority().clientContext()

    @property
    def caFile(self) -> str:
        """
        The path of a PEM file with the certificate to trust, for clients that need a file::

            monkeypatch.setenv("SSL_CERT_FILE", server.caFile)
        """
        return theAuthority().caFile

    # -- What goes wrong --------------------------------------------------------------------------

    def reject(
        self,
        to: str | None = None,
        code: int = 550,
        text: str | None = None,
        *,
        enhanced: str | None = None,
        at: Stage | None = None,
        sender: str | None = None,
        times: int | None = None,
        rate: float = 1.0,
    ) -> Fault:
        """
        Refuse something from now on.

        :param to: a recipient; it is refused at RCPT unless ``at`` says otherwise.
        :param code: from 400 to 559; 421 closes the connection as well.
        :param text: the text of the reply.
        :param enhanced: the enhanced status code; by default one that fits.
        :param at: ``"connect"``, ``"hello"``, ``"auth"``, ``"mail"``, ``"rcpt"``, ``"data"``
            (before the content) or ``"message"`` (when it has all come). By default "rcpt" if there
            is a recipient, "mail" if there is a sender, otherwise "message".
        :param sender: refuse this sender's mail only.
        :param times: how often at most; by default always.
        :param rate: how probable it is, from 0 to 1.
        :returns: the fault; its ``hits`` is how often it has happened.
        """
        stage = at or ("rcpt" if to is not None else "mail" if sender is not None else "message")
        action = refusal(code, text, enhanced)
        return self._handler.faults.add(Fault(stage, action, to, sender, times, rate))

    def delay(
        self,
        seconds: float,
        *,
        at: Stage = "message",
        to: str | None = None,
        sender: str | None = None,
        times: int | None = None,
        rate: float = 1.0,
    ) -> Fault:
        """
        Answer late from now on.

        :param seconds: how late.
        :param at: as for :meth:`reject`, and so are the other parameters.
        :returns: the fault, as :meth:`reject` does.
        """
        return self._handler.faults.add(Fault(at, float(seconds), to, sender, times, rate))

    def drop(
        self,
        *,
        at: Stage = "message",
        to: str | None = None,
        sender: str | None = None,
        times: int | None = None,
        rate: float = 1.0,
    ) -> Fault:
        """
        Close connections without an answer from now on. At "message" the client can't know whether
        its message was taken; it wasn't.

        :param at: as for :meth:`reject`, and so are the other parameters.
        :returns: as :meth:`reject`.
        """
        return self._handler.faults.add(Fault(at, DROP, to, sender, times, rate))

    def script(self, *steps: Step, at: Stage = "message") -> list[Fault]:
        """
        Let one thing happen after the other, and afterwards nothing::

            server.script(451, 451, None)  # the third attempt succeeds

        :param steps: a reply code or a :class:`~twisted_smtpserver.Rejection` refuses, ``"drop"``
            closes the connection, ``None`` lets it pass. A number of seconds with a decimal point
            delays what the next step answers.
        :param at: as for :meth:`reject`.
        :returns: a fault for each step.
        """
        return self._handler.faults.script(at, steps)

    def limit(
        self,
        *,
        connections: int | None = None,
        messages: int | None = None,
        recipients: int | None = None,
        size: int | None = None,
    ) -> None:
        """
        Refuse what is too much from now on. What isn't given isn't limited.

        :param connections: open at the same time; further ones get 421.
        :param messages: in one connection; the next one gets 421.
        :param recipients: of one message; further ones get 452.
        :param size: of one message, in octets; a larger one gets 552.
        """
        self._handler.limits = Limits(connections, messages, recipients, size)

    def recover(self) -> None:
        """Let nothing go wrong any more: no faults, no limits."""
        self._handler.faults.clear()
        self._handler.limits = Limits()

"""A handler that keeps the messages that arrive, and can be told to fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.testing._faults import DROP, Fault, Faults, Stage
from twisted_smtpserver.testing._mailbox import Mailbox

#: The largest message that is kept, in octets.
MAX_SIZE = 2**30


@dataclass
class Limits:
    """
    The limits of a server; ``None`` for no limit.

    :ivar connections: how many may be open at the same time.
    :ivar messages: how many a connection may send.
    :ivar recipients: how many a message may have.
    :ivar size: how many octets a message may have.
    """

    connections: int | None = None
    messages: int | None = None
    recipients: int | None = None
    size: int | None = None


@dataclass
class CapturingHandler(SMTPHandler):
    """
    Keeps every message.

    :param reactor: the clock for delays.
    :ivar mailbox: the messages go there.
    :ivar faults: the failures that tests asked for.
    :ivar limits: the limits that tests set.
    :ivar factory: the server's factory, once there is one. Connections are dropped through it.
    """

    reactor: Any
    mailbox: Mailbox = field(default_factory=Mailbox)
    faults: Faults = field(default_factory=Faults)
    limits: Limits = field(default_factory=Limits)
    factory: SMTPServerFactory | None = None

    async def onConnect(self, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.mailbox.remark(f"{_client(session)}: connected")
        assert self.factory is not None
        await self._meet("connect", session)
        self._check("connections", len(self.factory.connections), session, 421, "4.7.0")

    async def onHello(self, hostname: str, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        await self._meet("hello", session)

    async def onMailFrom(self, address: Address, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        await self._meet("mail", session, address)
        self._check("messages", session.transaction, session, 421, "4.7.0")
        self._check("size", int(address.args.get("SIZE", 0)), session, 552, "5.3.4")

    async def onRcptTo(self, address: Address, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        envelope = session.envelope
        await self._meet("rcpt", session, envelope.mailFrom, [address])
        self._check("recipients", len(envelope.rcptTo) + 1, session, 452, "4.5.3")

    async def onData(self, stream: IncomingMessage, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        envelope = session.envelope
        await self._meet("data", session, envelope.mailFrom, envelope.rcptTo)
        content: bytes = await stream.read(MAX_SIZE)
        await self._meet("message", session, envelope.mailFrom, envelope.rcptTo)
        self._check("size", len(content), session, 552, "5.3.4")
        self.mailbox.add(content, envelope, session)

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        if outcome != "accepted":
            self.mailbox.remark(f"{_client(session)}: a message was {outcome}")

    def onClose(self, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        last = f"; the last refusal was {session.error!s}" if session.error else ""
        self.mailbox.remark(f"{_client(session)}: left{last}")

    def _check(self, name: str, count: int, session: Session, code: int, enhanced: str) -> None:
        """Refuse if a limit is exceeded."""
        limit = getattr(self.limits, name)
        if limit is not None and count > limit:
            self.mailbox.remark(f"{_client(session)}: over limit({name}={limit})")
            raise Rejection(f"This test allows {name}={limit}", code=code, enhanced=enhanced)

    async def _meet(
        self,
        stage: Stage,
        session: Session,
        sender: Address | None = None,
        recipients: list[Address] | tuple[Address, ...] = (),
    ) -> None:
        """Let the faults of a stage happen."""
        to = [address.address for address in recipients]
        for fault in self.faults.next(stage, sender.address if sender else None, to):
            self.mailbox.remark(f"{_client(session)}: {_said(fault, to)}")
            if isinstance(fault.action, Rejection):
                raise fault.action.with_traceback(None)
            if fault.action == DROP:
                self._drop(session)
                await Deferred()  # until the connection's end cancels it
            elif isinstance(fault.action, float):
                await deferLater(self.reactor, fault.action)

    def _drop(self, session: Session) -> None:
        assert self.factory is not None
        for connection in list(self.factory.connections):
            if connection.session is session:
                connection.transport.abortConnection()


@dataclass
class LoginHandler(CapturingHandler):
    """
    Requires a login.

    :ivar users: the passwords by user; ``None`` accepts any login.
    """

    users: Mapping[str, str] | None = None

    async def onAuth(self, credentials: Credentials, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        await self._meet("auth", session)
        if self.users is None:
            return credentials.username
        password = self.users.get(credentials.username)
        if password is None or not credentials.validatePassword(password):
            self.mailbox.remark(f"{_client(session)}: a login as {credentials.username!r} failed")
            return None
        return credentials.username


def _client(session: Session) -> str:
    return f"{session.remoteAddress}:{session.remotePort}"


def _said(fault: Fault, recipients: list[str]) -> str:
    """A fault in words."""
    at = f"{fault.stage} {', '.join(recipients)}".rstrip()
    if isinstance(fault.action, Rejection):
        return f"refused at {at} with {fault.action.code} {fault.action.text}"
    if fault.action == DROP:
        return f"dropped at {at}"
    return f"delayed at {at} by {fault.action} s" if fault.action else f"no fault at {at}"

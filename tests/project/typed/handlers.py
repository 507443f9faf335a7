"""
What type checkers know of this library; nobody runs this. pyright and mypy, the latter without a
plugin, must agree with all of it: each ``ignore`` is a mistake of a user's that they have to find.
"""

# pyright: reportIncompatibleMethodOverride=true

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_smtpserver import (
    Accepted,
    Address,
    Authenticated,
    Chain,
    Credentials,
    Envelope,
    IncomingMessage,
    Maildir,
    Options,
    ParsedMessage,
    Rejection,
    Session,
    SMTPHandler,
    SMTPServerFactory,
    SMTPService,
    TLSInfo,
    blocking,
)
from twisted_smtpserver.testing import Client, RecordingHandler, connect

if TYPE_CHECKING:
    from typing_extensions import assert_type


class Inbox(SMTPHandler):
    """Every hook, with what it is given."""

    def onConnect(self, session: Session) -> None:
        assert_type(session.remoteAddress, str | None)
        assert_type(session.secure, bool)

    def onSecure(self, session: Session) -> None:
        assert_type(session.tls, TLSInfo | None)
        if session.tls is not None:
            assert_type(session.tls.version, str | None)

    async def onHello(self, hostname: str, session: Session) -> None:
        assert_type(session.hostNameAppearsAs, str | None)

    def onAuth(self, credentials: Credentials, session: Session) -> str | Authenticated | None:
        assert_type(credentials.username, str)
        return credentials.username if credentials.validatePassword("secret") else None

    def onMailFrom(self, address: Address, session: Session) -> None:
        assert_type(address.args, dict[str, str | bool])
        assert_type(session.envelope, Envelope)

    def onRcptTo(self, address: Address, session: Session) -> str | Accepted | None:
        assert_type(address.domain, str | None)
        if address.local == "nobody":
            raise Rejection("No such mailbox", code=550, enhanced="5.1.1")
        return None

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        assert_type(session.envelope.mailFrom, Address | None)
        assert_type(session.envelope.recipients, list[Address])
        assert_type(stream.byteLength, int)
        async for chunk in stream:
            assert_type(chunk, bytes)
        stream.prepend(b"X-Seen: yes\r\n")
        assert_type(await stream.saveTo("message.eml"), int)
        stream.saveto("message.eml")  # type: ignore[attr-defined]
        return "Thank you"


async def reading(stream: IncomingMessage, session: Session) -> None:
    """Every way of reading."""
    assert_type(stream.read(limit=10), Deferred[bytes])
    assert_type(await stream.read(), bytes)
    assert_type(await stream.message(), EmailMessage)
    parsed = await stream.parsed()
    assert_type(parsed, ParsedMessage)
    assert_type(parsed.subject, str)


def storing(stream: IncomingMessage, session: Session) -> Deferred[int]:
    """A hook that returns a Deferred."""
    return stream.saveTo("message.eml")


def lookUp(address: Address, session: Session) -> None:
    """A hook that blocks."""


# The factory: options and hooks by name.
SMTPServerFactory(Inbox(), size=10 * 2**20, bareNewlines="normalize", minVersion="TLSv1.3")
SMTPServerFactory(onData=reading, onRcptTo=blocking(lookUp), useProxy=["192.0.2.1"], logger=False)
SMTPServerFactory(Chain(Inbox(), Maildir("mail")), Options(size=10))
SMTPServerFactory(onData=storing, extensions=["DSN"], maxAllowedUnauthenticatedCommands=False)
SMTPServerFactory(Inbox(), maxRecipient=10)  # type: ignore[call-arg]
SMTPServerFactory(Inbox(), size="10M")  # type: ignore[arg-type]
SMTPServerFactory(Inbox(), bareNewlines="fix")  # type: ignore[arg-type]
SMTPServerFactory(onDate=reading)  # type: ignore[call-arg]
SMTPServerFactory(onData=lookUp)  # type: ignore[arg-type]
SMTPService([("tcp:2525", SMTPServerFactory(Inbox()))])

# The test kit.
client = connect(RecordingHandler(), selfSigned=True)
assert_type(client, Client)
connect(Inbox(), maxRecipient=10)  # type: ignore[call-arg]


class Mistaken(SMTPHandler):
    """Not what the server gives."""

    def onRcptTo(self, address: str, session: Session) -> None:  # type: ignore[override]
        """An address is more than a str."""

"""A handler that records messages and calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.python.failure import Failure

from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session


@dataclass
class ReceivedMessage:
    """
    A message that :class:`RecordingHandler` has recorded.

    :ivar envelope: its envelope.
    :ivar content: its octets.
    """

    envelope: Envelope
    content: bytes


@dataclass
class RecordingHandler(SMTPHandler):
    """
    Accepts and records everything.

    :ivar messages: the messages, in order.
    :ivar calls: the hooks that were called, by name, in order.
    :ivar outcomes: the transactions' outcomes.
    :ivar errors: the failures that ``onError`` was given.
    """

    messages: list[ReceivedMessage] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)

    def onConnect(self, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onConnect")

    def onSecure(self, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onSecure")

    def onHello(self, hostname: str, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onHello")

    def onMailFrom(self, address: Address, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onMailFrom")

    def onRcptTo(self, address: Address, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onRcptTo")

    async def onData(self, stream: IncomingMessage, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onData")
        envelope = session.envelope
        content = await stream.read()
        self.messages.append(ReceivedMessage(envelope, content))

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onTransactionEnd")
        self.outcomes.append(outcome)

    def onClose(self, session: Session) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onClose")

    def onError(self, failure: Failure, session: Session | None) -> Any:
        """See :mod:`twisted_smtpserver.interfaces`."""
        self.calls.append("onError")
        self.errors.append(failure)

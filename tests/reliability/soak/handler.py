"""What the server under test runs: its own Maildir, and bugs where a recipient asks for them."""

from __future__ import annotations

import contextlib

from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_smtpserver import Maildir
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Session


class Injected(Exception):
    """A bug that was put in on purpose."""


async def _sleep(seconds: float) -> None:
    await deferLater(reactor, seconds)


class Soaked(Maildir):
    """Stores into ``./Maildir``, unless the first recipient's local part is a fault's name."""

    def __init__(self) -> None:
        super().__init__("Maildir", "mx.test")

    async def onRcptTo(self, address: Address, session: Session) -> None:
        """Fail at the recipient."""
        if address.local == "rcpt-raise":
            raise Injected
        if address.local == "rcpt-hang":
            await _sleep(3600)

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """Fail at the message: before, in the middle, behind its end, never coming back."""
        fault = session.envelope.rcptTo[0].local
        if fault == "raise-at-once":
            raise Injected
        if fault in {"raise-midway", "hang-midway"}:
            async for _ in stream:
                break
        if fault == "raise-midway":
            raise Injected
        if fault in {"raise-behind", "hang-behind"}:
            # A message that is cut off or too large ends otherwise.
            await stream.read()
            if fault == "raise-behind":
                raise Injected
            await _sleep(3600)
        if fault == "hang-midway":
            await _sleep(3600)
        if fault == "late":
            await _sleep(1)
        text = await super().onData(stream, session)
        if fault == "late":
            with contextlib.suppress(Exception):
                await _sleep(1)
        return text

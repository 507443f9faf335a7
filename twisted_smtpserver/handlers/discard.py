"""
The handler that keeps nothing.
"""

from __future__ import annotations

from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Session


class Discard(SMTPHandler):
    """
    Takes every message and throws it away, on purpose: for tests, measurements and black holes.

    A stage of a :class:`~twisted_smtpserver.handlers.Chain` may be one, which a handler with no
    ``onData`` can't stand in for.
    """

    async def onData(self, stream: IncomingMessage, session: Session) -> None:
        """Read the message to its end, and forget it."""
        async for _ in stream:
            pass

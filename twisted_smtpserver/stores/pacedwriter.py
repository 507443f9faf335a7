"""Writing no faster than the other side reads."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["PacedWriter"]


@implementer(IPushProducer)
class PacedWriter:
    """
    Lets a writer wait while a transport's buffer is full. Register it as the transport's producer.

    :ivar pause: what to wait for before the next write; ``None`` while there is room.
    """

    def __init__(self) -> None:
        self.pause: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """(The transport's call.) Its buffer is full."""
        if self.pause is None:
            self.pause = Deferred()

    def resumeProducing(self) -> None:
        """(The transport's call.) There is room again."""
        pause, self.pause = self.pause, None
        if pause is not None:
            pause.callback(None)

    def stopProducing(self) -> None:
        """(The transport's call.) The connection is lost: the writer will notice."""
        self.resumeProducing()

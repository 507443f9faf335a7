"""A message's way into an :class:`~twisted.internet.interfaces.IConsumer`."""

from __future__ import annotations

from collections.abc import AsyncIterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import classImplements

from twisted_smtpserver.errors import ConsumerStopped

__all__ = ["Pipe"]


class Pipe:
    """
    Pumps a stream into a consumer at the consumer's pace.

    :param stream: the stream.
    :param consumer: the consumer.
    """

    def __init__(self, stream: AsyncIterable[bytes], consumer: IConsumer) -> None:
        self._stream = stream
        self._consumer = consumer
        self._gate: Deferred[None] | None = None
        self._stopped = False

    async def run(self) -> int:
        """
        Pump all of it.

        :returns: how many octets the consumer got.
        :raises ConsumerStopped: if it stopped before the end.
        """
        written = 0
        self._consumer.registerProducer(self, True)
        try:
            async for octets in self._stream:
                # The consumer may pause and resume from within write(), or stop for good.
                while self._gate is not None:
                    await self._gate
                if self._stopped:
                    break
                self._consumer.write(octets)
                written += len(octets)
            if self._stopped:
                raise ConsumerStopped("the consumer stopped before the message ended")
        finally:
            self._consumer.unregisterProducer()
        return written

    def pauseProducing(self) -> None:
        """(The consumer's call.) It wants no more for now."""
        if self._gate is None:
            self._gate = Deferred()

    def resumeProducing(self) -> None:
        """(The consumer's call.) It wants more."""
        if self._gate is not None:
            gate, self._gate = self._gate, None
            gate.callback(None)

    def stopProducing(self) -> None:
        """(The consumer's call.) It wants no more at all."""
        self._stopped = True
        self.resumeProducing()


classImplements(Pipe, IPushProducer)

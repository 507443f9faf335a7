"""Long answers, written at the client's pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: Octets that are written at once.
PIECE = 64 * 1024


def writePieces(
    request: Any, length: int, read: Callable[[int], bytes | Deferred[bytes]]
) -> Deferred[None]:
    """
    Write an answer in pieces, because a transport copies what it gets at once.

    :param request: its headers are set. It is finished in the end; its connection is closed if
        reading fails.
    :param length: how many octets the answer has.
    :param read: reads a piece from a position on: at least one octet, now or later.
    :returns: a Deferred that fires at the end, whichever.
    """
    writing = Deferred.fromCoroutine(_Pieces(request).write(length, read))
    request.notifyFinish().addErrback(lambda _: writing.cancel())
    # The client has left, or what it asked for is gone: it knows how much was promised.
    return writing.addErrback(lambda _: request.loseConnection())


@implementer(IPushProducer)
class _Pieces:
    """
    Waits for the client after each piece.

    :param request: the request that is answered.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._isPaused = False
        self._gate: Deferred[None] | None = None

    async def write(self, length: int, read: Callable[[int], bytes | Deferred[bytes]]) -> None:
        position = 0 if self._request.method != b"HEAD" else length
        self._request.registerProducer(self, True)
        while position < length:
            if self._isPaused:
                self._gate = Deferred()
                await self._gate
            piece = read(position)
            octets = await piece if isinstance(piece, Deferred) else piece
            position += len(octets)
            self._request.write(octets)
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        self._isPaused = True

    def resumeProducing(self) -> None:
        self._isPaused = False
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; the request's ``notifyFinish`` says so, too."""

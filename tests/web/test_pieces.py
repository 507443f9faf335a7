"""Long answers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.web.pieces import PIECE, writePieces


class Taker:
    """A request whose client takes so many pieces before it pauses."""

    def __init__(self, room: int, method: bytes = b"GET") -> None:
        self.room = room
        self.method = method
        self.pieces: list[bytes] = []
        self.isFinished = self.isLost = False
        self.producer: Any = None
        self.gone: Deferred[None] = Deferred()

    def notifyFinish(self) -> Deferred[None]:
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, octets: bytes) -> None:
        self.pieces.append(octets)
        if len(self.pieces) % self.room == 0:
            self.producer.pauseProducing()

    def finish(self) -> None:
        self.isFinished = True

    def loseConnection(self) -> None:
        self.isLost = True


class PiecesTests(SynchronousTestCase):
    def test_pace(self) -> None:
        """They are written in pieces, as long as the client takes them."""
        octets = bytes(5 * PIECE + 1)
        request = Taker(2)
        writePieces(request, len(octets), lambda start: octets[start : start + PIECE])
        for count in (2, 4):
            self.assertEqual(len(request.pieces), count)
            self.assertFalse(request.isFinished)
            request.producer.resumeProducing()
        self.assertEqual(b"".join(request.pieces), octets)
        self.assertTrue(request.isFinished)
        self.assertIsNone(request.producer)

    def test_later(self) -> None:
        """A piece may take its time; the next one isn't read before it was taken."""
        asked: list[int] = []
        reading: Deferred[bytes] = Deferred()

        def read(position: int) -> Deferred[bytes]:
            asked.append(position)
            return reading

        request = Taker(1)
        writePieces(request, 2, read)
        self.assertEqual(request.pieces, [])
        reading.callback(b"x")
        self.assertEqual((request.pieces, asked), ([b"x"], [0]))
        reading = Deferred()
        request.producer.resumeProducing()
        request.producer.resumeProducing()
        reading.callback(b"y")
        self.assertEqual((request.pieces, asked, request.isFinished), ([b"x", b"y"], [0, 1], True))

    def test_nothing(self) -> None:
        """Nothing is read for an answer without a body."""
        for request, length in ((Taker(1), 0), (Taker(1, b"HEAD"), 5)):
            writePieces(request, length, lambda _: self.fail("it was read"))
            self.assertEqual((request.pieces, request.isFinished), ([], True))

    def test_gone(self) -> None:
        """When the client has left, nothing more is read."""
        request = Taker(1)
        canceled: list[Any] = []
        reading: Deferred[bytes] = Deferred(canceled.append)
        writePieces(request, 5, lambda _: reading)
        request.producer.stopProducing()
        request.gone.errback(Failure(ConnectionError()))
        self.assertEqual((canceled, request.pieces, request.isFinished), ([reading], [], False))

    def test_failure(self) -> None:
        """When it can't be read, the client learns that it hasn't got all."""
        request = Taker(9)
        pieces = iter([b"x"])
        writePieces(request, 5, lambda _: next(pieces))
        self.assertEqual((request.pieces, request.isFinished), ([b"x"], False))
        self.assertTrue(request.isLost)

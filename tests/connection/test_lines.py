"""Tests for lines in and replies out, with a protocol that isn't SMTP."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.pureform import pure
from twisted_smtpserver.connection import lines
from twisted_smtpserver.connection.lines import (
    BODY_UNREAD,
    MAX_JOINED,
    MAX_WAITING,
    SLICE_LINES,
    SLICE_OCTETS,
)
from twisted_smtpserver.connection.timeouts import CLOSING_TIME, CommonTimer, IdleTimeout
from twisted_smtpserver.testing import MemoryTransport

if TYPE_CHECKING:
    from twisted_smtpserver.connection.lines import PipelinedLines
else:
    PipelinedLines = pure(lines).PipelinedLines


class Receiver(PipelinedLines):
    """
    Echoes its lines. ``hold`` holds, ``raw`` takes three octets as they are, ``close`` closes.

    :ivar seen: what it received, in order.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.looks = CommonTimer(lambda: self.clock, CLOSING_TIME, IdleTimeout.look)
        timeout = IdleTimeout(self.clock, self.looks, self)
        super().__init__(timeout, cast("Any", self), longest=20)
        self.seen: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""
        if b"\n" in line:
            self.checkLine(line)
            return
        self.seen.append(line)
        self.output += line + b"\n"
        if line == b"hold":
            self.hold()
        elif line == b"raw":
            self.raw = b""
            self.beginRaw(self.takeRaw)
        elif line == b"count":
            self.beginRaw(lambda octets: self.seen.append(b"<" + octets + b">"), 1)
        elif line == b"close":
            self.close()

    def linesReceived(self, octets: bytes, start: int, end: int, most: int) -> int:
        """Take one of several lines."""
        self.lineReceived(octets[start:end])
        return 1

    def respond(self, outcome: object, times: int = 1) -> None:
        """Nothing: a line's echo is there already."""

    def takeRaw(self, octets: bytes) -> None:
        """Take three octets."""
        self.raw += octets
        if len(self.raw) >= 3:
            self.seen.append(b"<" + self.raw[:3] + b">")
            self.endRaw(self.raw[3:])

    def lineTooLong(self, beginning: bytes) -> None:
        """Note it."""
        self.seen.append(b"too long: " + beginning[:4])
        self.send(b"too long\n")

    def idleTooLong(self) -> None:
        """(Nobody waits here.)"""

    def bareNewlineReceived(self) -> None:
        """Note it."""
        self.seen.append(b"bare")
        self.close()


def pieces(octets: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut octets into segments."""
    edges = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    return (octets[start:end] for start, end in itertools.pairwise(edges))


class FramingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        """A receiver on a transport in memory."""
        self.transport = MemoryTransport()
        self.receiver = self.connected(Receiver())

    def connected(self, receiver: Receiver) -> Receiver:
        """Put a receiver on the transport, in the place of the last one."""
        self.transport.protocol = receiver
        receiver.transport = self.transport
        self.transport.registerProducer(receiver, True)
        return receiver

    def feed(self, *segments: bytes) -> list[bytes]:
        """Feed segments; what was seen."""
        for segment in segments:
            self.receiver.dataReceived(segment)
        return self.receiver.seen


class LineTests(FramingTestCase):
    def test_lines(self) -> None:
        """Lines end in CRLF, wherever the segments end."""
        self.assertEqual(self.feed(b"a\r\nb\r", b"\n", b"", b"c\r\n\r\n"), [b"a", b"b", b"c", b""])

    def test_bareNewline(self) -> None:
        """A bare LF is seen as soon as it comes."""
        self.assertEqual(self.feed(b"a\r\nb\nc"), [b"a", b"bare"])
        self.assertTrue(self.transport.isClosed)

    def test_bareCarriageReturn(self) -> None:
        """A bare CR is an octet of the line like any other: what it means isn't decided here."""
        self.assertEqual(self.feed(b"a\rb\r\n", b"c\r\r\n"), [b"a\rb", b"c\r"])

    def test_abstract(self) -> None:
        """What a line means is for the subclass to say."""
        receiver = PipelinedLines(self.receiver.timeout, cast("Any", None), longest=20)
        self.assertRaises(NotImplementedError, receiver.respond, cast("Any", None))
        self.assertRaises(NotImplementedError, receiver.linesReceived, b"", 0, 0, 1)
        self.assertRaises(NotImplementedError, receiver.lineTooLong, b"")
        self.assertRaises(NotImplementedError, receiver.bareNewlineReceived)


class OverlongLineTests(FramingTestCase):
    def test_exactly(self) -> None:
        """A line as long as allowed is fine, one octet more isn't."""
        self.assertEqual(self.feed(b"x" * 20 + b"\r\n"), [b"x" * 20])
        self.assertEqual(self.feed(b"x" * 21 + b"\r\n")[1:], [b"too long: xxxx"])

    def test_skipped(self) -> None:
        """It is skipped, and the next one counts again; in one segment, too."""
        self.assertEqual(
            self.feed(b"a\r\n" + b"x" * 50 + b"\r\nb\r\n" + b"y" * 50 + b"\r\nc\r\n"),
            [b"a", b"too long: xxxx", b"b", b"too long: yyyy", b"c"],
        )

    def test_answeredAtItsEnd(self) -> None:
        """The answer comes when the line has ended, in order with the others."""
        self.assertEqual(self.feed(b"x" * 50), [])
        self.assertEqual(self.feed(b"x" * 50 + b"\r"), [])
        self.assertEqual(self.feed(b"\nb\r\n"), [b"too long: xxxx", b"b"])
        self.assertEqual(self.transport.output, b"too long\nb\n")

    def test_carriageReturns(self) -> None:
        """A CR at the end of a segment may be half of the CRLF, or not."""
        self.assertEqual(self.feed(b"x" * 50 + b"\r", b"x\r", b"\r", b"\n"), [b"too long: xxxx"])

    def test_bareNewline(self) -> None:
        """A bare LF in it is a bare LF."""
        self.assertEqual(self.feed(b"x" * 50, b"y\n"), [b"bare"])

    def test_memory(self) -> None:
        """Nothing of it is kept, however long it is."""
        for _ in range(1000):
            self.feed(b"x" * 1000)
            self.assertLessEqual(len(self.receiver._buffer), 22)
        self.assertEqual(self.feed(b"\r\n"), [b"too long: xxxx"])

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"a",
                    b"x" * 19,
                    b"x" * 20,
                    b"x" * 21,
                    b"y" * 45,
                    b"\r\n",
                    b"\r",
                    b"\n",
                    b"raw\r\n",
                ]
            ),
            max_size=12,
        ).map(b"".join),
        st.lists(st.integers(0, 1000), max_size=12),
    )
    def test_cuts(self, octets: bytes, cuts: list[int]) -> None:
        """The cuts between segments make no difference."""
        self.setUp()
        octets += b"\r\n"
        whole = list(self.feed(octets))
        self.setUp()
        self.assertEqual(self.feed(*pieces(octets, cuts)), whole)


class RawTests(FramingTestCase):
    def test_raw(self) -> None:
        """Raw octets go to the sink; what comes behind them is lines."""
        self.assertEqual(
            self.feed(b"raw\r\n\r\n", b"xa\r\nraw\r\nabcd\r\n"),
            [b"raw", b"<\r\nx>", b"a", b"raw", b"<abc>", b"d"],
        )

    def test_waitingInput(self) -> None:
        """A line can see what waits behind it."""
        found: list[bytes] = []
        self.receiver.lineReceived = (  # type: ignore[method-assign]
            lambda line: found.append(self.receiver.waitingInput)
        )
        self.feed(b"a\r\nb\r\n")
        self.assertEqual(found, [b"b\r\n", b""])


class HoldTests(FramingTestCase):
    def test_hold(self) -> None:
        """While it is held, lines wait; then they go on in order."""
        self.assertEqual(self.feed(b"a\r\nhold\r\nb\r\n", b"c\r\nhold\r\nd\r\n"), [b"a", b"hold"])
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [b"a", b"hold", b"b", b"c", b"hold"])
        self.receiver.release()
        self.assertEqual(self.receiver.seen[5:], [b"d"])

    def test_partialLine(self) -> None:
        """A line that hasn't ended isn't looked at before it is its turn."""
        self.feed(b"hold\r\nb\n")
        self.assertEqual(self.receiver.seen, [b"hold"])
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [b"hold", b"bare"])

    def test_bounded(self) -> None:
        """Up to a bound the socket stays open; above, it is paused until lines go on."""
        self.feed(b"hold\r\n" + b"\r\n" * (MAX_WAITING // 2))
        self.assertFalse(self.transport.isPaused)
        self.feed(b"\r\n")
        self.assertTrue(self.transport.isPaused)
        self.receiver.release()
        self.receiver.clock.advance(0)
        self.assertFalse(self.transport.isPaused)
        self.assertEqual(len(self.receiver.seen), 1 + MAX_WAITING // 2 + 1)

    def test_stillHeld(self) -> None:
        """If the next line holds again, what still waits keeps the socket paused."""
        self.feed(b"hold\r\nhold\r\n" + b"\r\n" * MAX_WAITING)
        self.receiver.release()
        self.assertTrue(self.transport.isPaused)
        self.receiver.release()
        self.receiver.clock.advance(0)
        self.assertFalse(self.transport.isPaused)

    def test_releaseFromWithin(self) -> None:
        """It may be released before the line was through."""

        def lineReceived(line: bytes) -> None:
            self.receiver.hold()
            self.receiver.release()
            self.receiver.send(line)

        self.receiver.lineReceived = lineReceived  # type: ignore[method-assign]
        self.feed(b"a\r\nb\r\n")
        self.assertEqual(self.transport.output, b"ab")


class TurnTests(FramingTestCase):
    """No client keeps the others waiting: work is done in slices."""

    def test_lines(self) -> None:
        """Of many short lines so many are dealt with in one turn; the rest when it comes again."""
        self.assertEqual(len(self.feed(b"\r\n" * (2 * SLICE_LINES + 1))), SLICE_LINES)
        for count in (2 * SLICE_LINES, 2 * SLICE_LINES + 1):
            self.assertTrue(self.receiver.takeTurn())
            self.assertEqual(len(self.receiver.seen), count)
        self.assertFalse(self.receiver.takeTurn())

    def test_exactly(self) -> None:
        """What fits into one turn needs no second one."""
        self.feed(b"\r\n" * SLICE_LINES)
        self.assertEqual(self.receiver.clock.getDelayedCalls(), [])

    def test_octets(self) -> None:
        """Of longer lines fewer are dealt with in one turn."""
        line = b"x" * 20 + b"\r\n"
        self.assertLess(len(self.feed(line * 500)), SLICE_OCTETS // 20 + 2)
        self.receiver.clock.advance(0)
        self.assertEqual(len(self.receiver.seen), 500)

    def test_chunks(self) -> None:
        """Counted octets are lines' equals: each chunk is a piece of work."""
        self.feed(b"count\r\nx" * SLICE_LINES)
        self.assertEqual(len(self.receiver.seen), SLICE_LINES)
        self.receiver.clock.advance(0)
        self.assertEqual(self.receiver.seen, [b"count", b"<x>"] * SLICE_LINES)

    def test_notCopied(self) -> None:
        """What follows a line or a chunk isn't copied for it."""
        buffers = []

        class Watched(Receiver):
            def lineReceived(self, line: bytes) -> None:
                buffers.append(self._buffer)
                self.beginRaw(lambda octets: buffers.append(self._buffer), 1)

        receiver = self.connected(Watched())
        receiver.dataReceived(b"count\r\nx" * 50)
        self.assertEqual(len(buffers), 100)
        self.assertEqual(len({id(buffer) for buffer in buffers}), 1)

    def test_countedInPieces(self) -> None:
        """Counted octets may come in any pieces, and lines follow them."""
        octets = b"count\r\nx" + b"a\r\n"
        for cut in range(len(octets)):
            receiver = self.connected(Receiver())
            receiver.dataReceived(octets[:cut])
            receiver.dataReceived(octets[cut:])
            self.assertEqual(receiver.seen, [b"count", b"<x>", b"a"])

    def test_inBetween(self) -> None:
        """What comes in between waits, too, and is bounded; no order is lost."""
        self.feed(b"a\r\n" * (SLICE_LINES + 1), b"b\r\n")
        self.assertEqual(self.receiver.seen, [b"a"] * SLICE_LINES)
        self.feed(b"b\r\n" * MAX_WAITING)
        self.assertTrue(self.transport.isPaused)
        self.receiver.clock.advance(0)
        self.assertFalse(self.transport.isPaused)
        expected = [b"a"] * (SLICE_LINES + 1) + [b"b"] * (MAX_WAITING + 1)
        self.assertEqual(self.receiver.seen, expected)

    def test_held(self) -> None:
        """A turn that comes while an answer is pending waits for that, too."""
        self.feed(b"a\r\n" * SLICE_LINES + b"b\r\n")
        self.receiver.hold()
        self.assertTrue(self.receiver.takeTurn())
        self.assertEqual(self.receiver.seen[-1], b"a")
        self.receiver.release()
        self.assertEqual(self.receiver.seen[-1], b"b")

    def test_releasedBeforeItsTurn(self) -> None:
        """An answer in between doesn't bring the turn forward."""
        self.feed(b"a\r\n" * SLICE_LINES + b"b\r\n")
        self.receiver.release()
        self.assertEqual(self.receiver.seen[-1], b"a")
        self.receiver.clock.advance(0)
        self.assertEqual(self.receiver.seen[-1], b"b")

    def test_gone(self) -> None:
        """When the connection is gone nothing is left for another turn."""
        self.feed(b"a\r\n" * (SLICE_LINES + 1))
        self.receiver.forgetInput()
        self.assertEqual(self.receiver.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.receiver.seen), SLICE_LINES)


class OutputTests(FramingTestCase):
    def test_joined(self) -> None:
        """All answers to one read leave in one write."""
        self.feed(b"a\r\nb\r\nc\r\n")
        self.assertEqual(self.transport.output, b"a\nb\nc\n")
        self.assertEqual(self.transport.writes, 1)

    def test_notTooMany(self) -> None:
        """So many answers at most are joined."""

        class Wordy(Receiver):
            def lineReceived(self, line: bytes) -> None:
                self.output += b"x" * 1000

        receiver = self.connected(Wordy())
        receiver.dataReceived(b"\r\n" * 20)
        self.assertEqual(len(self.transport.output), 20_000)
        self.assertEqual(self.transport.writes, 3)

    def test_manyToOne(self) -> None:
        """So much at most is joined, also of answers to a single line."""

        class Talkative(Receiver):
            def lineReceived(self, line: bytes) -> None:
                for _ in range(10 * MAX_JOINED):
                    self.send(b"x")

        receiver = self.connected(Talkative())
        receiver.dataReceived(b"a\r\n")
        self.assertEqual(len(self.transport.output), 10 * MAX_JOINED)
        self.assertEqual(self.transport.writes, 10)

    def test_inBetween(self) -> None:
        """Octets that come while a line is dealt with come behind it, and aren't forgotten."""

        class Eager(Receiver):
            def lineReceived(self, line: bytes) -> None:
                if line == b"a":
                    self.dataReceived(b"b\r\nc\r\n")
                super().lineReceived(line)

        receiver = self.connected(Eager())
        receiver.dataReceived(b"a\r\n")
        self.assertEqual(receiver.seen, [b"a", b"b", b"c"])

    def test_atOnce(self) -> None:
        """Outside of a read a write goes out at once."""
        self.receiver.send(b"a")
        self.assertEqual(self.transport.output, b"a")

    def test_unread(self) -> None:
        """While the peer doesn't read, no more lines are taken, and no octets either."""
        self.transport.producer.pauseProducing()
        self.assertTrue(self.transport.isPaused)
        self.feed(b"a\r\nhold\r\nb\r\n")
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [])
        self.transport.producer.resumeProducing()
        self.assertFalse(self.transport.isPaused)
        self.assertEqual(self.receiver.seen, [b"a", b"hold"])
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.receiver.seen, [b"a", b"hold"])
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [b"a", b"hold", b"b"])

    def test_severalReasons(self) -> None:
        """The socket is resumed when the last reason to pause it is gone."""
        self.receiver.stopReading(BODY_UNREAD)
        self.receiver.pauseProducing()
        self.receiver.resumeProducing()
        self.assertTrue(self.transport.isPaused)
        self.receiver.goOnReading(BODY_UNREAD)
        self.assertFalse(self.transport.isPaused)

    def test_stopProducing(self) -> None:
        """The transport's notice of its end needs nothing done: connectionLost follows."""
        self.receiver.stopProducing()
        self.assertFalse(self.transport.isClosed)


class CloseTests(FramingTestCase):
    def test_close(self) -> None:
        """What was said is delivered, what is said from here on isn't heard."""
        self.feed(b"a\r\nclose\r\nb\r\n", b"c\r\n")
        self.receiver.send(b"d")
        self.assertEqual(self.receiver.seen, [b"a", b"close"])
        self.assertEqual(self.transport.output, b"a\nclose\n")
        self.assertTrue(self.transport.isClosed)
        self.assertFalse(self.transport.isAborted)
        self.assertIsNone(self.transport.producer)

    def test_bounded(self) -> None:
        """A peer that doesn't take what was said is cut off in the end."""
        self.feed(b"close\r\n")
        self.receiver.close()
        self.receiver.clock.advance(CLOSING_TIME)
        self.assertTrue(self.transport.isAborted)

    def test_abort(self) -> None:
        """To abort is to close at once."""
        self.receiver.stopReading(BODY_UNREAD)
        self.receiver.abort()
        self.assertTrue(self.transport.isAborted)
        self.receiver.goOnReading(BODY_UNREAD)
        self.assertTrue(self.transport.isPaused)
        self.assertEqual(self.feed(b"a\r\n"), [])
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [])

    def test_inputEnded(self) -> None:
        """When no more input will come, it closes after the last answer."""
        self.feed(b"hold\r\na\r\n")
        self.receiver.inputEnded()
        self.assertFalse(self.transport.isClosed)
        self.receiver.release()
        self.assertEqual(self.receiver.seen, [b"hold", b"a"])
        self.assertTrue(self.transport.isClosed)


class TimerTests(FramingTestCase):
    def setUp(self) -> None:
        """A list that notes what expired."""
        super().setUp()
        self.expired: list[str] = []

    def test_expires(self) -> None:
        """It expires once; reset puts that off; the next one replaces it."""
        clock: Clock = self.receiver.clock
        self.receiver.timeout.resetTimeout()
        self.receiver.timeout.setTimeout(5, lambda: self.expired.append("first"))
        self.receiver.timeout.setTimeout(5, lambda: self.expired.append("second"))
        clock.advance(4)
        self.receiver.timeout.resetTimeout()
        clock.advance(4)
        self.assertEqual(self.expired, [])
        clock.advance(1)
        self.assertEqual(self.expired, ["second"])
        self.receiver.timeout.resetTimeout()
        self.receiver.timeout.cancelTimeout()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_setBack(self) -> None:
        """A clock that is set back lengthens the wait that has begun, and no other."""
        for segment in (b"a\r\n", b"a\r\nb\r\n"):
            receiver = self.connected(Receiver())
            clock: Clock = receiver.clock
            expired: list[str] = []
            clock.advance(7200)
            receiver.timeout.setTimeout(5, partial(expired.append, "it"))
            clock.rightNow -= 3600
            receiver.dataReceived(segment)
            clock.advance(4.9)
            self.assertEqual(expired, [])
            clock.advance(0.1)
            self.assertEqual(expired, ["it"])

    def test_inCommon(self) -> None:
        """Those that wait long have one timer at first, and each is waited for as long as said."""
        first, second = self.connected(Receiver()), self.connected(Receiver())
        second.timeout = IdleTimeout(first.clock, first.looks, second)
        clock: Clock = first.clock
        first.timeout.setTimeout(15, partial(self.expired.append, "first"))
        clock.advance(1)
        second.timeout.setTimeout(20, partial(self.expired.append, "second"))
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.pump([8, 1])
        self.assertEqual(len(clock.getDelayedCalls()), 2)
        clock.advance(4.9)
        self.assertEqual(self.expired, [])
        clock.advance(0.1)
        self.assertEqual(self.expired, ["first"])
        clock.advance(6)
        self.assertEqual(self.expired, ["first", "second"])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_inCommonNoMore(self) -> None:
        """Who waits for nothing any more, or for less, leaves the others their timer."""
        first, second = self.connected(Receiver()), self.connected(Receiver())
        second.timeout = IdleTimeout(first.clock, first.looks, second)
        clock: Clock = first.clock
        first.timeout.setTimeout(15, partial(self.expired.append, "never"))
        second.timeout.setTimeout(15, partial(self.expired.append, "never, too"))
        first.timeout.cancelTimeout()
        second.timeout.setTimeout(3, partial(self.expired.append, "second"))
        clock.advance(3)
        self.assertEqual(self.expired, ["second"])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_fixed(self) -> None:
        """One that is fixed isn't put off by anything that the client says."""
        clock: Clock = self.receiver.clock
        self.receiver.timeout.setTimeout(5, lambda: self.expired.append("fixed"), isFixed=True)
        for _ in range(4):
            clock.advance(1)
            self.receiver.timeout.resetTimeout()
            self.feed(b"a\r\n", b"a\r\nb\r\n")
        clock.advance(1)
        self.assertEqual(self.expired, ["fixed"])

    def test_sooner(self) -> None:
        """A shorter wait ends in time, though there was a longer one before it."""
        clock: Clock = self.receiver.clock
        self.receiver.timeout.setTimeout(50, lambda: self.expired.append("never"))
        self.receiver.timeout.setTimeout(5, lambda: self.expired.append("short"))
        self.receiver.timeout.setTimeout(6, lambda: self.expired.append("longer"))
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.pump([5, 1])
        self.assertEqual(self.expired, ["longer"])

    def test_stopped(self) -> None:
        """A timer that was stopped doesn't expire."""
        self.receiver.timeout.setTimeout(5, lambda: self.expired.append("never"))
        self.receiver.timeout.cancelTimeout()
        self.receiver.clock.advance(10)
        self.assertEqual(self.expired, [])

    def test_nothingToRedirect(self) -> None:
        """Without a wait there is nothing to end otherwise, and no clock makes a difference."""
        timeout = self.receiver.timeout
        self.assertFalse(timeout.redirect(lambda: self.expired.append("never")))
        self.receiver.clock.advance(10)
        timeout.resetTimeout()
        self.receiver.clock.rightNow -= 5
        timeout.resetTimeout()
        self.assertEqual(self.receiver.clock.getDelayedCalls(), [])

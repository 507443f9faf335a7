"""What every store is made of: the one rule, deadlines, pauses, trace fields."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Address, Envelope, Rejection
from twisted_smtpserver.errors import ConnectionLost
from twisted_smtpserver.stores.base import (
    BackOff,
    Traced,
    Unavailable,
    oneAnswer,
    outcomes,
    within,
)
from twisted_smtpserver.wire.path import Path


def makeEnvelope() -> Envelope:
    envelope = Envelope("abc-1")
    envelope.mailFrom = Address(Path("joe", "x.example", "joe@x.example", "<joe@x.example>", False))
    return envelope


class Bench(SynchronousTestCase):
    """Sees what is logged."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)


class OutcomesTests(Bench):
    """What becomes of what a store raises."""

    def answer(self, error: BaseException) -> Rejection:
        with self.assertRaises(Rejection) as caught, outcomes("the shelf", makeEnvelope()):
            raise error
        return caught.exception

    def test_accepted(self) -> None:
        """Nothing raised, nothing said."""
        with outcomes("the shelf", makeEnvelope()):
            pass
        self.assertEqual(self.events, [])

    def test_refused(self) -> None:
        """A refusal passes as it is."""
        refusal = Rejection("Mailbox full", 552, "5.2.2")
        self.assertIs(self.answer(refusal), refusal)
        self.assertEqual(self.events, [])

    def test_stream(self) -> None:
        """So do a client that left, and a handler that is canceled."""
        for error in (ConnectionLost(), CancelledError()):
            with self.assertRaises(type(error)), outcomes("the shelf", makeEnvelope()):
                raise error
        self.assertEqual(self.events, [])

    def test_unavailable(self) -> None:
        """Otherwise the client gets 451, and the log one line with who, what and why."""
        answer = self.answer(Unavailable("it is on fire\r\nreally"))
        self.assertEqual((answer.code, answer.enhanced), (451, "4.3.0"))
        self.assertNotIn("fire", answer.text)
        (event,) = self.events
        self.assertEqual(
            event["log_format"].format(**event),
            "Message abc-1 from joe@x.example isn't stored by the shelf: "
            r"it is on fire\x0d\x0areally; the client got 451",
        )

    def test_connection(self) -> None:
        """Errors of the connection are told with their text."""
        for error, text in (
            (Refused(string="no"), "ConnectionRefusedError: Connection was refused"),
            (OSError(28, "No space left on device"), "OSError: [Errno 28] No space"),
        ):
            self.assertEqual(self.answer(error).code, 451)
            self.assertIn(text, self.events.pop()["reason"])

    def test_noContent(self) -> None:
        """Of any other error the log has the kind only: drivers repeat the data in their texts."""
        self.assertEqual(self.answer(ValueError("bad value: Dear Ann")).code, 451)
        self.assertEqual(self.events.pop()["reason"], "ValueError")


class OneAnswerTests(Bench):
    """One answer for several recipients."""

    def one(self, *results: object) -> object:
        envelope = makeEnvelope()
        for number in range(len(results)):
            name = f"r{number}"
            path = Path(name, "x.example", f"{name}@x.example", f"<{name}@x.example>", False)
            envelope.rcptTo.append(Address(path))
        return oneAnswer(results, "the shelf", envelope)

    def test_all(self) -> None:
        """Stored for all: the first result."""
        self.assertEqual(self.one("kept", None, "kept, too"), "kept")
        self.assertEqual(self.events, [])

    def test_none(self) -> None:
        """Stored for nobody: a temporary refusal if there is one, else the first."""
        full, gone, later = (Rejection("x", code) for code in (552, 550, 450))
        self.assertIs(self.assertRaises(Rejection, self.one, full, gone), full)
        self.assertIs(self.assertRaises(Rejection, self.one, full, gone, later), later)
        self.assertEqual(self.events, [])

    def test_some(self) -> None:
        """Stored for some: a refusal, and the log has the truth."""
        full = Rejection("Mailbox full", 552)
        self.assertIs(self.assertRaises(Rejection, self.one, None, full), full)
        (event,) = self.events
        self.assertEqual(
            event["log_format"].format(**event),
            "Message abc-1 is stored by the shelf for ['r0@x.example'], but not for"
            " ['r1@x.example']; SMTP has one reply for all, so the client got a refusal",
        )

    def test_manyNames(self) -> None:
        """Not all of very many are named."""
        self.assertRaises(Rejection, self.one, Rejection("x", 550), *[None] * 100)
        self.assertEqual(len(self.events.pop()["stored"]), 20)


class WithinTests(SynchronousTestCase):
    """Bounded waits."""

    def setUp(self) -> None:
        self.clock = Clock()

    def test_inTime(self) -> None:
        """A result in time is the result."""
        answer: Deferred[str] = Deferred()
        waiting = within(self.clock, 5, answer, "the shelf")
        self.clock.advance(4)
        answer.callback("kept")
        self.assertEqual(self.successResultOf(waiting), "kept")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """When the time is over the wait is canceled, and the failure says who was late."""
        answer: Deferred[None] = Deferred()
        waiting = within(self.clock, 5, answer, "the shelf")
        self.clock.advance(5)
        failure = self.failureResultOf(waiting, Unavailable)
        self.assertEqual(str(failure.value), "the shelf didn't answer within 5 s")

    def test_lateWithAReason(self) -> None:
        """It says so too if the wait fails in a way of its own when it is canceled."""
        answer: Deferred[str] = Deferred(lambda each: each.errback(KeyError("why")))
        waiting = within(self.clock, 5, answer, "the shelf")
        self.clock.advance(5)
        self.failureResultOf(waiting, Unavailable)

    def test_canceled(self) -> None:
        """Canceled from outside, it says no more than that."""
        answer: Deferred[None] = Deferred()
        waiting = within(self.clock, 5, answer, "the shelf")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)


class BackOffTests(SynchronousTestCase):
    """When to try again."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.backOff = BackOff(self.clock, first=1, most=4, draw=lambda: 1.0)

    def assertPause(self, seconds: float) -> None:
        self.clock.advance(seconds - 0.1)
        error = self.assertRaises(Unavailable, self.backOff.check)
        self.assertIn("the next try is in 0.1 s", str(error))
        self.clock.advance(0.1)
        self.backOff.check()

    def test_well(self) -> None:
        """At first there is no pause."""
        self.backOff.check()

    def test_grows(self) -> None:
        """Each failure's pause is twice the one before, up to the longest."""
        for seconds in (1, 2, 4, 4):
            self.backOff.failed()
            self.assertPause(seconds)

    def test_success(self) -> None:
        """A success ends the pause, and the next one is short again."""
        self.backOff.failed()
        self.backOff.failed()
        self.backOff.succeeded()
        self.backOff.check()
        self.backOff.failed()
        self.assertPause(1)

    def test_jitter(self) -> None:
        """A pause is at least half as long as it may be."""
        self.backOff = BackOff(self.clock, first=1, draw=lambda: 0.0)
        self.backOff.failed()
        self.assertPause(0.5)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def joined(traced: Traced) -> bytes:
    return b"".join([chunk async for chunk in traced])


class TracedTests(SynchronousTestCase):
    """Trace fields in front."""

    def read(self, *chunks: bytes, maxHops: int = 2) -> Deferred[bytes]:
        return Deferred.fromCoroutine(joined(Traced(b"Trace: us\r\n", pieces(*chunks), maxHops)))

    def test_inFront(self) -> None:
        """The fields come once, before the message."""
        whole = self.successResultOf(self.read(b"Subject: x\r\n", b"\r\ntext\r\n"))
        self.assertEqual(whole, b"Trace: us\r\nSubject: x\r\n\r\ntext\r\n")

    def test_empty(self) -> None:
        """They come even if the message is empty."""
        self.assertEqual(self.successResultOf(self.read()), b"Trace: us\r\n")

    def test_notContinued(self) -> None:
        """A message that begins with a blank doesn't continue the last of them."""
        whole = self.successResultOf(self.read(b" forged\r\n"))
        self.assertEqual(whole, b"Trace: us\r\n\r\n forged\r\n")

    def test_loop(self) -> None:
        """A message with too many hops is refused for good."""
        chunks = [b"Received: x\r\n"] * 2
        self.assertIn(b"Received", self.successResultOf(self.read(*chunks)))
        failure = self.failureResultOf(self.read(*chunks, *chunks), Rejection)
        self.assertEqual(failure.value.code, 554)

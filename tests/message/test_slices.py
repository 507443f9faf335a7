"""Tests for long work in slices."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from threading import Thread

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock, Cooperator
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver.message import slices
from twisted_smtpserver.message.slices import AT_ONCE, finish, runInSlices, slicesOn


def work(count: int, done: list[object], error: Exception | None = None) -> Generator[None]:
    """Some work."""
    for number in range(count):
        done.append(number)
        yield
    if error is not None:
        raise error
    return "done"  # type: ignore[return-value]  # whatever it is


class SliceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        later = partial(self.clock.callLater, 1)
        self.patch(slices, "_turns", Cooperator(slices._oneSlice, later))
        self.done: list[object] = []

    def turn(self) -> None:
        """Let the reactor go round once."""
        self.clock.advance(1)

    def test_little(self) -> None:
        """Little work is done at once."""
        self.assertEqual(self.successResultOf(runInSlices(work(AT_ONCE - 1, self.done))), "done")

    def test_ownReactor(self) -> None:
        """A server's slices take the turns of its own reactor."""
        clock = Clock()
        result = slicesOn(clock)(work(AT_ONCE + 3, self.done))
        self.turn()
        self.assertNoResult(result)
        for _ in range(5):
            clock.advance(0)
        self.assertEqual(self.successResultOf(result), "done")

    def test_much(self) -> None:
        """Of much work, the beginning is done at once, and then a slice at each turn."""
        result = runInSlices(work(AT_ONCE + 3, self.done))
        for turn in range(3):
            self.assertEqual(len(self.done), AT_ONCE + turn)
            self.assertNoResult(result)
            self.turn()
        self.turn()
        self.assertEqual(self.successResultOf(result), "done")

    def test_turns(self) -> None:
        """All that is under way has one slice at each turn, together, and each has its turn."""
        ours: list[list[object]] = [[] for _ in range(3)]
        for each in ours:
            runInSlices(work(1000, each))
        for turn in range(6):
            self.assertEqual(sum(map(len, ours)), 3 * AT_ONCE + turn)
            self.turn()
        self.assertEqual({len(each) for each in ours}, {AT_ONCE + 2})

    def test_failure(self) -> None:
        """Work that fails says so, be it little or much."""
        for count in (0, AT_ONCE, AT_ONCE + 1):
            result = runInSlices(work(count, self.done, ValueError("no")))
            self.turn()
            self.turn()
            self.failureResultOf(result, ValueError)

    def test_cancel(self) -> None:
        """Work that is canceled is over."""
        result = runInSlices(work(1000, self.done))
        self.turn()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.turn()
        self.assertEqual(len(self.done), AT_ONCE + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_finish(self) -> None:
        """It can all be done at once."""
        self.assertEqual(finish(work(1000, self.done)), "done")
        self.assertEqual(len(self.done), 1000)


class ReactorTests(TestCase):
    async def test_reactor(self) -> None:
        """The turns are the reactor's."""
        done: list[object] = []
        self.assertEqual(await runInSlices(work(AT_ONCE + 5, done)), "done")


class FinishTests(SynchronousTestCase):
    """Work that is done now."""

    def test_inThread(self) -> None:
        """In a thread, the reactor's has its turn after each slice of what is much."""
        pauses: list[float] = []
        self.patch(slices, "sleep", pauses.append)
        results: list[str] = []

        def steps(count: int) -> Generator[None, None, str]:
            for _ in range(count):
                yield
            return "done"

        for count in (AT_ONCE, AT_ONCE + 5):
            results.append(finish(steps(count)))
            self.assertEqual(pauses, [])
        for count, expected in ((AT_ONCE, 0), (AT_ONCE + 5, 5)):
            thread = Thread(target=lambda count=count: results.append(finish(steps(count))))
            thread.start()
            thread.join(60)
            self.assertEqual(len(pauses), expected)
        self.assertEqual(results, ["done"] * 4)

"""Tests for :mod:`twisted_smtpserver.message.budget`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message.budget import MemoryBudget


class MemoryBudgetTests(SynchronousTestCase):
    """Memory that several have together."""

    def test_take(self) -> None:
        """No more than the limit is given out; what is given back can be had again."""
        budget = MemoryBudget(10)
        self.assertEqual([budget.take(6), budget.take(6), budget.take(4)], [True, False, True])
        self.assertEqual((budget.limit, budget.used), (10, 10))
        budget.giveBack(6)
        self.assertTrue(budget.take(6))

    def test_room(self) -> None:
        """Who waits is served in order, as far as there is room."""
        budget = MemoryBudget(10)
        self.successResultOf(budget.room())
        budget.used = 12
        first, second, third = (budget.room() for _ in range(3))
        second.addCallback(lambda _: budget.take(1))
        budget.giveBack(2)
        self.assertNoResult(first)
        budget.giveBack(1)
        self.assertIsNone(self.successResultOf(first))
        self.assertIs(self.successResultOf(second), True)
        self.assertNoResult(third)
        budget.giveBack(1)
        self.successResultOf(third)

    def test_nested(self) -> None:
        """Who is served may give something back, or wait again, without a deeper stack."""
        budget = MemoryBudget(10)
        budget.used = 10
        served: list[int] = []

        def serve(_: None, number: int) -> None:
            served.append(number)
            budget.take(1)
            budget.giveBack(1)
            if number < 3000:
                budget.room().addCallback(serve, number + 1)

        budget.room().addCallback(serve, 0)
        budget.giveBack(1)
        self.assertEqual(len(served), 3001)

    def test_canceled(self) -> None:
        """Who doesn't want to wait any more isn't waited for."""
        budget = MemoryBudget(1)
        budget.used = 2
        first, second = budget.room(), budget.room()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        budget.giveBack(2)
        self.successResultOf(second)

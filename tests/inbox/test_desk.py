"""What the handler and the page share."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.inbox.desk import Desk


class DeskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.running: list[Deferred[Any]] = []
        self.desk = Desk(Clock(), runInThread=self.runInThread)

    def runInThread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        self.running.append(Deferred())
        return self.running[-1]

    def test_oneAtATime(self) -> None:
        """However many ask, one thread works for the inbox; the others come in order."""
        results = [self.desk.run(len, "x") for _ in range(3)]
        self.assertEqual(len(self.running), 1)
        self.running[0].callback(7)
        self.assertEqual(self.successResultOf(results[0]), 7)
        self.assertEqual(len(self.running), 2)

    def test_left(self) -> None:
        """Who leaves the queue is not waited for."""
        results = [self.desk.run(len, "x") for _ in range(3)]
        results[1].cancel()
        self.failureResultOf(results[1], CancelledError)
        self.running[0].callback(None)
        self.assertEqual(len(self.running), 2)
        self.assertNoResult(results[2])
        self.running[1].callback(None)
        self.assertEqual(self.successResultOf(results[2]), None)

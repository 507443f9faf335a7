"""Checks in threads: bounded, and fair."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import AuthenticationFailed
from twisted_smtpserver.users.checks import MAX_CHECKS, MAX_RUNNING, Checks


class ChecksTests(SynchronousTestCase):
    """Threads that end when they are told to."""

    def setUp(self) -> None:
        self.threads: list[Deferred[Any]] = []
        self.checks = Checks(2, 8, self.start)

    def start(self, function: Any, *arguments: Any) -> Deferred[Any]:
        thread: Deferred[Any] = Deferred()
        self.threads.append(thread)
        return thread.addCallback(lambda _: function(*arguments))

    def check(self, client: object = "a", result: object = True) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.checks.run(client, lambda: result))

    def end(self, number: int) -> None:
        """A thread ends."""
        self.threads[number].callback(None)

    def assertRefused(self, check: Deferred[Any]) -> None:
        error = self.failureResultOf(check, AuthenticationFailed).value
        self.assertEqual((error.code, error.enhanced), (454, "4.7.0"))

    def test_concurrent(self) -> None:
        """So many run at a time; the others wait for their turn, in order."""
        checks = [self.check(client) for client in "abcd"]
        self.assertEqual(len(self.threads), 2)
        self.end(1)
        self.assertTrue(self.successResultOf(checks[1]))
        self.assertEqual(len(self.threads), 3)
        self.end(2)
        self.assertTrue(self.successResultOf(checks[2]))
        self.end(0)
        self.end(3)
        self.assertEqual([self.successResultOf(checks[place]) for place in (0, 3)], [True, True])

    def test_oneClient(self) -> None:
        """One client has half of the places; the others are for others."""
        for _ in range(4):
            self.check("a")
        self.assertRefused(self.check("a"))
        for _ in range(2):
            self.check("b")
        self.assertRefused(self.check("b"))
        self.check("c")
        self.assertRefused(self.check("c"))
        self.check("d")
        self.assertRefused(self.check("e"))
        self.assertLessEqual(len(self.threads), 2)

    def test_room(self) -> None:
        """When checks are done there is room again."""
        with capturedLogs() as events:
            for _ in range(2):
                begun = len(self.threads)
                for _ in range(4):
                    self.check("a")
                for _ in range(2):
                    self.assertRefused(self.check("a"))
                for number in range(begun, begun + 4):
                    self.end(number)
        said = [formatEvent(event) for event in events]
        self.assertEqual(len(said), 2)  # once for each time
        self.assertIn(
            "4 logins wait for their passwords to be checked: further ones get 454", said[0]
        )

    def test_left(self) -> None:
        """Who leaves while it waits gives its place back."""
        self.check("a")
        self.check("b")
        waiting = self.check("c")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.end(0)
        self.end(1)
        self.assertEqual(len(self.threads), 2)
        self.assertEqual(self.checks._total, 0)

    def test_leftInThread(self) -> None:
        """A thread can't be stopped: its place is taken until it ends."""
        for client in "ab":
            running = self.check(client)
            running.cancel()
            self.failureResultOf(running, CancelledError)
        waiting = self.check("c")
        self.assertEqual(len(self.threads), 2)
        self.end(0)
        self.assertEqual(len(self.threads), 3)
        self.end(2)
        self.assertTrue(self.successResultOf(waiting))
        self.end(1)

    def test_failure(self) -> None:
        """What a thread raises is raised, and its place is free again."""

        def fail() -> None:
            raise ZeroDivisionError

        for number in range(10):
            check = Deferred.fromCoroutine(self.checks.run("a", fail))
            self.end(number)
            self.failureResultOf(check, ZeroDivisionError)

    def test_defaults(self) -> None:
        """By default there is room in the reactor's pool for others."""
        checks = Checks(runInThread=self.start)
        for number in range(2 * MAX_CHECKS):
            Deferred.fromCoroutine(checks.run(number, bool)).addErrback(lambda _: None)
        self.assertEqual(len(self.threads), MAX_RUNNING)
        self.assertEqual(checks._total, MAX_CHECKS)

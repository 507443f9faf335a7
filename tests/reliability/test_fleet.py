"""From one machine to many: the layout of that page, for as long as it takes to kill two parts."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.reliability.fleet import Fleet, Sender, Trial


class FleetTests(SynchronousTestCase):
    def test_kills(self) -> None:
        """PostgreSQL and a receiver are killed under load: every 250 is accounted for."""
        fleet = Fleet()
        self.addCleanup(fleet.stop)
        fleet.begin()
        trial = Trial(fleet, clients=4)
        trial.run(6, ["PostgreSQL", "receiver 1"])
        lines = trial.report()
        self.assertIn("all of them are there", lines[0])
        self.assertEqual(len(trial.gaps), 2)


class ReportTests(SynchronousTestCase):
    """What goes wrong is noticed."""

    def report(self, stored: dict[str, int], unsure: set[str]) -> list[str]:
        fleet: Any = SimpleNamespace(
            stored=lambda: Counter(stored), haproxy=SimpleNamespace(port=0)
        )
        trial = Trial(fleet, clients=1)
        (sender,) = trial._senders
        assert isinstance(sender, Sender)
        sender.accepted = {"a": 1.0, "b": 2.0}
        sender.unsure = unsure
        return trial.report()

    def test_good(self) -> None:
        """All there; one is there twice because its first answer was lost, one too many."""
        lines = self.report({"a": 1, "b": 2, "c": 1}, {"b", "c"})
        self.assertIn("2 messages answered 250", lines[0])
        self.assertIn("1 messages are there twice", lines[2])

    def test_lost(self) -> None:
        """A message that isn't there."""
        error = self.assertRaises(AssertionError, self.report, {"a": 1}, {"b"})
        self.assertIn("['b']", str(error))

    def test_twice(self) -> None:
        """One that is there twice, though it was answered 250 at once."""
        error = self.assertRaises(AssertionError, self.report, {"a": 2, "b": 1}, {"b"})
        self.assertIn("{'a'}", str(error))

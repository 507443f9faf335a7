"""What counting costs, counted and not timed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.properties.test_cost import ONE_BY_ONE, PIPELINED, Plain, cost
from twisted_smtpserver.handlers import Discard
from twisted_smtpserver.metrics import Metrics


class CostTests(SynchronousTestCase):
    def test_off(self) -> None:
        """Without it nothing is called for it."""
        for reads in (ONE_BY_ONE, PIPELINED):
            without, withIt = cost(Plain(), reads), cost(Plain(), reads, metrics=Metrics())
            self.assertLess(without["call"], withIt["call"])
        self.assertEqual(cost(Plain(), ONE_BY_ONE), cost(Plain(), ONE_BY_ONE, metrics=None))

    def test_on(self) -> None:
        """With it there are a few calls for a message and each hook; no Deferred, no timer."""
        for handler, reads, most in (
            (Plain(), ONE_BY_ONE, 14),
            (Discard(), ONE_BY_ONE, 8),
            (Plain(), PIPELINED, 4 * 101 + 10),
        ):
            without, withIt = cost(handler, reads), cost(handler, reads, metrics=Metrics())
            self.assertLessEqual(withIt.pop("call") - without.pop("call"), most)
            self.assertEqual(withIt, without)

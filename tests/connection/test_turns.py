"""Whose turn it is, among connections that have sent much."""

from __future__ import annotations

import gc
import weakref
from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import takeTurn
from twisted_smtpserver import Discard
from twisted_smtpserver.connection.lines import SLICE_LINES
from twisted_smtpserver.connection.turns import AT_ONCE, laterTurn
from twisted_smtpserver.testing import connect


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.taken: list[int] = []

    def test_few(self) -> None:
        """A few at a time, those that have waited longest."""
        for number in range(AT_ONCE + 1):
            laterTurn(self.clock, partial(self.taken.append, number))
        takeTurn(self.clock)
        self.assertEqual(self.taken, list(range(AT_ONCE)))
        takeTurn(self.clock)
        self.assertEqual(self.taken, list(range(AT_ONCE + 1)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_canceled(self) -> None:
        """A turn that was canceled doesn't come; one that has come is over."""
        first, second = (laterTurn(self.clock, lambda: self.taken.append(1)) for _ in range(2))
        first.cancel()
        self.assertEqual((first.active(), second.active()), (False, True))
        takeTurn(self.clock)
        self.assertEqual((self.taken, second.active()), ([1], False))
        laterTurn(self.clock, lambda: None).cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_raises(self) -> None:
        """One that raises keeps no other from going on, and may have asked for its next one."""

        def fail() -> None:
            laterTurn(self.clock, lambda: self.taken.append(2))
            raise ZeroDivisionError

        laterTurn(self.clock, fail)
        laterTurn(self.clock, lambda: self.taken.append(1))
        self.assertRaises(ZeroDivisionError, takeTurn, self.clock)
        takeTurn(self.clock)
        self.assertEqual(self.taken, [1, 2])

    def test_clock(self) -> None:
        """A clock that isn't used any more is forgotten."""
        laterTurn(self.clock, lambda: None)
        takeTurn(self.clock)
        reference = weakref.ref(self.clock)
        del self.clock
        gc.collect()
        self.assertIsNone(reference())

    def test_crowd(self) -> None:
        """Of a crowd that floods us only a few go on before sockets are looked at again."""
        crowd = [connect(Discard(), reactor=self.clock, maxJunkCommands=10**6) for _ in range(10)]
        for client in crowd:  # their clock goes on while they speak
            client.say("EHLO x")
        for client in crowd:
            client.protocol.dataReceived(b"NOOP\r\n" * 3 * SLICE_LINES)
            self.assertEqual(client.transport.output.count(b"\n"), SLICE_LINES)
            client.transport.output.clear()
        for place in range(0, 10, AT_ONCE):
            takeTurn(self.clock)
            served = [client.transport.output.count(b"\n") for client in crowd]
            self.assertEqual(served[place : place + AT_ONCE], [SLICE_LINES] * AT_ONCE)
            self.assertEqual(sum(served), (place + AT_ONCE) * SLICE_LINES)

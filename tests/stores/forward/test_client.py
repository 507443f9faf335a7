"""The client's side of SMTP: replies in order, and nothing unbounded."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.forward.scripted import Hop
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.answers import Answer
from twisted_smtpserver.stores.forward.client import MAX_LINE, MAX_LINES, Client, Outlet


class ClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hop = Hop(Client())
        self.client = self.hop.client

    def assertLost(self, waiting: Deferred[Answer], text: str) -> None:
        """It failed, says why, and so does all that comes after it."""
        self.assertIn(text, str(self.failureResultOf(waiting, Unavailable).value))
        self.failureResultOf(self.client.command(b"NOOP"), Unavailable)
        self.assertTrue(self.hop.isClosed)

    def test_order(self) -> None:
        """Replies go to the commands in their order, however they are cut."""
        first, second = self.client.command(b"MAIL"), self.client.command(b"RCPT", b"octets")
        self.assertEqual(self.hop.transport.value(), b"MAIL\r\nRCPT\r\noctets")
        for octet in b"250-one\r\n250 two\r\n550":
            self.client.dataReceived(bytes([octet]))
        self.assertEqual(self.successResultOf(first), Answer(250, ("one", "two")))
        self.assertNoResult(second)
        self.client.dataReceived(b"\r\n")
        self.assertEqual(self.successResultOf(second), Answer(550, ("",)))

    def test_noReply(self) -> None:
        """What is no reply closes the connection."""
        for line in ("hello", "25", "199 x", "600 x", "250x", "\x16\x03\x01"):
            self.setUp()
            waiting = self.client.expect()
            self.hop.say(line)
            self.assertLost(waiting, "it sent a line that is not a reply")

    def test_mixedCodes(self) -> None:
        """So do several codes in one reply."""
        waiting = self.client.expect()
        self.hop.say("250-one", "550 two")
        self.assertLost(waiting, "not a reply")

    def test_longLine(self) -> None:
        """So does a line without an end. A long one with an end is cut."""
        waiting = self.client.expect()
        self.hop.say("250 " + "x" * MAX_LINE)
        self.assertEqual(self.successResultOf(waiting).lines, ("x" * (MAX_LINE - 4),))
        waiting = self.client.expect()
        self.client.dataReceived(b"250 " + b"x" * MAX_LINE)
        self.assertLost(waiting, "too long")

    def test_manyLines(self) -> None:
        """So does a reply without an end."""
        waiting = self.client.expect()
        self.hop.say(*["250-x"] * MAX_LINES, "250 end")
        self.assertLost(waiting, "too many lines")

    def test_unasked(self) -> None:
        """A reply that nobody waits for closes the connection; 421 for being idle is one."""
        self.hop.say("421 4.4.2 Timeout", "250 and more")
        self.assertLost(self.client.expect(), "without having been asked: 421 4.4.2 Timeout")

    def test_lost(self) -> None:
        """If the connection is lost, all who wait are told, and so is whoever asks later."""
        waiting = [self.client.expect(), self.client.expect()]
        self.hop.lose()
        for each in waiting:
            self.assertLost(each, "it closed the connection (Connection to the other side")
        self.assertEqual(self.successResultOf(self.client.lost), None)

    def test_abort(self) -> None:
        """Who gives up is told that it was so."""
        waiting = self.client.expect()
        self.client.abort()
        self.assertLost(waiting, "given up")

    def test_isAhead(self) -> None:
        """It is known, while a reply is dealt with, that more has come than was asked for."""
        seen = []
        for octets in (b"220 a\r\n", b"220 a\r\n250 b\r\n", b"220 a\r\n250", b"220 a\r\n250-b\r\n"):
            self.setUp()
            self.client.expect().addCallback(lambda _: seen.append(self.client.isAhead))
            self.client.expect().addErrback(lambda _: None)
            self.client.dataReceived(octets)
        self.assertEqual(seen, [False, True, True, True])


class OutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = StringTransport()
        self.outlet = Outlet(self.transport)

    def test_writes(self) -> None:
        """While there is room, there is nothing to wait for."""
        self.assertIsNone(self.outlet.write(b"a"))
        self.outlet.resumeProducing()
        self.assertIsNone(self.outlet.write(b"b"))
        self.outlet.close()
        self.assertEqual(self.transport.value(), b"ab")
        self.assertIsNone(self.transport.producer)

    def test_full(self) -> None:
        """When the transport is full there is: until there is room, or the connection is lost."""
        for end in (self.outlet.resumeProducing, self.outlet.stopProducing):
            self.outlet.pauseProducing()
            self.outlet.pauseProducing()
            gate = self.outlet.write(b"a")
            assert gate is not None
            self.assertNoResult(gate)
            end()
            self.successResultOf(gate)
            self.assertIsNone(self.outlet.write(b"b"))

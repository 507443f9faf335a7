"""Whose turn it is, of those who ask a web server."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.support.figures import connectTo
from tests.support.webtalk import takeTurn
from twisted_smtpserver.web import bounded
from twisted_smtpserver.web.bounded import BoundedConnections, BoundedRequest, QuietSite
from twisted_smtpserver.web.turns import READ_SIZE

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE = 30


class Page(Resource):
    """Counts who asks for it."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def render_GET(self, request: Any) -> bytes:
        """Answer."""
        self.asked += 1
        return b"x" * 1000


class TurnCase(SynchronousTestCase):
    """A web server of one page."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.page = Page()
        site = QuietSite(
            self.page, requestFactory=BoundedRequest, timeout=PATIENCE, reactor=self.clock
        )
        self.site = BoundedConnections(site, 10)

    def connect(self, octets: bytes) -> tuple[Any, Any]:
        """A client that says something."""
        protocol, transport = connectTo(self.site)
        protocol.dataReceived(octets)
        return protocol, transport


class TurnTests(TurnCase):
    def test_pipelined(self) -> None:
        """Of many requests in one piece one is answered at a turn, in order, and all at last."""
        _, transport = self.connect(REQUEST * 20)
        for turn in range(20):
            self.assertEqual(self.page.asked, turn)
            takeTurn(self.clock)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200"), 20)
        self.assertFalse(transport.disconnecting)

    def test_together(self) -> None:
        """However many ask, one is answered at a turn; and each has its turn."""
        transports = [self.connect(REQUEST * 2)[1] for _ in range(5)]
        for turn in range(5):
            self.assertEqual(self.page.asked, turn)
            takeTurn(self.clock)
        for transport in transports:
            self.assertEqual(transport.value().count(b"HTTP/1.1 200"), 1)

    def test_keptOpen(self) -> None:
        """A connection is kept for the next request, which may come in pieces."""
        protocol, transport = self.connect(REQUEST)
        takeTurn(self.clock)
        for octet in REQUEST:
            protocol.dataReceived(bytes([octet]))
        takeTurn(self.clock)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200"), 2)

    def test_gone(self) -> None:
        """Who leaves before it is his turn isn't answered."""
        protocol, transport = self.connect(REQUEST)
        protocol.connectionLost(Failure(ConnectionDone()))
        takeTurn(self.clock)
        self.assertEqual((self.page.asked, transport.value()), (0, b""))

    def test_early(self) -> None:
        """The next request may come while one waits for its turn, and both are answered."""
        protocol, transport = self.connect(REQUEST)
        protocol.dataReceived(REQUEST)
        for _ in range(2):
            takeTurn(self.clock)
        self.assertEqual(transport.value().count(b"HTTP/1.1 200"), 2)

    def test_reads(self) -> None:
        """What is read at once can't have many chunks in it."""
        _, transport = self.connect(b"")
        self.assertEqual(transport.bufferSize, READ_SIZE)
        self.assertLess(READ_SIZE // len(b"1\r\nx\r\n"), 1500)

    def test_parameters(self) -> None:
        """A query of many parameters is refused before it is taken apart."""
        for separator, status in ((b"&", b"414"), (b";", b"414"), (b"+", b"200")):
            query = b"a=b" + separator
            line = b"GET /?" + query * bounded.MAX_PARAMETERS + b" HTTP/1.1\r\nHost: x\r\n\r\n"
            _, transport = self.connect(line)
            takeTurn(self.clock)
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 " + status), separator)


class SlowTests(TurnCase):
    """Requests that come slowly."""

    def test_slow(self) -> None:
        """One that isn't whole in time is cut off, though something comes all the time."""
        protocol, transport = self.connect(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(PATIENCE - 1):
            self.clock.advance(1)
            protocol.dataReceived(b"x")
        self.assertFalse(transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(transport.disconnected)

    def test_next(self) -> None:
        """The time of the next one begins with it, and not before the last answer."""
        protocol, transport = self.connect(REQUEST)
        self.clock.advance(PATIENCE - 1)
        protocol.dataReceived(REQUEST)
        self.clock.advance(PATIENCE - 1)
        self.assertFalse(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class UntakenTests(TurnCase):
    """A client that asks, and doesn't take the answers."""

    def setUp(self) -> None:
        super().setUp()
        self.protocol, self.transport = self.connect(REQUEST * 3)
        takeTurn(self.clock)
        self.producer = self.transport.producer
        self.producer.pauseProducing()

    def test_waits(self) -> None:
        """Its next request waits for that; so its answers don't fill the memory."""
        for _ in range(5):
            takeTurn(self.clock)
        self.assertEqual(self.page.asked, 1)
        self.producer.resumeProducing()
        takeTurn(self.clock)
        self.assertEqual(self.page.asked, 2)

    def test_asksLater(self) -> None:
        """So does one that comes only then."""
        protocol, transport = self.connect(REQUEST)
        for _ in range(3):
            takeTurn(self.clock)
        self.assertEqual(self.page.asked, 2)
        transport.producer.pauseProducing()
        protocol.dataReceived(REQUEST)
        takeTurn(self.clock)
        self.assertEqual(self.page.asked, 2)
        transport.producer.resumeProducing()
        takeTurn(self.clock)
        self.assertEqual(self.page.asked, 3)

    def test_closed(self) -> None:
        """It is cut off when it has taken nothing for a while."""
        self.clock.advance(PATIENCE - 1)
        self.producer.resumeProducing()
        self.producer.pauseProducing()
        self.clock.advance(PATIENCE - 1)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnected)
        self.producer.stopProducing()
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.page.asked, 1)

    def test_gone(self) -> None:
        """When it has left, nobody waits for it."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(PATIENCE)
        self.assertFalse(self.transport.disconnected)

"""The inbox as a service."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.webtalk import deliver
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.inbox import Inbox
from twisted_smtpserver.testing import runInline


def makeInbox(reactor: Any, **options: Any) -> Inbox:
    return Inbox(reactor=reactor, runInThread=runInline, **options)


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def warnings(self, host: str, **options: Any) -> list[str]:
        """The addresses that are warned of."""
        with capturedLogs() as events:
            makeInbox(self.reactor, address=(host, 8025), **options).privilegedStartService()
        return [event["url"] for event in events if event["log_level"] is LogLevel.warn]

    def test_start(self) -> None:
        """It listens where it was told, and stores messages until it is closed."""
        inbox = makeInbox(self.reactor)
        inbox.startService()
        self.addCleanup(inbox.close)
        self.assertEqual(self.reactor.tcpServers[0][0:4:3], (8025, "127.0.0.1"))
        inbox.stopService()
        deliver(inbox, b"Subject: late\n\n\n")
        self.assertEqual(inbox.desk.store.counts()["Total"], 1)

    def test_privileged(self) -> None:
        """The port is bound before privileges are shed, the database opened after."""
        path = self.mktemp()
        inbox = makeInbox(self.reactor, database=path)
        inbox.privilegedStartService()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertFalse(hasattr(inbox.desk, "store"))
        inbox.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertEqual(inbox.desk.store.path, path)
        inbox.close()
        inbox.close()

    def test_notStarted(self) -> None:
        """One that never started can be stopped and closed."""
        inbox = makeInbox(self.reactor)
        self.assertIsNone(inbox.stopService())
        inbox.close()

    def test_open(self) -> None:
        """An inbox that others can reach, without a password, is worth a warning."""
        for host in ("0.0.0.0", "::", "192.0.2.1"):
            self.assertEqual(len(self.warnings(host)), 1)
            self.assertEqual(self.warnings(host, password="x"), [])
        for host in ("127.0.0.1", "::1", "localhost"):
            self.assertEqual(self.warnings(host), [])

    def test_taken(self) -> None:
        """A port that is taken is an error that says so."""

        def listenTCP(port: int, factory: Any, backlog: int = 50, interface: str = "") -> None:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))

        self.reactor.listenTCP = listenTCP  # type: ignore[method-assign]
        inbox = makeInbox(self.reactor)
        with self.assertRaisesRegex(ConfigurationError, "in use: 127.0.0.1 port 8025; choose"):
            inbox.startService()

    def test_wrongDatabase(self) -> None:
        """So is a database that can't be opened."""
        inbox = makeInbox(self.reactor, database="/nowhere/inbox.db")
        with self.assertRaisesRegex(ConfigurationError, "/nowhere/inbox.db"):
            inbox.startService()

    def test_reactor(self) -> None:
        """The reactor is the global one unless another is given."""
        self.assertIs(Inbox().desk._clock, reactor)
        clock = Clock()
        self.assertEqual(makeInbox(clock).desk.uptime, 0)


class SocketTests(TestCase):
    @inlineCallbacks
    def test_port(self) -> Any:
        """Port 0 is a free one, which the address has, and which is free again afterwards."""
        inbox = Inbox(("127.0.0.1", 0))
        inbox.startService()
        self.addCleanup(inbox.close)
        self.assertRegex(inbox.url, r"http://127\.0\.0\.1:[1-9]\d*/\Z")
        yield inbox.stopService()

    @inlineCallbacks
    def test_connections(self) -> Any:
        """A browser that keeps its connection doesn't keep the service."""
        inbox = Inbox(("127.0.0.1", 0))
        inbox.startService()
        self.addCleanup(inbox.close)
        lost: Deferred[Any] = Deferred()
        client: Any = Protocol()
        client.connectionLost = lost.callback
        port = int(inbox.url.split(":")[2].strip("/"))
        answered: Deferred[Any] = Deferred()
        client.dataReceived = answered.callback
        yield connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), client)
        client.transport.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn(b" 200 OK", (yield answered))
        yield inbox.stopService()
        yield self.assertFailure(lost, ConnectionDone)

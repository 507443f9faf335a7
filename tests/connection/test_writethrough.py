"""Sending at once: never past queued octets, never below TLS, and nothing is lost."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver.connection import writethrough as immediate
from twisted_smtpserver.connection.lines import REPLIES_UNREAD
from twisted_smtpserver.connection.protocol import isPlain
from twisted_smtpserver.factory import SMTPServerFactory


class Socket:
    """A socket that takes so many octets, or fails."""

    def __init__(self, room: int | OSError) -> None:
        self.room = room
        self.sent = b""

    def send(self, octets: memoryview) -> int:
        """Take what there is room for."""
        if isinstance(self.room, OSError):
            raise self.room
        taken = bytes(octets[: self.room])
        self.sent += taken
        return len(taken)


def makeTransport(room: int | OSError = 1000, **state: Any) -> Any:
    """A server's TCP transport without a reactor: what it queues is in ``queued``."""
    transport: Any = Server.__new__(Server)
    transport.__dict__.update(
        {"socket": Socket(room), "connected": 1, "_tempDataLen": 0, "queued": [], **state}
    )
    transport.write = transport.queued.append
    return transport


class WriteTests(SynchronousTestCase):
    """What goes where."""

    def test_atOnce(self) -> None:
        """With nothing in the way, the octets go to the socket, and none is queued."""
        transport = makeTransport()
        immediate.write(transport, b"250 OK\r\n")
        self.assertEqual((transport.socket.sent, transport.queued), (b"250 OK\r\n", []))

    def test_rest(self) -> None:
        """What the socket doesn't take is queued."""
        transport = makeTransport(3)
        immediate.write(transport, b"250 OK\r\n")
        self.assertEqual((transport.socket.sent, transport.queued), (b"250", [b" OK\r\n"]))

    def test_full(self) -> None:
        """A socket that takes nothing loses nothing."""
        transport = makeTransport(OSError(errno.EWOULDBLOCK, "full"))
        immediate.write(transport, b"250 OK\r\n")
        self.assertEqual(transport.queued, [b"250 OK\r\n"])

    def test_lost(self) -> None:
        """A lost connection is left to the reactor to find."""
        transport = makeTransport(OSError(errno.EPIPE, "gone"))
        immediate.write(transport, b"250 OK\r\n")
        self.assertEqual(transport.queued, [b"250 OK\r\n"])

    def test_inTheWay(self) -> None:
        """Behind queued octets, under TLS, and after the end, it is queued."""
        states: list[dict[str, Any]] = [
            {"dataBuffer": b"220 "},
            {"_tempDataLen": 4},
            {"TLS": True},
            {"connected": 0},
        ]
        for state in states:
            transport = makeTransport(**state)
            immediate.write(transport, b"250 OK\r\n")
            self.assertEqual((transport.socket.sent, transport.queued), (b"", [b"250 OK\r\n"]))

    def test_otherTransports(self) -> None:
        """It is for Twisted's own TCP transport of a server only, and not for a subclass."""

        class Mine(Server):
            pass

        self.assertTrue(isPlain(makeTransport()))
        self.assertFalse(isPlain(StringTransport()))
        self.assertFalse(isPlain(Mine.__new__(Mine)))

    def test_drained(self) -> None:
        """Nothing is left when nothing is queued; under TLS that isn't known."""
        self.assertTrue(immediate.isDrained(makeTransport()))
        states: list[dict[str, Any]] = [{"dataBuffer": b"2"}, {"_tempDataLen": 4}, {"TLS": True}]
        for state in states:
            self.assertFalse(immediate.isDrained(makeTransport(**state)))


class SlowReader(Protocol):
    """Reads nothing until told to, then everything."""

    def connectionMade(self) -> None:
        """Say much, and listen to nothing."""
        self.received = b""
        self.done: Deferred[bytes] = Deferred()
        transport: Any = self.transport
        transport.pauseProducing()
        transport.write(b"HELP\r\n" * 200_000 + b"QUIT\r\n")
        factory: Any = self.factory
        factory.connected.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        """That was all."""
        self.done.callback(self.received)


class SocketTests(TestCase):
    """A real socket whose buffers are full."""

    timeout = 60

    @inlineCallbacks
    def test_orderIsKept(self):
        """A client that reads late gets every reply, each once, in order."""
        for immediately in (True, False):
            factory = SMTPServerFactory(
                logger=False, immediateWrites=immediately, maxJunkCommands=10**6
            )
            port: Any = IReactorTCP(reactor).listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            clients = ClientFactory.forProtocol(SlowReader)
            clients.noisy = False
            clients.connected = Deferred()
            IReactorTCP(reactor).connectTCP("127.0.0.1", port.getHost().port, clients)
            client = yield clients.connected
            [server] = factory.connections
            while not server.channel.stopped & REPLIES_UNREAD:
                yield deferLater(reactor, 0)  # the client's buffers, ours, and the server's fill
            client.transport.resumeProducing()
            received = yield client.done
            lines = received.splitlines()
            self.assertTrue(lines[0].startswith(b"220 "))
            self.assertTrue(lines[-1].startswith(b"221 "))
            self.assertEqual(len(lines), 200_002)
            self.assertEqual(len(set(lines[1:-1])), 1)

"""Tests for what a transport in memory can't show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.support.talk import HELLO, MAIL, Later
from twisted_smtpserver import Rejection, SMTPServerFactory
from twisted_smtpserver.connection.lines import MAX_WAITING, REPLIES_UNREAD, WAITING_INPUT
from twisted_smtpserver.replies import HELP
from twisted_smtpserver.testing import (
    RecordingHandler,
)

reactor: Any = _reactor


class SocketClient(Protocol):
    """
    A client on a real socket.

    :ivar heard: what the server said.
    :ivar closed: fires when the connection is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.made: Deferred[SocketClient] = Deferred()
        self.closed: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def readConnectionLost(self) -> None:
        """Never called: it isn't half-closeable."""

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(self.heard)


class SocketTests(TestCase):
    """What a transport in memory can't show."""

    async def connected(self, handler: object = None, **options: Any) -> tuple[Any, SocketClient]:
        """A server on loopback, and a client; the server's protocol, and the client's."""
        factory = SMTPServerFactory(handler, logger=False, **options)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = SocketClient()
        clientFactory = ClientFactory.forProtocol(lambda: client)
        clientFactory.noisy = False
        reactor.connectTCP("127.0.0.1", port.getHost().port, clientFactory)
        await client.made
        while not factory.connections:
            await deferLater(reactor, 0)
        (server,) = factory.connections
        return server, client

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the reactor run until something is so."""
        while not condition():
            await deferLater(reactor, 0)

    async def test_halfClose(self) -> None:
        """A client that closes its side (FIN) gets all its answers, the slow ones, too."""
        handler: Any = RecordingHandler()
        handler.onMailFrom = later = Later()
        _, client = await self.connected(handler)
        client.transport.write(f"{HELLO}\r\n{MAIL}\r\nNOOP\r\n".encode())
        client.transport.loseWriteConnection()
        await self.until(lambda: later.calls)
        await deferLater(reactor, 0)
        later.answer()
        heard = await client.closed
        self.assertIn(b"250 2.1.0 Sender OK\r\n250 2.0.0 OK\r\n", heard)

    async def test_leaving(self) -> None:
        """A client that is gone is noticed while a hook is pending, and the hook canceled."""
        handler: Any = RecordingHandler()
        handler.onMailFrom = later = Later()
        _, client = await self.connected(handler)
        client.transport.write(f"{HELLO}\r\n{MAIL}\r\n".encode())
        await self.until(lambda: later.calls)
        client.transport.abortConnection()
        await self.until(lambda: later.canceled)
        self.assertIn("onClose", handler.calls)

    async def flood(self, server: Any, client: SocketClient) -> None:
        """Say much, and don't listen; then do."""
        lines = 200_000  # more answers than the kernel has room for
        client.transport.pauseProducing()
        client.transport.write(b"HELP\r\n" * lines)
        await self.until(lambda: server.channel.stopped & REPLIES_UNREAD)
        raw = server.transport
        self.assertLess(len(raw.dataBuffer) + raw._tempDataLen, 2**18)
        self.assertLess(len(server.channel.waitingInput), 2**18)
        client.transport.resumeProducing()
        await self.until(lambda: len(client.heard) >= lines * len(HELP.wire))
        await self.until(lambda: client.heard.count(b"\r\n214 ") == lines)
        self.assertFalse(server.channel.stopped)
        client.transport.write(b"QUIT\r\n")

    async def test_unread(self) -> None:
        """A client that doesn't read what it is told doesn't fill our memory."""
        server, client = await self.connected(maxJunkCommands=10**6)
        await self.flood(server, client)
        await client.closed

    async def test_unreadTLS(self) -> None:
        """Nor does one behind TLS, which was started when there was a producer already."""
        server, client = await self.connected(selfSigned=True, maxJunkCommands=10**6)
        client.transport.write(f"{HELLO}\r\nSTARTTLS\r\n".encode())
        await self.until(lambda: client.heard.endswith(b"start TLS\r\n"))
        client.transport.startTLS(CertificateOptions())
        await self.until(lambda: server.session.secure)
        client.heard = b"\r\n"
        await self.flood(server, client)
        self.assertTrue((await client.closed).endswith(b"221 2.0.0 Bye\r\n"))

    async def test_closedWhilePaused(self) -> None:
        """TLS is ended by both sides at once, though the socket was paused: nothing is cut off."""
        handler: Any = RecordingHandler()
        handler.onMailFrom = later = Later()
        server, client = await self.connected(handler, selfSigned=True)
        client.transport.write(f"{HELLO}\r\nSTARTTLS\r\n".encode())
        await self.until(lambda: client.heard.endswith(b"start TLS\r\n"))
        client.transport.startTLS(CertificateOptions())
        await self.until(lambda: server.session.secure)
        client.transport.write(f"{HELLO}\r\n{MAIL}\r\n".encode() + b"NOOP\r\n" * MAX_WAITING)
        await self.until(lambda: server.channel.stopped & WAITING_INPUT)
        cutOff: list[bool] = []
        abort = server.transport.abortConnection

        def abortConnection() -> None:
            cutOff.append(True)
            abort()

        server.transport.abortConnection = abortConnection
        later.fail(Rejection("Too much", 421))
        self.assertTrue((await client.closed).endswith(b"421 4.3.2 Too much\r\n"))
        await self.until(lambda: not server.factory.connections)
        self.assertEqual(cutOff, [])

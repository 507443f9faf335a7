"""A second reactor in the process: TLS on it, by protocols other than SMTP, too."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.threaded import privateReactor
from twisted_smtpserver.tls.certificates import selfSignedCertificate
from twisted_smtpserver.tls.context import ServerContextFactory

SECONDS = 10


class Greeting(Protocol):
    """Begins TLS at once, and says hello inside of it."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        if self.factory.isProducer:
            self.transport.registerProducer(self.factory, True)
        self.transport.startTLS(self.factory.context)
        self.factory.wasSecure = ISSLTransport.providedBy(self.transport)
        self.transport.write(b"hello\r\n")

    def dataReceived(self, data: bytes) -> None:
        if self.factory.isProducer:
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.factory.ended.set()


class GreetingFactory(Factory):
    protocol = Greeting
    noisy = False

    def __init__(self, isProducer: bool) -> None:
        self.context = ServerContextFactory(selfSignedCertificate())
        self.isProducer = isProducer
        self.wasSecure = False
        self.ended = threading.Event()

    def pauseProducing(self) -> None:
        """(A producer's.)"""

    resumeProducing = stopProducing = pauseProducing


class TLSTests(SynchronousTestCase):
    """TLS that takes its timer from its own reactor: the process's doesn't run here."""

    def converse(self, isProducer: bool) -> GreetingFactory:
        """Take the greeting, and answer it."""
        thread = privateReactor()
        thread.start()
        factory = GreetingFactory(isProducer)
        port = thread.call(thread.reactor.listenTCP, 0, factory, 5, "127.0.0.1")
        self.addCleanup(thread.call, port.stopListening)
        context = ssl._create_unverified_context()
        with (
            socket.create_connection(("127.0.0.1", port.getHost().port), SECONDS) as plain,
            context.wrap_socket(plain) as client,
        ):
            self.assertEqual(client.recv(100), b"hello\r\n")
            client.sendall(b"thanks")
            self.assertEqual(client.recv(100), b"")
        self.assertTrue(factory.ended.wait(SECONDS))
        return factory

    def test_converse(self) -> None:
        """Octets go both ways, and the connection ends."""
        self.assertTrue(self.converse(isProducer=False).wasSecure)

    def test_producer(self) -> None:
        """So they do where a producer was registered before."""
        self.assertTrue(self.converse(isProducer=True).wasSecure)

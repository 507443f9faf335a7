"""
A second reactor in a process.

Twisted's reactors can be made more than once, and each can run in a thread of its own. Two places
in Twisted don't expect that: a reactor that starts declares its thread the only one that does I/O,
and TLS takes its timer from the process's reactor, which may never run. Both are put right here.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort, IReactorTime, ISSLTransport
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides


class PrivateReactor(PollReactor):
    """A reactor that leaves the process's reactor alone. It listens on TCP ports only."""

    # ReactorBase's own switch: twisted.python.threadable is to name the other reactor's thread.
    _registerAsIOThread = False

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See :class:`twisted.internet.interfaces.IReactorTCP`."""
        listening = _Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening


class _Server(tcp.Server):
    """A connection whose TLS takes its timer from its own reactor."""

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """See :class:`twisted.internet.interfaces.ITLSTransport`; a server starts it as one."""
        producer, isStreaming = self.producer, self.streamingProducer
        if producer is not None:
            self.unregisterProducer()
        clock = cast(IReactorTime, self.reactor)
        factory = TLSMemoryBIOFactory(contextFactory, False, cast(Any, None), clock)
        tls: Any = factory.protocol(factory, self.protocol, False)
        self.protocol = tls
        self.getHandle = tls.getHandle  # type: ignore[method-assign]  # as Twisted does it
        self.getPeerCertificate = tls.getPeerCertificate
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        tls.makeConnection(_BelowTLS(self))
        if producer is not None:
            self.registerProducer(producer, isStreaming)


class _BelowTLS:
    """
    What the TLS layer uses: the same connection, whose own methods would lead back into TLS.

    :param connection: the connection.
    """

    def __init__(self, connection: _Server) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.ITransport`."""
        FileDescriptor.write(self._connection, data)

    def loseConnection(self) -> None:
        """See :class:`twisted.internet.interfaces.ITransport`."""
        FileDescriptor.loseConnection(self._connection)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See :class:`twisted.internet.interfaces.IConsumer`."""
        FileDescriptor.registerProducer(self._connection, producer, streaming)

    def unregisterProducer(self) -> None:
        """See :class:`twisted.internet.interfaces.IConsumer`."""
        FileDescriptor.unregisterProducer(self._connection)


class _Port(tcp.Port):
    """A port whose connections are such."""

    transport = _Server

"""A connection in memory, with real TLS on demand."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import alsoProvides, implementer


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    The server's end of a connection in memory.

    :param peer: the client's address.
    :ivar isPaused: whether the server has stopped reading.
    :ivar isClosed: whether the server has closed; :attr:`isAborted` if at once.
    :ivar output: what the server wrote and the client hasn't taken.
    :ivar writes: how many writes it took.
    """

    disconnecting = False
    isPaused = False
    isClosed = False
    isAborted = False
    noDelay = False

    def __init__(self, peer: IAddress | None = None, host: IAddress | None = None) -> None:
        self._peer = peer or IPv4Address("TCP", "192.0.2.1", 40000)
        self._host = host or IPv4Address("TCP", "192.0.2.25", 25)
        self.output = bytearray()
        self.writes = 0
        self.producer: Any = None
        self.protocol: Any = None
        self.clock: Any = None
        self._tls: Any = None

    def write(self, data: bytes) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        if self._tls is not None:
            self._tls.write(data)
        else:
            self.writeRaw(data)

    def writeRaw(self, data: bytes) -> None:
        """Write below TLS."""
        if not self.isClosed:
            self.writes += 1
            self.output += data

    def writeSequence(self, data: Any) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        if self._tls is not None and not self.disconnecting:
            self.disconnecting = True
            self._tls.loseConnection()
        self.disconnecting = self.isClosed = True

    def abortConnection(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.disconnecting = self.isClosed = self.isAborted = True

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        factory = TLSMemoryBIOFactory(contextFactory, False, cast(Any, None), self.clock)
        tls = factory.protocol(factory, self.protocol, False)
        self.protocol = self._tls = tls
        self.getHandle = tls.getHandle
        self.getPeerCertificate = tls.getPeerCertificate
        alsoProvides(self, ISSLTransport)
        tls.makeConnection(_BelowTLS(self))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.producer = None

    def pauseProducing(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.isPaused = True

    def resumeProducing(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.isPaused = False

    def stopProducing(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        return self._peer

    def getHost(self) -> Any:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self.noDelay = enabled

    def getTcpNoDelay(self) -> bool:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        return self.noDelay

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to keep alive."""

    def getTcpKeepAlive(self) -> bool:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        return False

    def loseWriteConnection(self) -> None:
        """The server never does this."""


class _BelowTLS:
    """What the TLS layer writes to."""

    disconnecting = False

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self._transport.writeRaw(data)

    def loseConnection(self) -> None:
        """See :class:`~twisted.internet.interfaces.ITCPTransport`."""
        self._transport.disconnecting = self._transport.isClosed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

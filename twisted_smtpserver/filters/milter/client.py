"""
A connection to a milter. Octets that wait have a bound in both directions.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.filters.milter.codec import (
    PacketReader,
    negotiation,
    parseAgreement,
    parseReply,
)
from twisted_smtpserver.filters.milter.symbols import Agreement, MilterError, Reply

#: How many unread octets of a milter may wait before its socket is paused.
MAX_WAITING = 2**18

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


@implementer(IPushProducer)
class MilterConnection(Protocol):
    """
    Sends packets, and returns replies one by one.

    :ivar agreement: what was negotiated, after :meth:`negotiate`.
    :ivar isUsable: whether the connection is open, and no exchange was canceled.
    :ivar isFull: whether the transport's buffer is full: see :meth:`room`.
    :ivar isReused: whether the connection has served another client before.
    :ivar lost: a Deferred that fires when either side has closed the connection.
    """

    agreement: Agreement

    def __init__(self) -> None:
        self.isUsable = False
        self.isReused = False
        self.lost: Deferred[None] = Deferred()
        self._packets = PacketReader()
        self._isPaused = False
        self._reader: Deferred[None] | None = None
        self._writer: Deferred[None] | None = None
        self.isFull = False

    # -- Twisted's calls ---------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Let TCP send small packets at once."""
        self.isUsable = True
        self._isTCP = isinstance(self._transport.getPeer(), (IPv4Address, IPv6Address))
        if self._isTCP:
            self._transport.setTcpNoDelay(True)
        self._transport.registerProducer(self, True)

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """Take the milter's octets."""
        if self._isTCP:
            self._acknowledge()
        self._packets.feed(data)
        if self._packets.waiting > MAX_WAITING and not self._isPaused:
            self._isPaused = True
            self._transport.pauseProducing()
        self._wake()

    def _acknowledge(self) -> None:
        """
        Acknowledge at once. Many milters write a packet in several pieces, and Nagle's algorithm
        holds the second piece until the first is acknowledged. The system forgets this option after
        each use (tcp(7)).
        """
        if _QUICKACK is not None:
            self._transport.getHandle().setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The milter is gone."""
        self.isUsable = False
        self._wake()
        self.resumeProducing()
        self.lost.callback(None)

    def pauseProducing(self) -> None:
        """(The transport's call.) Its buffer is full."""
        self.isFull = True

    def resumeProducing(self) -> None:
        """(The transport's call.) Its buffer is empty."""
        self.isFull = False
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.callback(None)

    stopProducing = pauseProducing

    # -- Ours --------------------------------------------------------------------------------------

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    def send(self, octets: bytes) -> None:
        """
        Send packets.

        :raises MilterError: if the milter is gone.
        """
        if not self.isUsable:
            raise MilterError("it closed the connection")
        self._transport.write(octets)

    async def room(self) -> None:
        """Wait until the transport has room."""
        if self.isFull and self.isUsable:
            self._writer = Deferred()
            await self._writer

    async def receive(self) -> Reply:
        """
        :returns: the next reply.
        :raises MilterError: if the milter is gone, or breaks the protocol.
        """
        return parseReply(*await self._nextPacket(), self.agreement)

    async def _nextPacket(self) -> tuple[bytes, bytes]:
        while (packet := self._packets.next()) is None:
            if not self.isUsable:
                raise MilterError("it closed the connection")
            if self._isPaused:
                self._isPaused = False
                self._transport.resumeProducing()
            self._reader = Deferred()
            await self._reader
        return packet

    async def negotiate(self) -> None:
        """
        Negotiate the version, the actions and the steps.

        :raises MilterError: if the milter's answer isn't acceptable.
        """
        self.send(negotiation())
        self.agreement = parseAgreement(*await self._nextPacket())

    @property
    def isQuiet(self) -> bool:
        """Whether the connection is usable, and no octets of the milter are unread."""
        return self.isUsable and not self._packets.waiting

    def drop(self) -> None:
        """Close the connection at once: the next reply might belong to the last command."""
        if self.isUsable:
            self.isUsable = False
            self._transport.abortConnection()
            self._wake()

    def close(self) -> None:
        """Close the connection when everything is sent."""
        if self.isUsable:
            self.isUsable = False
            self._transport.unregisterProducer()
            self._transport.loseConnection()

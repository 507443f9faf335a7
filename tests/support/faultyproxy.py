"""A TCP relay with faults, between a store and what it stores to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol, ServerFactory


def factoryOf(make: Callable[[], Any]) -> Any:
    """
    A factory without a log.

    :param make: makes a protocol.
    """
    factory: Any = ServerFactory()
    factory.noisy = False
    factory.buildProtocol = lambda address: make()
    return factory


class FaultyProxy:
    """
    Passes octets on in both directions until told otherwise. *Up* is towards the service.

    :param port: the service's port on loopback; it may be set later.
    :ivar sent: how many octets went up since the last :meth:`reset`, over all connections.
    :ivar received: how many went down.
    :ivar cutUp: close all connections when so many octets have gone up; ``None`` for never.
    :ivar cutDown: likewise for those that went down.
    :ivar holdDown: :meth:`hold` when so many have gone down; ``None`` for never.
    :ivar isRefusing: close new connections at once.
    :ivar isHolding: pass nothing on, and read no more than the sockets' buffers take.
    """

    def __init__(self, port: int = 0) -> None:
        self.target = port
        self._sides: set[_Side] = set()
        self._listening: Any = None
        self.reset()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getHost().port)

    def start(self) -> None:
        """Listen."""
        factory = factoryOf(lambda: _Side(self, isFront=True))
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")

    async def stop(self) -> None:
        """Close everything."""
        self.cut()
        await self._listening.stopListening()

    def reset(self) -> None:
        """No faults any more; count from 0."""
        self.sent = self.received = 0
        self.cutUp: int | None = None
        self.cutDown: int | None = None
        self.holdDown: int | None = None
        self.isRefusing = False
        self.release()

    def hold(self) -> None:
        """Pass nothing on."""
        self.isHolding = True
        for side in self._sides:
            side.pause()

    def release(self) -> None:
        """Pass everything on."""
        self.isHolding = False
        for side in list(self._sides):
            side.resume()

    def cut(self) -> None:
        """Close all connections."""
        for side in list(self._sides):
            side.transport.abortConnection()

    def join(self, side: _Side) -> None:
        """(A side's call.) It is connected."""
        self._sides.add(side)

    def part(self, side: _Side) -> None:
        """(A side's call.) It is gone."""
        self._sides.discard(side)

    def carry(self, octets: bytes, side: _Side) -> None:
        """(A side's call.) Octets came."""
        assert side.other is not None
        isUp = side.isFront
        done, cut = (self.sent, self.cutUp) if isUp else (self.received, self.cutDown)
        if cut is not None:
            octets = octets[: max(0, cut - done)]
        elif self.holdDown is not None and not isUp and done + len(octets) > self.holdDown:
            side.keep(octets[self.holdDown - done :])
            octets = octets[: self.holdDown - done]
            self.hold()
        if isUp:
            self.sent += len(octets)
        else:
            self.received += len(octets)
        side.other.transport.write(octets)
        if cut is not None and done + len(octets) >= cut:
            side.other.finish()  # what was passed on arrives
            side.transport.abortConnection()


class _Side(Protocol):
    """One end of a relayed connection."""

    transport: Any

    def __init__(self, proxy: FaultyProxy, isFront: bool) -> None:
        self.proxy = proxy
        self.isFront = isFront
        self.other: _Side | None = None
        self._kept: list[bytes] = []

    def connectionMade(self) -> None:
        if not self.isFront:
            self.proxy.join(self)
            return
        if self.proxy.isRefusing:
            self.transport.abortConnection()
            return
        self.proxy.join(self)
        self.transport.pauseProducing()  # until the other side is there
        factory = factoryOf(lambda: _Side(self.proxy, isFront=False))
        connecting = TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.target).connect(factory)
        connecting.addCallbacks(self._connected, lambda _: self.transport.abortConnection())

    def _connected(self, back: _Side) -> None:
        if not self.transport.connected:
            back.transport.abortConnection()
            return
        self.other, back.other = back, self
        self.transport.registerProducer(back.transport, True)
        back.transport.registerProducer(self.transport, True)
        self.transport.resumeProducing()
        if self.proxy.isHolding:
            self.pause()
            back.pause()

    def pause(self) -> None:
        """Read no more."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Pass on what was kept, and read."""
        if self.other is None or not self.transport.connected:
            return
        kept, self._kept = self._kept, []
        for octets in kept:
            self.proxy.carry(octets, self)
        self.transport.resumeProducing()

    def dataReceived(self, octets: bytes) -> None:
        if self.proxy.isHolding or self.other is None:
            self.keep(octets)
        else:
            self.proxy.carry(octets, self)

    def keep(self, octets: bytes) -> None:
        """Hold octets back."""
        self._kept.append(octets)
        self.pause()

    def finish(self) -> None:
        """Close when all is written."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.proxy.part(self)
        if self.other is not None:
            self.other.finish()

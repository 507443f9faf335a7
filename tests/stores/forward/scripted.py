"""A next hop in memory that says what the test tells it to."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure

from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.forward.client import Client
from twisted_smtpserver.stores.forward.host import Host, parseURL
from twisted_smtpserver.stores.forward.pool import Pool, Settings

OFFERS = ("8BITMIME", "PIPELINING")


class Transport(StringTransportWithDisconnection):
    """Remembers the TLS that was begun."""

    tls: Any = None

    def startTLS(self, tls: Any) -> None:
        """Begin TLS."""
        self.tls = tls


class Hop:
    """
    One connection, as the next hop sees it.

    :ivar client: our client.
    :ivar transport: the connection.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.transport = Transport()
        self.transport.protocol = client
        client.makeConnection(self.transport)

    def say(self, *lines: str) -> None:
        """Send lines."""
        self.client.dataReceived(b"".join(line.encode() + b"\r\n" for line in lines))

    def heard(self) -> list[bytes]:
        """The lines that came since the last time."""
        lines = self.transport.value().split(b"\r\n")
        self.transport.clear()
        return lines[:-1] if lines[-1] == b"" else lines

    def open(self, *offers: str, hello: bytes = b"EHLO us.example") -> None:
        """Greet, and answer the hello."""
        self.say("220 next.example")
        assert self.heard() == [hello]
        lines = ["next.example", *(offers or OFFERS)]
        self.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")

    @property
    def isClosed(self) -> bool:
        """Whether the connection was closed."""
        return not self.client.isUsable

    def lose(self) -> None:
        """Lose the connection."""
        self.transport.connected = False
        self.client.connectionLost(Failure(ConnectionLost()))


class FakeHost(Host):
    """
    A host whose connections are in memory.

    :ivar hops: its connections.
    :ivar isAway: whether connections fail; ``None`` if they are never answered.
    :cvar error: how they fail.
    """

    def __init__(self, url: str = "smtp://next.example") -> None:
        super().__init__(**vars(parseURL(url)))
        object.__setattr__(self, "hops", [])
        object.__setattr__(self, "isAway", False)

    hops: list[Hop]
    isAway: bool | None
    error: ClassVar[Exception] = Refused()

    def set(self, isAway: bool | None) -> None:
        """Be away, or not."""
        object.__setattr__(self, "isAway", isAway)

    def endpoint(self, reactor: Any, tls: Any, timeout: float) -> Any:
        """Itself: see :meth:`connect`."""
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        """(An endpoint's method.)"""
        if self.isAway is None:
            return Deferred()
        if self.isAway:
            return fail(Failure(self.error))
        client = factory.buildProtocol(None)
        self.hops.append(Hop(client))
        return succeed(client)


def makeSettings(clock: Clock, **changes: Any) -> Settings:
    """Settings for tests: one second's patience."""
    given: dict[str, Any] = {
        "reactor": clock,
        "hostName": "us.example",
        "password": "open sesame",
        "makeTLS": lambda name: f"TLS for {name}",
        "deadline": 10.0,
        "maxConnections": 3,
        "backOff": lambda: BackOff(clock, first=1.0, most=8.0, draw=lambda: 1.0),
    }
    return Settings(**(given | changes))


def makePool(clock: Clock, *hosts: Host, **changes: Any) -> Pool:
    """A pool of hosts."""
    return Pool(hosts, makeSettings(clock, **changes))

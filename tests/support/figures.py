"""Reading the page of figures."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_smtpserver.web.bounded import BoundedConnections
from twisted_smtpserver.web.turns import Turns


def sample(text: str, name: str) -> float:
    """
    One figure of the page.

    :param name: as the page has it, labels included.
    """
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name} in\n{text}")


def series(text: str) -> set[str]:
    """The names of all figures of the page, labels included."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if line[:1] not in ("#", "")}


def connectTo(site: Any) -> tuple[Any, StringTransport]:
    """Connect to a site; it may accept nobody."""
    protocol = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4000))
    transport = StringTransport()
    if protocol is not None:
        protocol.makeConnection(transport)
    return protocol, transport


def request(site: Any, octets: bytes) -> tuple[Any, StringTransport]:
    """Connect to a site, and say something to it; it has its turn."""
    protocol, transport = connectTo(site)
    if protocol is not None:
        clock = Clock()
        if isinstance(site, BoundedConnections):
            site.turns = Turns(clock)
        protocol.dataReceived(octets)
        clock.advance(0)
    return protocol, transport


def ask(site: Any, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Ask a site for a path: status, head and body."""
    octets = f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode()
    protocol, transport = request(site, octets)
    protocol.connectionLost(Failure(ConnectionDone()))
    head, _, body = transport.value().decode().partition("\r\n\r\n")
    return int(head.split()[1]), head, body

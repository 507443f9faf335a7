"""Reading the page of figures."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure


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


def request(site: Any, octets: bytes) -> tuple[Any, StringTransport]:
    """Connect to a site, and say something to it."""
    protocol = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4000))
    transport = StringTransport()
    if protocol is not None:
        protocol.makeConnection(transport)
        protocol.dataReceived(octets)
    return protocol, transport


def ask(site: Any, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Ask a site for a path: status, head and body."""
    octets = f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode()
    protocol, transport = request(site, octets)
    protocol.connectionLost(Failure(ConnectionDone()))
    head, _, body = transport.value().decode().partition("\r\n\r\n")
    return int(head.split()[1]), head, body

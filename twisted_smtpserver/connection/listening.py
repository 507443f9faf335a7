"""
Endpoints to listen on: read from a description, with a queue for many clients at once, and for IPv4
and IPv6 side by side.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.tcp import Port
from zope.interface import implementer

from twisted_smtpserver.errors import ConfigurationError

#: How many clients may wait to be accepted. The kernel takes less if
#: ``/proc/sys/net/core/somaxconn`` is less.
BACKLOG = 1024

#: How many clients are accepted before it is the turn of those who are connected.
MOST_ACCEPTED = 20

#: The default of Twisted's ports.
_TWISTEDS_BACKLOG = Port.backlog

_NAMES_BACKLOG = re.compile(r":backlog=")
_COLON = re.compile(r"(?<!\\):")
_ANY_IPV6 = "::"


def namesBacklog(description: object) -> bool:
    """
    Whether an endpoint was described with a ``backlog=`` of its own.

    :param description: the description, or the endpoint itself.
    """
    return isinstance(description, str) and _NAMES_BACKLOG.search(description) is not None


def speaksTLS(endpoint: object) -> bool:
    """
    Whether an endpoint speaks TLS by itself.

    :param endpoint: its description, or the endpoint.
    """
    if isinstance(endpoint, str):
        return endpoint.startswith("ssl:")
    return isinstance(endpoint, SSL4ServerEndpoint)


def widenBacklog(port: Any) -> None:
    """
    Let :data:`BACKLOG` clients wait at a port with Twisted's default backlog.

    A port with another number was given it on purpose. A socket that this process inherited keeps
    its owner's number.

    :param port: the port; it listens already.
    """
    if getattr(port, "backlog", None) == _TWISTEDS_BACKLOG:
        port.socket.listen(BACKLOG)


def acceptFew(port: Any) -> None:
    """
    Accept no more than :data:`MOST_ACCEPTED` clients in a turn of the reactor. Twisted accepts a
    hundred, and more with each turn in which there were so many; open connections wait.

    :param port: the port; anything but Twisted's stays as it is.
    """
    if not isinstance(port, Port):
        return
    accept = port.doRead

    def doRead() -> Any:
        port.numberAccepts = min(port.numberAccepts, MOST_ACCEPTED)
        return accept()

    port.doRead = doRead  # type: ignore[method-assign]  # which is what the reactor calls


def makeEndpoints(
    reactor: Any, descriptions: Iterable[str | IStreamServerEndpoint]
) -> list[IStreamServerEndpoint]:
    """
    Make endpoints that can be listened on side by side.

    By default an IPv6 socket on ``::`` takes IPv4's clients, too, and so conflicts with an IPv4
    socket on the same port. Where the list has both, the socket is for IPv6 only.

    :param reactor: what to listen with.
    :param descriptions: as :func:`twisted.internet.endpoints.serverFromString` takes them;
        endpoints stay as they are.
    :raises ConfigurationError: if a description is wrong.
    """
    given = list(descriptions)
    places = [_place(each) for each in given if isinstance(each, str)]
    takenInIPv4 = {place.port for place in places if place and not place.isIPv6}
    return [
        each if not isinstance(each, str) else _endpoint(reactor, each, takenInIPv4)
        for each in given
    ]


def _endpoint(reactor: Any, text: str, takenInIPv4: set[int]) -> IStreamServerEndpoint:
    place = _place(text)
    if place and place.isAnyIPv6 and place.port in takenInIPv4:
        return _IPv6Endpoint(reactor, place.port, place.backlog)
    try:
        parsed: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:  # each kind of endpoint has its own
        raise ConfigurationError(f"endpoint {text!r}: {error}") from error
    return parsed


@dataclass(frozen=True)
class _Place:
    """The place where a description of a TCP port says to listen."""

    kind: str
    port: int
    interface: str
    backlog: int

    @property
    def isIPv6(self) -> bool:
        return ":" in self.interface

    @property
    def isAnyIPv6(self) -> bool:
        return self.interface == _ANY_IPV6 and self.kind != "ssl"


def _place(description: str) -> _Place | None:
    """
    Read a description of a TCP port; ``None`` for others, and for those that Twisted refuses.
    """
    kind, *arguments = _COLON.split(description)
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    positional = [each for each in arguments if "=" not in each]
    try:
        port = int(named.get("port", positional[0] if positional else ""))
        backlog = int(named.get("backlog", _TWISTEDS_BACKLOG))
    except ValueError:
        return None
    default = _ANY_IPV6 if kind == "tcp6" else ""
    return _Place(kind, port, named.get("interface", default).replace("\\", ""), backlog)


@implementer(IStreamServerEndpoint)
class _IPv6Endpoint:
    """
    All addresses of IPv6, and none of IPv4.

    :param reactor: what to listen with.
    :param port: the port's number.
    :param backlog: how many clients may wait.
    """

    def __init__(self, reactor: Any, port: int, backlog: int) -> None:
        self._reactor = reactor
        self._port = port
        self._backlog = backlog

    def listen(self, factory: Any) -> Deferred[IListeningPort]:
        return execute(self._listen, factory)

    def _listen(self, factory: Any) -> IListeningPort:
        port: Any = _IPv6Port(self._port, factory, self._backlog, _ANY_IPV6, self._reactor)
        port.startListening()
        listening: IListeningPort = port
        return listening


class _IPv6Port(Port):
    """A port whose socket leaves IPv4 to others."""

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

"""A milter in memory, which does what it is told to, well-behaved or not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.python.failure import Failure

#: Commands that a milter never answers.
SILENT = b"ADKQ"

Answer = bytes | Callable[[bytes], bytes]


def reply(code: bytes, data: bytes = b"") -> bytes:
    """A packet."""
    return struct.pack(">L", len(data) + 1) + code + data


def field(code: bytes, name: bytes, value: bytes, index: int | None = None) -> bytes:
    """A packet that changes the header."""
    place = b"" if index is None else struct.pack(">L", index)
    return reply(code, place + name + b"\0" + value + b"\0")


CONTINUE, ACCEPT, REJECT, TEMPFAIL, DISCARD, SKIP = (reply(bytes([code])) for code in b"cartds")
PROGRESS = reply(b"p")


class FakeMilter:
    """
    An endpoint, behind which there is a milter.

    :param answers: what it says to which commands; to all others, continue. Empty for nothing.
    :param version: the protocol's.
    :param actions: what it wants to do.
    :param steps: what it doesn't want to know.
    :param macros: the macros that it asks for.
    :ivar commands: what it was sent, but for macros: the commands and their data.
    :ivar macros: the macros it was sent, by command.
    :ivar transports: its connections.
    """

    def __init__(
        self,
        answers: dict[str, Answer] | None = None,
        version: int = 6,
        actions: int = 0x1FF,
        steps: int = 0,
        macros: bytes = b"",
    ) -> None:
        self.answers = answers or {}
        negotiated = reply(b"O", struct.pack(">LLL", version, actions, steps) + macros)
        self.answers.setdefault("O", negotiated)
        self.commands: list[tuple[str, bytes]] = []
        self.macros: dict[str, dict[str, str]] = {}
        self.transports: list[FakeTransport] = []
        self.isDown = False
        self.isSilent = False

    def connect(self, factory: Any) -> Deferred[Any]:
        """(The pool's call.)"""
        if self.isDown:
            return fail(ConnectError(string="refused"))
        if self.isSilent:
            return Deferred()
        protocol = factory.buildProtocol(None)
        transport = FakeTransport(self, protocol)
        self.transports.append(transport)
        protocol.makeConnection(transport)
        return succeed(protocol)

    def __repr__(self) -> str:
        return "fake"

    def take(self, code: str, data: bytes) -> bytes:
        """A command came: the answer."""
        if code == "D":
            names = [part.strip(b"{}").decode() for part in data[1:].split(b"\0")[0:-1:2]]
            values = [part.decode() for part in data[1:].split(b"\0")[1::2]]
            self.macros[chr(data[0])] = dict(zip(names, values, strict=False))
            return b""
        self.commands.append((code, data))
        answer = self.answers.get(code, b"" if code.encode() in SILENT else CONTINUE)
        return answer(data) if callable(answer) else answer

    @property
    def said(self) -> str:
        """The commands, one letter each, without the negotiation."""
        return "".join(code for code, _ in self.commands).replace("O", "")

    def data(self, code: str) -> list[bytes]:
        """The data of all commands of a kind."""
        return [data for command, data in self.commands if command == code]


class FakeTransport:
    """The connection between the two."""

    def __init__(self, milter: FakeMilter, protocol: Any) -> None:
        self.milter = milter
        self.protocol = protocol
        self.isClosed = False
        self.isPaused = False
        self.options: list[Any] = []
        self._octets = b""

    def write(self, octets: bytes) -> None:
        """What the server says; the answers come at once."""
        self._octets += octets
        while len(self._octets) >= 4:
            end = 4 + int.from_bytes(self._octets[:4], "big")
            if len(self._octets) < end:
                break
            packet, self._octets = self._octets[4:end], self._octets[end:]
            answer = self.milter.take(chr(packet[0]), packet[1:])
            if answer and not self.isClosed:
                self.protocol.dataReceived(answer)

    def lose(self) -> None:
        """The milter is gone."""
        if not self.isClosed:
            self.isClosed = True
            self.protocol.connectionLost(Failure(ConnectionLost()))

    def getPeer(self) -> Any:
        """A unix socket, unless the test has another idea."""
        return UNIXAddress("/run/milter")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nothing is ever full here."""

    def unregisterProducer(self) -> None:
        """Likewise."""

    def loseConnection(self) -> None:
        """The server closes."""
        self.lose()

    abortConnection = loseConnection

    def pauseProducing(self) -> None:
        """The server doesn't read."""
        self.isPaused = True

    def resumeProducing(self) -> None:
        """It does."""
        self.isPaused = False


class FakeTCPTransport(FakeTransport):
    """One with a socket's options."""

    def getPeer(self) -> Any:
        """Somewhere on the network."""
        return IPv4Address("TCP", "192.0.2.9", 11332)

    def setTcpNoDelay(self, isOn: bool) -> None:
        """Note it."""
        self.options.append(("nodelay", isOn))

    def getHandle(self) -> Any:
        """Stands for its own socket."""
        return self

    def setsockopt(self, *arguments: int) -> None:
        """Note it."""
        self.options.append(arguments)

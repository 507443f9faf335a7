"""A client on a real socket that says what it is told to, and counts on nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IPullProducer
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer


@dataclass(frozen=True)
class Reply:
    """
    A reply.

    :ivar code: its code.
    :ivar text: the lines' texts, joined by line feeds.
    """

    code: int
    text: str


class SocketClient(LineOnlyReceiver):
    """A client of a server that listens on a real socket. See :func:`connect`."""

    MAX_LENGTH = 2**16
    transport: Any

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._replies: list[Reply] = []
        self._waiting: list[Deferred[Reply]] = []
        self.isLost = False

    def lineReceived(self, line: bytes) -> None:
        """Part of a reply came."""
        self._lines.append(line[4:].decode("utf-8", "replace"))
        if line[3:4] == b"-":
            return
        reply = Reply(int(line[:3]), "\n".join(self._lines))
        self._lines = []
        if self._waiting:
            self._waiting.pop(0).callback(reply)
        else:
            self._replies.append(reply)

    def connectionLost(self, reason: Any = None) -> None:
        """No more replies will come."""
        self.isLost = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(Failure(ConnectionError("the server closed the connection")))

    def reply(self) -> Deferred[Reply]:
        """The next reply."""
        answer: Deferred[Reply] = Deferred()
        if self._replies:
            answer.callback(self._replies.pop(0))
        elif self.isLost:
            answer.errback(Failure(ConnectionError("the server closed the connection")))
        else:
            self._waiting.append(answer)
        return answer

    def say(self, line: str) -> Deferred[Reply]:
        """
        Send a line, and take the reply.

        :param line: without its CRLF.
        """
        self.transport.write(line.encode("utf-8") + b"\r\n")
        return self.reply()

    async def begin(
        self, sender: str, recipients: Iterable[str], hello: str | None = "EHLO client.example"
    ) -> Reply:
        """
        Say all that comes before the message's octets.

        :returns: the first refusal; else the reply to DATA.
        """
        commands = [hello] if hello else []
        commands += [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA"]
        for command in commands:
            reply = await self.say(command)
            if reply.code >= 400:
                break
        return reply

    async def deliver(
        self,
        content: bytes | Iterable[bytes],
        *recipients: str,
        sender: str = "joe@client.example",
        hello: str | None = "EHLO client.example",
    ) -> list[Reply]:
        """
        Deliver a message.

        :param content: whole lines; dots are stuffed here. An iterable's pieces are sent as the
            server takes them, without dots to stuff.
        :returns: the final replies, one for each recipient if the hello was LHLO; or the first
            refusal.
        """
        reply = await self.begin(sender, recipients, hello)
        if reply.code != 354:
            return [reply]
        if isinstance(content, bytes):
            self.transport.write(re.sub(rb"(\A|\r\n)\.", rb"\1..", content))
        else:
            await _Pieces(self, iter(content)).done
        self.transport.write(b".\r\n")
        count = len(recipients) if (hello or "").startswith("LHLO") else 1
        return [await self.reply() for _ in range(count)]

    def leave(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()


@implementer(IPullProducer)
class _Pieces:
    """Sends pieces at the server's pace."""

    def __init__(self, client: SocketClient, pieces: Iterator[bytes]) -> None:
        self.done: Deferred[None] = Deferred()
        self._client = client
        self._pieces = pieces
        client.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._client.transport.unregisterProducer()
            self.done.callback(None)
        else:
            self._client.transport.write(piece)

    def stopProducing(self) -> None:
        self.done.errback(Failure(ConnectionError("the server closed the connection")))


async def connect(reactor: Any, port: int) -> SocketClient:
    """
    Connect to a server on loopback.

    :returns: the client; the greeting was taken.
    """
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client = await connectProtocol(endpoint, SocketClient())
    await client.reply()
    return client

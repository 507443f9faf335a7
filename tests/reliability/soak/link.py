"""A connection of a client that knows what it says."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable

from tests.reliability.soak.ledger import Ledger

MAIL = "MAIL FROM:<joe@example.org>"
RCPT = "RCPT TO:<jane@example.com>"
HELLO = "EHLO client.example"

#: How long to wait for a reply, in seconds.
PATIENCE = 60


#: One client: it gets the server's port and the ledger.
Kind = Callable[[int, Ledger], Awaitable[None]]


class Unexpected(Exception):
    """A reply that shouldn't have been that one."""


class Link:
    """
    A connection whose replies are counted.

    :param ledger: where.
    """

    def __init__(
        self, ledger: Ledger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ledger = ledger
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, ledger: Ledger) -> Link:
        """Connect from one of many addresses of this machine."""
        source = (f"127.0.0.{random.randint(2, 250)}", 0)
        return cls(ledger, *await asyncio.open_connection("127.0.0.1", port, local_addr=source))

    @classmethod
    async def open(cls, port: int, ledger: Ledger) -> Link:
        """Connect, and take the greeting."""
        link = await cls.connect(port, ledger)
        await link.expect("greeting", 220)
        return link

    async def reply(self, what: str) -> int:
        """The next reply's code."""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), PATIENCE)
            if not line:
                raise ConnectionResetError(f"{what}: the server is gone")
            if line[3:4] == b" ":
                code = int(line[:3])
                self.ledger.codes[what, code] += 1
                return code

    async def expect(self, what: str, *codes: int) -> int:
        """
        The next reply's code.

        :raises Unexpected: if it is none of these.
        """
        code = await self.reply(what)
        if code not in codes:
            raise Unexpected(f"{what}: {code}")
        return code

    async def accepted(self, name: str) -> None:
        """
        Take the answer to a message that there is nothing against.

        :raises Unexpected: if it isn't 250.
        """
        code = await self.reply("message")
        # The answer may be another one where the store was taken away. Then the message may be
        # there nevertheless: if it had just got its name, it can't be removed.
        self.ledger.answered(name, code, isSure=False)
        if code != 250:
            raise Unexpected(f"message: {code}")

    async def say(self, *lines: str) -> list[int]:
        """Send commands in one piece, and take their replies."""
        self.writer.write("".join(line + "\r\n" for line in lines).encode())
        return [await self.reply(line.split()[0]) for line in lines]

    async def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.writer.write(octets)
        await self.writer.drain()

    def reset(self) -> None:
        """Leave by RST."""
        if self.writer.is_closing():
            return  # the server was first
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Leave by FIN."""
        self.writer.close()


def stuffed(content: bytes) -> bytes:
    """Content as DATA wants it, without the end (RFC 5321 §4.5.2)."""
    return content.replace(b"\r\n.", b"\r\n..")


async def crumble(link: Link, octets: bytes) -> None:
    """Send octets in small pieces, the first two thousand of them."""
    step = random.choice((1, 7, 100))
    for start in range(0, min(len(octets), 2000), step):
        await link.send(octets[start : min(start + step, 2000)])
        await asyncio.sleep(0)
    await link.send(octets[2000:])

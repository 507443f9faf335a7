"""The messages that are sent, and how many octets of content each has."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = (
    b"From: <sender@client.example>\r\n"
    b"To: <recipient@server.example>\r\n"
    b"Subject: a message of the benchmark\r\n"
    b"MIME-Version: 1.0\r\n"
    b"\r\n"
)
_PROSE = (
    b"The quick brown fox jumps over the lazy dog. Nobody saw it; the dog was asleep.\r\n",
    b"A line of usual length, as people write them, with a dot at its end.\r\n",
    b"Short. Shorter.\r\n",
    b"And one without any, for a change\r\n",
)
# Large messages are made of repeated blocks, so that a gigabyte needs no gigabyte of memory.
_BLOCK = 2**20


@dataclass(frozen=True)
class Message:
    """
    A message in pieces: ``head``, then ``block`` so many times, then ``tail``.

    :ivar octets: the length of the content, as a server should count it.
    """

    head: bytes
    block: bytes
    repeats: int
    tail: bytes

    @property
    def octets(self) -> int:
        """The length of the content."""
        return len(self.head) + len(self.block) * self.repeats + len(self.tail)

    def content(self) -> Iterator[bytes]:
        """The content, piece by piece."""
        yield self.head
        for _ in range(self.repeats):
            yield self.block
        yield self.tail

    def dotted(self) -> Iterator[bytes]:
        """The same as DATA wants it (RFC 5321 §4.5.2), with its end."""
        block = _stuff(self.block)
        yield _stuff(self.head)
        for _ in range(self.repeats):
            yield block
        yield _stuff(self.tail) + b".\r\n"


def _stuff(octets: bytes) -> bytes:
    # Each piece begins at the beginning of a line.
    first = b"." if octets.startswith(b".") else b""
    return first + octets.replace(b"\r\n.", b"\r\n..")


def makeMessage(size: int, kind: str = "base64") -> Message:
    """
    Make a message.

    :param size: the length of its content in octets; at least 200, and hit exactly.
    :param kind: ``"base64"`` for an attachment; ``"prose"`` for text with dots everywhere, and at
        the beginning of one line in fifty.
    """
    room = size - len(_HEAD)
    if room < 3:
        raise ValueError(f"a message of {size} octets is too short")
    block = _lines(min(_BLOCK, room), kind)
    repeats, rest = divmod(room, len(block))
    if 0 < rest < 3:  # no room for a line: make the block's last line longer instead
        block, (repeats, rest) = _lines(room, kind), (1, 0)
    return Message(_HEAD, block, repeats, _lines(rest, kind) if rest else b"")


def _lines(size: int, kind: str) -> bytes:
    """So many octets in whole lines."""
    chosen = random.Random(7)
    lines: list[bytes] = []
    length = 0
    while length < size:
        if kind == "base64":
            line = base64.b64encode(chosen.randbytes(57)) + b"\r\n"
        else:
            line = chosen.choice(_PROSE)
            if len(lines) % 50 == 49:
                line = b"." + line
        lines.append(line)
        length += len(line)
    cut = bytearray(b"".join(lines)[:size])
    cut[-2:] = b"\r\n"
    if cut[-3:-2] == b"\r":
        cut[-3:-2] = b"x"
    return bytes(cut)

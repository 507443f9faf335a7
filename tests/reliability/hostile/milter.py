"""A milter that is the server's enemy."""

from __future__ import annotations

import contextlib
import random
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.support.milters import ACCEPT, CONTINUE, DISCARD, PROGRESS, SILENT, field, reply

#: So many connections are treated well: they are those of the client that measures.
_GUESTS = 1

_NEGOTIATION = reply(b"O", struct.pack(">LLL", 6, 0x1FF, 0))
_MODEST = reply(b"O", struct.pack(">LLL", 6, 0, 0))
_LINES = b"x: y\r\n" * 20


def _atEnd(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda command: octets if command == b"E" else CONTINUE


def _noise(command: bytes) -> bytes:
    return random.randbytes(1000)


def _garbage(command: bytes) -> bytes:
    return reply(random.choice(b"abcdehimpqrstuvxy+-24\0\xff").to_bytes(1, "big"), _noise(command))


def _early(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda command: octets + CONTINUE if command in b"MRE" else CONTINUE


def _breaks(command: bytes) -> bytes:
    """Line ends and controls where none belong."""
    if command == b"R":
        return reply(b"y", b"451 4.7.1 \x1b[2Jone\r\n250 two\r\n\x00three")
    name = random.choice([b"X-A\r\nX-B", b"X-C"])
    return (
        field(b"h", name, b"one\r\n\r\n.\r\ntwo\x1b[2J\x00") + ACCEPT
        if command == b"E"
        else CONTINUE
    )


#: What it answers to a command; ``None`` for nothing at all.
BEHAVIORS: dict[str, Callable[[bytes], bytes] | None] = {
    "good": lambda command: CONTINUE,
    "discard": lambda command: DISCARD,
    "garbage": _garbage,
    "noise": _noise,
    "silent": None,
    "octets": _atEnd(b"".join(field(b"h", b"X-Name", b"value") for _ in range(100)) + ACCEPT),
    "large": lambda command: struct.pack(">L", 2**20) + b"y" + b"550 no\r\n" * 2**17,
    "progress": _atEnd(PROGRESS * 100_000 + ACCEPT),
    "early-progress": _early(PROGRESS * 900),
    "fields": _atEnd(field(b"h", b"X-Name", b"value") * 10_000 + ACCEPT),
    "many-fields": _atEnd(field(b"i", b"X-Name", _LINES, 0) * 199 + ACCEPT),
    "forbidden": _atEnd(field(b"h", b"X-Name", b"value") + ACCEPT),
    "breaks": _breaks,
    "body": _atEnd(reply(b"b", b"x" * 60_000) * 1000 + ACCEPT),
    "closing": lambda command: random.choice([CONTINUE, CONTINUE, b""]),
}


class _Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: _Server

    def handle(self) -> None:
        """Until one side has enough."""
        self.server.count += 1
        isGuest = self.server.count <= _GUESTS
        with contextlib.suppress(OSError):
            self._serve("good" if isGuest else self.server.does)

    def _serve(self, does: str) -> None:
        behavior = BEHAVIORS[does]
        while head := self.rfile.read(4):
            command, _ = self.rfile.read(1), self.rfile.read(struct.unpack(">L", head)[0] - 1)
            if command == b"O":
                self._send(_MODEST if does == "forbidden" else _NEGOTIATION, does)
            elif command not in SILENT and behavior is not None:
                answer = behavior(command)
                if not answer:
                    return
                self._send(answer, does)

    def _send(self, octets: bytes, does: str) -> None:
        size = 1 if does == "octets" else len(octets)
        for start in range(0, len(octets), size):
            self.connection.sendall(octets[start : start + size])


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 1024
    count = 0

    def __init__(self, path: str, does: str) -> None:
        self.does = does
        super().__init__(path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The server may well have closed the connection."""


def serve(path: str, does: str) -> None:
    """
    Serve in a thread.

    :param path: the path of the socket.
    :param does: one of :data:`BEHAVIORS`.
    """
    server = _Server(path, does)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    threading.Thread(target=server.serve_forever, daemon=True).start()

"""
A process that holds idle connections: plain sockets, and nothing done with them.

It reads commands from standard input and answers each with a number: ``open PORT COUNT``, after
which those that were open before are closed; ``noop``; ``close``. The number is how many failed.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

from benchmarks.peers import ROOT

_AT_ONCE = 100
#: Connections from one source address, far fewer than it has ports.
_PER_ADDRESS = 4000


class Holder:
    """The other process, as its owner sees it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, command: str) -> int:
        """Send a command, and wait for its number."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.reliability.soak.idle"),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(command.encode() + b"\n")
        return int(await self._process.stdout.readline() or b"-1")

    async def end(self) -> None:
        """End it, and all connections."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()


def _takes(client: socket.socket, code: bytes) -> bool:
    """Whether a reply with that code comes."""
    received = b""
    try:
        while not received.endswith(b"\r\n"):
            octets = client.recv(4096)
            if not octets:
                return False
            received += octets
    except OSError:
        return False
    return received.startswith(code)


def _say(clients: list[socket.socket], line: bytes, code: bytes) -> list[socket.socket]:
    """Let some say a line; returns those that got the reply."""
    good = []
    for client in clients:
        try:
            client.sendall(line)
            good.append(client)
        except OSError:
            pass
    return [client for client in good if _takes(client, code)]


def _connect(port: int, number: int) -> socket.socket | None:
    source = f"127.0.1.{number // _PER_ADDRESS + 1}"
    client = socket.socket()
    client.settimeout(60)
    try:
        # The port is chosen when the connection is made, so that all of them can be used.
        client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        client.bind((source, 0))
        client.connect(("127.0.0.1", port))
    except OSError:
        client.close()
        return None
    return client


def openAll(port: int, count: int) -> list[socket.socket]:
    """Connect, and say EHLO; returns those that were welcome."""
    held: list[socket.socket] = []
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        batch = [client for n in numbers if (client := _connect(port, n)) is not None]
        batch = [client for client in batch if _takes(client, b"220")]
        held += _say(batch, b"EHLO idle.example\r\n", b"250")
    return held


def noopAll(held: list[socket.socket]) -> int:
    """Let all say something; returns how many got no answer."""
    answered = 0
    for start in range(0, len(held), _AT_ONCE):
        answered += len(_say(held[start : start + _AT_ONCE], b"NOOP\r\n", b"250"))
    return len(held) - answered


def main() -> None:
    """Do as told until standard input ends."""
    held: list[socket.socket] = []
    for line in sys.stdin:
        what, *numbers = line.split()
        failed = 0
        if what in {"open", "close"}:
            for client in held:
                client.close()
            held = []
        if what == "open":
            port, count = map(int, numbers)
            held = openAll(port, count)
            failed = count - len(held)
        elif what == "noop":
            failed = noopAll(held)
        print(failed, flush=True)


if __name__ == "__main__":
    main()

"""``python -m tests.reliability.hostile``; see ``tests/reliability/README.rst``."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.liveserver import LiveServer

#: What a client sends at a time, in octets.
SEGMENT = 124 * 1024

#: How long a newcomer waits for the greeting before it counts as refused or late, in seconds.
LATE = 1.0

#: What the server does first.
TIMED = "from tests.support.turntimes import TurnTimes; TurnTimes().install({!r})\n"

_HELLO = b"EHLO client.example\r\n"
_MAIL = b"MAIL FROM:<joe@example.org>\r\n"
_RCPT = b"RCPT TO:<jane@example.com>\r\n"
_IDNA = ".".join(["\u03b1" * 23 + "\u30fb" * 26 + "\u3042"] * 2).encode()

#: What is sent again and again, and what is said once before it. One that ends in "unread" takes
#: no answers.
ATTACKS: dict[str, tuple[bytes, bytes]] = {
    "none": (b"", b""),
    "noop": (_HELLO, b"NOOP\r\n"),
    "ehlo": (b"", b"EHLO a\r\n"),
    "rset": (_HELLO, b"RSET\r\n"),
    "help": (_HELLO, b"HELP\r\n"),
    "help-unread": (_HELLO, b"HELP\r\n"),
    "unknown": (_HELLO, b"XYZZY\r\n"),
    "empty-lines": (_HELLO, b"\r\n"),
    "no-newline": (_HELLO, b"x" * 4096),
    "idna-ehlo": (b"", b"EHLO " + _IDNA + b"\r\n"),
    "idna-mail": (_HELLO, b"MAIL FROM:<a@" + _IDNA + b"> SMTPUTF8\r\nRSET\r\n"),
    "idna-rcpt": (
        _HELLO + b"MAIL FROM:<a@b.example> SMTPUTF8\r\n",
        b"RCPT TO:<a@" + _IDNA + b">\r\n",
    ),
    "rcpt": (_HELLO + _MAIL, _RCPT),
    "transactions": (_HELLO, _MAIL + _RCPT + b"RSET\r\n"),
    "chunks-0": (_HELLO + _MAIL + _RCPT, b"BDAT 0\r\n"),
    "chunks-1": (_HELLO + _MAIL + _RCPT, b"BDAT 1\r\nx"),
    "dots": (_HELLO + _MAIL + _RCPT + b"DATA\r\n", b"..\r\n"),
    "newlines": (_HELLO + _MAIL + _RCPT + b"DATA\r\n", b"\r\n"),
    "messages": (_HELLO, _MAIL + _RCPT + b"DATA\r\n\r\nx\r\n.\r\n"),
}


class Attacker(threading.Thread):
    """One client that sends as fast as it can, and comes again when it is sent away."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._reads = not name.endswith("unread")
        self._first, repeated = ATTACKS[name]
        self._segment = repeated * max(1, SEGMENT // len(repeated))
        self.isOver = False

    def run(self) -> None:
        """Until it is over."""
        while not self.isOver:
            with contextlib.suppress(OSError):
                self._attack()

    def _attack(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 2) as client:
            client.recv(4096)
            client.sendall(self._first)
            client.settimeout(0.2)
            while not self.isOver:
                with contextlib.suppress(TimeoutError):
                    client.sendall(self._segment)
                with contextlib.suppress(TimeoutError):
                    if self._reads and not client.recv(2**20):
                        return


def waits(port: int, seconds: float) -> list[float]:
    """How long each answer to NOOP takes, in milliseconds."""
    found = []
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.recv(4096)
        while time.monotonic() < until:
            began = time.perf_counter()
            client.sendall(b"NOOP\r\n")
            client.recv(4096)
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(random.uniform(0, 0.01))  # so that it meets the server anywhere
    return found


def late(port: int, newcomers: int = 5) -> int:
    """How many newcomers aren't greeted in time."""
    count = 0
    for _ in range(newcomers):
        try:
            with socket.create_connection(("127.0.0.1", port), LATE) as client:
                count += not client.recv(4096).startswith(b"220")
        except OSError:
            count += 1
    return count


def drain(server: LiveServer) -> None:
    """Read a server's log."""
    assert server.process.stdout is not None
    while server.process.stdout.read(2**16):
        pass


@contextlib.contextmanager
def attacked(port: int, name: str, clients: int) -> Iterator[None]:
    """Let clients attack."""
    attackers = [Attacker(port, name) for _ in range(clients if ATTACKS[name][1] else 0)]
    for attacker in attackers:
        attacker.start()
    try:
        yield
    finally:
        for attacker in attackers:
            attacker.isOver = True
        for attacker in attackers:
            attacker.join(10)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile")
    parser.add_argument("--seconds", type=float, default=5, help="for each attack")
    parser.add_argument("--clients", type=int, default=1, help="that attack at the same time")
    parser.add_argument("attacks", nargs="*", choices=[[], *ATTACKS], help="by default all")
    options = parser.parse_args(arguments)
    names = [name for name in ATTACKS if name == "none" or name in (options.attacks or ATTACKS)]
    columns = f"{'middle ms':>10} {'longest ms':>11} {'answers':>8} {'late':>5} {'turn ms':>8}"
    print(f"{'Attack':<14} {columns}")
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix="hostile"))
        server = LiveServer(
            folder, "--max-junk-commands", "1000000000", before=TIMED.format(str(folder / "turn"))
        )
        # A log that nobody reads would stop it.
        reader = threading.Thread(target=drain, args=(server,), daemon=True)
        reader.start()
        try:
            with attacked(server.port, name, options.clients):
                found = waits(server.port, options.seconds)
                missing = late(server.port)
        finally:
            server.process.terminate()
            server.process.wait()
            turn = float((folder / "turn").read_text())
            reader.join(10)
            assert server.process.stdout is not None
            server.process.stdout.close()
            shutil.rmtree(folder, ignore_errors=True)
        middle = statistics.median(found)
        answers = f"{middle:>10.2f} {max(found):>11.2f} {len(found):>8} {missing:>5}"
        print(f"{name:<14} {answers} {turn:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

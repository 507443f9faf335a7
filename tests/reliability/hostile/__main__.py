"""``python -m tests.reliability.hostile``; see ``tests/reliability/README.rst``."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.hostile.attacks import ATTACKS, Attack
from tests.reliability.hostile.honest import Sender
from tests.support.liveserver import PATIENCE, LiveServer

#: How long a newcomer waits for the greeting before it counts as refused or late, in seconds.
LATE = 1.0

# Python imports this at the start of each process of the server's.
_TIMED = """
import os
from tests.support.turntimes import TurnTimes
TurnTimes().install({!r} + str(os.getpid()))
"""


@dataclass
class Row:
    """
    What an attack cost others.

    :ivar waits: how long each answer to NOOP took, in milliseconds.
    :ivar late: how many newcomers weren't greeted in time.
    :ivar turn: the longest turn of a reactor, in milliseconds of the processor's time.
    :ivar memory: how much memory the server had at most, in MiB.
    :ivar log: how much it has logged, in KiB.
    :ivar kept: how many messages of a client that means well were accepted; ``None`` if the server
        isn't one that stores messages of anybody.
    :ivar lost: how many of them weren't stored.
    """

    waits: list[float]
    late: int
    turn: float = 0
    memory: float = 0
    log: float = 0
    kept: int | None = None
    lost: int = 0

    def __str__(self) -> str:
        middle = statistics.median(self.waits)
        waits = f"{middle:>10.2f} {max(self.waits):>11.2f} {len(self.waits):>8} {self.late:>5}"
        kept = "-" if self.kept is None else str(self.kept)
        use = f"{self.turn:>8.2f} {self.memory:>6.0f} {self.log:>8.0f}"
        return f"{waits} {use} {kept:>6} {self.lost:>5}"


_HEADINGS = f"{'middle ms':>10} {'longest ms':>11} {'answers':>8} {'late':>5} {'turn ms':>8}"
_HEADINGS += f" {'MiB':>6} {'log KiB':>8} {'kept':>6} {'lost':>5}"


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


class Target:
    """
    A server that is attacked.

    :param folder: for its files.
    :param attack: the attack.
    :param workers: how many processes serve.
    :param clients: how many attack; 0 for as many as the attack says.
    :param hasFaults: whether it gets a SIGHUP meanwhile, one worker is killed, and it is stopped
        while the attack goes on.
    """

    def __init__(
        self, folder: Path, name: str, workers: int, clients: int, hasFaults: bool
    ) -> None:
        attack: Attack = ATTACKS[name]
        self._keeps = attack.keeps
        self._hasFaults = hasFaults
        (folder / "sitecustomize.py").write_text(_TIMED.format(str(folder / "turn-")))
        flags = ["--max-junk-commands", "1000000000", "--max-messages", "1000000000"]
        flags += ["--workers", str(workers)] if workers > 1 else []
        flags += attack.makeFlags(folder)
        self._folder = folder
        count = str(clients or attack.clients)
        self._attackers = self._start(name, count)  # which have the milter's socket
        self.server = LiveServer(
            folder / "server", *flags, listeners=2 if attack.tls else 1, path=(str(folder),)
        )

    def _start(self, name: str, count: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.reliability.hostile.attackers", name, count]
        command.append(str(self._folder))
        attackers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert attackers.stdout is not None
        attackers.stdout.readline()
        return attackers

    def _begin(self) -> None:
        """Have the attackers begin."""
        assert self._attackers.stdin is not None
        ports = " ".join(map(str, self.server.ports))
        self._attackers.stdin.write(f"{ports}\n".encode())
        self._attackers.stdin.flush()

    def row(self, seconds: float) -> Row:
        """Measure for a while."""
        row = Row([], 0)
        reader = threading.Thread(target=self._drain, args=(row,), daemon=True)
        reader.start()  # a log that nobody reads would stop the server
        try:
            self._measure(row, seconds)
        finally:
            self._end()
            reader.join(PATIENCE)
        turns = [float(path.read_text()) for path in self._folder.glob("turn-*")]
        row.turn = max(turns, default=0)
        return row

    def _measure(self, row: Row, seconds: float) -> None:
        port = self.server.port
        sender = Sender(port)
        with contextlib.closing(_greeted(port)) as client:
            self._begin()
            if self._keeps:
                sender.start()
            if self._hasFaults:
                row.waits = waits(port, seconds / 3)
                self.server.process.send_signal(signal.SIGHUP)
                row.waits += waits(port, seconds / 3)
                for worker in list(self._processes())[1:2]:
                    os.kill(worker, signal.SIGKILL)
                row.waits += waits(port, seconds / 3)
            else:
                row.waits = waits(port, seconds, client)
        row.late = late(port)
        row.memory = sum(map(_mostMemory, self._processes()))
        if self._hasFaults:
            self._stopServer()
        if self._keeps:
            sender.stop()
            row.kept, row.lost = len(sender.accepted), sender.lost(self.server.maildir)

    def _stopServer(self) -> None:
        self.server.process.terminate()
        self.server.process.wait(PATIENCE * 2)

    def _processes(self) -> Iterator[int]:
        pid = self.server.process.pid
        yield pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        yield from map(int, children.read_text().split())

    def _drain(self, row: Row) -> None:
        assert self.server.process.stdout is not None
        while octets := self.server.process.stdout.read(2**16):
            row.log += len(octets) / 1024
        self.server.process.stdout.close()

    def _end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._attackers.communicate(timeout=PATIENCE)
        self._stopServer()


def _greeted(port: int) -> socket.socket:
    """A client that was greeted."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.recv(4096)
    return client


def waits(port: int, seconds: float, client: socket.socket | None = None) -> list[float]:
    """
    How long each answer to NOOP takes, in milliseconds. A worker that is killed is asked no more.

    :param client: by default a new one.
    """
    found = []
    until = time.monotonic() + seconds
    with contextlib.closing(client or _greeted(port)) as each, contextlib.suppress(OSError):
        while time.monotonic() < until:
            began = time.perf_counter()
            each.sendall(b"NOOP\r\n")
            if not each.recv(4096):
                break
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(random.uniform(0, 0.01))  # so that it meets the server anywhere
    return found


def _mostMemory(pid: int) -> float:
    """How much memory a process had at most, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile")
    parser.add_argument("--seconds", type=float, default=5, help="for each attack")
    parser.add_argument("--clients", type=int, default=0, help="that attack at the same time")
    parser.add_argument("--workers", type=int, default=1, help="how many processes serve")
    parser.add_argument("--runs", type=int, default=1, help="the best of so many counts")
    parser.add_argument(
        "--faults", action="store_true", help="SIGHUP, kill a worker, and stop during the attack"
    )
    parser.add_argument("attacks", nargs="*", choices=[[], *ATTACKS], help="by default all")
    options = parser.parse_args(arguments)
    names = [name for name in ATTACKS if name == "none" or name in (options.attacks or ATTACKS)]
    print(f"{'Attack':<22} {_HEADINGS}")
    lost = 0
    for name in names:
        rows = [measure(name, options) for _ in range(options.runs)]
        print(f"{name:<22} {min(rows, key=lambda row: row.turn)}", flush=True)
        lost += sum(row.lost for row in rows)
    return 1 if lost else 0


def measure(name: str, options: argparse.Namespace) -> Row:
    """Let an attack run once."""
    folder = Path(tempfile.mkdtemp(prefix="hostile"))
    try:
        target = Target(folder, name, options.workers, options.clients, options.faults)
        return target.row(options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

"""
``python -m benchmarks workers``: what a message costs in several processes, as a part of what it
costs in one.

The processor time is that of all of a server's processes, the supervisor's included. All servers of
a row run at the same time and are given load in turn, in short rounds, first in one order and then
in the other; a round's figures are divided by the same round's figure of one process, and the table
has the medians. So it tells a difference of a few hundredths on a machine whose speed changes.

``Twisted, doing nothing`` shows what several processes cost whatever they do: where each has a part
of the clients, it wakes up for one event where one process finds several that wait. The less there
is to do, the more so: hence Postfix's smtp-source, if it is installed, which is quick enough to
keep them busy. It comes from the same machine, so the rates say little.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Load, OwnLoad, Source
from benchmarks.peers import PATIENCE, ROOT, Files
from benchmarks.report import listTable

COUNTS = (1, 2, 4, 8)

#: So many clients at a time.
CONNECTIONS = 200

#: Seconds of load before the first round.
_WARM_UP = 1.0


@dataclass(frozen=True)
class Row:
    """
    What is measured with each number of workers.

    :ivar title: for the table.
    :ivar start: starts a server with so many workers.
    :ivar load: begins the load for one of them.
    """

    title: str
    start: Callable[[Files, int], Processes]
    load: Callable[[int, Files], Load]


class Processes:
    """
    A server, and the processes that it started. It is stopped when the ``with`` block ends.

    :ivar port: where it listens, on 127.0.0.1.
    """

    def __init__(self, command: Sequence[str], folder: Path, port: int = 0) -> None:
        self.port = port
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def cpu(self) -> float:
        """The processor time of all its processes so far, in seconds."""
        first = self.process.pid
        numbers = [first, *(number for number, parent in _parents() if parent == first)]
        return sum(map(_used, numbers))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *details: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _parents() -> Iterator[tuple[int, int]]:
    """Each process's id, and its parent's."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue


def _used(process: int) -> float:
    """What all threads of a process have used: exact, where ``stat`` has ticks of 10 ms."""
    paths = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def _twistd(*flags: str) -> Callable[[Files, int], Processes]:
    """``twistd smtpserver --workers``, as it is shipped, with its log file."""

    def start(files: Files, count: int) -> Processes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        log = files.folder / f"log{port}"
        command = [
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("--nodaemon", "--pidfile=", "--logfile", str(log), "smtpserver"),
            *("--port", str(port), "--workers", str(count)),
            *("--cert", str(files.certificate), "--key", str(files.key)),
            *(flag.format(folder=files.folder, port=port) for flag in flags),
        ]
        server = Processes(command, files.folder, port)
        try:
            # The supervisor says it as well.
            _awaitListening(server, log, count + 1 if count > 1 else 1)
        except BaseException:
            server.__exit__()
            raise
        return server

    return start


def _awaitListening(server: Processes, log: Path, lines: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or log.read_text().count("Listening for") < lines:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("twistd doesn't start")
        time.sleep(0.02)


def _floor(files: Files, count: int) -> Processes:
    command = [sys.executable, "-m", "benchmarks.servers.floor", "--workers", str(count)]
    server = Processes(command, files.folder)
    output = server.process.stdout
    assert output is not None
    ready, _, _ = select.select([output], [], [], PATIENCE)
    line = output.readline() if ready else b""
    if not line:
        server.__exit__()
        raise RuntimeError("the floor says nothing")
    server.port = json.loads(line)["port"]
    return server


def _many(port: int, files: Files) -> Load:
    return _source(port, files, "-d") or OwnLoad(port, CONNECTIONS)


def _sessions(port: int, files: Files) -> Load:
    return _source(port, files) or OwnLoad(port, CONNECTIONS, stays=False)


def _source(port: int, files: Files, *flags: str) -> Load | None:
    if Source.find() is None:
        return None
    return Source(port, files.folder, "-s", str(CONNECTIONS), *flags)


def _startTLS(port: int, files: Files) -> Load:
    tls = {"certificate": str(files.certificate), "version": "TLSv1_3", "group": "X25519"}
    return OwnLoad(port, CONNECTIONS, stays=False, tls=tls)


# What a user gives to have a session logged no more.
_UNLOGGED = ("--ignored-hosts", "127.0.0.0/8")
_MAILDIR = ("--maildir", "{folder}/Maildir{port}")

ROWS = (
    Row("One of many", _twistd("--discard"), _many),
    Row("… without a log", _twistd("--discard", *_UNLOGGED), _many),
    Row("… Twisted, doing nothing", _floor, _many),
    Row("Session", _twistd("--discard"), _sessions),
    Row("… without a log", _twistd("--discard", *_UNLOGGED), _sessions),
    Row("… Twisted, doing nothing", _floor, _sessions),
    Row("STARTTLS session", _twistd("--discard"), _startTLS),
    Row("… without a log", _twistd("--discard", *_UNLOGGED), _startTLS),
    Row("Stored", _twistd(*_MAILDIR), _many),
    Row("… without a log", _twistd(*_MAILDIR, *_UNLOGGED), _many),
)

# Enough to see that it works.
_QUICK = (ROWS[3], ROWS[5])


@dataclass(frozen=True)
class Figures:
    """
    One measurement.

    :ivar cost: the server's processor time for each message, in microseconds.
    :ivar rate: messages per second.
    """

    cost: float
    rate: float


def _measure(server: Processes, load: Load, seconds: float) -> Figures:
    before = server.cpu()
    done = load.work(seconds)
    used = server.cpu() - before
    if done["errors"] or not done["messages"]:
        raise RuntimeError(f"{done['errors'] or 'nothing was received'}")
    return Figures(used / done["messages"] * 1e6, done["messages"] / done["seconds"])


def _rounds(
    row: Row, files: Files, counts: Sequence[int], repeat: int, seconds: float
) -> list[dict[int, Figures]]:
    """Each round's figures by the number of workers."""
    with ExitStack() as running:
        servers = {count: running.enter_context(row.start(files, count)) for count in counts}
        loads = {
            count: running.enter_context(row.load(server.port, files))
            for count, server in servers.items()
        }
        for load in loads.values():
            load.work(min(_WARM_UP, 2 * seconds))
        orders = [counts, counts[::-1]]
        return [
            {each: _measure(servers[each], loads[each], seconds) for each in orders[number % 2]}
            for number in range(repeat)
        ]


def measureWorkers(files: Files, repeat: int, seconds: float, isQuick: bool) -> str:
    """
    Measure all rows.

    :param repeat: how many rounds there are; the medians count.
    :param seconds: how long each server has load in each.
    :param isQuick: measure next to nothing, only to see that it works.
    :returns: tables.
    """
    counts = COUNTS[:2] if isQuick else COUNTS
    costs, rates = [], []
    for row in _QUICK if isQuick else ROWS:
        found = _rounds(row, files, counts, repeat, seconds)
        costs.append([row.title, *_cells([{n: f.cost for n, f in each.items()} for each in found])])
        rates.append([row.title, *_cells([{n: f.rate for n, f in each.items()} for each in found])])
        print("  ".join(costs[-1]), flush=True)
    header = ("", "one process", *(f"{count} workers" for count in counts[1:]))
    return listTable(
        "Processor time of a message, µs; with workers, as a multiple", header, costs
    ) + listTable("Messages per second; with workers, as a multiple", header, rates)


def _cells(rounds: list[dict[int, float]]) -> list[str]:
    """The median of one process, and the medians of the others' multiples of it."""
    one, *several = sorted(rounds[0])
    return [
        f"{statistics.median(each[one] for each in rounds):,.0f}",
        *(
            f"{statistics.median(each[count] / each[one] for each in rounds):.2f}"
            for count in several
        ),
    ]

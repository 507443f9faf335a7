"""
``python -m benchmarks.filtered``: what a filter before a Maildir costs, and what a milter does.

The Maildir by itself is compared with the same Maildir behind a filter that does nothing, with one
behind each milter that is named, and with itself: a second server just like the first shows how far
the figures can be trusted. What else would be measured, and what is done about it:

* A machine's speed may change by half within a second. So the servers take turns of some
  milliseconds each, there and back again (A B C C B A). Such a set of turns yields one quotient for
  each server: its processor time, divided by the Maildir's of the same set. A row has the median of
  all sets, and the interval in which it lies with 95 % (bootstrap).
* Two processes of one program needn't be equally fast: where their memory lies, and in which order
  their sets are, is drawn at random. So all servers are started anew several times, and the
  bootstrap draws the starts first.
* A file costs more or less by the place of its folder on the disk; half as much again was seen. So
  all servers store into one Maildir.
* How often threads take the interpreter from each other depends on which processor each of them is
  given. So each server has the same single one, and the client another.

The last rows are how long others wait for the answer to a NOOP while large messages are judged, by
servers that may use all processors.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import random
import re
import select
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.client import OwnLoad
from benchmarks.peers import PATIENCE, ROOT
from twisted_smtpserver import Maildir, Session
from twisted_smtpserver.filters import Filtered, Message

CLIENTS = 4
WARM_UP = 400
RESAMPLES = 2000
BARE, AGAIN, FILTERED = "Maildir", "the same again", "Filtered(Maildir)"
_PORT = re.compile(rb"starting on (\d+)")


class Pass:
    """A filter that lets everything pass."""

    def onMessage(self, message: Message, session: Session) -> None:
        """Let it pass."""


class Cost(NamedTuple):
    """
    The processor time of one message, in microseconds.

    :ivar total: of all threads.
    :ivar reactor: of the reactor's thread.
    """

    total: float
    reactor: float


class Server:
    """A running server, and clients that stay connected to it."""

    def __init__(self, port: int, process: int, load: OwnLoad) -> None:
        self.port = port
        self._process = process
        self._load = load

    def measure(self, count: int) -> Cost:
        """What each of so many messages costs."""
        before = self._used()
        done = self._load.work(PATIENCE, count=count)
        if done["errors"]:
            raise RuntimeError(done["errors"][0])
        total, reactor = (
            (after - first) / done["messages"] / 1000
            for first, after in zip(before, self._used(), strict=True)
        )
        return Cost(total, reactor)

    def _used(self) -> tuple[int, int]:
        """What all threads and the reactor's have used so far, in nanoseconds."""
        used = {}
        for thread in os.listdir(f"/proc/{self._process}/task"):
            with open(f"/proc/{self._process}/task/{thread}/schedstat", encoding="ascii") as file:
                used[thread] = int(file.read().split()[0])
        return sum(used.values()), used[str(self._process)]


@contextmanager
def serving(flags: Sequence[str], size: int, mail: str, processor: int | None) -> Iterator[Server]:
    """
    Start a server in a process of its own; it is stopped when the ``with`` block ends.

    :param flags: twistd's.
    :param size: of the messages that it is sent.
    :param mail: the Maildir.
    :param processor: the only one that it may use; by default, any.
    """
    command = "from twisted.scripts.twistd import run; run()"
    if processor is not None:
        command = f"import os; os.sched_setaffinity(0, [{processor}]); {command}"
    arguments = ["-n", "--pidfile=", "smtpserver", "--port=0", *flags]
    if "--handler" not in flags:
        arguments.append(f"--maildir={mail}")
    with (
        concurrent.futures.ThreadPoolExecutor(1) as reader,
        subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            stdout=subprocess.PIPE,
            env=os.environ | {"FILTERED_MAILDIR": mail, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            port = _port(process.stdout.fileno())
            reader.submit(process.stdout.read)  # the log, so that the server never waits for us
            with OwnLoad(port, CLIENTS, size=size) as load:
                yield Server(port, process.pid, load)
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def servingAll(
    kinds: dict[str, list[str]], size: int, parent: str | None, processor: int | None
) -> Iterator[dict[str, Server]]:
    """Start all servers, with one Maildir in a new folder; see :func:`serving`."""
    with tempfile.TemporaryDirectory(dir=parent) as folder, ExitStack() as stack:
        yield {
            name: stack.enter_context(serving(flags, size, f"{folder}/mail", processor))
            for name, flags in kinds.items()
        }


def _port(output: int) -> int:
    log = b""
    while (found := _PORT.search(log)) is None:
        ready, _, _ = select.select([output], [], [], PATIENCE)
        said = os.read(output, 4096) if ready else b""
        if not said:
            raise RuntimeError(f"the server didn't start: {log.decode()}")
        log += said
    return int(found[1])


def sets(servers: dict[str, Server], count: int, turns: int) -> Iterator[dict[str, Cost]]:
    """
    Measure the servers in turn.

    :param count: the messages of a turn.
    :param turns: the number of sets.
    """
    for server in servers.values():
        server.measure(WARM_UP)
    for _ in range(turns):
        order = random.sample(list(servers), len(servers))
        found: dict[str, list[Cost]] = {name: [] for name in servers}
        for name in [*order, *reversed(order)]:
            found[name].append(servers[name].measure(count))
        yield {
            name: Cost(*map(statistics.fmean, zip(*costs, strict=True)))
            for name, costs in found.items()
        }


def interval(starts: Sequence[Sequence[float]]) -> tuple[float, float]:
    """
    The interval in which the median of all values lies with 95 %.

    :param starts: the values of each start.
    """
    medians = sorted(
        statistics.median(
            value
            for start in random.choices(starts, k=len(starts))
            for value in random.choices(start, k=len(start))
        )
        for _ in range(RESAMPLES)
    )
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def row(name: str, starts: Sequence[Sequence[dict[str, Cost]]]) -> str:
    """What was found out about a server."""
    costs = [each[name] for start in starts for each in start]
    total, reactor = (statistics.median(column) for column in zip(*costs, strict=True))
    text = f"{name:35} {total:7.0f} {reactor:8.0f}"
    if name == BARE:
        return text
    more = [[each[name].total / each[BARE].total - 1 for each in start] for start in starts]
    median = statistics.median(each for start in more for each in start)
    least, most = interval(more)
    return f"{text}  {median:+6.1%}, with 95 % from {least:+.1%} to {most:+.1%}"


def longestWait(server: Server, size: int, count: int) -> tuple[float, float]:
    """The median and the longest time for a NOOP while such messages come, in milliseconds."""
    with (
        smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as other,
        OwnLoad(server.port, 1, size=size) as load,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        other.ehlo()
        sending = pool.submit(load.work, PATIENCE, count=count)
        waits = []
        while not sending.done():
            began = time.perf_counter()
            other.noop()
            waits.append((time.perf_counter() - began) * 1000)
            time.sleep(0.002)
        if sending.result()["errors"]:
            raise RuntimeError(sending.result()["errors"][0])
    return statistics.median(waits), max(waits)


def makeMaildir() -> Maildir:
    """A Maildir (twistd's call)."""
    return Maildir(os.environ["FILTERED_MAILDIR"])


def makeFiltered() -> Filtered:
    """A Maildir with a filter before it (twistd's call)."""
    return Filtered(makeMaildir(), Pass())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filtered")
    parser.add_argument("--milter", action="append", default=[], metavar="ENDPOINT")
    parser.add_argument("--starts", type=int, default=6, help="of each server")
    parser.add_argument("--sets", type=int, default=150, help="of turns, for each start")
    parser.add_argument("--messages", type=int, default=10, help="of a turn")
    parser.add_argument("--size", type=int, default=10_000, help="of a message, in octets")
    parser.add_argument("--large", type=int, default=5, help="messages of 10 MiB, in the end")
    parser.add_argument("--folder", help="a folder of the file system that they store in")
    given = parser.parse_args(arguments)
    kinds = {
        BARE: ["--handler", "benchmarks.filtered.makeMaildir"],
        AGAIN: ["--handler", "benchmarks.filtered.makeMaildir"],
        FILTERED: ["--handler", "benchmarks.filtered.makeFiltered"],
        **{milter: ["--milter", milter] for milter in given.milter},
    }
    starts = []
    processors = os.sched_getaffinity(0)
    own = max(processors)  # the first has most of the interrupts
    try:
        os.sched_setaffinity(0, processors - {own} or processors)  # the clients inherit it
        for _ in range(given.starts):
            with servingAll(kinds, given.size, given.folder, own) as servers:
                starts.append(list(sets(servers, given.messages, given.sets)))
    finally:
        os.sched_setaffinity(0, processors)
    print(f"{'µs of the processor, a message':35} {'all':>7} {'reactor':>8}   more, of all")
    for name in kinds:
        print(row(name, starts))
    if not given.large:
        return
    with servingAll(kinds, given.size, given.folder, None) as servers:
        for name, server in servers.items():
            median, longest = longestWait(server, 10 * 2**20, given.large)
            print(f"{name:35} NOOP while 10 MiB come: {median:.1f} ms, at most {longest:.1f} ms")


if __name__ == "__main__":
    main()

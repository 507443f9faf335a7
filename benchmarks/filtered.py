"""
What filters cost: a Maildir by itself, with a filter before it that does nothing, with a milter.

    python -m benchmarks.filtered [--milter ENDPOINT] [--rounds N] [--messages N]

The servers take turns in many short rounds, in a new order each time: what else the machine does,
and what the last one has left to be written to the disk, disturbs all of them alike. A row has the
medians of the rounds, and of what each cost more than the Maildir's.
The last rows are how long others wait for the answer to a NOOP while large messages are judged.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from twisted_smtpserver import Maildir, Session
from twisted_smtpserver.filters import Filtered, Message

SENDER, RECIPIENT = "joe@example.org", "ann@example.com"
HEADER = (
    f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
    "Message-ID: <one@example.org>\r\nSubject: a message\r\n\r\n"
)
CLIENTS = 4
_PORT = re.compile(rb"starting on (\d+)")


class Pass:
    """A filter that lets everything pass."""

    def onMessage(self, message: Message, session: Session) -> None:
        """Let it pass."""


def makeFiltered() -> Filtered:
    """A Maildir with that filter before it (twistd's call)."""
    return Filtered(Maildir(os.environ["FILTERED_MAILDIR"]), Pass())


def makeMaildir() -> Maildir:
    """A Maildir (twistd's call)."""
    return Maildir(os.environ["FILTERED_MAILDIR"])


def message(octets: int) -> bytes:
    """A message of about this size."""
    return (HEADER + "All work and no play makes Jack a dull boy.\r\n" * (octets // 45)).encode()


@contextmanager
def server(*flags: str) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        command = "from twisted.scripts.twistd import run; run()"
        arguments = ["-n", "--pidfile=", "smtpserver", "--port=0", *flags]
        if "--handler" not in flags:
            arguments.append(f"--maildir={folder}/mail")
        environment = {**os.environ, "FILTERED_MAILDIR": f"{folder}/mail"}
        with subprocess.Popen(
            [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout is not None
            log = b""
            while (found := _PORT.search(log)) is None:
                ready, _, _ = select.select([process.stdout], [], [], 30)
                assert ready, "the server didn't start"
                log += os.read(process.stdout.fileno(), 4096)
            reader = concurrent.futures.ThreadPoolExecutor(1)
            reader.submit(process.stdout.read)  # the log, so that the server never waits for us
            try:
                yield int(found[1]), process.pid
            finally:
                process.terminate()
                process.wait(60)
                reader.shutdown()


def deliver(port: int, content: bytes, count: int) -> None:
    """Deliver a message so many times on one connection."""
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        for _ in range(count):
            client.sendmail(SENDER, [RECIPIENT], content)


def processorTime(process: int) -> float:
    """What a process's threads have used so far, in seconds."""
    used = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/schedstat", encoding="ascii") as file:
            used += int(file.read().split()[0])
    return used / 1e9


def measure(port: int, process: int, content: bytes, count: int) -> tuple[float, float]:
    """Messages in a second, and the server's processor time for one, in microseconds."""
    used, began = processorTime(process), time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: deliver(port, content, count // CLIENTS), range(CLIENTS)))
    seconds = time.perf_counter() - began
    return count / seconds, (processorTime(process) - used) / count * 1e6


def longestWait(port: int, content: bytes, count: int) -> tuple[float, float]:
    """The median and the longest time for a NOOP while such messages come, in milliseconds."""
    with (
        smtplib.SMTP("127.0.0.1", port, timeout=60) as other,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        other.ehlo()
        sending = pool.submit(
            subprocess.run,
            [sys.executable, "-m", "benchmarks.filtered", "--send", str(port), str(len(content))],
            check=True,
            timeout=300,
        )
        waits = []
        while not sending.done():
            began = time.perf_counter()
            other.noop()
            waits.append((time.perf_counter() - began) * 1000)
            time.sleep(0.002)
        sending.result()
    return statistics.median(waits), max(waits)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milter", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--messages", type=int, default=100, help="of each round")
    parser.add_argument("--send", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        deliver(options.send[0], message(options.send[1]), 5)
        return
    kinds = {
        name: ["--handler", f"benchmarks.filtered.make{name}"] for name in ("Maildir", "Filtered")
    }
    for milter in options.milter:
        kinds[milter] = ["--milter", milter]
    content = message(10_000)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(server(*flags)) for name, flags in kinds.items()}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        for place in servers.values():
            measure(*place, content, 400)  # warm up
        for _ in range(options.rounds):
            turns = list(servers.items())
            random.shuffle(turns)
            for name, place in turns:
                found[name].append(measure(*place, content, options.messages))
        bare = [cost for _, cost in found["Maildir"]]
        for name, values in found.items():
            rate, cost = (statistics.median(column) for column in zip(*values, strict=True))
            more = statistics.median(
                each / least for (_, each), least in zip(values, bare, strict=True)
            )
            print(
                f"{name:40} {rate:8.0f} messages/s {cost:8.0f} µs of the processor each,"
                f" {more - 1:+.1%}"
            )
        large = message(10 * 2**20)
        for name, (port, _) in servers.items():
            median, longest = longestWait(port, large, 5)
            print(
                f"{name:40} NOOP while 5 x 10 MiB come: {median:.1f} ms, at most {longest:.1f} ms"
            )


if __name__ == "__main__":
    main()

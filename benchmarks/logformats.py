"""
What a line of the log costs for each message, in each format.

    python -m benchmarks.logformats [--rounds N] [--messages N]

A server in memory takes messages, and its log goes to a file. The formats take turns; each row is
the least processor time of the rounds, and what it is more than without a log.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import Logger, LogPublisher, jsonFileLogObserver, textFileLogObserver

from twisted_smtpserver import Discard
from twisted_smtpserver.log.batches import MAX_LINES, BatchedLogObserver
from twisted_smtpserver.log.files import LogFile
from twisted_smtpserver.log.formats import FORMATS
from twisted_smtpserver.testing import Client, connect

_READS = (
    b"MAIL FROM:<joe@example.org>\r\n",
    b"RCPT TO:<jane@example.com>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nHello\r\n.\r\n",
)


class _Reactor:
    """Runs, and never comes round: lines are written when so many wait."""

    running = True

    def addSystemEventTrigger(self, *arguments: Any) -> None:
        """Nothing."""

    callLater = callFromThread = addSystemEventTrigger


def _observers(folder: Path) -> dict[str, Callable[[], Any]]:
    """What makes the observer of each row."""
    rows: dict[str, Callable[[], Any]] = {
        name: lambda name=name, make=make: BatchedLogObserver(  # type: ignore[misc]
            LogFile(str(folder / name), 0), make(), _Reactor()
        )
        for name, make in FORMATS.items()
    }
    twisteds = folder / "twisted"
    return {
        "no log": lambda: None,
        **rows,
        "text, by Twisted's own observer": lambda: textFileLogObserver(twisteds.open("a")),
        "json, by Twisted's own observer": lambda: jsonFileLogObserver(twisteds.open("a")),
    }


def _cost(observer: Any, count: int) -> float:
    """Processor time for a message, in microseconds."""
    logger: Any = False if observer is None else Logger("bench", observer=LogPublisher(observer))
    client = connect(Discard(), logger=logger)
    client.say("EHLO client.example")
    _send(client, MAX_LINES)  # so that whole batches are measured
    began = time.process_time()
    _send(client, count)
    return (time.process_time() - began) / count * 1e6


def _send(client: Client, count: int) -> None:
    for _ in range(count):
        for octets in _READS:
            client.protocol.dataReceived(octets)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=10 * MAX_LINES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        observers = _observers(Path(folder))
        found: dict[str, list[float]] = {name: [] for name in observers}
        for _ in range(given.rounds):
            for name, make in observers.items():
                found[name].append(_cost(make(), given.messages))
    least = {name: min(costs) for name, costs in found.items()}
    for name, cost in least.items():
        print(f"{name:34} {cost:6.1f} µs {cost - least['no log']:+6.1f} µs")


if __name__ == "__main__":
    main()

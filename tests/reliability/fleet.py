"""
The layout of the page "From one machine to many", on one machine: HAProxy, three receivers, Redis,
PostgreSQL. Mail comes in while one part after the other is killed; at the end every 250 is
accounted for.

Run it from a checkout: ``python -m tests.reliability.fleet --seconds 60``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import smtplib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.support.examples import EXAMPLES
from tests.support.services import Postgres, Redis, Service, freePort, isListening, need
from twisted_smtpserver.stores.postgres.__main__ import main as administer

ROOT = Path(__file__).parent.parent.parent

#: How long a sender waits for an answer, in seconds: longer than a store's deadline.
PATIENCE = 90

_BODY = "\r\n".join(["x" * 70] * 30)


class Receiver(Service):
    """One of the servers behind HAProxy."""

    def __init__(self, postgres: Postgres, redis: Redis) -> None:
        self.port = freePort()
        command = [
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "smtpserver"),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1", "--proxy-from", "127.0.0.1"),
            *("--postgres", postgres.dsn, "--shared-state", redis.url),
            *("--rate-messages", "100000000/h", "--ignored-hosts", "127.0.0.1"),
        ]
        super().__init__("receiver", lambda folder: command, {"PYTHONPATH": str(ROOT)}, "root")

    def begin(self) -> None:
        """Start it, maybe again."""
        self.start(lambda: isListening(self.port))


class HAProxy(Service):
    """What clients connect to."""

    def __init__(self, receivers: list[Receiver]) -> None:
        program = need("haproxy")
        self.port = freePort()
        path = EXAMPLES / "fleet" / "haproxy.cfg"
        places = {f"MX{n}": f"127.0.0.1:{each.port}" for n, each in enumerate(receivers, 1)}
        places["SMTP"] = f"127.0.0.1:{self.port}"
        command = [program, "-db", "-f", str(path)]
        super().__init__("haproxy", lambda folder: command, places, "root")

    def begin(self) -> None:
        """Start it, maybe again."""
        self.start(lambda: isListening(self.port))


class Fleet:
    """All of it."""

    def __init__(self) -> None:
        self.redis = Redis()
        self.postgres = Postgres()
        self.receivers = [Receiver(self.postgres, self.redis) for _ in range(3)]
        self.haproxy = HAProxy(self.receivers)

    @property
    def parts(self) -> dict[str, Receiver | HAProxy | Redis | Postgres]:
        """By name; in the order in which they are needed."""
        named = {f"receiver {n}": each for n, each in enumerate(self.receivers, 1)}
        return {"Redis": self.redis, "PostgreSQL": self.postgres, **named, "HAProxy": self.haproxy}

    def begin(self) -> None:
        """Start all."""
        for name, part in self.parts.items():
            part.begin()
            if name == "PostgreSQL":
                with contextlib.redirect_stdout(None):
                    assert administer(["--dsn", self.postgres.dsn, "migrate"]) == 0

    def stop(self) -> None:
        """End all."""
        for part in reversed(self.parts.values()):
            part.stop()

    def stored(self) -> Counter[str]:
        """How often each message is in the database, by its subject."""
        query = "SELECT parsed->>'subject', count(*) FROM mail GROUP BY 1"
        with psycopg.connect(self.postgres.dsn) as connection:
            return Counter(dict(connection.execute(query).fetchall()))


class Sender(threading.Thread):
    """
    A client as there are many: it keeps a message until it is told 250, and tries again.

    :ivar accepted: the subjects of messages answered 250, and when.
    :ivar unsure: those that were sent and not answered 250, at first: nobody knows whether they are
        there, so they may be there twice in the end.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True)
        self.accepted: dict[str, float] = {}
        self.unsure: set[str] = set()
        self.tries = 0
        self.isOver = False
        self._port = port
        self._name = name

    def run(self) -> None:
        """Until told otherwise."""
        numbers = itertools.count()
        subject = f"{self._name}-{next(numbers)}"
        while not self.isOver:
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE) as client:
                    client.ehlo()
                    for _ in range(20):  # messages over one connection
                        if self.isOver:
                            return
                        self._send(client, subject)
                        subject = f"{self._name}-{next(numbers)}"
            except (smtplib.SMTPException, OSError):
                time.sleep(0.05)

    def _send(self, client: smtplib.SMTP, subject: str) -> None:
        self.tries += 1
        # Not sendmail(): it says RSET, and QUIT, and the answer to the message is gone then.
        for command in (
            f"mail from:<{self._name}@example.org>",
            "rcpt to:<ann@example.com>",
            "data",
        ):
            code, text = client.docmd(command)
            if code >= 400:
                raise smtplib.SMTPResponseException(code, text)
        code, text = 0, b""
        try:
            client.send(f"Subject: {subject}\r\n\r\n{_BODY}\r\n.\r\n")
            code, text = client.getreply()
        finally:
            if code != 250:
                self.unsure.add(subject)
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)
        self.accepted[subject] = time.monotonic()


class Trial:
    """
    Mail under load, with kills.

    :param fleet: started.
    :param clients: how many senders.
    :ivar gaps: for each kill: what, and the longest time without any 250 until it was well again.
    """

    def __init__(self, fleet: Fleet, clients: int) -> None:
        self.gaps: list[tuple[str, float]] = []
        self._fleet = fleet
        self._senders = [Sender(fleet.haproxy.port, f"sender{n}") for n in range(clients)]
        self._begun = time.monotonic()

    @property
    def accepted(self) -> dict[str, float]:
        """All that was answered 250, and when."""
        return {
            subject: when for each in self._senders for subject, when in list(each.accepted.items())
        }

    def run(self, seconds: float, names: list[str]) -> None:
        """
        Send, and kill.

        :param seconds: how long; it is divided between the kills.
        :param names: the parts to kill, in order.
        """
        for sender in self._senders:
            sender.start()
        share = seconds / (len(names) + 1)
        self._until(lambda: len(self.accepted) >= len(self._senders))
        time.sleep(share / 2)
        for name in names:
            self._kill(name, share)
        time.sleep(share / 2)
        for sender in self._senders:
            sender.isOver = True
        for sender in self._senders:
            sender.join(PATIENCE)
            assert not sender.is_alive(), "a sender waits for longer than it may"

    def _kill(self, name: str, seconds: float) -> None:
        """Kill a part; start it again after a while; wait until mail goes on."""
        part = self._fleet.parts[name]
        begun = time.monotonic()
        part.kill()
        time.sleep(min(2.0, seconds / 3))
        part.begin()
        well = time.monotonic()
        self._until(lambda: any(when > well for when in self.accepted.values()))
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
        times = sorted(when for when in self.accepted.values() if when >= begun - 1)
        longest = max(later - earlier for earlier, later in itertools.pairwise(times))
        self.gaps.append((name, longest))

    def _until(self, isTrue: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not isTrue():
            assert time.monotonic() < deadline, "mail doesn't go on"
            time.sleep(0.02)

    def report(self) -> list[str]:
        """
        What happened, in lines.

        :raises AssertionError: if something was lost, or is there twice without a reason.
        """
        seconds = time.monotonic() - self._begun
        accepted = self.accepted
        stored = self._fleet.stored()
        unsure = {subject for each in self._senders for subject in each.unsure}
        lost = accepted.keys() - stored.keys()
        twice = {subject for subject, count in stored.items() if count > 1}
        assert not twice - unsure, f"there twice, though answered 250 at once: {twice - unsure}"
        assert not lost, f"{len(lost)} messages were answered 250 and aren't there: {sorted(lost)}"
        rate = len(accepted) / seconds
        lines = [
            f"{len(accepted)} messages answered 250, {rate:.0f}/s; all of them are there",
            f"{sum(each.tries for each in self._senders) - len(accepted)} tries that failed",
            f"{len(twice)} messages are there twice: the first answer was lost, or 451",
        ]
        lines += [f"{name} killed: {gap:.2f} s without a 250" for name, gap in self.gaps]
        return lines


def main(arguments: list[str]) -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fleet")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kill", nargs="*", help="names of parts; by default each of them")
    given = parser.parse_args(arguments)
    fleet = Fleet()
    try:
        fleet.begin()
        trial = Trial(fleet, given.clients)
        trial.run(given.seconds, list(fleet.parts) if given.kill is None else given.kill)
        sys.stdout.write("\n".join(trial.report()) + "\n")
    finally:
        fleet.stop()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main(sys.argv[1:])

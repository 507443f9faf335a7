"""The way of mail through PostgreSQL: two receivers and four consumers, one of each killed."""

from __future__ import annotations

import contextlib
import os
import smtplib
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.stores.postgres.database import startPostgres
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import Postgres, until
from twisted_smtpserver.stores.postgres.__main__ import main

ROOT = Path(__file__).parent.parent.parent


class Consumer:
    """
    One in a process of its own.

    :ivar lines: what it has said.
    """

    def __init__(self, dsn: str, table: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.consumer", dsn, table],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, word: str) -> list[str]:
        """The messages of which it has said this."""
        return [line.split()[1] for line in list(self.lines) if line.startswith(f"{word} ")]

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Sender(threading.Thread):
    """
    Sends messages to one server until told otherwise.

    :ivar accepted: the subjects of those answered 250.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self.accepted: list[str] = []
        self.isOver = False
        self._port = port
        self._name = name

    def run(self) -> None:
        """Until the server is gone, or enough was sent."""
        with contextlib.suppress(smtplib.SMTPServerDisconnected, ConnectionError):
            client = smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE)
            for number in range(100_000):
                if self.isOver:
                    break
                subject = f"{self._name}-{number}"
                body = f"Subject: {subject}\r\n\r\n{'x' * 70}\r\n"
                if not client.sendmail("joe@example.org", ["ann@example.com"], body):
                    self.accepted.append(subject)
            client.quit()


class KillTests(SynchronousTestCase):
    def test_oneOfEach(self) -> None:
        """What was answered 250 is consumed; what was acknowledged isn't consumed again."""
        postgres: Postgres = startPostgres()
        if not postgres.isRunning:  # another test has killed it
            postgres.begin()
        self.assertEqual(main(["--dsn", postgres.dsn, "--table", "killed", "migrate"]), 0)
        folder = Path(self.mktemp())
        flags = ["--postgres", postgres.dsn, "--postgres-table", "killed"]
        flags += ["--ignored-hosts", "127.0.0.1"]  # nobody reads the log
        servers = [LiveServer(folder / name, *flags) for name in ("one", "two")]
        for server in servers:
            self.addCleanup(server.__exit__)
        consumers = [Consumer(postgres.dsn, "killed") for _ in range(4)]
        for consumer in consumers:
            self.addCleanup(consumer.kill)
        senders = [
            Sender(server.port, f"{server.port}-{number}") for server in servers for number in "ab"
        ]
        for sender in senders:
            sender.start()
        until(lambda: all(len(sender.accepted) > 20 for sender in senders), "mail isn't accepted")
        until(lambda: all(consumer.said("done") for consumer in consumers), "nor consumed")
        consumers[0].kill()
        servers[0].kill()
        before = [len(sender.accepted) for sender in senders[2:]]
        until(
            lambda: all(len(s.accepted) > n + 20 for s, n in zip(senders[2:], before, strict=True)),
            "mail doesn't go on",
        )
        for sender in senders:
            sender.isOver = True
            sender.join(PATIENCE)
        accepted = {subject for sender in senders for subject in sender.accepted}
        self.assertGreater(len(accepted), 100)

        def missing() -> set[str]:
            return accepted - {done for consumer in consumers for done in consumer.said("done")}

        # The killed one may have had no time to say what it had acknowledged.
        until(lambda: missing() <= set(consumers[0].said("begun")[-1:]), f"lost: {missing()}")
        done = Counter(subject for consumer in consumers for subject in consumer.said("done"))
        self.assertEqual(set(done.values()), {1})
        begun = Counter(subject for consumer in consumers for subject in consumer.said("begun"))
        again = {subject for subject, count in begun.items() if count > 1}
        self.assertLessEqual(
            again, set(consumers[0].said("begun")) - set(consumers[0].said("done"))
        )

"""Tests for twisted_smtpserver.stores.postgres.consumer, with a real PostgreSQL."""

from __future__ import annotations

import ast
import asyncio
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.postgres.database import command, emptyDatabase
from tests.support.services import PATIENCE, until
from twisted_smtpserver import Session
from twisted_smtpserver.stores.postgres import ClaimLost, Mail, claim, consumer
from twisted_smtpserver.stores.postgres.record import Record
from twisted_smtpserver.stores.postgres.threads import Job
from twisted_smtpserver.stores.postgres.writing import Message, Writer


class ConsumerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.postgres = emptyDatabase()
        self.dsn = self.postgres.dsn

    def put(self, *subjects: str, size: int = 10) -> None:
        """Store messages."""
        writer = Writer(self.dsn, None, "mail", 10)
        with writer.connect() as connection:
            for subject in subjects:
                session = Session()
                session.newEnvelope()
                content = f"Subject: {subject}\r\n\r\n".encode() + b"x" * size
                message = Message(
                    Record.of(session), io.BytesIO(content), len(content), lambda: None
                )
                writer.write(message, connection, Job())

    def claim(self, **options: Any) -> consumer.Claims:
        return claim(self.dsn, wait=False, **options)

    def subjects(self, **options: Any) -> list[str]:
        return [subjectOf(mail) for mail in self.claim(**options)]

    def status(self) -> str:
        return command(self.postgres, "status")[1]

    def execute(self, statement: Any) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement)


def subjectOf(mail: Any) -> str:
    return str(mail.parsed["subject"])


class LoopTests(ConsumerCase):
    """The loop."""

    def test_order(self) -> None:
        """Messages come in order, whole, and once."""
        self.put("a", "b", "c", size=600_000)
        got = [(subjectOf(mail), len(mail.read()) == mail.size) for mail in self.claim()]
        self.assertEqual(got, [("a", True), ("b", True), ("c", True)])
        self.assertEqual(self.subjects(), [])
        self.assertEqual(self.status(), "waiting 0\ndead 0\ndone 3\n")

    def test_repr(self) -> None:
        """A message's text isn't in its repr, which may be logged."""
        self.put("secret")
        for mail in self.claim():
            self.assertNotIn("secret", repr(mail))

    def test_left(self) -> None:
        """A loop that was left has the message back when its visibility is over."""
        self.put("a")
        for _ in self.claim(visibility=0.3):
            break
        self.assertEqual(self.subjects(), [])
        until(lambda: self.subjects() == ["a"], "it doesn't come back")

    def test_raises(self) -> None:
        """So has one that an exception has left; a message that was settled before isn't there."""
        self.put("a", "b")
        for mail in self.claim():
            mail.acknowledge()
            break
        self.assertEqual(self.subjects(), ["b"])

    def test_fail(self) -> None:
        """A message that fails comes again later, and then becomes a dead letter."""
        self.put("a")
        for delay in (0, 0, None):
            for mail in self.claim(attempts=3):
                mail.fail("no\0reason", delay)
                if delay == 0:
                    break
        self.assertEqual(self.status(), "waiting 0\ndead 1\ndone 0\n")
        self.assertEqual(self.subjects(), [])
        self.assertEqual(command(self.postgres, "revive"), (0, "1 put back\n"))
        self.assertEqual(self.subjects(), ["a"])

    def test_delays(self) -> None:
        """Each time it comes later."""
        queue = consumer._Queue("mail", 1, 5)
        got = [queue.delayAfter(attempts) for attempts in (1, 2, 3, 99)]
        self.assertEqual(got, [10, 20, 40, 3600])

    def test_deadConsumers(self) -> None:
        """A message whose consumers all died becomes a dead letter, with the reason."""
        self.put("a")
        for _ in range(2):
            for _ in self.claim(attempts=2, visibility=0):
                break
        self.assertEqual(self.subjects(attempts=2), [])
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute("SELECT last_error FROM mail_queue").fetchone()
        self.assertEqual(found, ("its consumers ended without a word",))

    def test_lost(self) -> None:
        """Who took too long is told when he says so, and only warned by the loop."""
        for method in ("acknowledge", "fail", "extend", None):
            emptyDatabase()
            self.put("a")
            with self.assertLogs(consumer.__name__) if method is None else mock.MagicMock():
                for mail in self.claim(visibility=0):
                    self.assertEqual(self.subjects(), ["a"])  # another one has it
                    if method is not None:
                        self.assertRaises(ClaimLost, getattr(mail, method))
                        break

    def test_extend(self) -> None:
        """Who needs longer says so."""
        self.put("a")
        for mail in self.claim(visibility=60):
            self.execute("UPDATE mail_queue SET available_at = now()")
            mail.extend()
            self.assertEqual(self.subjects(), [])
        self.assertEqual(self.status(), "waiting 0\ndead 0\ndone 1\n")

    def test_badTable(self) -> None:
        """A table's name is one."""
        self.assertRaises(ValueError, claim, self.dsn, table="mail; DROP TABLE mail")

    def test_noConnection(self) -> None:
        """Who doesn't wait is told that the database is away."""
        claims = claim("postgresql://mail@127.0.0.1:1/x", wait=False)
        self.assertRaises(psycopg.OperationalError, list, claims)
        self.assertRaises(psycopg.OperationalError, lambda: asyncio.run(collect(claims)))


class WaitTests(ConsumerCase):
    """Those who wait."""

    def background(self, run: Callable[[list[str]], None]) -> list[str]:
        got: list[str] = []
        thread = threading.Thread(target=run, args=(got,), daemon=True)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        return got

    def test_woken(self) -> None:
        """A new message is told at once, over a lost connection too; one that is due, in time."""

        def run(got: list[str]) -> None:
            for mail in claim(self.dsn):
                got.append(subjectOf(mail))
                if got[-1] == "end":
                    mail.acknowledge()
                    return
                if got.count("again") == 1:
                    mail.fail(delay=0.2)

        self.check(run)

    def test_wokenAsync(self) -> None:
        """So it is with asyncio."""

        async def consume(got: list[str]) -> None:
            async for mail in claim(self.dsn):
                got.append(subjectOf(mail))
                if got[-1] == "end":
                    await mail.acknowledge()
                    return
                if got.count("again") == 1:
                    await mail.fail(delay=0.2)

        self.check(lambda got: asyncio.run(consume(got)))

    def check(self, run: Callable[[list[str]], None]) -> None:
        logging.getLogger(consumer.__name__).addHandler(logging.NullHandler())
        got = self.background(run)
        self.put("a")
        until(lambda: got == ["a"], "it isn't woken")
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        self.put("again")
        until(lambda: got == ["a", "again", "again"], "it doesn't come again")
        self.put("end")
        until(lambda: got[3:] == ["end"], "it isn't woken again")


class AsyncTests(ConsumerCase):
    """With asyncio."""

    def test_loop(self) -> None:
        """Messages come in order, whole, and once."""
        self.put("a", "b", size=600_000)
        self.assertEqual(asyncio.run(collect(self.claim())), ["a", "b"])
        self.assertEqual(self.status(), "waiting 0\ndead 0\ndone 2\n")

    def test_methods(self) -> None:
        """A message can be extended, fail, and get lost."""
        self.put("a")

        async def consume() -> None:
            async for mail in self.claim(visibility=0):
                await mail.extend()
                await mail.fail("later", 0)
                break
            async for mail in self.claim(visibility=0):
                self.assertEqual(await collect(self.claim()), ["a"])
                for method in (mail.extend, mail.fail, mail.acknowledge):
                    with self.assertRaises(ClaimLost):
                        await method()
            self.put("b")
            async for _ in self.claim(visibility=0):
                self.assertEqual(await collect(self.claim()), ["b"])

        with self.assertLogs(consumer.__name__):  # the loop only warns
            asyncio.run(consume())


async def collect(claims: Any) -> list[str]:
    got = []
    async for mail in claims:
        assert len(await mail.read()) == mail.size
        got.append(subjectOf(mail))
    return got


class ImportTests(SynchronousTestCase):
    def test_imports(self) -> None:
        """The consumer needs psycopg and the standard library only: it can be copied elsewhere."""
        assert consumer.__file__ is not None
        tree = ast.parse(Path(consumer.__file__).read_text())
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        self.assertIn("psycopg", names)
        self.assertEqual(names & {"twisted", "twisted_smtpserver", "zope", ""}, set())
        self.assertIs(Mail.__module__, consumer.__name__)

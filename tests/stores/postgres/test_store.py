"""PostgresStore, with a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.stores.postgres.database import command, emptyDatabase, startPostgres
from tests.stores.suite import StoreSuite
from twisted_smtpserver import ConfigurationError, Rejection, Session
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.postgres import PostgresStore, claim
from twisted_smtpserver.stores.postgres import store as module
from twisted_smtpserver.stores.postgres.writing import translated


class SuiteTests(StoreSuite, TestCase):
    """All that must be true of a store."""

    deadline = 4.0  # it is a bound for 25 MiB as well
    cuts = 5
    isSecondStart = False

    async def startService(self) -> int:
        """It runs for all tests, unless one has killed it."""
        self.postgres = startPostgres() if self.isSecondStart else emptyDatabase()
        self.isSecondStart = True
        if not self.postgres.isRunning:
            self.postgres.begin()
        return self.postgres.port

    async def killService(self) -> None:
        """Kill -9, where that is the point; otherwise the next test goes on with it."""
        if self._testMethodName in ("test_killed", "test_restarted"):
            self.postgres.kill()

    async def received(self) -> list[bytes]:
        """The messages, from the queue."""
        with psycopg.connect(self.postgres.dsn) as connection:
            rows = connection.execute(
                "SELECT string_agg(octets, '' ORDER BY n) FROM mail_body GROUP BY mail_id"
            )
            return [row[0] for row in rows]

    def makeStore(self, port: int) -> Any:
        """By way of the relay."""
        return PostgresStore(self.postgres.dsnAt(port), deadline=self.deadline)

    async def fillService(self) -> None:
        """Let the server say that its disk is full."""
        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$"
            )
            connection.execute("CREATE TRIGGER full_ BEFORE INSERT ON mail EXECUTE FUNCTION fill()")
            self.addCleanup(self.emptyService)

    async def emptyService(self) -> None:
        """Let it have space again."""
        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute("DROP FUNCTION IF EXISTS fill CASCADE")


class StoreCase(TestCase):
    """A store and its database."""

    def setUp(self) -> None:
        self.postgres = emptyDatabase()

    def make(self, **options: Any) -> PostgresStore:
        store = PostgresStore(self.postgres.dsn, **options)
        self.addCleanup(store.close)
        return store

    async def store(self, store: PostgresStore, content: bytes, session: Session) -> str:
        class Stream:
            async def __aiter__(self) -> Any:
                yield content

        stream: Any = Stream()
        return await store.onData(stream, session)

    def session(self) -> Session:
        session = Session()
        session.newEnvelope()
        return session

    def rows(self, what: str) -> list[Any]:
        with psycopg.connect(self.postgres.dsn) as connection:
            statement: Any = f"SELECT {what} FROM mail"
            return [row[0] for row in connection.execute(statement)]


class ContentTests(StoreCase):
    """What is there of a message."""

    async def test_columns(self) -> None:
        """Envelope, session, header fields and parsed view can be asked for; NUL is no trouble."""
        session = self.session()
        session.hostNameAppearsAs = "a\0b\ud800"
        session.user = b"jo\xffe"
        await self.store(self.make(), b"Subject: =?utf-8?q?h=C3=A9?=\r\n\r\nt\0xt\r\n", session)
        (mail,) = claim(self.postgres.dsn, wait=False)
        self.assertEqual(mail.envelope_id, session.envelope.id)
        self.assertEqual(mail.envelope["hostNameAppearsAs"], "a\ufffdb?")
        self.assertEqual(mail.envelope["user"], "jo\ufffde")
        self.assertIn(["Subject", "hé"], mail.headers)
        assert mail.parsed is not None
        self.assertEqual(mail.parsed["subject"], "hé")
        self.assertTrue(mail.parsed["isWhole"])
        self.assertTrue(self.rows("size > 0")[0])

    async def test_once(self) -> None:
        """The same message of the same envelope is stored once; a large one, too."""
        for content in (b"a", b"Subject: x\r\n\r\n" + b"y" * 2**20 * 2):
            session, store = self.session(), self.make()
            with self.sameTrace():
                for _ in range(2):
                    text = await self.store(store, content, session)
                    self.assertEqual(text, f"Message stored as {session.envelope.id}")
        self.assertEqual(len(self.rows("id")), 2)
        self.assertEqual(self.rows("parsed->'isWhole'"), [True, False])
        self.assertEqual(self.rows("parsed->'subject'"), ["", "x"])

    def sameTrace(self) -> Any:
        self.patch(module, "receivedHeader", lambda session, hostName: b"Received: x\r\n")
        return capturedLogs()

    async def test_retention(self) -> None:
        """What was consumed long ago is deleted, now and then."""
        await self.store(self.make(), b"a", self.session())
        list(claim(self.postgres.dsn, wait=False))
        store = self.make(retention=0.0)
        await self.store(store, b"b", self.session())
        await self.until(lambda: len(self.rows("id")) == 1)
        list(claim(self.postgres.dsn, wait=False))
        await self.store(store, b"c", self.session())  # not every time
        self.assertEqual(self.rows("done_at IS NULL"), [False, True])

    async def test_tableGone(self) -> None:
        """A table that was dropped is told as such, by its own error."""
        store = self.make(table="gone", retention=0.0)
        self.assertEqual(command(self.postgres, "--table", "gone", "migrate")[0], 0)
        await store.check()
        with psycopg.connect(self.postgres.dsn) as connection:
            connection.execute("DROP TABLE gone CASCADE")
        with capturedLogs() as events:
            with self.assertRaises(Rejection):
                await self.store(store, b"a", self.session())
            store._sweep()
            await self.until(lambda: len(events) > 1)
        for event in events:
            self.assertIn('PostgreSQL: 42P01 relation "gone" does not exist', formatEvent(event))

    async def test_password(self) -> None:
        """A password that is given by itself goes to the database, and nowhere else."""
        store = self.make(password="secret")  # which nobody asks for here
        with capturedLogs() as events:
            await store.check()
        self.assertEqual(events, [])
        self.assertNotIn("secret", repr(store))

    async def test_retentionFails(self) -> None:
        """If that fails the log says so, and mail goes on."""
        store = self.make(retention=0.0)
        self.patch(store._writer, "expire", lambda *arguments: 1 / 0)
        with capturedLogs() as events:
            await self.store(store, b"a", self.session())
            await self.until(lambda: events)
        text = formatEvent(events[-1])
        self.assertIn("old messages can't be deleted: ZeroDivisionError", text)

    async def until(self, isTrue: Any) -> None:
        for _ in range(500):
            if isTrue():
                return
            await deferLater(reactor, 0.02)
        self.fail("it doesn't happen")


class StartTests(StoreCase):
    """What a user gets wrong."""

    async def test_noTables(self) -> None:
        """Without the tables the log names the command that makes them."""
        with capturedLogs() as events:
            await self.make(table="other").check()
        text = formatEvent(events[-1])
        self.assertIn("the table other isn't there: run python -m", text)
        self.assertIn("--table other migrate", text)

    async def test_oldTables(self) -> None:
        """Likewise if they are of an older version."""
        self.assertEqual(command(self.postgres, "--table", "old", "migrate")[0], 0)
        with psycopg.connect(self.postgres.dsn) as connection:
            connection.execute("UPDATE old_schema SET version = 0")
        with capturedLogs() as events:
            await self.make(table="old").check()
        self.assertIn("the table old isn't there", formatEvent(events[-1]))

    async def test_good(self) -> None:
        """All is well: nothing is said."""
        with capturedLogs() as events:
            await self.make().check()
        self.assertEqual(events, [])
        await self.make().ready()

    async def test_away(self) -> None:
        """A database that isn't there is no reason not to start; the log has no password."""
        store = PostgresStore("postgresql://joe:secret@127.0.0.1:1/x")
        self.addCleanup(store.close)
        with capturedLogs() as events:
            await store.check()
        text = formatEvent(events[-1])
        self.assertIn("<PostgresStore mail in x at 127.0.0.1:1> can't be used", text)
        self.assertIn("Connection refused", text)
        self.assertNotIn("secret", repr(events))
        with self.assertRaises(Unavailable):
            await store.ready()


class ConfigurationTests(SynchronousTestCase):
    def test_nonsense(self) -> None:
        """A DSN or a table that makes no sense is refused, without what may be a password."""
        for arguments, text in (
            (("secret",), "the DSN isn't valid: write postgresql://"),
            (("", "Mail"), "'Mail' is not a table name"),
            (("", "a.b.c"), "'a.b.c' is not a table name"),
            (("", "m; DROP"), "'m; DROP' is not a table name"),
        ):
            error = self.assertRaises(ConfigurationError, PostgresStore, *arguments)
            self.assertIn(text, str(error))
            self.assertNotIn("secret", str(error))

    def test_repr(self) -> None:
        """It says where it stores, and no more."""
        for dsn, where in (
            ("", "the default database at localhost"),
            ("postgresql://joe:secret@h:7/d", "d at h:7"),
            ("hostaddr=192.0.2.1 dbname=d", "d at 192.0.2.1"),
        ):
            self.assertEqual(repr(PostgresStore(dsn)), f"<PostgresStore mail in {where}>")

    def test_reason(self) -> None:
        """What the database says of a statement's data doesn't reach the log."""
        self.assertIsInstance(translated(psycopg.OperationalError("gone")), Unavailable)
        error = ValueError("mine")
        self.assertIs(translated(error), error)
        with psycopg.connect(emptyDatabase().dsn) as connection:
            failed = self.assertRaises(
                psycopg.errors.InvalidTextRepresentation, connection.execute, "SELECT 'secret'::int"
            )
        self.assertIn("secret", str(failed))
        reason = str(translated(failed))
        self.assertEqual(reason, "PostgreSQL: 22P02 InvalidTextRepresentation")

    def test_stopped(self) -> None:
        """What ends because the server stops isn't told."""
        with capturedLogs() as events:
            PostgresStore("")._tell(Failure(CancelledError()), "{reason}")
        self.assertEqual(events, [])

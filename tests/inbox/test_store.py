"""The messages in SQLite."""

from __future__ import annotations

import base64
import os
import sqlite3
import stat

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.inbox import queries
from twisted_smtpserver.inbox import store as storage
from twisted_smtpserver.inbox.contents import PIECE, MessageGone
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.search import Condition, parseSearch
from twisted_smtpserver.inbox.store import (
    MessageStore,
    TooLargeForInbox,
    identifiers,
)

ENVELOPE = Envelope("ann@example.org", ("bob@example.net",))
EVERYTHING = Condition()


def message(subject: str, size: int = 0) -> bytes:
    return f"Subject: {subject}\r\n\r\n{'x' * size}\r\n".encode()


def subjects(store: MessageStore, search: str = "") -> list[str]:
    page = store.page(parseSearch(search), 0, 1000)
    return [each["Subject"] for each in page["messages"]]


class PageTests(SynchronousTestCase):
    def test_order(self) -> None:
        """The newest is the first; start and limit give a part; the counts are of all."""
        store = MessageStore()
        for number in range(5):
            store.add(message(str(number)), ENVELOPE)
        page = store.page(EVERYTHING, 1, 2)
        self.assertEqual([each["Subject"] for each in page["messages"]], ["3", "2"])
        self.assertEqual((page["total"], page["unread"], page["messages_count"]), (5, 5, 5))
        self.assertEqual((page["start"], page["count"]), (1, 2))

    def test_limit(self) -> None:
        """A page has a bound, whatever is asked for."""
        self.patch(storage, "MAX_PAGE", 3)
        store = MessageStore()
        for number in range(5):
            store.add(message(str(number)), ENVELOPE)
        self.assertEqual(store.page(EVERYTHING, 0, 10**9)["count"], 3)

    def test_unread(self) -> None:
        """Looking at a message makes it read; of a search the unread are counted, too."""
        store = MessageStore()
        first = store.add(message("a"), ENVELOPE)
        store.add(message("b"), ENVELOPE)
        store.message(first["ID"])
        page = store.page(parseSearch("subject:b"), 0, 10)
        self.assertEqual((page["messages_unread"], page["unread"]), (1, 1))
        self.assertEqual(subjects(store, "is:unread"), ["b"])


class BoundTests(SynchronousTestCase):
    def test_messages(self) -> None:
        """Beyond the number the oldest go, with all that belongs to them; the log says so once."""
        store = MessageStore(maxMessages=3)
        with capturedLogs() as events:
            for number in range(10):
                store.add(message(f"number {number}") + b"X", ENVELOPE)
        [event] = events
        self.assertIn("The inbox is full (3 messages, ", formatEvent(event))
        self.assertEqual(subjects(store), ["number 9", "number 8", "number 7"])
        self.assertEqual(subjects(store, "number"), ["number 9", "number 8", "number 7"])

    def test_octets(self) -> None:
        """Likewise beyond the octets, as many as it takes."""
        store = MessageStore(maxOctets=50_000)
        for number in range(5):
            store.add(message(str(number), 500), ENVELOPE)
        store.add(message("large", 4000), ENVELOPE)
        store.add(message("larger", 4500), ENVELOPE)
        self.assertEqual(subjects(store)[0], "larger")
        self.assertNotIn("0", subjects(store))
        self.assertLessEqual(store.counts()["Octets"], 50_000)

    def test_tooLarge(self) -> None:
        """A message that never fits pushes nothing out."""
        store = MessageStore(maxOctets=50_000)
        store.add(message("small"), ENVELOPE)
        with self.assertRaises(TooLargeForInbox):
            store.add(message("large", 60_000), ENVELOPE)
        self.assertEqual(subjects(store), ["small"])


class PieceTests(SynchronousTestCase):
    """What is large is cut into pieces: of a value there are several copies, whoever touches it."""

    def test_rows(self) -> None:
        """No value in the database is larger than a piece, but for the texts, which are bounded."""
        store = MessageStore()
        octets = b"".join(map(bytes, [[n % 251] * 997 for n in range(500)]))
        content = base64.encodebytes(octets)
        head = b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n"
        raw = head.replace(b"\n", b"\r\n") + content.replace(b"\n", b"\r\n")
        store.add(raw, ENVELOPE)
        database = store._database
        names = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'"
        for (table,) in database.execute(names).fetchall():
            for row in database.execute(f"SELECT * FROM {table}"):
                longest = max(len(each) for each in (*row, "") if isinstance(each, str | bytes))
                self.assertLessEqual(longest, PIECE, table)
        for content_, expected in (
            (store.contents.raw("latest"), raw),
            (store.contents.part("latest", "1"), octets),
        ):
            assert content_ is not None
            found = [store.contents.piece(content_, n) for n in range(0, content_.size, PIECE)]
            self.assertEqual(b"".join(found), expected)

    def test_gone(self) -> None:
        """Of a message that is deleted there are no pieces, and nobody else's instead."""
        store = MessageStore()
        store.add(message("a"), ENVELOPE)
        content = store.contents.raw("latest")
        assert content is not None
        store.delete(EVERYTHING)
        store.add(message("b"), ENVELOPE)
        self.assertRaises(MessageGone, store.contents.piece, content, 0)
        self.assertIsNone(store.contents.sender(content))

    def test_temporary(self) -> None:
        """What isn't kept isn't in the memory, where a journal would be, too: it is in a file."""
        store = MessageStore()
        [(mode,)] = store._database.execute("PRAGMA journal_mode")
        self.assertEqual(mode, "delete")


class ChangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MessageStore()
        self.ids = [self.store.add(message(name), ENVELOPE)["ID"] for name in "abc"]

    def test_delete(self) -> None:
        """Some, by id or by search, or all; nothing of them is left."""
        self.assertEqual(self.store.delete(identifiers([self.ids[0], "nobody"])), 1)
        self.assertEqual(subjects(self.store), ["c", "b"])
        self.assertEqual(self.store.delete(parseSearch("subject:b")), 1)
        self.assertEqual(self.store.delete(EVERYTHING), 1)
        self.assertEqual(self.store.counts(), {"Total": 0, "Unread": 0, "Octets": 0})

    def test_deleteMany(self) -> None:
        """More than one statement's worth."""
        self.patch(queries, "_BATCH", 2)
        self.assertEqual(self.store.delete(EVERYTHING), 3)

    def test_tags(self) -> None:
        """They are set, counted, renamed into others, and removed."""
        self.store.setTags(identifiers(self.ids[:2]), ["Work", "home"])
        self.assertEqual(self.store.tags(), {"Work": 2, "home": 2})
        self.assertTrue(self.store.renameTag("WORK", "home"))
        self.assertEqual(self.store.tags(), {"home": 2})
        self.assertTrue(self.store.renameTag("home", None))
        self.assertFalse(self.store.renameTag("home", None))
        self.assertEqual(self.store.page(EVERYTHING, 0, 1)["tags"], [])

    def test_manyTags(self) -> None:
        """So many are told, and no more."""
        self.patch(storage, "MAX_TAGS_TOLD", 2)
        self.store.setTags(identifiers(self.ids), ["a", "b", "c"])
        self.assertEqual(self.store.tags(), {"a": 3, "b": 3})
        self.assertEqual(self.store.page(EVERYTHING, 0, 1)["tags"], ["a", "b"])

    def test_setTags(self) -> None:
        """Setting them replaces those that there were."""
        self.store.setTags(identifiers(self.ids), ["a"])
        self.store.setTags(identifiers(self.ids), ["b"])
        self.assertEqual(self.store.tags(), {"b": 3})

    def test_missing(self) -> None:
        """What isn't there is nothing, in every way of asking."""
        self.assertIsNone(self.store.message("none"))
        self.assertIsNone(self.store.contents.raw("none"))
        self.assertIsNone(self.store.contents.text("none"))
        self.assertIsNone(self.store.contents.html("none"))
        self.assertIsNone(self.store.contents.headers("none"))
        self.assertIsNone(self.store.contents.part("none", "1"))
        self.assertIsNone(self.store.contents.part(self.ids[0], "7"))

    def test_failure(self) -> None:
        """What fails halfway is undone, and the counts with it."""
        before = self.store.counts()
        self.patch(self.store, "_makeRoom", lambda database: database.execute("this is not SQL"))
        with self.assertRaises(sqlite3.Error):
            self.store.add(message("d"), ENVELOPE)
        self.assertEqual(self.store.counts(), before)
        self.assertEqual(subjects(self.store), ["c", "b", "a"])

    def test_rolledBack(self) -> None:
        """SQLite may have rolled back by itself, when a disk is full for example."""

        def fail(database: sqlite3.Connection) -> None:
            database.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk is full")

        self.patch(self.store, "_makeRoom", fail)
        with self.assertRaisesRegex(sqlite3.Error, "full"):
            self.store.add(message("d"), ENVELOPE)
        self.assertEqual(subjects(self.store), ["c", "b", "a"])


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()

    def open(self) -> MessageStore:
        store = MessageStore(self.path)
        self.addCleanup(store.close)
        return store

    def fails(self, text: str) -> None:
        with self.assertRaisesRegex(ConfigurationError, text):
            MessageStore(self.path)

    def test_kept(self) -> None:
        """What is in a file is there after a restart; nobody else may read it."""
        store = self.open()
        store.add(message("kept"), ENVELOPE)
        octets = store.counts()["Octets"]
        store.close()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        again = self.open()
        self.assertEqual(subjects(again, "kept"), ["kept"])
        self.assertEqual(again.counts(), {"Total": 1, "Unread": 1, "Octets": octets})

    def test_durable(self) -> None:
        """SQLite syncs each message before it is answered."""
        store = self.open()
        self.assertEqual(store._database.execute("PRAGMA synchronous").fetchone(), (2,))

    def test_shrinks(self) -> None:
        """Deleted messages give their space back."""
        store = self.open()
        for _ in range(5):
            store.add(message("large", 200_000), ENVELOPE)
        store.delete(EVERYTHING)
        store.close()
        self.assertLess(os.path.getsize(self.path), 300_000)

    def test_twice(self) -> None:
        """Two servers can't use one file: the second says so."""
        self.open()
        self.fails("another server uses this inbox; choose another file")

    def test_foreign(self) -> None:
        """A file of another program isn't touched, whether it is a database or not."""
        with sqlite3.connect(self.path) as database:
            database.execute("CREATE TABLE theirs (x)")
        database.close()
        self.fails("another program")
        with open(self.path, "wb") as file:
            file.write(b"their text " * 1000)
        self.fails("not a database")

    def test_version(self) -> None:
        """Nor is one of another version."""
        self.open().close()
        with sqlite3.connect(self.path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        self.fails("another version")

    def test_noFolder(self) -> None:
        """A path that can't be opened is an error that says why."""
        self.path = os.path.join(self.path, "inbox.db")
        self.fails("No such file or directory")

    def test_noTrigrams(self) -> None:
        """A Python with an old SQLite is told what it takes."""
        self.patch(
            __import__("twisted_smtpserver.inbox.schema", fromlist=["x"]),
            "_TABLES",
            "CREATE VIRTUAL TABLE words USING fts5 (content, tokenize = 'quadgram')",
        )
        self.fails("SQLite 3.34 or newer")

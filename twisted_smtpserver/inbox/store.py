"""
The messages of the inbox, in SQLite: in a file, or until it ends.

Every method blocks, may be called in any thread, and does its work in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.logger import Logger

from twisted_smtpserver.inbox.contents import Contents
from twisted_smtpserver.inbox.deadline import deadline
from twisted_smtpserver.inbox.queries import batches, find, marks, withTags
from twisted_smtpserver.inbox.rows import Envelope, insertEntry, makeEntry
from twisted_smtpserver.inbox.schema import KEYED, openDatabase
from twisted_smtpserver.inbox.search import Condition
from twisted_smtpserver.inbox.tags import tagsOf
from twisted_smtpserver.message.parsed import parseMessage

_log = Logger()

__all__ = ["MessageStore", "TooLargeForInbox"]

#: How many messages are kept, and how many octets they may take, by default.
DEFAULT_MESSAGES = 10_000
DEFAULT_OCTETS = 256 * 2**20

#: The most rows of one page of the list, and the most tags that are listed.
MAX_PAGE = 250
MAX_TAGS_TOLD = 1000


class TooLargeForInbox(Exception):
    """The message alone is larger than the whole inbox may be."""


class MessageStore:
    """
    Keeps the newest messages.

    :param path: the database's file, created if need be; ``None`` keeps them until it ends.
    :param maxMessages: how many messages are kept; if there are more, the oldest are deleted.
    :param maxOctets: how many octets the messages may take in the database, about; if they take
        more, the oldest are deleted.
    :param clock: the time, in seconds since 1970.
    :ivar contents: what is in each message.
    :raises ConfigurationError: if the file can't be used.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        maxMessages: int = DEFAULT_MESSAGES,
        maxOctets: int = DEFAULT_OCTETS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.maxMessages = maxMessages
        self.maxOctets = maxOctets
        self._clock = clock
        self._lock = threading.Lock()
        self._database = openDatabase(path)
        # If a program forgets the store, or ends, no journal is left.
        weakref.finalize(self, self._database.close)
        self.contents = Contents(self._database, self._lock)
        self._isFull = False
        # No other process writes, so counts that would need a scan of the table are kept here.
        self._total, self._octets = self._database.execute(
            "SELECT count(*), coalesce(sum(stored), 0) FROM message"
        ).fetchone()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            before = self._total, self._octets
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._total, self._octets = before
                # After some errors SQLite has rolled back by itself.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    # -- Writing -----------------------------------------------------------------------------------

    def add(self, raw: bytes, envelope: Envelope) -> dict[str, Any]:
        """
        Parse a message and store it; the oldest go, if there are too many.

        :param raw: as it was received.
        :param envelope: what came with it.
        :returns: its row in the list.
        :raises TooLargeForInbox: if there is no room for it however many are deleted.
        :raises sqlite3.Error: if it can't be stored.
        """
        message = parseMessage(raw)
        entry = makeEntry(raw, message, envelope, self._clock())
        if entry.stored > self.maxOctets:
            raise TooLargeForInbox
        tags = (*envelope.tags, *tagsOf(message.headers.get("X-Tags").split(",")))
        with self._transaction() as database:
            _addTags(database, [insertEntry(database, entry)], tags)
            self._total += 1
            self._octets += entry.stored
            self._makeRoom(database)
        return entry.summary | {"Tags": sorted(set(tags))}

    def _makeRoom(self, database: sqlite3.Connection) -> None:
        total, octets = self._total, self._octets
        surplus: list[int] = []
        oldest = database.execute("SELECT seq, stored FROM message ORDER BY seq")
        while total > self.maxMessages or octets > self.maxOctets:
            seq, stored = next(oldest)
            surplus.append(seq)
            total -= 1
            octets -= stored
        self._remove(database, surplus)
        if surplus and not self._isFull:
            self._isFull = True
            _log.info(
                "The inbox is full ({messages} messages, {octets} octets): the oldest are deleted "
                "from now on; --inbox-max and --inbox-size set how many it keeps",
                messages=self._total,
                octets=self._octets,
            )

    def _remove(self, database: sqlite3.Connection, numbers: Sequence[int]) -> None:
        for batch in batches(numbers):
            places = marks(batch)
            (octets,) = database.execute(
                f"SELECT coalesce(sum(stored), 0) FROM message WHERE seq IN ({places})", batch
            ).fetchone()
            for table, key in KEYED:
                database.execute(f"DELETE FROM {table} WHERE {key} IN ({places})", batch)
            self._total -= len(batch)
            self._octets -= octets
        if numbers and not self._total:  # the index keeps the deleted until it is merged
            database.execute("INSERT INTO words (words) VALUES ('optimize')")

    def delete(self, condition: Condition) -> int:
        """
        Delete messages.

        :param condition: which.
        :returns: how many there were.
        """
        with self._transaction() as database:
            with deadline(database):
                numbers = _numbers(database, condition)
            self._remove(database, numbers)
        return len(numbers)

    def markRead(self, condition: Condition, isRead: bool) -> None:
        """
        Mark messages as read, or as unread.

        :param condition: which.
        :param isRead: what they are from now on.
        """
        with self._transaction() as database, deadline(database):
            database.execute(
                f"UPDATE message SET read = ? WHERE {condition.sql}",
                (int(isRead), *condition.arguments),
            )

    def setTags(self, condition: Condition, tags: Sequence[str]) -> None:
        """
        Give messages these tags, instead of those that they have.

        :param condition: which.
        :param tags: as :func:`~twisted_smtpserver.inbox.tags.tagsOf` makes them.
        """
        with self._transaction() as database:
            numbers = _numbers(database, condition)
            for batch in batches(numbers):
                database.execute(f"DELETE FROM tag WHERE seq IN ({marks(batch)})", batch)
            _addTags(database, numbers, tags)

    def renameTag(self, old: str, new: str | None) -> bool:
        """
        Rename a tag, or remove it from all messages.

        :param old: its name, in any case.
        :param new: its new name; ``None`` to remove it.
        :returns: whether there is such a tag.
        """
        with self._transaction() as database:
            numbers = [n for (n,) in database.execute("SELECT seq FROM tag WHERE name = ?", (old,))]
            database.execute("DELETE FROM tag WHERE name = ?", (old,))
            if new is not None:
                _addTags(database, numbers, [new])
        return bool(numbers)

    # -- Reading -----------------------------------------------------------------------------------

    def page(self, condition: Condition, start: int, limit: int) -> dict[str, Any]:
        """
        A part of the list, the newest message first.

        :param condition: which messages.
        :param start: how many to leave out.
        :param limit: how many to give; at most :data:`MAX_PAGE`.
        """
        where, arguments = condition.sql, condition.arguments
        with self._lock, deadline(self._database):
            rows = self._database.execute(
                "SELECT seq, read, summary FROM message"
                f" WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
                (*arguments, min(limit, MAX_PAGE), start),
            ).fetchall()
            if condition.clauses:
                found, unread = self._database.execute(
                    f"SELECT count(*), coalesce(sum(read = 0), 0) FROM message WHERE {where}",
                    arguments,
                ).fetchone()
            else:
                found, unread = self._total, self._unread()
            messages = withTags(self._database, rows)
            return {
                "messages": messages,
                "messages_count": found,
                "messages_unread": unread,
                "count": len(messages),
                "start": start,
                "total": self._total,
                "unread": self._unread(),
                "tags": self._tagNames(),
                "problems": condition.problems,
            }

    def message(self, identifier: str) -> tuple[dict[str, Any], bool] | None:
        """
        A whole message, which is read from now on.

        :param identifier: its id, or ``"latest"``.
        :returns: and whether it was unread; ``None`` if there is no such message.
        """
        with self._transaction() as database:
            row = find(database, identifier, "seq, read, summary")
            if row is None:
                return None
            database.execute("UPDATE message SET read = 1 WHERE seq = ?", (row[0],))
            [summary] = withTags(database, [row])
            text, html, detail = database.execute(
                "SELECT text, html, detail FROM body WHERE seq = ?", (row[0],)
            ).fetchone()
            parts = database.execute(
                "SELECT inline, number, fileName, contentType, contentId, size, checksums"
                " FROM part WHERE seq = ? ORDER BY number",
                (row[0],),
            ).fetchall()
        for name in ("Created", "Read", "Snippet", "Attachments"):
            del summary[name]
        whole: dict[str, Any] = summary | json.loads(detail)
        whole |= {"Text": text, "HTML": html}
        whole["Attachments"] = [_attachment(part) for part in parts if not part[0]]
        whole["Inline"] = [_attachment(part) for part in parts if part[0]]
        return whole, not row[1]

    def tags(self) -> dict[str, int]:
        """The tags, and how many messages have each; at most :data:`MAX_TAGS_TOLD` of them."""
        with self._lock:
            rows = self._database.execute(
                "SELECT name, count(*) FROM tag GROUP BY name LIMIT ?", (MAX_TAGS_TOLD,)
            ).fetchall()
        return dict(rows)

    def counts(self) -> dict[str, int]:
        """Count the messages, the unread ones, and the octets that they take."""
        with self._lock:
            return {"Total": self._total, "Unread": self._unread(), "Octets": self._octets}

    def _unread(self) -> int:
        (unread,) = self._database.execute("SELECT count(*) FROM message WHERE read = 0").fetchone()
        return int(unread)

    def _tagNames(self) -> list[str]:
        rows = self._database.execute(
            "SELECT DISTINCT name FROM tag ORDER BY name LIMIT ?", (MAX_TAGS_TOLD,)
        )
        return [name for (name,) in rows]


def identifiers(ids: Sequence[str]) -> Condition:
    """
    The condition that a message is one of these.

    :param ids: their ids.
    """
    # JSON, since the number of question marks is limited.
    return Condition(["id IN (SELECT value FROM json_each(?))"], [json.dumps(list(ids))])


def _numbers(database: sqlite3.Connection, condition: Condition) -> list[int]:
    select = f"SELECT seq FROM message WHERE {condition.sql}"
    return [number for (number,) in database.execute(select, condition.arguments)]


def _addTags(database: sqlite3.Connection, numbers: Sequence[int], tags: Sequence[str]) -> None:
    database.executemany(
        "INSERT OR IGNORE INTO tag VALUES (?, ?)", [(n, tag) for n in numbers for tag in tags]
    )


def _attachment(row: tuple[Any, ...]) -> dict[str, Any]:
    _, number, fileName, contentType, contentId, size, checksums = row
    return {
        "PartID": str(number),
        "FileName": fileName,
        "ContentType": contentType,
        "ContentID": contentId,
        "Size": size,
        "Checksums": json.loads(checksums),
    }

"""Come again."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.wire.ip import addressBlock

_log = Logger()


class Greylist(SMTPHandler):
    """
    Refuses a client's first try to send from an address to another one for a while (RFC 6647); who
    comes again is let in, and is remembered. Those who have logged in aren't asked to. While the
    database can't be used everybody is let in, and the log says why.

    :param path: an SQLite database, which is created if need be.
    :param delay: how long the first try is refused, in seconds.
    :param window: who doesn't come again in this time is new again.
    :param remember: for how long who came again is known, after the last message.
    :param maxEntries: how many are kept; of more, those that would expire first are forgotten.
    :param clock: the time, in seconds since 1970: the table survives restarts.
    :param runInThread: where the disk is waited for; by default the reactor's thread pool.
    :raises sqlite3.Error: if the database can't be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        delay: float = 300,
        window: float = 2 * 86400,
        remember: float = 35 * 86400,
        maxEntries: int = 1_000_000,
        clock: Callable[[], float] = time.time,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self._path = os.path.abspath(path)
        self._delay = delay
        self._window = window
        self._remember = remember
        self._maxEntries = maxEntries
        self._clock = clock
        self._runInThread = runInThread
        self._lock = threading.Lock()
        # Used by one thread at a time, and in no transaction that lasts.
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")  # what a crash loses, comes again
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS greylist (client TEXT, sender TEXT, recipient TEXT,"
            " expires REAL, first REAL, PRIMARY KEY (client, sender, recipient)) WITHOUT ROWID"
        )
        self._database.execute("CREATE INDEX IF NOT EXISTS expiry ON greylist (expires)")
        # Counting takes a walk through the table.
        (self._entries,) = self._database.execute("SELECT count(*) FROM greylist").fetchone()

    async def onRcptTo(self, address: Address, session: Session) -> None:
        """450 4.7.1, the first time."""
        sender = session.envelope.mailFrom
        if session.user is not None or session.remoteAddress is None or sender is None:
            return
        key = (str(addressBlock(session.remoteAddress)), sender.address, address.address)
        try:
            isKnown = await self._runInThread(self._isKnown, key)
        except sqlite3.Error as error:
            # A disk that is full, or a damaged file, mustn't keep anybody's mail out.
            _log.error("Greylist {path}: {error}", path=self._path, error=error)
            return
        if not isKnown:
            raise Rejection("Greylisted, try again later", 450, "4.7.1")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _isKnown(self, key: tuple[str, str, str]) -> bool:
        now = self._clock()
        where = "WHERE client = ? AND sender = ? AND recipient = ?"
        with self._lock:
            self._entries -= self._database.execute(
                "DELETE FROM greylist WHERE expires < ?", (now,)
            ).rowcount
            found = self._database.execute(f"SELECT first FROM greylist {where}", key).fetchone()
            if found is None:
                self._insert(key, now)
                return False
            if now - found[0] < self._delay:
                return False
            expires = now + self._remember
            self._database.execute(f"UPDATE greylist SET expires = ? {where}", (expires, *key))
            return True

    def _insert(self, key: tuple[str, str, str], now: float) -> None:
        values = (*key, now + self._window, now)
        # Another process with the same file may have done so since we looked.
        self._entries += self._database.execute(
            "INSERT OR IGNORE INTO greylist VALUES (?, ?, ?, ?, ?)", values
        ).rowcount
        surplus = self._entries - self._maxEntries
        if surplus > 0:
            self._entries -= self._database.execute(
                "DELETE FROM greylist WHERE (client, sender, recipient) IN (SELECT client, sender,"
                " recipient FROM greylist ORDER BY expires LIMIT ?)",
                (surplus,),
            ).rowcount

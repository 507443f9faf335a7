"""Refuses the first attempt of each unknown client, sender and recipient."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.wire.ip import addressBlock, addressNetwork

_log = Logger()

# How many expired entries one call forgets.
_FORGOTTEN_AT_ONCE = 100

# The entries of each client and each network are counted, so that the largest is found at once.
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS greylist (client TEXT, sender TEXT, recipient TEXT,
        expires REAL, first REAL, PRIMARY KEY (client, sender, recipient)) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS expiry ON greylist (expires)",
    "CREATE INDEX IF NOT EXISTS oldest ON greylist (client, expires)",
    """
    CREATE TABLE IF NOT EXISTS clients
        (client TEXT PRIMARY KEY, network TEXT, entries INTEGER) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS largest_client ON clients (network, entries)",
    "CREATE TABLE IF NOT EXISTS networks (network TEXT PRIMARY KEY, entries INTEGER) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS largest_network ON networks (entries)",
    "CREATE TABLE IF NOT EXISTS total (entries INTEGER)",
    """
    CREATE TRIGGER IF NOT EXISTS inserted AFTER INSERT ON greylist BEGIN
        UPDATE clients SET entries = entries + 1 WHERE client = new.client;
        INSERT OR IGNORE INTO networks
            SELECT network, 0 FROM clients WHERE client = new.client;
        UPDATE networks SET entries = entries + 1
            WHERE network = (SELECT network FROM clients WHERE client = new.client);
        UPDATE total SET entries = entries + 1;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS deleted AFTER DELETE ON greylist BEGIN
        UPDATE networks SET entries = entries - 1
            WHERE network = (SELECT network FROM clients WHERE client = old.client);
        DELETE FROM networks WHERE entries = 0
            AND network = (SELECT network FROM clients WHERE client = old.client);
        UPDATE clients SET entries = entries - 1 WHERE client = old.client;
        DELETE FROM clients WHERE client = old.client AND entries = 0;
        UPDATE total SET entries = entries - 1;
    END
    """,
)

# The entry of the largest network's largest client that expires first.
_LARGEST = """
WHERE client = (
    SELECT client FROM clients
    WHERE network = (SELECT network FROM networks ORDER BY entries DESC LIMIT 1)
    ORDER BY entries DESC LIMIT 1
) ORDER BY expires LIMIT 1
"""


class Greylist(SMTPHandler):
    """
    Refuses a client's first try to send from an address to another one for a while (RFC 6647); who
    comes again is let in, and is remembered. Those who have logged in aren't asked to. While the
    database can't be used everybody is let in, and the log says why.

    What is known is in a file, or in a state that several servers share: give one of the two.

    :param path: an SQLite database, which is created if need be.
    :param delay: how long the first try is refused, in seconds.
    :param window: a client that doesn't try again within this time counts as unknown again.
    :param remember: for how long who came again is known, after the last message.
    :param maxEntries: how many are kept in the file. Of more, one of the network (/24 of IPv4, /48
        of IPv6) that has the most is forgotten, and in there one of the client that has the most:
        the one that would expire first. So nobody can push out what is known of others.
    :param clock: the time, in seconds since 1970: the table survives restarts.
    :param runInThread: where the disk is waited for; by default the reactor's thread pool.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`, for example a
        :class:`~twisted_smtpserver.shared.RedisState`.
    :raises ConfigurationError: if neither or both are given.
    :raises sqlite3.Error: if the database can't be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        delay: float = 300,
        window: float = 2 * 86400,
        remember: float = 35 * 86400,
        maxEntries: int = 1_000_000,
        clock: Callable[[], float] = time.time,
        runInThread: RunInThread = deferToThread,
        state: Any = None,
    ) -> None:
        self._delay = delay
        self._window = window
        self._remember = remember
        self._state = state
        self._table: GreylistTable | None = None
        self._runInThread = runInThread
        if (path is None) == (state is None):
            raise ConfigurationError("Greylist: give the path of a database, or a state")
        if path is not None:
            self._table = GreylistTable(
                path,
                delay=delay,
                window=window,
                remember=remember,
                maxEntries=maxEntries,
                clock=clock,
            )

    async def onRcptTo(self, address: Address, session: Session) -> None:
        """Refuse the first attempt: 450 4.7.1."""
        sender = session.envelope.mailFrom
        if session.user is not None or session.remoteAddress is None or sender is None:
            return
        key = (str(addressBlock(session.remoteAddress)), sender.address, address.address)
        if await self._isKnown(key) is False:
            raise Rejection("Greylisted, try again later", 450, "4.7.1", policy="greylist")

    async def _isKnown(self, key: tuple[str, str, str]) -> bool | None:
        """Whether it is; ``None`` if that can't be found out, which must not keep mail out."""
        if self._table is None:
            known: bool | None = await self._state.greylist(
                "\n".join(key), self._delay, self._window, self._remember
            )
            return known
        try:
            known = await self._runInThread(self._table.isKnown, key)
        except sqlite3.Error as error:  # a full disk, or a damaged file
            _log.error(
                "Greylist {path} can't be used, so nobody is greylisted: {error}",
                path=self._table.path,
                error=error,
            )
            return None
        return known

    def close(self) -> None:
        """Close the database, if there is one."""
        if self._table is not None:
            self._table.close()


class GreylistTable:
    """
    The entries of a greylist, in a file. The methods block; they may be called in any thread.

    :param path: as for :class:`Greylist`, and so are the others.
    :ivar path: the file, by its whole path.
    :raises sqlite3.Error: if the database can't be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        delay: float,
        window: float,
        remember: float,
        maxEntries: int,
        clock: Callable[[], float],
    ) -> None:
        self.path = os.path.abspath(path)
        self._delay = delay
        self._window = window
        self._remember = remember
        self._maxEntries = maxEntries
        self._clock = clock
        self._lock = threading.Lock()
        # One thread at a time uses it, and no transaction lasts longer than a call.
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")  # what a crash loses, comes again
        for statement in _SCHEMA:
            self._database.execute(statement)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._countAnew()

    def _countAnew(self) -> None:
        """A file of an earlier version has no counts."""
        if self._count() is not None:
            return
        found = self._database.execute(
            "SELECT client, count(*) FROM greylist GROUP BY client"
        ).fetchall()
        self._database.executemany(
            "INSERT INTO clients VALUES (?, ?, ?)",
            [(client, _network(client), count) for client, count in found],
        )
        self._database.execute(
            "INSERT INTO networks SELECT network, sum(entries) FROM clients GROUP BY network"
        )
        self._database.execute("INSERT INTO total SELECT count(*) FROM greylist")

    def _count(self) -> int | None:
        row = self._database.execute("SELECT entries FROM total").fetchone()
        return None if row is None else int(row[0])

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def isKnown(self, key: tuple[str, str, str]) -> bool:
        """
        Look a try up, and remember it.

        :param key: the client, the sender and the recipient.
        :raises sqlite3.Error: if the database can't be used.
        """
        now = self._clock()
        where = "WHERE client = ? AND sender = ? AND recipient = ?"
        with self._lock:
            self._forgetExpired(now)
            found = self._database.execute(
                f"SELECT first FROM greylist {where} AND expires >= ?", (*key, now)
            ).fetchone()
            if found is None:
                self._insert(key, now)
                return False
            if now - found[0] < self._delay:
                return False
            expires = now + self._remember
            self._database.execute(f"UPDATE greylist SET expires = ? {where}", (expires, *key))
            return True

    def _forgetExpired(self, now: float) -> None:
        # Only some of them: all at once could take long, and other calls would wait.
        self._delete("WHERE expires < ? LIMIT ?", now, _FORGOTTEN_AT_ONCE)

    def _insert(self, key: tuple[str, str, str], now: float) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._delete(
                "WHERE client = ? AND sender = ? AND recipient = ? AND expires < ?", *key, now
            )
            self._database.execute(
                "INSERT OR IGNORE INTO clients VALUES (?, ?, 0)", (key[0], _network(key[0]))
            )
            # Another process with the same file may have made it in the meantime.
            self._database.execute(
                "INSERT OR IGNORE INTO greylist VALUES (?, ?, ?, ?, ?)",
                (*key, now + self._window, now),
            )
            surplus = min((self._count() or 0) - self._maxEntries, _FORGOTTEN_AT_ONCE)
            for _ in range(surplus):
                self._delete(_LARGEST)

    def _delete(self, where: str, *values: object) -> None:
        self._database.execute(
            "DELETE FROM greylist WHERE (client, sender, recipient) IN"
            f" (SELECT client, sender, recipient FROM greylist {where})",
            values,
        )


def _network(client: str) -> str:
    """
    The key of a client's network.

    :param client: an address of IPv4, or the number of a /64.
    """
    return str(int(client) >> 16) if client.isdecimal() else str(addressNetwork(client))

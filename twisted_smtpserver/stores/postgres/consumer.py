"""
Takes messages out of the queue in PostgreSQL.

This file needs psycopg, and nothing else: neither Twisted nor the rest of this package. It may be
copied into a program that has neither. In an ordinary program::

    for mail in claim("postgresql://localhost/mail"):
        print(mail.sender, mail.recipients, mail.read())

and in one with asyncio::

    async for mail in claim("postgresql://localhost/mail"):
        print(mail.sender, mail.recipients, await mail.read())

A message is acknowledged when the loop asks for the next one. Until then it is invisible to other
consumers, for ``visibility`` seconds; of a consumer that dies, another one takes over after that
time. So a message is handled at least once, and one that was acknowledged never again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

__all__ = ["AsyncMail", "ClaimLost", "Claims", "Mail", "claim"]

_log = logging.getLogger(__name__)

#: How long a message is invisible to others after it was claimed, in seconds.
VISIBILITY = 300.0

#: How often a message is tried before it becomes a dead letter.
ATTEMPTS = 5

#: The longest time without a look into the queue, in seconds: should a notification get lost.
LONGEST_WAIT = 30.0

#: After a failure a message is tried again after so long, in seconds, and twice as long each time.
FIRST_DELAY = 10.0

#: The longest of those delays, in seconds.
LONGEST_DELAY = 3600.0

# Those that nobody could finish: their consumers died, each time.
_BURY = """
UPDATE {table}_queue SET dead_at = now(), claim = NULL,
    last_error = coalesce(last_error, 'its consumers ended without a word')
WHERE available_at <= now() AND dead_at IS NULL AND attempts >= %(attempts)s
"""

_CLAIM = """
WITH due AS (
    SELECT mail_id FROM {table}_queue
    WHERE available_at <= now() AND dead_at IS NULL AND attempts < %(attempts)s
    ORDER BY available_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE {table}_queue q SET attempts = attempts + 1, claim = gen_random_uuid(),
    available_at = now() + make_interval(secs => %(visibility)s)
FROM due, {table} m WHERE q.mail_id = due.mail_id AND m.id = due.mail_id
RETURNING m.id, q.claim, q.attempts, m.envelope_id, m.received_at, m.sender, m.recipients,
    m.envelope, m.headers, m.parsed, m.size
"""

_ACKNOWLEDGE = """
WITH done AS (
    DELETE FROM {table}_queue WHERE mail_id = %(id)s AND claim = %(claim)s RETURNING mail_id
)
UPDATE {table} SET done_at = now() FROM done WHERE id = done.mail_id
"""

_FAIL = """
UPDATE {table}_queue SET claim = NULL, last_error = %(reason)s,
    available_at = now() + make_interval(secs => %(delay)s),
    dead_at = CASE WHEN attempts >= %(attempts)s THEN now() END
WHERE mail_id = %(id)s AND claim = %(claim)s
"""

_EXTEND = """
UPDATE {table}_queue SET available_at = now() + make_interval(secs => %(visibility)s)
WHERE mail_id = %(id)s AND claim = %(claim)s
"""

_NEXT = """
SELECT extract(epoch FROM min(available_at) - now()) AS seconds
FROM {table}_queue WHERE dead_at IS NULL
"""

_PIECE = "SELECT octets FROM {table}_body WHERE mail_id = %(id)s AND n = %(n)s"


class ClaimLost(Exception):
    """
    The message isn't ours any more: it took longer than ``visibility``, and another consumer has
    it, or has finished it.
    """


@dataclass(frozen=True)
class _Queue:
    """The queue, for a claim and its messages."""

    table: str
    visibility: float
    attempts: int

    def sql(self, statement: str) -> Any:
        return statement.format(table=self.table)

    def delayAfter(self, attempts: int) -> float:
        return float(min(FIRST_DELAY * 2 ** min(attempts - 1, 30), LONGEST_DELAY))


@dataclass(frozen=True)
class _Claimed:
    """
    A message that was claimed.

    :ivar id: its number in the table.
    :ivar envelope_id: the transaction's id, which is in the server's log.
    :ivar received_at: when it was stored.
    :ivar sender: the reverse-path; empty for a bounce.
    :ivar recipients: the forward-paths.
    :ivar envelope: more of the transaction and the session: addresses, names, TLS, the user …
    :ivar headers: the header fields in order, each a list of name and value, decoded.
    :ivar parsed: subject, from, to, text, html … as decoded; ``None`` for a very large message.
    :ivar size: octets of the message.
    :ivar attempts: how often it was claimed, this time included.
    """

    id: int
    envelope_id: str
    received_at: datetime.datetime
    sender: str
    recipients: list[str]
    envelope: dict[str, Any] = field(repr=False)
    headers: list[list[str]] = field(repr=False)
    parsed: dict[str, Any] | None = field(repr=False)
    size: int
    attempts: int
    claim: Any = field(repr=False)
    _connection: Any = field(repr=False, compare=False)
    _queue: _Queue = field(repr=False, compare=False)
    _state: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @property
    def isSettled(self) -> bool:
        """Whether it was acknowledged or has failed."""
        return bool(self._state)

    def _arguments(self, **more: Any) -> dict[str, Any]:
        return {"id": self.id, "claim": self.claim, **more}

    def _failure(self, reason: str, delay: float | None) -> dict[str, Any]:
        if delay is None:
            delay = self._queue.delayAfter(self.attempts)
        reason = str(reason).replace("\0", " ")[:1000]
        return self._arguments(reason=reason, delay=delay, attempts=self._queue.attempts)

    def _checked(self, cursor: Any) -> None:
        if cursor.rowcount != 1:
            raise ClaimLost(f"message {self.id} took longer than its visibility")

    def _settled(self) -> None:
        self._state["settled"] = True


class Mail(_Claimed):
    """A message that was claimed, in an ordinary program."""

    def chunks(self) -> Iterator[bytes]:
        """The message, in pieces of 256 KiB at most."""
        statement = self._queue.sql(_PIECE)
        n = 0
        while True:
            row = self._connection.execute(statement, {"id": self.id, "n": n}).fetchone()
            if row is None:
                return
            yield row["octets"]
            n += 1

    def read(self) -> bytes:
        """The whole message."""
        return b"".join(self.chunks())

    def acknowledge(self) -> None:
        """
        It is done. Called by the loop when it goes on.

        :raises ClaimLost: if another consumer has it.
        """
        self._settled()
        self._checked(self._connection.execute(self._queue.sql(_ACKNOWLEDGE), self._arguments()))

    def fail(self, reason: str = "", delay: float | None = None) -> None:
        """
        It can't be done now. It is tried again later, or becomes a dead letter.

        :param reason: kept in the queue.
        :param delay: how much later, in seconds; by default more each time.
        :raises ClaimLost: if another consumer has it.
        """
        self._settled()
        arguments = self._failure(reason, delay)
        self._checked(self._connection.execute(self._queue.sql(_FAIL), arguments))

    def extend(self) -> None:
        """
        It takes longer: stay invisible to others, for ``visibility`` from now on.

        :raises ClaimLost: if another consumer has it.
        """
        arguments = self._arguments(visibility=self._queue.visibility)
        self._checked(self._connection.execute(self._queue.sql(_EXTEND), arguments))


class AsyncMail(_Claimed):
    """A message that was claimed, in a program with asyncio."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """See :meth:`Mail.chunks`."""
        statement = self._queue.sql(_PIECE)
        n = 0
        while True:
            cursor = await self._connection.execute(statement, {"id": self.id, "n": n})
            row = await cursor.fetchone()
            if row is None:
                return
            yield row["octets"]
            n += 1

    async def read(self) -> bytes:
        """See :meth:`Mail.read`."""
        return b"".join([octets async for octets in self.chunks()])

    async def acknowledge(self) -> None:
        """See :meth:`Mail.acknowledge`."""
        self._settled()
        self._checked(
            await self._connection.execute(self._queue.sql(_ACKNOWLEDGE), self._arguments())
        )

    async def fail(self, reason: str = "", delay: float | None = None) -> None:
        """See :meth:`Mail.fail`."""
        self._settled()
        arguments = self._failure(reason, delay)
        self._checked(await self._connection.execute(self._queue.sql(_FAIL), arguments))

    async def extend(self) -> None:
        """See :meth:`Mail.extend`."""
        arguments = self._arguments(visibility=self._queue.visibility)
        self._checked(await self._connection.execute(self._queue.sql(_EXTEND), arguments))


class Claims:
    """
    The messages of a queue, one after the other: what :func:`claim` returns.

    See there for the parameters.
    """

    def __init__(self, dsn: str, table: str, visibility: float, attempts: int, wait: bool) -> None:
        if not table.replace("_", "a").replace(".", "a").isalnum() or not table.isascii():
            raise ValueError(f"{table!r} is not a table name")
        self._dsn = dsn
        self._queue = _Queue(table, visibility, attempts)
        self._wait = wait
        self._channel = table.replace(".", "_") + "_queue"

    # -- In an ordinary program --------------------------------------------------------------------

    def __iter__(self) -> Iterator[Mail]:
        pause = 0.0
        while True:
            try:
                with psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row) as it:
                    it.execute(f"LISTEN {self._channel}")
                    for mail in self._claimAll(it):
                        pause = 0.0
                        yield mail
                    return
            except psycopg.OperationalError as error:
                if not self._wait:
                    raise
                pause = self._longer(pause, error)
            time.sleep(pause)

    def _claimAll(self, connection: Any) -> Iterator[Mail]:
        """Until there are none, or forever."""
        while True:
            row = self._next(connection)
            if row is not None:
                mail = Mail(**row, _connection=connection, _queue=self._queue)
                yield mail
                with _toldOnly():
                    if not mail.isSettled:
                        mail.acknowledge()
            elif not self._wait:
                return
            else:
                (found,) = connection.execute(self._queue.sql(_NEXT)).fetchone().values()
                for _ in connection.notifies(timeout=_bounded(found), stop_after=1):
                    pass

    def _next(self, connection: Any) -> Any:
        row = connection.execute(self._queue.sql(_CLAIM), self._limits()).fetchone()
        if row is None:
            connection.execute(self._queue.sql(_BURY), self._limits())
        return row

    def _limits(self) -> dict[str, Any]:
        return {"attempts": self._queue.attempts, "visibility": self._queue.visibility}

    def _longer(self, pause: float, error: Exception) -> float:
        """The connection is gone. How long to wait before the next one, in seconds."""
        _log.warning("The queue %s can't be reached: %s", self._queue.table, error)
        return min(max(0.5, pause * 2), LONGEST_WAIT)

    # -- With asyncio ------------------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[AsyncMail]:
        pause = 0.0
        connect = psycopg.AsyncConnection.connect
        while True:
            try:
                async with await connect(self._dsn, autocommit=True, row_factory=dict_row) as it:
                    await it.execute(f"LISTEN {self._channel}")
                    async for mail in self._claimAllAsync(it):
                        pause = 0.0
                        yield mail
                    return
            except psycopg.OperationalError as error:
                if not self._wait:
                    raise
                pause = self._longer(pause, error)
            await asyncio.sleep(pause)

    async def _claimAllAsync(self, connection: Any) -> AsyncIterator[AsyncMail]:
        while True:
            cursor = await connection.execute(self._queue.sql(_CLAIM), self._limits())
            row = await cursor.fetchone()
            if row is not None:
                mail = AsyncMail(**row, _connection=connection, _queue=self._queue)
                yield mail
                with _toldOnly():
                    if not mail.isSettled:
                        await mail.acknowledge()
                continue
            await connection.execute(self._queue.sql(_BURY), self._limits())
            if not self._wait:
                return
            cursor = await connection.execute(self._queue.sql(_NEXT))
            (found,) = (await cursor.fetchone()).values()
            async for _ in connection.notifies(timeout=_bounded(found), stop_after=1):
                pass


@contextlib.contextmanager
def _toldOnly() -> Iterator[None]:
    """Warn a consumer that took too long for a message, and go on with the next one."""
    try:
        yield
    except ClaimLost as error:
        _log.warning("%s: another consumer handles it, too", error)


def _bounded(seconds: Any) -> float:
    """How long to wait for a notification, if the next message is due in this many seconds."""
    return min(max(0.01, float(LONGEST_WAIT if seconds is None else seconds)), LONGEST_WAIT)


def claim(
    dsn: str,
    *,
    table: str = "mail",
    visibility: float = VISIBILITY,
    attempts: int = ATTEMPTS,
    wait: bool = True,
) -> Claims:
    """
    Take messages out of the queue, one after the other.

    A message is acknowledged when the loop asks for the next one. Call ``mail.fail(reason)`` for
    one that can't be handled now. An exception leaves the loop, and the message is tried again when
    its visibility is over; so it is after ``break``, unless ``mail.acknowledge()`` was called.

    A lost connection is made again, in an ordinary program and with asyncio; a warning goes to the
    logger of this module.

    :param dsn: the database, as libpq takes it: ``postgresql://user@host/name``.
    :param table: the table's name.
    :param visibility: how long a message is invisible to others after it was claimed, in seconds.
    :param attempts: how often it is tried before it becomes a dead letter.
    :param wait: whether to wait for new messages; otherwise the loop ends when there are none.
    :returns: what ``for`` or ``async for`` goes over.
    :raises psycopg.OperationalError: (from the loop) without ``wait``, if the connection is lost.
    """
    return Claims(dsn, table, visibility, attempts, wait)

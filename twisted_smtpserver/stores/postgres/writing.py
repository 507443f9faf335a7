"""
One message into the database, in one transaction: what a thread of the store does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import psycopg

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.postgres import schema
from twisted_smtpserver.stores.postgres.record import Record, digest, pieces
from twisted_smtpserver.stores.postgres.threads import CONNECT_TIME, Job
from twisted_smtpserver.stores.postgres.view import View

#: The row of the message, that of the queue, and for a small one the only row of its octets. There
#: is no result if the message is there already.
_INSERT = """
WITH stored AS (
    INSERT INTO {table}
        (envelope_id, content_hash, sender, recipients, envelope, headers, parsed, size)
    VALUES (%s, %b, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (envelope_id, content_hash) DO NOTHING RETURNING id
), queued AS (
    INSERT INTO {table}_queue (mail_id) SELECT id FROM stored
), body AS (
    INSERT INTO {table}_body (mail_id, n, octets)
    SELECT id, 0, piece FROM stored, (SELECT %b::bytea AS piece) p WHERE piece IS NOT NULL
)
SELECT id, pg_notify(%s, '') FROM stored
"""

_COPY = "COPY {table}_body (mail_id, n, octets) FROM STDIN (FORMAT BINARY)"

# What a 250 says is on a disk.
_DURABLY = """
SELECT set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END, false),
    set_config('statement_timeout', %s, false)
"""


class Lost(Unavailable):
    """The connection is gone in the middle of it."""


class Writer:
    """
    Writes messages. The methods block.

    :param dsn: the database.
    :param password: instead of one in the DSN.
    :param table: the table.
    :param deadline: how long a statement may take, in seconds.
    """

    def __init__(self, dsn: str, password: str | None, table: str, deadline: float) -> None:
        self._dsn = dsn
        self._password = password
        self._table = table
        self._deadline = deadline

    def connect(self) -> psycopg.Connection[Any]:
        """
        Connect.

        :raises Unavailable: if the database can't be reached, or its tables aren't right.
        """
        # Prepared statements would be lost behind a pgbouncer that pools by transaction.
        options: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
        if self._password is not None:
            options["password"] = self._password
        seconds = max(2, min(CONNECT_TIME, round(self._deadline)))
        try:
            connection = psycopg.connect(self._dsn, connect_timeout=seconds, **options)
        except psycopg.Error as error:
            raise Unavailable(f"PostgreSQL: {error}") from None
        try:
            connection.execute(_DURABLY, (str(round(self._deadline * 1000)),))
            self._checkTables(connection)
        except BaseException as error:
            connection.close()
            raise translated(error) from None
        return connection

    def _checkTables(self, connection: psycopg.Connection[Any]) -> None:
        version = schema.versionOf(connection, self._table)
        if version < schema.VERSION:
            state = f"has version {version} of {schema.VERSION}" if version else "isn't there"
            raise Unavailable(
                f"the table {self._table} {state}:"
                f" run python -m twisted_smtpserver.stores.postgres --table {self._table} migrate"
            )

    def write(self, message: Message, connection: psycopg.Connection[Any], job: Job) -> None:
        """
        Store a message. When this returns it survives a crash of the database.

        :param message: the message.
        :param connection: the connection.
        :param job: checked before the commit.
        :raises Lost: if the connection is gone, so that nobody knows whether it is stored.
        :raises Unavailable: if it isn't stored, and can't be now.
        :raises Rejection: if the database's disk is full.
        """
        try:
            with message.content:
                self._write(connection, job, message)
        except psycopg.Error as error:
            if connection.closed:
                raise Lost(f"PostgreSQL: {error}") from None
            raise translated(error) from None

    def _write(self, connection: psycopg.Connection[Any], job: Job, message: Message) -> None:
        content = message.content
        hash_ = digest(content)
        view = View.of(content, message.size)
        content.seek(0)
        isSmall = message.size <= schema.PIECE_SIZE
        record = message.record
        values = (
            *(record.envelopeId, hash_, record.sender, record.recipients, record.envelope),
            *(view.headers, view.parsed, message.size),
            *(content.read() if isSmall else None, schema.channelOf(self._table)),
        )
        insert: Any = _INSERT.format(table=self._table)
        job.check()
        if isSmall:
            message.beginCommit()
            connection.execute(insert, values)  # a transaction by itself
            return
        with connection.transaction():
            row = connection.execute(insert, values).fetchone()
            if row is not None:  # it isn't there already
                self._copy(connection, row[0], content)
            job.check()
            message.beginCommit()

    def _copy(self, connection: psycopg.Connection[Any], number: int, content: IO[bytes]) -> None:
        statement: Any = _COPY.format(table=self._table)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "int4", "bytea"])
            for n, piece in enumerate(pieces(content)):
                copy.write_row((number, n, piece))

    def expire(self, seconds: float, connection: psycopg.Connection[Any], job: Job) -> int:
        """
        Delete messages that were consumed long ago.

        :param seconds: how long they are kept.
        :param connection: the connection.
        :param job: not checked: what was begun is useful.
        :raises Unavailable: if that isn't possible now.
        """
        try:
            return schema.expire(connection, self._table, seconds)
        except psycopg.Error as error:
            raise translated(error) from None


class Message:
    """
    A message that is to be written.

    :param record: what is known of it.
    :param content: its octets; closed when it was written.
    :param size: how many there are.
    :param beginCommit: called before what can't be undone: the envelope's.
    """

    def __init__(
        self, record: Record, content: IO[bytes], size: int, beginCommit: Callable[[], None]
    ) -> None:
        self.record = record
        self.content = content
        self.size = size
        self.beginCommit = beginCommit


def translated(error: BaseException) -> BaseException:
    """
    What an error means for the client and for the log.

    :param error: any.
    :returns: 452 if the database's disk is full; :class:`Unavailable` for another error of the
        database's, without the data that its details repeat; any other error as it is.
    """
    if not isinstance(error, psycopg.Error):
        return error
    if isinstance(error, psycopg.errors.DiskFull):
        return Rejection("Insufficient system storage", code=452, enhanced="4.3.1")
    if error.sqlstate is None:  # the connection's, not the server's
        return Unavailable(f"PostgreSQL: {error}")
    # About data PostgreSQL repeats them, and they are the message's.
    isAboutData = error.sqlstate.startswith(("22", "23"))
    text = type(error).__name__ if isAboutData else error.diag.message_primary
    return Unavailable(f"PostgreSQL: {error.sqlstate} {text}")

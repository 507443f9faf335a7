"""
The tables, and their upgrade from older versions.

``mail`` has one row for each message: envelope, header fields, parsed view; ``mail_body`` its
octets in pieces of :data:`PIECE_SIZE`; ``mail_queue`` a row for each message that is still to be
consumed. The names begin with the table's name that was chosen. Nothing here needs Twisted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

#: Octets of a message in one row. A row is read and written as a whole, so it bounds the memory.
PIECE_SIZE = 256 * 1024

#: The table unless told otherwise.
DEFAULT_TABLE = "mail"

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}(\.[a-z_][a-z0-9_]{0,39})?")

#: What makes version n of version n-1, from version 1 on. Never change one that was released.
_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE {table} (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        envelope_id text NOT NULL,
        content_hash bytea NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        done_at timestamptz,
        sender text NOT NULL,
        recipients text[] NOT NULL,
        envelope jsonb NOT NULL,
        headers jsonb NOT NULL,
        parsed jsonb,
        size bigint NOT NULL,
        UNIQUE (envelope_id, content_hash)
    );
    CREATE INDEX {index}_done ON {table} (done_at) WHERE done_at IS NOT NULL;
    CREATE TABLE {table}_body (
        mail_id bigint NOT NULL REFERENCES {table} ON DELETE CASCADE,
        n int NOT NULL,
        octets bytea NOT NULL,
        PRIMARY KEY (mail_id, n)
    );
    -- Compressing what is mostly base64 costs more than it saves.
    ALTER TABLE {table}_body ALTER octets SET STORAGE EXTERNAL;
    CREATE TABLE {table}_queue (
        mail_id bigint PRIMARY KEY REFERENCES {table} ON DELETE CASCADE,
        available_at timestamptz NOT NULL DEFAULT now(),
        attempts int NOT NULL DEFAULT 0,
        claim uuid,
        dead_at timestamptz,
        last_error text
    );
    CREATE INDEX {index}_due ON {table}_queue (available_at) WHERE dead_at IS NULL;
    """,
)

#: The version that this code works with.
VERSION = len(_MIGRATIONS)


def checkTable(table: str) -> str:
    """
    Make sure that a table's name can be written into a statement.

    :param table: the name, optionally with a schema before it: ``"mail"``, ``"inbox.mail"``.
    :returns: the name.
    :raises ValueError: if it isn't a plain one in lower case.
    """
    if not _NAME.fullmatch(table):
        raise ValueError(
            f"{table!r} is not a table name: lower-case letters, digits and _, at most 40, and"
            " maybe a schema and a dot before it"
        )
    return table


def channelOf(table: str) -> str:
    """The channel that announces new messages (NOTIFY)."""
    return table.replace(".", "_") + "_queue"


def versionOf(connection: Any, table: str) -> int:
    """
    The version of the tables.

    :param connection: a psycopg connection.
    :returns: 0 if they aren't there.
    """
    (found,) = connection.execute("SELECT to_regclass(%s)", (f"{table}_schema",)).fetchone()
    if found is None:
        return 0
    row = connection.execute(f"SELECT max(version) FROM {table}_schema").fetchone()
    return int(row[0] or 0)


def migrate(connection: Any, table: str, tell: Callable[[str], object]) -> None:
    """
    Bring the tables up to date: completely or not at all, and by one process at a time.

    :param connection: a psycopg connection in autocommit mode.
    :param table: the table.
    :param tell: called with a line for each step.
    :raises ValueError: if the tables are newer than this code.
    """
    checkTable(table)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{table}_schema",))
        version = versionOf(connection, table)
        if version > VERSION:
            raise ValueError(
                f"the table {table} has version {version}, and this program knows {VERSION}:"
                " install a newer one"
            )
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_schema (version int PRIMARY KEY,"
            " at timestamptz NOT NULL DEFAULT now())"
        )
        for number in range(version + 1, VERSION + 1):
            index = table.rpartition(".")[2]
            connection.execute(_MIGRATIONS[number - 1].format(table=table, index=index))
            connection.execute(f"INSERT INTO {table}_schema (version) VALUES (%s)", (number,))
            tell(f"{table}: version {number}")
    if version == VERSION:
        tell(f"{table}: version {VERSION} already")


def expire(connection: Any, table: str, seconds: float, many: int = 1000) -> int:
    """
    Delete messages that were consumed long ago.

    :param connection: a psycopg connection in autocommit mode.
    :param table: the table.
    :param seconds: how long they are kept after they were consumed.
    :param many: how many are deleted in one transaction.
    :returns: how many were.
    """
    checkTable(table)
    total = 0
    while True:
        deleted: int = connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE done_at <"
            " now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED)",
            (seconds, many),
        ).rowcount
        total += deleted
        if deleted < many:
            return total


def revive(connection: Any, table: str) -> int:
    """
    Put the dead letters back into the queue.

    :param connection: a psycopg connection in autocommit mode.
    :param table: the table.
    :returns: how many there were.
    """
    checkTable(table)
    count: int = connection.execute(
        f"UPDATE {table}_queue SET dead_at = NULL, attempts = 0, available_at = now()"
        " WHERE dead_at IS NOT NULL"
    ).rowcount
    connection.execute("SELECT pg_notify(%s, '')", (channelOf(table),))
    return count


def count(connection: Any, table: str) -> dict[str, int]:
    """
    How many messages there are.

    :param connection: a psycopg connection.
    :param table: the table.
    :returns: by state: ``waiting`` (those that are being handled included), ``dead``, ``done``.
    """
    checkTable(table)
    row = connection.execute(
        f"SELECT (SELECT count(*) FROM {table}_queue WHERE dead_at IS NULL),"
        f" (SELECT count(*) FROM {table}_queue WHERE dead_at IS NOT NULL),"
        f" (SELECT count(*) FROM {table} WHERE done_at IS NOT NULL)"
    ).fetchone()
    return dict(zip(("waiting", "dead", "done"), row, strict=True))

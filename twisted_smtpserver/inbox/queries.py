"""Pieces of SQL that the inbox needs in several places."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

# SQLite allows 32,766 question marks in a statement; older ones 999.
_BATCH = 500

_LATEST = "latest"


def find(database: sqlite3.Connection, identifier: str, columns: str) -> tuple[Any, ...] | None:
    """
    Look a message up.

    :param database: where.
    :param identifier: its id, or ``"latest"``.
    :param columns: what is wanted of it.
    :returns: that, or ``None`` if there is no such message.
    """
    found: tuple[Any, ...] | None = database.execute(
        f"SELECT {columns} FROM message {where(identifier)}", which(identifier)
    ).fetchone()
    return found


def where(identifier: str) -> str:
    """
    The condition, and order, that finds a message.

    :param identifier: its id, or ``"latest"``.
    """
    return "ORDER BY seq DESC LIMIT 1" if identifier == _LATEST else "WHERE id = ?"


def which(identifier: str) -> tuple[str, ...]:
    """
    The values for the question marks in :func:`where`.

    :param identifier: as for that function.
    """
    return () if identifier == _LATEST else (identifier,)


def batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """
    Cut numbers into lists that are short enough for a statement.

    :param numbers: of messages.
    """
    for start in range(0, len(numbers), _BATCH):
        yield numbers[start : start + _BATCH]


def marks(values: Sequence[object]) -> str:
    """
    As many question marks.

    :param values: what they are for.
    """
    return ",".join("?" * len(values))


def withTags(
    database: sqlite3.Connection, rows: Sequence[tuple[int, int, str]]
) -> list[dict[str, Any]]:
    """
    The rows of the list, with what can change put in.

    :param database: where the tags are.
    :param rows: number, whether it is read, and the rest, of each message.
    """
    tags: dict[int, list[str]] = {}
    for batch in batches([row[0] for row in rows]):
        select = f"SELECT seq, name FROM tag WHERE seq IN ({marks(batch)}) ORDER BY name"
        for seq, name in database.execute(select, batch):
            tags.setdefault(seq, []).append(name)
    return [
        json.loads(summary) | {"Read": bool(read), "Tags": tags.get(seq, [])}
        for seq, read, summary in rows
    ]

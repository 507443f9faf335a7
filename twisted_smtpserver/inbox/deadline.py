"""An end for what takes the database too long: no mail is stored meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

#: How long a search may take, in seconds.
SEARCH_TIME = 5

# After how many of SQLite's instructions that is looked at.
_INTERVAL = 1000


class SearchTooLong(Exception):
    """A search was ended; nothing was changed."""


@contextmanager
def deadline(database: sqlite3.Connection) -> Iterator[None]:
    """
    End what is done with a database after :data:`SEARCH_TIME`.

    :param database: nobody else uses it meanwhile.
    :raises SearchTooLong: if it was ended.
    """
    isLate = partial(_isAfter, time.monotonic() + SEARCH_TIME)
    database.set_progress_handler(isLate, _INTERVAL)
    try:
        yield
    except sqlite3.OperationalError:
        if isLate():
            raise SearchTooLong from None
        raise
    finally:
        database.set_progress_handler(None, 0)


def _isAfter(end: float) -> bool:
    return time.monotonic() > end

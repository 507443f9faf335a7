"""A file of passwords that is read when it has changed, instead of at each login."""

from __future__ import annotations

import os
import threading
import time
from itertools import islice
from typing import Any

from twisted.cred.checkers import FilePasswordDB

__all__ = ["IndexedPasswordDB", "indexed"]

# A file that was changed so short a time ago may change again and look the same, in seconds: file
# systems' clocks are coarse.
_FRESH = 0.1

# The reactor's thread gets its turn after this many lines.
_LINES_AT_ONCE = 1000


class IndexedPasswordDB(FilePasswordDB):
    """
    A :class:`~twisted.cred.checkers.FilePasswordDB` with an index. The plain one looks through the
    file at each login; with ten threads doing so to a long file, everything else waits.

    It blocks while the file is read, so it is for a thread; several may ask at the same time.

    The parameters are those of :class:`~twisted.cred.checkers.FilePasswordDB`; ``cache`` means
    nothing here.
    """

    _version: tuple[int, ...] | None = None

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)
        self._lock = threading.Lock()
        self._users: dict[bytes, bytes] = {}

    def getUser(self, username: bytes) -> tuple[bytes, bytes]:
        """
        Look a user up.

        :param username: the name.
        :returns: the name as it is in the file, and the password.
        :raises KeyError: if there is no such user.
        :raises OSError: if the file can't be read. (The plain class calls that a wrong login.)
        """
        if not self.caseSensitive:
            username = username.lower()
        with self._lock:
            status = os.stat(self.filename)
            version = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            if version != self._version or time.time() - status.st_mtime < _FRESH:
                self._users = self._read()
                self._version = version
            return username, self._users[username]

    def _read(self) -> dict[bytes, bytes]:
        users: dict[bytes, bytes] = {}
        most = max(self.ufield, self.pfield)
        with open(self.filename, "rb") as file:
            while lines := list(islice(file, _LINES_AT_ONCE)):
                for line in lines:
                    parts = line.rstrip().split(self.delim)
                    if most < len(parts):
                        name = parts[self.ufield]
                        # The first one counts, if there are several.
                        if not self.caseSensitive:
                            name = name.lower()
                        users.setdefault(name, parts[self.pfield])
                time.sleep(0)
        return users


def indexed(checker: Any) -> Any:
    """
    Give a checker an index.

    :param checker: any checker.
    :returns: the same, unless it is a plain :class:`~twisted.cred.checkers.FilePasswordDB`.
    """
    if type(checker) is not FilePasswordDB:
        return checker
    return IndexedPasswordDB(
        checker.filename,
        checker.delim,
        checker.ufield,
        checker.pfield,
        checker.caseSensitive,
        checker.hash,
    )

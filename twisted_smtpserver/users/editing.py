"""Changes a file of users: one change at a time, and each completely or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator

from twisted_smtpserver.message.files import syncDirectory

__all__ = ["LOCK_TIME", "changeFile"]

#: How long to wait for another change to end, in seconds.
LOCK_TIME = 10.0

_MODE = 0o600

Edit = Callable[[list[str]], list[str]]


def changeFile(
    path: str, edit: Edit, *, create: bool, clock: Callable[[], float] = time.monotonic
) -> None:
    """
    Change the lines of a file. A reader sees either all of the change or nothing, even after a
    power failure. A new file has mode 0600; that of an old one, and whose it is, stays.

    :param path: the file's path; what a symbolic link leads to is changed.
    :param edit: gets the lines with their ends, and returns the new ones.
    :param create: whether to make the file if there is none.
    :param clock: the time, in seconds.
    :raises OSError: if that can't be done; then nothing has changed.
    """
    target = os.path.realpath(path)
    with _locked(target, create, clock) as descriptor:
        with open(descriptor, encoding="utf-8", newline="", closefd=False) as file:
            lines = file.read().splitlines(keepends=True)
        _replace(target, "".join(edit(lines)), os.fstat(descriptor))


@contextlib.contextmanager
def _locked(path: str, create: bool, clock: Callable[[], float]) -> Iterator[int]:
    """
    Lock a file that others replace: it must still be the one under that name when it is locked.

    :raises TimeoutError: if others have it locked for too long.
    """
    end = clock() + LOCK_TIME
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(path, flags, _MODE)
        try:
            if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if clock() >= end:
            raise TimeoutError(f"{path!r} is being changed by another process: try again")
        time.sleep(0.05)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: str, text: str, old: os.stat_result) -> None:
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{secrets.token_hex(16)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, old.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    syncDirectory(folder)

"""A file that is read again when it has changed, off the reactor's thread."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.message.files import RunInThread

__all__ = ["LOOK_INTERVAL", "MAX_LINE", "Lines", "TableError", "WatchedFile", "empty", "inTurns"]

_log = Logger()
_T = TypeVar("_T")

#: A file is looked at when it is used, but not more often than that, in seconds.
LOOK_INTERVAL = 1.0

#: The longest line of a file, in octets.
MAX_LINE = 2**16

# The reactor's thread gets its turn after so many items: each takes some 20 microseconds, and that
# thread waits for its turn at each call of the system.
_ITEMS_AT_ONCE = 50

# A file that was changed so short a time ago may change again and look the same, in seconds: file
# systems' clocks are coarse.
_FRESH = 0.1

#: The lines of a file that say something, with their numbers.
Lines = Iterator[tuple[int, str]]

_Version = tuple[int, ...]


class TableError(ValueError):
    """
    A line of a file can't be used.

    :param reason: what is wrong, without anything of the file's content: it goes into the log.
    :param line: the line's number, from 1; ``None`` if it is the whole file.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")


@dataclass(frozen=True)
class _Reading(Generic[_T]):
    """
    What a check of a file has found.

    :ivar version: tells whether the file has changed since.
    :ivar isFresh: whether it may have changed since and look the same.
    :ivar content: what was made of it; ``None`` if it can't be used.
    :ivar problem: why it can't; else empty.
    """

    version: _Version
    isFresh: bool
    content: _T | None
    problem: str = ""


class WatchedFile(Generic[_T]):
    """
    The content of a file. When it is used, the file is checked again, at most once in
    :data:`LOOK_INTERVAL`; if it has changed, it is read again. All of that happens in a thread. If
    the new file is broken the old content stays in use, and the log says so in one line.

    :param path: the file's path.
    :param parse: makes the content of the file's lines, without empty lines and comments. It runs
        in a thread, and raises :class:`TableError`. What it returns describes itself with
        ``str()``, for the log: ``"12 users"``. If it has a method ``dispose``, that is called in a
        thread when there is newer content.
    :param clock: measures the interval; by default the reactor.
    :param runInThread: by default the reactor's thread pool.
    :ivar path: the file's path.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        parse: Callable[[Lines], _T],
        *,
        clock: Any = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self.path = os.fspath(path)
        self._parse = parse
        self._clock = clock
        self._runInThread = runInThread
        self._content: _T
        self._lookedAt = 0.0
        self._isLooking = False
        self._last: _Reading[_T] | None = None
        self._problem = ""

    def load(self) -> _T:
        """
        Read the file now, which blocks.

        :returns: its content.
        :raises ConfigurationError: if it can't be read, or used.
        """
        if self._clock is None:
            self._clock = theReactor()
        try:
            reading = self._read()
        except OSError as error:
            raise ConfigurationError(f"{self.path!r} {_why(error)}") from error
        if reading.content is None:
            raise ConfigurationError(f"{self.path!r}: {reading.problem}")
        self._last, self._content = reading, reading.content
        self._lookedAt = self._clock.seconds()
        return self._content

    @property
    def latest(self) -> _T:
        """The content as it was read last; :meth:`load` comes first."""
        return self._content

    async def content(self) -> _T:
        """
        :returns: the content, read again if the file has changed. Use it at once, and not again
            after having waited for something else.
        """
        isDue = self._clock.seconds() - self._lookedAt >= LOOK_INTERVAL
        if isDue and not self._isLooking:
            await self._look()
        return self._content

    def _look(self) -> Deferred[None]:
        """
        Check the file. Until that is done, lookups get the old content: a file system may be slow.

        :returns: fires when that is done. Canceling it leaves the look alone.
        """
        self._isLooking = True
        looking: Deferred[Any] = self._runInThread(self._readIfChanged)
        looking.addCallbacks(self._use, self._failed).addBoth(self._looked)
        waiting: Deferred[None] = Deferred()
        looking.chainDeferred(waiting)
        return waiting

    def _readIfChanged(self) -> _Reading[_T] | None:
        last = self._last
        if last is None or last.isFresh or _versionOf(os.stat(self.path)) != last.version:
            return self._read()
        return None

    def _read(self) -> _Reading[_T]:
        """
        (In a thread.)

        :raises OSError: if the file can't be read.
        """
        # Not blocking, in case it is a pipe.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            version, isFresh = _versionOf(status), time.time() - status.st_mtime < _FRESH
            try:
                if not stat.S_ISREG(status.st_mode):
                    raise TableError("it isn't a regular file")
                return _Reading(version, isFresh, self._parse(_lines(file)))
            except TableError as error:
                return _Reading(version, isFresh, None, str(error))

    def _use(self, reading: _Reading[_T] | None) -> None:
        if reading is None:
            return
        isNew = self._last is None or reading.version != self._last.version
        self._last = reading
        if reading.content is None:
            self._keep(reading.problem)
            return
        old, self._content = self._content, reading.content
        self._problem = ""
        if hasattr(old, "dispose"):
            self._runInThread(old.dispose)
        if isNew:
            _log.info(
                "{path} was read again: {content}", path=self.path, content=str(self._content)
            )

    def _failed(self, failure: Failure) -> None:
        self._last = None  # whatever is found next is new
        if failure.check(OSError):
            self._keep(_why(failure.value))
        else:
            _log.failure("Keeping the old content of {path}", failure, path=self.path)

    def _keep(self, problem: str) -> None:
        """Say once why the old content stays in use."""
        if problem != self._problem:
            self._problem = problem
            _log.error(
                "Keeping the old content of {path}: {problem}", path=self.path, problem=problem
            )

    def _looked(self, _: object) -> None:
        self._isLooking = False
        self._lookedAt = self._clock.seconds()


def inTurns(items: Iterable[_T]) -> Iterator[_T]:
    """
    Go through many items in a thread without keeping the reactor's thread from its work.

    :param items: any.
    """
    for number, item in enumerate(items, 1):
        if number % _ITEMS_AT_ONCE == 0:
            time.sleep(0)
        yield item


def empty(items: dict[Any, Any]) -> None:
    """
    (In a thread.) Empty a large dict step by step: to free all of it at once would keep the
    reactor's thread waiting.

    :param items: nobody else may use it any more.
    """
    for _ in inTurns(range(len(items))):
        items.popitem()


def _versionOf(status: os.stat_result) -> _Version:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _why(error: Any) -> str:
    return f"can't be read: {error.strerror or type(error).__name__}"


def _lines(file: BinaryIO) -> Lines:
    """
    The lines of a file that aren't empty and don't begin with ``#``.

    :raises TableError: if one is too long, or isn't UTF-8.
    """
    lines = iter(lambda: file.readline(MAX_LINE + 1), b"")
    for number, octets in enumerate(inTurns(lines), 1):
        if len(octets) > MAX_LINE:
            raise TableError(f"it is longer than {MAX_LINE} octets", number)
        try:
            text = octets.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \t\r\n")
        except UnicodeDecodeError:
            raise TableError("it isn't UTF-8", number) from None
        if text and text[0] != "#":
            yield number, text

"""
A message put aside: in memory up to a bound, then in a file that has no name.

The file is written and read in a worker thread. The operating system removes it when it is closed,
also when the process is killed. A store that needs a message whole can use a spool, too::

    spool = Spool()
    try:
        await spool.fill(stream)
        await deferToThread(self._insert, spool)  # reads spool.open(), or spool.size first
    finally:
        spool.close()
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import IO, Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twisted_smtpserver.message.budget import MemoryBudget
from twisted_smtpserver.message.files import HOP_SIZE, RunInThread

__all__ = ["MEMORY", "READ_SIZE", "TOTAL_MEMORY", "MemoryBudget", "Spool"]

#: How much of one message stays in memory before the spool makes a file, in octets.
MEMORY = 2**20

#: How much all spools together keep in memory, in octets. Beyond that, files are used at once.
TOTAL_MEMORY = 64 * 2**20

#: How much :meth:`Spool.chunks` yields at a time, in octets.
READ_SIZE = 60 * 1024

_T = TypeVar("_T")

_COMMON_BUDGET = MemoryBudget(TOTAL_MEMORY)

# No thread may open a file that is being closed. All spools share a lock: it is held for moments.
_LOCK = threading.Lock()


class Spool:
    """
    One message, put aside. It is written once, then read as often as needed, from any offset.

    All methods but :meth:`open` are for the reactor's thread. Writing and reading raise
    :class:`OSError` when the disk is full or fails: see
    :func:`~twisted_smtpserver.message.files.storageRefusal`.

    :param memory: how many octets stay in memory; the rest goes into a file.
    :param folder: the folder for that file; by default the system's folder for temporary files,
        which on many machines is memory, too.
    :param budget: the memory that several spools share; by default the process has one budget of
        :data:`TOTAL_MEMORY` octets.
    :param runInThread: runs what waits for the disk; by default, in the reactor's thread pool.
    :ivar size: how many octets were written.
    """

    def __init__(
        self,
        memory: int = MEMORY,
        folder: str | os.PathLike[str] | None = None,
        budget: MemoryBudget | None = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self.size = 0
        self._memory = memory
        self._folder = folder
        self._budget = _COMMON_BUDGET if budget is None else budget
        self._runInThread = runInThread
        # The octets that aren't in the file: one chunk as it came, or a bytearray of several. A
        # list of small chunks could take many times as much.
        self._buffer: bytes | bytearray = b""
        self._file: IO[bytes] | None = None
        self._written = 0  # how many octets the file has
        self._hops = 0  # how many threads use the file
        self._closed = False

    def another(self) -> Spool:
        """Make an empty spool with the same settings."""
        return Spool(self._memory, self._folder, self._budget, self._runInThread)

    @property
    def inMemory(self) -> bool:
        """Whether there is no file."""
        return self._file is None

    # -- Writing -----------------------------------------------------------------------------------

    async def fill(self, chunks: AsyncIterable[bytes]) -> int:
        """
        Write everything from a stream.

        :param chunks: for example an :class:`~twisted_smtpserver.interfaces.IMessageStream`. It
            isn't read while a thread writes.
        :returns: how many octets there are now.
        :raises OSError: if the file system does.
        """
        async for octets in chunks:
            if not self.keep(octets):
                await self.spill(octets)
        return self.size

    async def write(self, octets: bytes) -> None:
        """
        Append octets. Await this before the next call.

        :param octets: any number.
        :raises OSError: if the file system does.
        """
        if not self.keep(octets):
            await self.spill(octets)

    def keep(self, octets: bytes) -> bool:
        """
        Append octets, if that takes no thread.

        :param octets: as for :meth:`write`.
        :returns: whether there was room for them.
        """
        most = self._memory if self._file is None else HOP_SIZE
        if len(self._buffer) + len(octets) > most or not self._budget.take(len(octets)):
            return False
        if self._buffer:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += octets
        else:
            self._buffer = bytes(octets)  # no copy, unless it could be changed
        self.size += len(octets)
        return True

    async def spill(self, octets: bytes) -> None:
        """
        Append octets that :meth:`keep` had no room for, and have a thread write all to the file.

        :param octets: as for :meth:`write`.
        :raises OSError: if the file system does.
        """
        buffer, self._buffer = self._buffer, b""
        try:
            await self._hop(self._writeOut, buffer, octets)
        finally:
            self._budget.giveBack(len(buffer))
        self.size += len(octets)

    def _writeOut(self, *parts: bytes | bytearray) -> None:
        """(In a thread.) Write to the file. The first call creates it."""
        if self._file is None:
            made = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # see close
            self._file = cast("IO[bytes]", made)
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._written += len(part)

    # -- Reading -----------------------------------------------------------------------------------

    def gathered(self, length: int) -> bytes:
        """
        The first octets, if they are in memory.

        :param length: how many octets to return at most.
        :returns: nothing if there is a file.
        """
        return b"" if self._file is not None else self._unchanging()[:length]

    def small(self) -> bytes | None:
        """All octets, if they are in memory and no more than :data:`HOP_SIZE`."""
        return self._unchanging() if self._file is None and self.size <= HOP_SIZE else None

    def _unchanging(self) -> bytes:
        """The octets in memory, for any number of readers; they are copied at most once."""
        if not isinstance(self._buffer, bytes):
            self._buffer = bytes(self._buffer)
        return self._buffer

    async def read(self, start: int, length: int) -> bytes:
        """
        Read from an offset.

        :param start: how many octets to skip.
        :param length: how many octets to return at most.
        :returns: the octets; fewer than that only at the end, and where the file ends and the
            memory begins.
        :raises OSError: if the file system does.
        """
        if start < self._written:
            length = min(length, self._written - start)
            return await self._hop(_readAt, self._descriptor(), start, length)
        start -= self._written
        return self._unchanging()[start : start + length]

    async def chunks(self, start: int = 0) -> AsyncIterator[bytes]:
        """
        Read in chunks of at most :data:`READ_SIZE` octets. Several iterations may be under way.

        :param start: how many octets to skip.
        :raises OSError: if the file system does.
        """
        while start < self.size:
            octets = await self.read(start, READ_SIZE)
            yield octets
            start += len(octets)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks()

    def open(self) -> IO[bytes]:
        """
        Open the spool for reading in another thread. The file that is returned has a position of
        its own, can seek, and works even after the spool is closed. Close it after use.

        :raises ValueError: if the spool is closed already.
        """
        with _LOCK:
            if self._closed:
                raise ValueError("the spool is closed")
            tail = self._unchanging()
            if self._file is None:
                return io.BytesIO(tail)
            reader = _Reader(os.dup(self._file.fileno()), self._written, tail)
        return io.BufferedReader(reader, READ_SIZE)

    def _descriptor(self) -> int:
        assert self._file is not None
        return self._file.fileno()

    # -- The end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """
        Throw the message away. If a thread still uses the file, the file is closed later. A thread
        closes it, because removing a large file takes long.
        """
        with _LOCK:
            if self._closed:
                return
            self._closed = True
        self._budget.giveBack(len(self._buffer))
        self._buffer = b""
        if self._file is not None and not self._hops:
            self._runInThread(self._file.close)

    def _hop(self, function: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
        """Run a function in a thread. Canceling the result doesn't stop the thread."""
        self._hops += 1
        result: Deferred[_T] = Deferred()
        hop: Deferred[Any] = self._runInThread(function, *arguments)
        hop.addBoth(self._landed).chainDeferred(result)
        return result

    def _landed(self, result: Any) -> Any:
        self._hops -= 1
        if self._closed and self._file is not None and not self._hops:
            self._runInThread(self._file.close)
        return result


def _readAt(descriptor: int, start: int, length: int) -> bytes:
    return os.pread(descriptor, length, start)


class _Reader(io.RawIOBase):
    """Reads a spool's file and the octets in memory, from a position of its own."""

    def __init__(self, descriptor: int, written: int, tail: bytes) -> None:
        self._descriptor = descriptor
        self._written = written
        self._tail = tail
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_CUR: self._position, os.SEEK_END: self._written + len(self._tail)}
        self._position = max(0, bases.get(whence, 0) + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)
        if self._position < self._written:
            room = room[: self._written - self._position]
            count = os.preadv(self._descriptor, [room], self._position)
        else:
            start = self._position - self._written
            octets = self._tail[start : start + len(room)]
            count = len(octets)
            room[:count] = octets
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

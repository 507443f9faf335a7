"""
Files that are there whole, synced to the disk, or not at all.

What blocks runs in a worker thread. A small message costs one hop to a thread for everything; a
large one a hop for each :data:`HOP_SIZE` octets, and isn't read while a hop is under way, so that a
slow disk slows the client down instead of filling the memory.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.message.budget import MemoryBudget

#: How many octets are gathered before they are handed to a thread.
HOP_SIZE = 256 * 1024

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: How much all messages that are being saved have in memory, in octets. Beyond that, what comes is
#: written at once, however little it is; and a message isn't read before there is room again.
MAX_GATHERED = 64 * 2**20

# Written at once from here on. The rest is for what waits for a thread: that gets less by itself.
_MOST_IDLE = MAX_GATHERED // 2

_BUDGET = MemoryBudget(MAX_GATHERED)

#: Has the signature of :func:`twisted.internet.threads.deferToThread`.
RunInThread = Callable[..., "Deferred[Any]"]

#: Commits a file, with its last octets; the Deferred fires when no thread works on it any more.
Commit = Callable[["DurableFile", bytearray], "Deferred[None]"]


class DurableFile:
    """
    A file in the making. The methods block, and run one at a time, in any thread; only
    :meth:`cancel` may be called while another one runs.

    :param temporary: the path to write to; nothing may exist there. The file's mode is 0600.
    :param final: the path it gets when it is complete, in the same file system; what was there is
        replaced.
    """

    def __init__(self, temporary: str, final: str) -> None:
        self.temporary = temporary
        self.final = final
        self._descriptor: int | None = None
        self._place: str | None = None  # where the file is now
        self._identity: os.stat_result | None = None
        self._canceled = False

    def write(self, octets: bytes | bytearray) -> None:
        """
        Write the next octets; the first call creates the file.

        :param octets: they may be none.
        :raises OSError: if the file system does; then call :meth:`discard`.
        """
        if self._descriptor is None:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            self._descriptor = os.open(self.temporary, flags, 0o600)
            self._place = self.temporary
            self._identity = os.fstat(self._descriptor)
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def commit(self, octets: bytes | bytearray = b"") -> None:
        """
        Write the last octets and give the file its final name. On return it survives a crash.

        :param octets: as for :meth:`write`.
        :raises OSError: if the file system does; then call :meth:`discard`.
        :raises CancelledError: after :meth:`cancel`, unless that came too late; then, too, call
            :meth:`discard`.
        """
        self.write(octets)
        self.finish()
        syncDirectory(self.directory)

    @property
    def directory(self) -> str:
        """
        The directory whose entry has to survive. Should the temporary name survive, too, because
        that is in another one, then a crash leaves a second name for the file in there: no harm
        done, so that directory's sync is saved.
        """
        return os.path.dirname(self.final) or os.curdir

    def begin(self, octets: bytes | bytearray) -> None:
        """
        Write the last octets, and have the system begin to move them to the disk, without waiting
        for it: then the sync of one file takes others along.

        :param octets: as for :meth:`write`.
        :raises OSError: if the file system does; then call :meth:`discard`.
        """
        self.write(octets)
        assert self._descriptor is not None  # what write() leaves
        if hasattr(os, "posix_fadvise"):  # macOS has none
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def finish(self) -> None:
        """
        Sync what was written, and give the file its final name. That is worth nothing before the
        directory is synced, too.

        :raises OSError: as :meth:`commit` does.
        :raises CancelledError: as :meth:`commit` does.
        """
        assert self._descriptor is not None  # what write() leaves
        os.fsync(self._descriptor)
        self._close()
        if self._canceled:
            raise CancelledError
        os.rename(self.temporary, self.final)
        self._place = self.final

    def cancel(self) -> None:
        """Keep a commit under way in another thread from going on, if it isn't too late."""
        self._canceled = True

    def discard(self) -> None:
        """
        Remove the file, wherever it got to. No OSError is raised: there is one to report already.
        """
        with contextlib.suppress(OSError):
            self._close()
        place, self._place = self._place, None
        with contextlib.suppress(OSError):
            # Under its final name the file may have been replaced by somebody else's.
            if place is not None and self._isOurs(place):
                os.unlink(place)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _isOurs(self, path: str) -> bool:
        assert self._identity is not None  # what write() leaves
        return os.path.samestat(os.lstat(path), self._identity)


def syncDirectory(path: str) -> None:
    """
    Make a directory's entries survive a crash.

    :param path: the directory.
    :raises OSError: if the file system does, unless it just can't sync directories.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # POSIX lets fsync say so for what it isn't made for; some network file systems do.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def storageRefusal(error: OSError) -> Rejection:
    """
    The client's reply when the file system fails, which says nothing about our disks (RFC 3463
    §3.4).

    :param error: what the file system said.
    :returns: 452 4.3.1 for a disk or a quota that is full, otherwise 451 4.3.0.
    """
    if error.errno in _NO_SPACE:
        return Rejection("Insufficient system storage", code=452, enhanced="4.3.1")
    return Rejection("Local error in processing, try again later", code=451, enhanced="4.3.0")


async def saveStream(
    stream: AsyncIterable[bytes],
    durable: DurableFile,
    runInThread: RunInThread,
    commit: Commit | None = None,
) -> int:
    """
    Write a stream to a file. If that fails, or is canceled, no file is left.

    A failure is reported when the file is gone. A cancellation is reported at once; a thread can't
    be stopped, so the file goes when the thread is done with it, even if it was complete by then.

    :param stream: yields the octets, for example an
        :class:`~twisted_smtpserver.interfaces.IMessageStream`.
    :param durable: the file.
    :param runInThread: for example :func:`twisted.internet.threads.deferToThread`.
    :param commit: for example a :class:`~twisted_smtpserver.message.groupcommit.GroupCommit`; by
        default a hop for this file alone.
    :returns: how many octets were written.
    :raises OSError: if the file system does.
    """
    hops: Deferred[Any] | None = None  # fires when no thread works on the file any more

    def hop(function: Callable[[bytearray], None], octets: bytearray) -> Deferred[None]:
        nonlocal hops
        hops = _hop(runInThread, function, octets)
        return _shield(hops)

    try:
        octets, rest = await _gather(stream, lambda gathered: hop(durable.write, gathered))
        if commit is None:
            await hop(durable.commit, rest)
        else:
            hops = _givingBack(commit(durable, rest), rest)
            await _shield(hops)
    except BaseException as error:
        durable.cancel()
        if hops is not None:
            hops.addBoth(lambda _: runInThread(durable.discard))
            if not isinstance(error, (CancelledError, GeneratorExit)):
                await _shield(hops)
        raise
    return octets


async def saveToPath(
    stream: AsyncIterable[bytes], path: str | os.PathLike[str], runInThread: RunInThread
) -> int:
    """
    Save a stream durably under a path, by way of a hidden temporary file next to it.

    :param stream: as for :func:`saveStream`.
    :param path: where the file goes; what was there, a symbolic link included, is replaced. The
        file's mode is 0600.
    :param runInThread: as for :func:`saveStream`.
    :returns: how many octets were written.
    :raises OSError: if the file system does.
    """
    final = os.fspath(path)
    temporary = os.path.join(os.path.dirname(final), f".{secrets.token_hex(16)}.tmp")
    return await saveStream(stream, DurableFile(temporary, final), runInThread)


async def saveToFile(
    stream: AsyncIterable[bytes], fileObject: IO[bytes], runInThread: RunInThread
) -> int:
    """
    Write a stream to an open file, and flush it. Nothing is undone if that fails or is canceled; a
    thread may then still be writing for a moment.

    :param stream: as for :func:`saveStream`.
    :param fileObject: a binary file; it stays open. Syncing it is up to its owner.
    :param runInThread: as for :func:`saveStream`.
    :returns: how many octets were written.
    :raises OSError: if the file does.
    """

    def write(part: bytearray) -> None:
        _writeAll(fileObject, part)

    def finish(rest: bytearray) -> None:
        _writeAll(fileObject, rest)
        fileObject.flush()

    octets, rest = await _gather(stream, lambda part: _hop(runInThread, write, part))
    await _hop(runInThread, finish, rest)
    return octets


def _hop(
    runInThread: RunInThread, function: Callable[[bytearray], None], octets: bytearray
) -> Deferred[None]:
    """Hand octets to a thread."""
    return _givingBack(runInThread(function, octets), octets)


def _givingBack(hop: Deferred[Any], octets: bytearray) -> Deferred[Any]:
    """Octets are in memory until a thread is done with them."""
    budget = _BUDGET

    def done(result: Any) -> Any:
        budget.giveBack(len(octets))
        return result

    return hop.addBoth(done)


def _shield(hop: Deferred[Any]) -> Deferred[Any]:
    """
    Get a Deferred that fires like another one, but whose cancellation leaves that one alone: only
    it tells when the thread is done.
    """
    shielded: Deferred[Any] = Deferred()
    hop.chainDeferred(shielded)
    return shielded


async def _gather(
    stream: AsyncIterable[bytes], write: Callable[[bytearray], Awaitable[None]]
) -> tuple[int, bytearray]:
    """
    Hand a stream on in large parts, in small ones where memory is scarce.

    :param write: what takes a part, and sees to it that it is given back to the budget.
    :returns: how many octets there were, and those that weren't handed on yet.
    """
    budget = _BUDGET
    octets = counted = 0
    # One buffer rather than a list: a client that sends two octets at a time would make that large.
    gathered = bytearray()
    try:
        if budget.used > MAX_GATHERED:
            await budget.room()
        async for chunk in stream:
            octets += len(chunk)
            gathered += chunk
            counted = len(gathered)
            budget.used += len(chunk)
            # Or it stays as long as the client takes for the next one.
            del chunk
            if counted >= HOP_SIZE or budget.used > _MOST_IDLE:
                counted = 0
                await write(gathered)
                gathered = bytearray()
            if budget.used > MAX_GATHERED:
                await budget.room()
    except BaseException:
        budget.giveBack(counted)
        raise
    return octets, gathered


def _writeAll(fileObject: IO[bytes], octets: bytearray) -> None:
    rest = memoryview(octets)
    while rest:
        written = fileObject.write(rest)
        if written is None:
            if isinstance(fileObject, io.RawIOBase):  # non-blocking, and it would block
                raise BlockingIOError(errno.EAGAIN, "messages can't be saved to non-blocking files")
            return  # a file-like object that doesn't count
        rest = rest[written:]

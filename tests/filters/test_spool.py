"""Tests for :mod:`twisted_smtpserver.filters.spool`."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import twisted_smtpserver
from tests.support.liveserver import PATIENCE
from twisted_smtpserver.filters.spool import READ_SIZE, TOTAL_MEMORY, Spool
from twisted_smtpserver.message.budget import MemoryBudget
from twisted_smtpserver.message.files import HOP_SIZE
from twisted_smtpserver.testing import runInline


async def each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield octets as a stream does."""
    for part in parts:
        yield part


class Threads:
    """
    Has ``deferToThread``'s signature; a call runs when :meth:`run` says so.

    :ivar waiting: the calls that weren't run yet.
    """

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: runInline(function, *arguments).chainDeferred(done))
        return done

    def run(self) -> None:
        """Run the next call."""
        self.waiting.pop(0)()


class SpoolTests(SynchronousTestCase):
    """Without threads."""

    def make(self, *parts: bytes, **keywords: Any) -> Spool:
        """A spool that was filled."""
        keywords.setdefault("runInThread", runInline)
        spool = Spool(**keywords)
        self.addCleanup(spool.close)
        size = self.successResultOf(Deferred.fromCoroutine(spool.fill(each(parts))))
        self.assertEqual(size, sum(map(len, parts)))
        return spool

    def content(self, spool: Spool, start: int = 0) -> bytes:
        """What an iteration yields."""

        async def gather() -> bytes:
            found = [chunk async for chunk in (spool.chunks(start) if start else spool)]
            self.assertLessEqual(max(map(len, found), default=0), READ_SIZE)
            return b"".join(found)

        octets: bytes = self.successResultOf(Deferred.fromCoroutine(gather()))
        return octets

    def test_empty(self) -> None:
        """A message may have no octets."""
        spool = self.make()
        self.assertEqual((spool.size, self.content(spool)), (0, b""))
        self.assertEqual(spool.open().read(), b"")

    def test_small(self) -> None:
        """What is small stays in memory: no thread is asked for."""
        spool = self.make(b"Subject: hi\r\n", b"\r\nhi\r\n", runInThread=None)
        self.assertTrue(spool.inMemory)
        self.assertEqual(self.content(spool), b"Subject: hi\r\n\r\nhi\r\n")

    def test_large(self) -> None:
        """What outgrows the memory goes into a file, which no name leads to."""
        folder = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, folder)  # fails if something is left in there
        parts = [os.urandom(size) for size in (100, 1000, HOP_SIZE, HOP_SIZE - 1, 5)]
        spool = self.make(*parts, memory=500, folder=folder)
        self.assertFalse(spool.inMemory)
        self.assertEqual(os.listdir(folder), [])
        self.assertEqual(self.content(spool), b"".join(parts))
        spool.close()

    @given(
        parts=st.lists(st.binary(max_size=40), max_size=12),
        memory=st.integers(0, 100),
        start=st.integers(0, 300),
        length=st.integers(0, 300),
    )
    def test_anywhere(self, parts: list[bytes], memory: int, start: int, length: int) -> None:
        """Wherever the message was cut, and wherever it went: it reads as it was written."""
        budget = MemoryBudget(60)
        spool = self.make(*parts, memory=memory, budget=budget)
        whole = b"".join(parts)
        self.assertEqual(self.content(spool, start), whole[start:])
        read = self.successResultOf(Deferred.fromCoroutine(spool.read(start, length)))
        self.assertTrue(whole[start : start + length].startswith(read))
        self.assertEqual(bool(read), bool(whole[start : start + length]))
        with spool.open() as file:
            self.assertEqual(file.seek(start), start)
            self.assertEqual(file.read(length), whole[start : start + length])
            self.assertEqual(file.seek(0, io.SEEK_END), len(whole))
            file.seek(-len(whole), io.SEEK_CUR)
            self.assertEqual(file.read(), whole)
        spool.close()
        self.assertEqual(budget.used, 0)

    def test_write(self) -> None:
        """It can be written piece by piece, too."""
        spool = Spool(memory=3, runInThread=runInline)
        for part in (b"abc", b"def"):
            self.successResultOf(Deferred.fromCoroutine(spool.write(part)))
        self.assertEqual((self.content(spool), spool.size, spool.inMemory), (b"abcdef", 6, False))
        spool.close()

    def test_readers(self) -> None:
        """Each that opens it has a position of its own, and may go on after the end."""
        spool = self.make(b"a" * 20, b"b" * 20, memory=20)
        one, other = spool.open(), spool.open()
        self.assertEqual((one.read(25), other.read(3)), (b"a" * 20 + b"b" * 5, b"a" * 3))
        spool.close()
        self.assertEqual(one.read(), b"b" * 15)
        for reader in (one, one, other):
            reader.close()
        self.assertTrue(one.closed)
        raw: Any = one
        raw.raw.close()  # what the garbage collector may do once more
        self.assertRaises(ValueError, spool.open)

    def test_budget(self) -> None:
        """Spools share what they may have in memory; who comes too late uses a file."""
        budget = MemoryBudget(10)
        first = self.make(b"12345678", budget=budget)
        second = self.make(b"12", b"3", budget=budget)
        self.assertEqual((first.inMemory, second.inMemory, budget.used), (True, False, 8))
        self.assertEqual(self.content(second), b"123")
        first.close()
        first.close()
        self.assertEqual(budget.used, 0)
        self.assertTrue(self.make(b"1234567890", budget=budget).inMemory)

    def test_commonBudget(self) -> None:
        """Unless told otherwise all of the process share one."""
        spool = self.make(b"x")
        self.assertTrue(spool._budget is Spool()._budget)
        self.assertEqual(spool._budget.limit, TOTAL_MEMORY)

    def test_diskFull(self) -> None:
        """The error is the file system's; memory is given back."""

        class Full(io.BytesIO):
            def write(self, octets: Any) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(tempfile, "TemporaryFile", lambda **keywords: Full())
        budget = MemoryBudget(10)
        spool = Spool(memory=2, budget=budget, runInThread=runInline)
        filling = Deferred.fromCoroutine(spool.fill(each([b"12", b"34"])))
        error = self.failureResultOf(filling, OSError).value
        self.assertEqual((error.errno, budget.used), (errno.ENOSPC, 0))
        spool.close()


class ThreadTests(SynchronousTestCase):
    """Threads that take their time."""

    def setUp(self) -> None:
        self.threads = Threads()
        self.spool = Spool(memory=0, runInThread=self.threads)

    def test_slowDisk(self) -> None:
        """Nothing more is read while the disk is waited for."""
        asked = []

        async def source() -> AsyncIterator[bytes]:
            for number in range(3):
                asked.append(number)
                yield bytes(HOP_SIZE)

        filling = Deferred.fromCoroutine(self.spool.fill(source()))
        self.assertEqual(asked, [0])
        self.threads.run()
        self.assertEqual(asked, [0, 1, 2])  # one is gathered while the file is there
        self.threads.run()
        self.assertEqual(self.successResultOf(filling), 3 * HOP_SIZE)
        self.spool.close()
        self.threads.run()

    def test_canceled(self) -> None:
        """The file is closed when the thread that is at work on it is done, not before."""
        filling = Deferred.fromCoroutine(self.spool.fill(each([b"octets"])))
        filling.cancel()
        self.failureResultOf(filling, CancelledError)
        self.spool.close()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run()
        file = self.spool._file
        assert file is not None
        self.assertFalse(file.closed)
        self.threads.run()
        self.assertTrue(file.closed)

    def test_canceledRead(self) -> None:
        """Likewise for two threads that read."""
        filling = Deferred.fromCoroutine(self.spool.fill(each([b"octets"])))
        self.threads.run()
        self.successResultOf(filling)
        readings = [Deferred.fromCoroutine(self.spool.read(0, 3)) for _ in range(2)]
        readings[0].cancel()
        self.failureResultOf(readings[0], CancelledError)
        self.spool.close()
        self.threads.run()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run()
        self.assertEqual(self.successResultOf(readings[1]), b"oct")
        self.threads.run()
        assert self.spool._file is not None
        self.assertTrue(self.spool._file.closed)


class RealThreadTests(TestCase):
    """The reactor's threads."""

    @inlineCallbacks
    def test_file(self):
        """A large message is written by threads, and read in one."""
        message = os.urandom(3 * HOP_SIZE)
        parts = [message[start : start + 9999] for start in range(0, len(message), 9999)]
        spool = Spool(memory=10)
        yield Deferred.fromCoroutine(spool.fill(each(parts)))

        def read() -> bytes:
            with spool.open() as file:
                return file.read()

        found = yield deferToThread(read)
        self.assertEqual(found, message)
        spool.close()


KILLED = """
import os, signal, sys
from twisted.internet.defer import Deferred
from twisted_smtpserver.filters import Spool
from twisted_smtpserver.testing import runInline

async def message():
    for _ in range(100):
        yield bytes(100_000)

spool = Spool(folder=sys.argv[1], runInThread=runInline)
Deferred.fromCoroutine(spool.fill(message()))
assert spool.size == 10_000_000 and not spool.inMemory
os.kill(os.getpid(), signal.SIGKILL)
"""


class KillTests(SynchronousTestCase):
    """Kill -9."""

    def test_killed(self) -> None:
        """Of a message that was put aside nothing is left."""
        folder = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, folder)
        root = Path(twisted_smtpserver.__path__[0]).parent
        done = subprocess.run(
            [sys.executable, "-c", KILLED, folder],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGKILL, b""))
        self.assertEqual(os.listdir(folder), [])

"""Tests for files that are committed together."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.support.filefakes import FakeOS, FakeStream, FakeThreads, failing
from twisted_smtpserver.message import files, groupcommit
from twisted_smtpserver.message.files import DurableFile, saveStream
from twisted_smtpserver.message.groupcommit import MAX_FILES, MAX_HOPS, GroupCommit


class GroupTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Two folders, and threads that work when they are told to."""
        self.folder = self.mktemp()
        for name in ("tmp", "new", "other"):
            os.makedirs(os.path.join(self.folder, name))
        self.threads = FakeThreads()
        self.commit = GroupCommit(self.threads)

    def path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)

    def durable(self, name: str, folder: str = "new") -> DurableFile:
        return DurableFile(self.path("tmp", name), self.path(folder, name))

    def start(self, name: str, folder: str = "new") -> Deferred[None]:
        """Commit a file that has its name in it."""
        return self.commit(self.durable(name, folder), bytearray(name.encode()))

    def busy(self) -> list[Deferred[None]]:
        """Take all hops there may be."""
        return [self.start(f"busy{number}") for number in range(MAX_HOPS)]

    def fakeOS(self, **replaced: Any) -> FakeOS:
        """Record the system calls, and replace some."""
        fake = FakeOS()
        fake.replaced = replaced
        self.patch(files, "os", fake)
        return fake

    def test_alone(self) -> None:
        """A file that comes alone is committed at once."""
        done = self.start("a")
        self.assertNoResult(done)
        self.threads.run()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(os.listdir(self.path("new")), ["a"])
        self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_together(self) -> None:
        """Those that come while hops are under way share the next, up to a bound."""
        self.busy()
        done = [self.start(f"f{number}") for number in range(MAX_FILES + 1)]
        self.assertEqual(len(self.threads.waiting), MAX_HOPS)
        self.threads.work()()
        self.assertEqual(len(self.threads.waiting), MAX_HOPS)
        for _ in range(MAX_HOPS - 1):
            self.threads.work()()
        self.threads.work()()
        for each in done[:-1]:
            self.successResultOf(each)
        self.assertNoResult(done[-1])
        self.threads.run()
        self.successResultOf(done[-1])
        self.assertEqual(len(os.listdir(self.path("new"))), MAX_HOPS + MAX_FILES + 1)
        self.assertEqual(len(self.threads.names), MAX_HOPS + 2)

    def test_order(self) -> None:
        """
        Each file is written, synced, closed and renamed before its directory is synced, which
        happens once; and nothing is told before that.
        """
        self.busy()
        done = [self.start(name, folder) for name, folder in (("a", "new"), ("b", "new"))]
        done.append(self.start("c", "other"))
        for _ in range(MAX_HOPS):
            self.threads.work()()
        calls = self.fakeOS().calls
        tell = self.threads.work()
        for each in done:
            self.assertNoResult(each)
        tell()
        for each in done:
            self.successResultOf(each)
        for name, folder in (("a", "new"), ("b", "new"), ("c", "other")):
            steps = [calls.index((step, name)) for step in ("write", "fsync", "close", "rename")]
            steps.append(calls.index(("fsync", folder)))
            self.assertEqual(steps, sorted(steps), calls)
        last = max(number for number, call in enumerate(calls) if call[0] == "rename")
        self.assertEqual(calls.count(("fsync", "new")), 1)
        self.assertGreater(calls.index(("fsync", "new")), last)

    def test_ones(self) -> None:
        """What fails for one file is that file's, wherever it fails; the others are safe."""
        self.busy()
        os.mkdir(self.path("new", "b"))
        open(self.path("tmp", "c"), "x").close()
        durable = self.durable("d")
        done = [self.start("a"), self.start("b"), self.start("c")]
        done += [self.commit(durable, bytearray(b"d")), self.start("e")]
        durable.cancel()
        self.threads.run()
        self.successResultOf(done[0])
        self.failureResultOf(done[1], IsADirectoryError)
        self.failureResultOf(done[2], FileExistsError)
        self.failureResultOf(done[3], CancelledError)
        self.successResultOf(done[4])
        self.assertEqual(
            sorted(set(os.listdir(self.path("new"))) - {f"busy{n}" for n in range(MAX_HOPS)}),
            ["a", "b", "e"],
        )

    def test_directory(self) -> None:
        """A directory that can't be synced makes all in it unsafe, and those in others not."""
        done = [self.start("a"), self.start("b", "other")]
        self.patch(groupcommit, "syncDirectory", failing(errno.EIO))
        self.threads.work()()
        self.failureResultOf(done[0], OSError)
        self.patch(groupcommit, "syncDirectory", files.syncDirectory)
        self.threads.work()()
        self.successResultOf(done[1])

    def test_noThread(self) -> None:
        """If there is no thread to be had, every file of the hop fails."""
        commit = GroupCommit(lambda *arguments: fail(RuntimeError("no thread")))
        done = commit(self.durable("a"), bytearray())
        self.failureResultOf(done, RuntimeError)

    def test_withoutAdvice(self) -> None:
        """Where the system takes no advice, or not for this file, it works as well."""
        self.fakeOS(posix_fadvise=failing(errno.EINVAL))
        done = self.start("b")
        self.threads.run()
        self.successResultOf(done)
        fake = self.fakeOS()
        self.patch(FakeOS, "__getattr__", without(FakeOS.__getattr__, "posix_fadvise"))
        assert not hasattr(fake, "posix_fadvise")
        done = self.start("a")
        self.threads.run()
        self.successResultOf(done)

    def test_stream(self) -> None:
        """A stream is saved by it; if that fails, no file is left, and nothing in the memory."""
        before = files._BUDGET.used
        durable = self.durable("a")
        done = Deferred.fromCoroutine(
            saveStream(FakeStream(b"one", b"two"), durable, self.threads, self.commit)
        )
        self.threads.run()
        self.assertEqual(self.successResultOf(done), 6)
        self.patch(groupcommit, "syncDirectory", failing(errno.EIO))
        done = Deferred.fromCoroutine(
            saveStream(FakeStream(b"x"), self.durable("b"), self.threads, self.commit)
        )
        self.threads.run()
        self.failureResultOf(done, OSError)
        self.assertEqual(os.listdir(self.path("new")), ["a"])
        self.assertEqual(files._BUDGET.used, before)


def without(original: Any, missing: str) -> Any:
    """A ``__getattr__`` that lacks a name."""

    def getter(self: Any, name: str) -> Any:
        if name == missing:
            raise AttributeError(name)
        return original(self, name)

    return getter

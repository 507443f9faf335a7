"""Tests for :mod:`twisted_smtpserver.message.files`: cancellation, threads and processes."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import twisted_smtpserver
from tests.support.filefakes import FakeOS, FakeThreads, FileCase
from twisted_smtpserver.message.files import HOP_SIZE

NOBODY = 65534
PROJECT = str(pathlib.Path(twisted_smtpserver.__path__[0]).parent)


class CancellationTests(FileCase):
    """Threads can't be stopped; what they leave is removed nevertheless."""

    def setUp(self) -> None:
        """Make threads."""
        super().setUp()
        self.threads = FakeThreads()

    def test_whileWaitingForTheStream(self) -> None:
        """Nothing was handed to a thread yet: there is nothing to do."""
        saving = self.save(b"octets", Deferred(), threads=self.threads)
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.assertEqual(self.threads.names, [])

    def test_whileWaitingForMore(self) -> None:
        """What was written is removed, and nobody waits for that."""
        saving = self.save(bytes(HOP_SIZE), Deferred(), threads=self.threads)
        self.threads.run()
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.assertLeft("tmp")
        self.threads.run()
        self.assertLeft()

    def test_whileWriting(self) -> None:
        """The caller is told at once; the file is removed when the thread has let go of it."""
        saving = self.save(bytes(HOP_SIZE), b"rest", threads=self.threads)
        end = self.threads.work()
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.assertEqual(self.threads.names, ["write"])
        end()
        self.assertEqual(self.threads.names, ["write", "discard"])
        self.threads.run()
        self.assertLeft()

    def test_beforeTheThreadBegins(self) -> None:
        """A hop that is still in the queue does its work for nothing."""
        saving = self.save(b"octets", threads=self.threads)
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.threads.run()
        self.assertLeft()

    def cancelledIn(self, call: str, kind: Callable[[int], bool]) -> FakeOS:
        """The save is cancelled in the middle of a system call of the commit."""
        original = getattr(os, call)

        def canceling(descriptor: int) -> None:
            original(descriptor)
            if kind(os.fstat(descriptor).st_mode):
                saving.cancel()

        fake = self.fakeOS(**{call: canceling})
        saving = self.save(b"octets", threads=self.threads)
        self.threads.work()()
        self.failureResultOf(saving, CancelledError)
        return fake

    def test_betweenSyncAndRename(self) -> None:
        """A commit that is cancelled in time never gives the file its name."""
        fake = self.cancelledIn("fsync", stat.S_ISREG)
        self.assertNotIn("rename", [name for name, _ in fake.calls])
        self.threads.run()
        self.assertLeft()

    def test_afterTheRename(self) -> None:
        """A commit that is cancelled later has the file removed from its place."""
        self.cancelledIn("fsync", stat.S_ISDIR)
        self.assertLeft("final")
        self.threads.run()
        self.assertLeft()

    def test_whileTheEndIsOnItsWay(self) -> None:
        """The thread is done, but the reactor doesn't know yet: the caller isn't told success."""
        saving = self.save(b"octets", threads=self.threads)
        end = self.threads.work()
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        end()
        self.threads.run()
        self.assertLeft()

    def test_afterSuccess(self) -> None:
        """A cancellation after the end changes nothing."""
        saving = self.save(b"octets", threads=self.threads)
        self.threads.run()
        saving.cancel()
        self.assertEqual(self.successResultOf(saving), 6)
        self.assertLeft("final")

    def test_threadFailsAfterwards(self) -> None:
        """An error in the thread that nobody waits for any more isn't left unhandled."""
        saving = self.save(b"octets", threads=self.threads)
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        os.rmdir(self.directory)
        self.threads.run()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_whileCleaningUp(self) -> None:
        """A cancellation of the clean-up after a failure doesn't keep it from its work."""
        saving = self.save(bytes(HOP_SIZE), ValueError(), threads=self.threads)
        self.threads.work()()
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.threads.run()
        self.assertLeft()


class ThreadTests(FileCase, TestCase):
    """With the reactor's own threads."""

    def setUp(self) -> None:
        """Have something to wait for."""
        super().setUp()
        self.discarded: Deferred[None] = Deferred()

    def inThread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """``deferToThread``; the end of a clean-up can be waited for."""
        hop = deferToThread(function, *arguments)
        if function.__name__ == "discard":
            hop.addBoth(self.discarded.callback)
        return hop

    async def test_saves(self) -> None:
        """A message of several hops is saved."""
        self.assertEqual(
            await self.save(bytes(HOP_SIZE), b"rest", threads=self.inThread), HOP_SIZE + 4
        )
        self.assertEqual(self.content(), bytes(HOP_SIZE) + b"rest")
        self.assertLeft("final")

    async def test_cancelled(self) -> None:
        """A thread that was in the middle of a commit leaves nothing behind."""
        entered: Deferred[None] = Deferred()
        goOn = threading.Event()
        self.addCleanup(goOn.set)

        def fsync(descriptor: int) -> None:
            reactor.callFromThread(entered.callback, None)  # type: ignore[attr-defined]
            goOn.wait()

        self.fakeOS(fsync=fsync)
        saving = self.save(b"octets", threads=self.inThread)
        await entered
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.assertLeft("tmp")
        goOn.set()
        await self.discarded
        self.assertLeft()


class ProcessTests(FileCase):
    """What needs a process of its own, because it concerns a process as a whole."""

    PROGRAM = """
import os, resource, sys
from twisted.internet.defer import maybeDeferred, Deferred
from twisted_smtpserver.message.files import HOP_SIZE, saveToPath

class Stream:
    def __init__(self):
        self.left = 4
    def __aiter__(self):
        return self
    async def __anext__(self):
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return bytes(HOP_SIZE)

{preparation}
saving = Deferred.fromCoroutine(saveToPath(Stream(), sys.argv[1], maybeDeferred))
saving.addCallbacks(print, lambda failure: print(failure.value.strerror))
{afterwards}
"""

    def runProgram(self, preparation: str, afterwards: str = "") -> str:
        """Run the program; what it prints is the result of its save."""
        program = self.PROGRAM.format(preparation=preparation, afterwards=afterwards)
        environment = {**os.environ, "PYTHONPATH": PROJECT}
        done = subprocess.run(
            [sys.executable, "-c", program, self.final],
            env=environment,
            capture_output=True,
            check=False,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_fileSizeLimit(self) -> None:
        """RLIMIT_FSIZE stops a real write in the middle, and nothing is left."""
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (3 * HOP_SIZE // 2, -1))"
        lift = "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))"
        self.assertEqual(self.runProgram(limit, lift), os.strerror(errno.EFBIG))
        self.assertLeft()
        self.assertEqual(self.runProgram(""), str(4 * HOP_SIZE))
        self.assertLeft("final")

    def test_permissionDenied(self) -> None:
        """A directory that doesn't let us write; root, for whom all do, becomes nobody."""
        os.chmod(self.directory, 0o555)
        become, restore = "", ""
        if os.geteuid() == 0:
            become, restore = f"os.seteuid({NOBODY})", "os.seteuid(0)"
        self.assertEqual(self.runProgram(become, restore), os.strerror(errno.EACCES))
        self.assertLeft()

"""Tests for :mod:`twisted_smtpserver.files`."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import twisted_smtpserver
from twisted_smtpserver import files
from twisted_smtpserver.files import HOP_SIZE, DurableFile, saveStream, saveToFile, saveToPath

NOBODY = 65534
PROJECT = str(pathlib.Path(twisted_smtpserver.__path__[0]).parent)


class FakeStream:
    """
    Yields octets, waits for Deferreds and raises exceptions, in the order given.

    :ivar reads: how many times it was asked for something.
    """

    def __init__(self, *parts: bytes | Exception | Deferred[bytes]) -> None:
        self.parts = list(parts)
        self.reads = 0

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> bytes:
        self.reads += 1
        if not self.parts:
            raise StopAsyncIteration
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return await part if isinstance(part, Deferred) else part


class FakeThreads:
    """
    Has ``deferToThread``'s signature; a hop runs when it is told to.

    :ivar waiting: the hops that weren't run yet.
    :ivar names: the names of all functions asked for.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.names: list[str] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Ask for a hop."""
        done: Deferred[Any] = Deferred()
        self.names.append(function.__name__)
        self.waiting.append((done, lambda: function(*arguments)))
        return done

    def work(self) -> Callable[[], None]:
        """Run the next hop. Its end is told to the reactor when the result is called."""
        done, function = self.waiting.pop(0)
        result: Any = maybeDeferred(function)
        return lambda: result.chainDeferred(done)

    def run(self) -> None:
        """Run hops until none waits."""
        while self.waiting:
            self.work()()


def atOnce(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Has ``deferToThread``'s signature, and no thread."""
    return maybeDeferred(function, *arguments)


class FakeOS:
    """
    The module :mod:`os`, some of whose functions are recorded or replaced.

    :ivar calls: the recorded calls: the function, and the path that its argument leads to.
    """

    RECORDED = frozenset({"open", "write", "fsync", "close", "rename", "unlink"})

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.replaced: dict[str, Callable[..., Any]] = {}
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in self.RECORDED:
            return original

        def recorded(target: Any, *arguments: Any) -> Any:
            path = self._paths.get(target, "") if isinstance(target, int) else target
            self.calls.append((name, os.path.basename(path)))
            result = self.replaced.get(name, original)(target, *arguments)
            if name == "open":
                self._paths[result] = target
            return result

        return recorded


def failing(number: int) -> Callable[..., Any]:
    """A system call that always fails."""

    def fail(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


class FileTests(SynchronousTestCase):
    """What the tests here share: a directory, and a look at what is in it."""

    def setUp(self) -> None:
        """Make the directory."""
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.temporary = os.path.join(self.directory, "tmp")
        self.final = os.path.join(self.directory, "final")

    def content(self, path: str | None = None) -> bytes:
        """What is in a file."""
        return pathlib.Path(path or self.final).read_bytes()

    def assertLeft(self, *names: str) -> None:
        """These files, and no others, are in the directory."""
        self.assertEqual(sorted(os.listdir(self.directory)), sorted(names))

    def fakeOS(self, **replaced: Callable[..., Any]) -> FakeOS:
        """Record the system calls, and replace some."""
        fake = FakeOS()
        fake.replaced = replaced
        self.patch(files, "os", fake)
        return fake

    def save(
        self, *parts: bytes | Exception | Deferred[bytes], threads: files.RunInThread = atOnce
    ) -> Deferred[int]:
        """Begin to save a stream that has these parts."""
        durable = DurableFile(self.temporary, self.final)
        return Deferred.fromCoroutine(saveStream(FakeStream(*parts), durable, threads))


class DurableFileTests(FileTests):
    """The file by itself."""

    def test_order(self) -> None:
        """Octets, then the file's sync, then the name, then the directory's sync."""
        fake = self.fakeOS()
        DurableFile(self.temporary, self.final).commit(b"octets")
        directory = os.path.basename(self.directory)
        self.assertEqual(
            fake.calls,
            [
                ("open", "tmp"),
                ("write", "tmp"),
                ("fsync", "tmp"),
                ("close", "tmp"),
                ("rename", "tmp"),
                ("open", directory),
                ("fsync", directory),
                ("close", directory),
            ],
        )

    def test_directoryOfTheFinalName(self) -> None:
        """With two directories it is the new name's that is synced."""
        for name in ("a", "b"):
            os.mkdir(os.path.join(self.directory, name))
        fake = self.fakeOS()
        DurableFile(f"{self.directory}/a/file", f"{self.directory}/b/file").commit(b"octets")
        self.assertEqual(fake.calls[-2:], [("fsync", "b"), ("close", "b")])

    def test_mode(self) -> None:
        """Nobody else may read the file."""
        self.addCleanup(os.umask, os.umask(0))
        DurableFile(self.temporary, self.final).commit(b"octets")
        self.assertEqual(stat.S_IMODE(os.stat(self.final).st_mode), 0o600)

    def test_shortWrites(self) -> None:
        """A system call that takes only some of the octets is repeated for the others."""
        self.fakeOS(write=lambda descriptor, octets: os.write(descriptor, octets[:3]))
        DurableFile(self.temporary, self.final).commit(b"0123456789")
        self.assertEqual(self.content(), b"0123456789")

    def test_temporaryExists(self) -> None:
        """A file that is there already is neither written to nor removed."""
        pathlib.Path(self.temporary).write_bytes(b"another's")
        durable = DurableFile(self.temporary, self.final)
        self.assertRaises(FileExistsError, durable.write, b"octets")
        durable.discard()
        self.assertEqual(self.content(self.temporary), b"another's")

    def test_symbolicLink(self) -> None:
        """Nor is what a symbolic link points to."""
        os.symlink(self.final, self.temporary)
        self.assertRaises(FileExistsError, DurableFile(self.temporary, self.final).write, b"octets")
        self.assertLeft("tmp")

    def test_discardKeepsAnothersFile(self) -> None:
        """A file that somebody else has put in the place of this one meanwhile is kept."""
        durable = DurableFile(self.temporary, self.final)
        durable.commit(b"octets")
        another = DurableFile(self.temporary, self.final)
        another.commit(b"another's")
        durable.discard()
        self.assertEqual(self.content(), b"another's")
        another.discard()
        self.assertLeft()

    def test_discardTwice(self) -> None:
        """To discard again does nothing, nor does it where there is nothing."""
        durable = DurableFile(self.temporary, self.final)
        durable.discard()
        durable.write(b"octets")
        durable.discard()
        durable.discard()
        self.assertLeft()

    def test_discardRaisesNothing(self) -> None:
        """What can't be removed stays, without another exception."""
        durable = DurableFile(self.temporary, self.final)
        durable.write(b"octets")
        self.fakeOS(unlink=failing(errno.EIO))
        durable.discard()
        self.assertLeft("tmp")

    def test_closeFails(self) -> None:
        """A close that reports what went wrong with the writing keeps the file from its name."""

        def close(descriptor: int) -> None:
            os.close(descriptor)
            raise OSError(errno.EDQUOT, "quota")

        self.fakeOS(close=close)
        durable = DurableFile(self.temporary, self.final)
        self.assertRaises(OSError, durable.commit, b"octets")
        durable.discard()
        self.assertLeft()

    def test_discardAfterFailingClose(self) -> None:
        """The file is removed even if closing it fails."""

        def close(descriptor: int) -> None:
            os.close(descriptor)
            raise OSError(errno.EIO, "disk")

        durable = DurableFile(self.temporary, self.final)
        durable.write(b"octets")
        self.fakeOS(close=close)
        durable.discard()
        self.assertLeft()


class SyncDirectoryTests(FileTests):
    def test_cannotBeSynced(self) -> None:
        """A file system that doesn't know how to sync directories doesn't stop anybody."""
        fake = self.fakeOS(fsync=failing(errno.EINVAL))
        files.syncDirectory(self.directory)
        self.assertEqual(fake.calls[-1][0], "close")

    def test_fails(self) -> None:
        """A real error is raised, and the descriptor is closed nevertheless."""
        fake = self.fakeOS(fsync=failing(errno.EIO))
        self.assertRaises(OSError, files.syncDirectory, self.directory)
        self.assertEqual(fake.calls[-1][0], "close")


class SaveStreamTests(FileTests):
    """Streams into durable files."""

    def test_oneHop(self) -> None:
        """A small message costs a single hop."""
        threads = FakeThreads()
        saving = self.save(b"one", b"two", threads=threads)
        threads.run()
        self.assertEqual(self.successResultOf(saving), 6)
        self.assertEqual(threads.names, ["commit"])
        self.assertEqual(self.content(), b"onetwo")
        self.assertLeft("final")

    def test_notDoneBeforeTheHop(self) -> None:
        """Success isn't told before the thread is done."""
        threads = FakeThreads()
        saving = self.save(b"octets", threads=threads)
        end = threads.work()
        self.assertNoResult(saving)
        end()
        self.assertEqual(self.successResultOf(saving), 6)

    def test_empty(self) -> None:
        """An empty message is an empty file."""
        self.assertEqual(self.successResultOf(self.save()), 0)
        self.assertEqual(self.content(), b"")

    def test_backPressure(self) -> None:
        """A large message is handed over in parts, and isn't read while the thread works."""
        threads = FakeThreads()
        chunk = bytes(HOP_SIZE // 2)
        stream = FakeStream(chunk, chunk, b"rest")
        durable = DurableFile(self.temporary, self.final)
        saving = Deferred.fromCoroutine(saveStream(stream, durable, threads))
        self.assertEqual((stream.reads, threads.names), (2, ["write"]))
        threads.work()()
        self.assertEqual((stream.reads, threads.names), (4, ["write", "commit"]))
        threads.run()
        self.assertEqual(self.successResultOf(saving), HOP_SIZE + 4)
        self.assertEqual(self.content(), chunk + chunk + b"rest")

    def test_gathersUpToTheBound(self) -> None:
        """One octet less than the bound waits for more."""
        threads = FakeThreads()
        self.save(bytes(HOP_SIZE - 1), Deferred(), threads=threads)
        self.assertEqual(threads.names, [])

    def test_replaces(self) -> None:
        """A file of that name is replaced."""
        pathlib.Path(self.final).write_bytes(b"old")
        self.successResultOf(self.save(b"new"))
        self.assertEqual(self.content(), b"new")

    def failsIn(self, call: str, number: int) -> None:
        """A system call fails: the caller gets the error, and the old file is untouched."""
        pathlib.Path(self.final).write_bytes(b"old")
        self.fakeOS(**{call: failing(number)})
        error = self.failureResultOf(self.save(b"octets"), OSError).value
        self.assertEqual(cast(OSError, error).errno, number)
        self.assertLeft("final")
        self.assertEqual(self.content(), b"old")

    def test_diskFull(self) -> None:
        """ENOSPC while writing."""
        self.failsIn("write", errno.ENOSPC)

    def test_syncFails(self) -> None:
        """EIO from fsync, which is where a failing disk is noticed."""
        self.failsIn("fsync", errno.EIO)

    def test_renameFails(self) -> None:
        """EACCES from rename."""
        self.failsIn("rename", errno.EACCES)

    def test_directorySyncFails(self) -> None:
        """Without the directory's sync the file might be lost, so it isn't left to be found."""

        def fsync(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EIO, "disk")

        self.fakeOS(fsync=fsync)
        self.failureResultOf(self.save(b"octets"), OSError)
        self.assertLeft()

    def test_failsInALaterHop(self) -> None:
        """What an earlier hop has written is removed before the error is told."""
        threads = FakeThreads()
        saving = self.save(bytes(HOP_SIZE), b"rest", threads=threads)
        threads.work()()
        self.fakeOS(write=failing(errno.ENOSPC))
        threads.work()()
        self.assertNoResult(saving)
        self.assertLeft("tmp")
        threads.work()()
        self.failureResultOf(saving, OSError)
        self.assertLeft()

    def test_streamFailsEarly(self) -> None:
        """No thread is bothered for a message that broke off before the first hop."""
        threads = FakeThreads()
        self.failureResultOf(self.save(b"octets", ValueError(), threads=threads), ValueError)
        self.assertEqual(threads.names, [])

    def test_streamFailsLate(self) -> None:
        """A message that breaks off later leaves nothing."""
        self.failureResultOf(self.save(bytes(HOP_SIZE), ValueError()), ValueError)
        self.assertLeft()

    def test_directoryGone(self) -> None:
        """The directory was removed."""
        os.rmdir(self.directory)
        self.failureResultOf(self.save(b"octets"), FileNotFoundError)

    def test_finalIsADirectory(self) -> None:
        """A directory stands where the file should go."""
        os.mkdir(self.final)
        self.failureResultOf(self.save(b"octets"), IsADirectoryError)
        self.assertLeft("final")


class CancellationTests(FileTests):
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

        def cancelling(descriptor: int) -> None:
            original(descriptor)
            if kind(os.fstat(descriptor).st_mode):
                saving.cancel()

        fake = self.fakeOS(**{call: cancelling})
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


class SaveToPathTests(FileTests):
    def toPath(self, path: str | os.PathLike[str]) -> Deferred[int]:
        """Save six octets."""
        return Deferred.fromCoroutine(saveToPath(FakeStream(b"octets"), path, atOnce))

    def test_saves(self) -> None:
        """A path may be text or a path object."""
        for path in (self.final, pathlib.Path(self.final)):
            self.assertEqual(self.successResultOf(self.toPath(path)), 6)
            self.assertEqual(self.content(), b"octets")
            self.assertLeft("final")

    def test_temporaryName(self) -> None:
        """The temporary file is beside the target, hidden, and can't be foreseen."""
        seen = []

        def open_(path: str, *arguments: Any) -> int:
            if os.path.dirname(path) == self.directory:
                seen.append(os.path.basename(path))
            return os.open(path, *arguments)

        self.fakeOS(open=open_)
        for _ in range(2):
            self.successResultOf(self.toPath(self.final))
        self.assertEqual(len(set(seen)), 2)
        for name in seen:
            self.assertRegex(name, r"^\.[0-9a-f]{32}\.tmp$")

    def test_longName(self) -> None:
        """A name as long as the file system allows is possible."""
        self.successResultOf(self.toPath(os.path.join(self.directory, "n" * 255)))
        self.assertLeft("n" * 255)

    def test_noDirectory(self) -> None:
        """A bare name is a file in the working directory."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.successResultOf(self.toPath("final"))
        self.assertLeft("final")


class Raw(io.RawIOBase):
    """A raw file, which takes no more than three octets at a time, or at some time none."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.octets = b""
        self.room = room

    def write(self, octets: Any) -> int | None:
        """Take the first of the octets."""
        part = bytes(octets[: min(3, self.room - len(self.octets))])
        self.octets += part
        return len(part) or None


class Uncounted(io.BytesIO):
    """A file whose write() doesn't return how much it wrote."""

    def write(self, octets: Any) -> None:  # type: ignore[override]
        """Take the octets."""
        super().write(octets)


class SaveToFileTests(SynchronousTestCase):
    def toFile(
        self, fileObject: object, *parts: bytes, threads: files.RunInThread = atOnce
    ) -> Deferred[int]:
        """Begin to save a stream that has these parts."""
        return Deferred.fromCoroutine(
            saveToFile(FakeStream(*parts), cast(IO[bytes], fileObject), threads)
        )

    def test_saves(self) -> None:
        """The octets are in the file, flushed, behind what was there; it is open still."""
        with tempfile.TemporaryFile() as target:
            target.write(b"before ")
            self.assertEqual(self.successResultOf(self.toFile(target, b"one", b"two")), 6)
            self.assertEqual(os.fstat(target.fileno()).st_size, 13)
            target.seek(0)
            self.assertEqual(target.read(), b"before onetwo")

    def test_hops(self) -> None:
        """A small message costs one hop, a large one more."""
        for parts, hops in (((b"small",), 1), ((bytes(HOP_SIZE), b"rest"), 2)):
            threads = FakeThreads()
            target = io.BytesIO()
            saving = self.toFile(target, *parts, threads=threads)
            threads.run()
            self.successResultOf(saving)
            self.assertEqual(target.getvalue(), b"".join(parts))
            self.assertEqual(len(threads.names), hops)

    def test_raw(self) -> None:
        """An unbuffered file that takes some of the octets is given the others, too."""
        target = Raw(100)
        self.successResultOf(self.toFile(target, b"0123456789"))
        self.assertEqual(target.octets, b"0123456789")

    def test_nonBlocking(self) -> None:
        """Octets that a non-blocking file doesn't take aren't lost in silence."""
        self.failureResultOf(self.toFile(Raw(5), b"0123456789"), BlockingIOError)

    def test_uncounted(self) -> None:
        """A file-like object whose write() returns nothing has written all."""
        target = Uncounted()
        self.successResultOf(self.toFile(target, b"0123456789"))
        self.assertEqual(target.getvalue(), b"0123456789")

    def test_closed(self) -> None:
        """What the file raises is raised."""
        target = io.BytesIO()
        target.close()
        self.failureResultOf(self.toFile(target, b"octets"), ValueError)


class ThreadTests(FileTests, TestCase):
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


class ProcessTests(FileTests):
    """What needs a process of its own, because it concerns a process as a whole."""

    PROGRAM = """
import os, resource, sys
from twisted.internet.defer import maybeDeferred, Deferred
from twisted_smtpserver.files import HOP_SIZE, saveToPath

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
            check=True,
            text=True,
        )
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

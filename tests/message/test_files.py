"""Tests for :mod:`twisted_smtpserver.message.files`; threads have a module of their own."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import stat
import sys
import tempfile
from typing import IO, Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.filefakes import FakeStream, FakeThreads, FileCase, atOnce, failing
from twisted_smtpserver.message import files
from twisted_smtpserver.message.budget import MemoryBudget
from twisted_smtpserver.message.files import (
    HOP_SIZE,
    DurableFile,
    saveStream,
    saveToFile,
    saveToPath,
)


class DurableFileTests(FileCase):
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


class SyncDirectoryTests(FileCase):
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


class SaveStreamTests(FileCase):
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


class MemoryTests(FileCase):
    """What unfinished messages have in memory, all of them together."""

    CHUNK = bytes(1000)
    LIMIT = 20_000

    def setUp(self) -> None:
        """Little memory, and threads that work when they are told to."""
        super().setUp()
        self.patch(files, "MAX_GATHERED", self.LIMIT)
        self.patch(files, "_MOST_IDLE", self.LIMIT // 2)
        self.budget = MemoryBudget(self.LIMIT)
        self.patch(files, "_BUDGET", self.budget)
        self.threads = FakeThreads()
        self.streams: list[FakeStream] = []
        self.all: list[Deferred[int]] = []  # or they would be collected as garbage

    def begin(self, *parts: bytes | Exception | Deferred[bytes]) -> Deferred[int]:
        """Begin to save a message."""
        self.streams.append(FakeStream(*parts))
        name = f"{self.directory}/{len(self.streams)}"
        durable = DurableFile(f"{name}.tmp", name)
        saving = Deferred.fromCoroutine(saveStream(self.streams[-1], durable, self.threads))
        self.all.append(saving)
        return saving

    def reads(self) -> int:
        """How many chunks were asked for."""
        return sum(stream.reads for stream in self.streams)

    def test_stalled(self) -> None:
        """Clients that stop in the middle hold no more than half of it, however many there are."""
        for _ in range(100):
            self.begin(self.CHUNK, Deferred())
            self.threads.run()
        self.assertEqual(self.reads(), 200)
        self.assertLessEqual(self.budget.used, self.LIMIT // 2)
        written = [path for path in os.listdir(self.directory) if path.endswith(".tmp")]
        self.assertEqual(len(written), 90)

    def test_noCopy(self) -> None:
        """A client that stops leaves nothing of what was gathered already in memory."""
        chunks = [bytes([number]) * 1000 for number in range(3)]
        before = [sys.getrefcount(chunk) for chunk in chunks]
        self.begin(*chunks, Deferred())
        self.assertEqual([sys.getrefcount(chunk) for chunk in chunks], before)

    def test_slowDisk(self) -> None:
        """While no thread comes to write, no more is read than there is room for, and one more."""
        saving = [self.begin(self.CHUNK) for _ in range(100)]
        self.assertLessEqual(self.budget.used, self.LIMIT + len(self.CHUNK))
        self.assertLessEqual(self.reads(), 100)
        self.threads.run()
        for each in saving:
            self.assertEqual(self.successResultOf(each), len(self.CHUNK))
        self.assertEqual(self.budget.used, 0)

    def test_waitingAgain(self) -> None:
        """A message that has read before waits, too, when others have taken the room."""
        more: Deferred[bytes] = Deferred()
        saving = self.begin(self.CHUNK, more, self.CHUNK)
        self.budget.used += self.LIMIT + 1
        more.callback(self.CHUNK)
        self.threads.run()
        self.assertEqual(self.reads(), 2)
        self.budget.giveBack(self.LIMIT + 1)
        self.threads.run()
        self.assertEqual(self.successResultOf(saving), 3 * len(self.CHUNK))
        self.assertEqual(self.budget.used, 0)

    def test_givenBack(self) -> None:
        """Whatever becomes of a message, nothing stays taken."""
        stalled = self.begin(self.CHUNK, Deferred())
        self.failureResultOf(self.begin(self.CHUNK, ValueError()), ValueError)
        self.budget.used += self.LIMIT + 1
        waiting = self.begin(self.CHUNK)
        for each in (stalled, waiting):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.budget.giveBack(self.LIMIT + 1)
        self.assertEqual((self.budget.used, self.threads.names), (0, []))

    def test_canceledInAThread(self) -> None:
        """What a thread works on is in memory until it is done, also if nobody waits for it."""
        saving = self.begin(self.CHUNK)
        saving.cancel()
        self.failureResultOf(saving, CancelledError)
        self.assertEqual(self.budget.used, len(self.CHUNK))
        self.threads.run()
        self.assertEqual(self.budget.used, 0)
        self.assertLeft()

    def test_toFile(self) -> None:
        """A file of the handler's own has its part of the same memory."""
        file = io.BytesIO()
        saving = Deferred.fromCoroutine(saveToFile(FakeStream(self.CHUNK), file, self.threads))
        self.assertEqual(self.budget.used, len(self.CHUNK))
        self.threads.run()
        self.assertEqual(self.successResultOf(saving), len(self.CHUNK))
        self.assertEqual(self.budget.used, 0)


class SaveToPathTests(FileCase):
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

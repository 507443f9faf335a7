"""Tests for :mod:`twisted_smtpserver.handlers.maildir`."""

from __future__ import annotations

import email
import email.policy
import errno
import os
import pathlib
import shutil
import socket
import stat
import tempfile
import time
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.filefakes import FakeOS, FakeStream, FakeThreads, atOnce, failing
from tests.support.talk import talk, walk
from tests.test_headers import makeAddress, makeSession
from twisted_smtpserver.errors import ConnectionLost, Rejection
from twisted_smtpserver.handlers import maildir
from twisted_smtpserver.handlers.maildir import Maildir
from twisted_smtpserver.message import files
from twisted_smtpserver.message.budget import MemoryBudget
from twisted_smtpserver.message.files import HOP_SIZE
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import connect, makeFactory

MESSAGE = b"Subject: test\r\n\r\n.text\r\n\0\xff\r\nReceived: not a hop\r\n"


class MaildirTests(SynchronousTestCase):
    """What the tests here share: a place for a Maildir."""

    def setUp(self) -> None:
        """Make the place."""
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.path = self.directory / "Maildir"
        self.session = makeSession(makeAddress("joe", "example.com"))
        self.session.envelope.mailFrom = makeAddress("ann", "example.org")

    def handler(self, threads: files.RunInThread = atOnce, **options: Any) -> Maildir:
        """A Maildir at the place."""
        return Maildir(self.path, "mx.example.com", runInThread=threads, **options)

    def store(self, handler: Maildir, *parts: bytes | Exception | Deferred[bytes]) -> Deferred[str]:
        """Begin to store a message that comes in these parts."""
        stream = cast(Any, FakeStream(*parts))
        return Deferred.fromCoroutine(handler.onData(stream, self.session))

    def names(self, folder: str) -> list[str]:
        """The files in a folder."""
        return sorted(os.listdir(self.path / folder))

    def assertStored(self, *expected: bytes) -> list[bytes]:
        """As many messages are in ``new``, and nothing is elsewhere; what comes before each."""
        found = sorted(file.read_bytes() for file in (self.path / "new").iterdir())
        self.assertEqual((self.names("tmp"), self.names("cur")), ([], []))
        self.assertEqual(len(found), len(expected))
        for content, ending in zip(found, expected, strict=True):
            self.assertTrue(content.endswith(ending))
        return [
            content.removesuffix(ending) for content, ending in zip(found, expected, strict=True)
        ]

    def rejection(self, storing: Deferred[str]) -> tuple[int | None, str | None, str]:
        """How the message was refused."""
        error = cast(Rejection, self.failureResultOf(storing, Rejection).value)
        return error.code, error.enhanced, error.text


class CreationTests(MaildirTests):
    def test_creates(self) -> None:
        """The folders are made, for nobody else to see."""
        self.addCleanup(os.umask, os.umask(0))
        self.path = self.directory / "deeper" / "Maildir"
        self.handler()
        for path in (self.path, *(self.path / name for name in ("tmp", "new", "cur"))):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700)

    def test_saysSo(self) -> None:
        """That a Maildir was made is logged: its disk may not be mounted. Otherwise nothing is."""
        for expected in ([f"Created the Maildir {self.path}"], []):
            with capturedLogs() as events:
                self.handler()
            self.assertEqual([e["log_format"].format(**e) for e in events], expected)

    def test_synced(self) -> None:
        """The way to the messages is synced when it is made, and not again."""
        synced: list[str] = []
        self.patch(maildir, "syncDirectory", synced.append)
        self.handler()
        self.assertEqual(synced, [str(self.path), str(self.directory)])
        self.handler()
        self.assertEqual(len(synced), 2)

    def test_exists(self) -> None:
        """What is there is left as it is."""
        for name in ("tmp", "new"):
            (self.path / name).mkdir(parents=True)
        (self.path / "new").chmod(0o755)
        (self.path / "new" / "message").write_bytes(MESSAGE)
        self.handler()
        self.assertEqual(stat.S_IMODE((self.path / "new").stat().st_mode), 0o755)
        self.assertTrue((self.path / "cur").is_dir())
        self.assertStored(MESSAGE)

    def test_another(self) -> None:
        """Another process, a worker beside us, may make the same folders at the same moment."""
        self.handler()
        isDirectory, seen = os.path.isdir, set()

        def tooEarly(path: Any) -> bool:
            isNew = path not in seen
            seen.add(path)
            return not isNew and isDirectory(path)

        self.patch(os.path, "isdir", tooEarly)
        self.handler()
        self.assertEqual(len(seen), 4)

    def test_impossible(self) -> None:
        """A file in the way is an error at once."""
        self.path.write_bytes(b"")
        self.assertRaises(OSError, self.handler)

    def test_relative(self) -> None:
        """A relative path means the directory of the moment, wherever the process goes later."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        handler = Maildir("Maildir")
        self.assertEqual(handler.path, os.path.join(os.getcwd(), "Maildir"))
        self.assertEqual(repr(handler), f"<Maildir {handler.path}>")

    def test_cleanUp(self) -> None:
        """Files of tmp that nobody has written to for 36 hours are removed, others aren't."""
        self.handler()
        folder = self.path / "tmp"
        (folder / "folder").mkdir()
        for path in (folder / "old", folder / "fresh", self.path / "new" / "old"):
            path.write_bytes(b"")
        for path in (folder / "old", folder / "folder", self.path / "new" / "old"):
            past = path.stat().st_mtime - 36 * 3600 - 10
            os.utime(path, (past, past))
        fresh = (folder / "fresh").stat().st_mtime - 36 * 3600 + 1000
        os.utime(folder / "fresh", (fresh, fresh))
        self.handler()
        self.assertEqual(self.names("tmp"), ["folder", "fresh"])
        self.assertEqual(self.names("new"), ["old"])

    def test_cleanedUpByAnother(self) -> None:
        """A file that is gone when it should be removed is no error."""
        self.handler()
        (self.path / "tmp" / "old").write_bytes(b"")
        os.utime(self.path / "tmp" / "old", (0, 0))
        fake = FakeOS()
        fake.replaced = {"unlink": failing(errno.ENOENT)}
        self.patch(maildir, "os", fake)
        self.handler()
        self.assertIn("unlink", [name for name, _ in fake.calls])


class StoringTests(MaildirTests):
    def test_stores(self) -> None:
        """The message is in new, octet for octet, behind the trace fields; the id is told."""
        storing = self.store(self.handler(), MESSAGE[:20], MESSAGE[20:])
        self.assertEqual(self.successResultOf(storing), "Message stored as 0123abc-1")
        (trace,) = self.assertStored(MESSAGE)
        self.assertTrue(
            trace.startswith(
                b"Return-Path: <ann@example.org>\r\n"
                b"Received: from client.example ([192.0.2.1]) by mx.example.com with ESMTP\r\n"
                b"\tid 0123abc-1 for <joe@example.com>;"
            )
        )

    def test_mode(self) -> None:
        """Nobody else may read it."""
        self.successResultOf(self.store(self.handler(), MESSAGE))
        (name,) = self.names("new")
        self.assertEqual(stat.S_IMODE((self.path / "new" / name).stat().st_mode), 0o600)

    def test_large(self) -> None:
        """A message of several hops is whole."""
        body = os.urandom(HOP_SIZE)
        self.successResultOf(self.store(self.handler(), MESSAGE, body, body))
        self.assertStored(MESSAGE + body + body)

    def test_underWay(self) -> None:
        """A message that isn't complete is in tmp."""
        threads = FakeThreads()
        storing = self.store(self.handler(threads), bytes(HOP_SIZE), MESSAGE)
        threads.work()()
        self.assertEqual((len(self.names("tmp")), self.names("new")), (1, []))
        self.assertNoResult(storing)

    def test_durable(self) -> None:
        """Success isn't told before file and directory are synced, in this order."""
        handler = self.handler()
        fake = FakeOS()
        self.patch(files, "os", fake)
        self.successResultOf(self.store(handler, MESSAGE))
        (name,) = self.names("new")
        self.assertEqual(
            [call for call in fake.calls if call[0] in {"write", "fsync", "rename"}],
            [("write", name), ("fsync", name), ("rename", name), ("fsync", "new")],
        )

    def test_oneHop(self) -> None:
        """A small message costs a single hop, and until then there is no reply."""
        threads = FakeThreads()
        storing = self.store(self.handler(threads), MESSAGE)
        self.assertEqual(threads.names, ["commitAll"])
        end = threads.work()
        self.assertNoResult(storing)
        end()
        self.successResultOf(storing)

    def test_null(self) -> None:
        """The null reverse-path and an empty message are nothing special."""
        self.session.envelope.mailFrom = makeAddress("", None)
        self.successResultOf(self.store(self.handler()))
        (trace,) = self.assertStored(b"")
        self.assertTrue(trace.startswith(b"Return-Path: <>\r\nReceived: "))

    def test_defaults(self) -> None:
        """Our name is this machine's."""
        handler = Maildir(self.path, runInThread=atOnce)
        self.successResultOf(self.store(handler, MESSAGE))
        (name,) = self.names("new")
        self.assertTrue(name.endswith(f".{socket.gethostname()}"))
        self.assertIn(b" by " + socket.gethostname().encode(), self.assertStored(MESSAGE)[0])


class NameTests(MaildirTests):
    def test_form(self) -> None:
        """Time, delivery and host, as the Maildir specification has it."""
        self.patch(time, "time_ns", lambda: 1_700_000_000_000_123_999)
        name = self.handler()._uniqueName()
        self.assertRegex(
            name, rf"^1700000000\.M123P{os.getpid()}Q\d+R[0-9a-f]{{16}}\.mx\.example\.com$"
        )

    def test_unique(self) -> None:
        """Two messages of the same microsecond have different names, in whatever handler."""
        self.patch(time, "time_ns", lambda: 1_700_000_000_000_000_000)
        for _ in range(2):
            handler = self.handler()
            for _ in range(2):
                self.successResultOf(self.store(handler, MESSAGE))
        self.assertStored(*[MESSAGE] * 4)

    def test_host(self) -> None:
        """A host name can't lead to another directory, nor look like flags."""
        handler = Maildir(self.path, "a/../b:2,S", runInThread=atOnce)
        self.successResultOf(self.store(handler, MESSAGE))
        (name,) = self.names("new")
        self.assertTrue(name.endswith(r".a\057..\057b\0722,S"))


class HopTests(MaildirTests):
    def test_tooMany(self) -> None:
        """A message with more hops than are allowed is refused, and nothing is kept of it."""
        threads = FakeThreads()
        storing = self.store(self.handler(threads, maxHops=2), b"Received: x\r\n" * 3 + MESSAGE)
        self.assertEqual(self.rejection(storing), (554, "5.4.6", "Too many hops"))
        self.assertEqual(threads.names, [])
        self.assertStored()

    def test_tooManyLater(self) -> None:
        """Likewise when a part of it was written already."""
        fields = b"X-Long: x\r\n" * (HOP_SIZE // 11 + 1)
        storing = self.store(self.handler(maxHops=0), fields, b"Received: x\r\n", MESSAGE)
        self.assertEqual(self.rejection(storing)[0], 554)
        self.assertStored()

    def test_justEnough(self) -> None:
        """As many as are allowed are allowed; ours and what is in the body don't count."""
        message = b"Received: x\r\n" * 2 + MESSAGE
        self.successResultOf(self.store(self.handler(maxHops=2), message))
        self.assertStored(message)

    def test_default(self) -> None:
        """50 hops are let through, one more isn't."""
        handler = self.handler()
        self.successResultOf(self.store(handler, b"Received: x\r\n" * 50 + MESSAGE))
        storing = self.store(handler, b"Received: x\r\n" * 51 + MESSAGE)
        self.failureResultOf(storing, Rejection)
        self.rejection(self.store(handler, b"Received: x\r\n" * 101 + MESSAGE))


class ForgedTests(MaildirTests):
    """Over the wire, content that would go on with our own fields."""

    def test_continued(self) -> None:
        """What begins with a blank gets a line of its own: nothing of it is in ``Received:``."""
        for blank in (" ", "\t", " \t"):
            content = f"{blank}by forged.example\r\nSubject: x\r\n\r\n".encode()
            for begin in (b"DATA\r\n", b"BDAT %d LAST\r\n" % len(content)):
                shutil.rmtree(self.path, ignore_errors=True)
                client = talk(Phase.RCPT, self.handler())
                client.send(begin)
                client.send(content if begin.startswith(b"BDAT") else content + b".\r\n")
                self.assertEqual(client.answers()[-1].code, 250)
                (trace,) = self.assertStored(content)
                message = email.message_from_bytes(trace + content, policy=email.policy.SMTP)
                self.assertEqual(message.keys(), ["Return-Path", "Received"])
                self.assertNotIn("forged", message["Received"])
                self.assertTrue(trace.endswith(b"\r\n\r\n"))


class TroubleTests(MaildirTests):
    """What goes wrong with the disk or the client."""

    def setUp(self) -> None:
        """Look at the log."""
        super().setUp()
        self.events: list[Any] = []
        self.patch(maildir, "_log", Logger(observer=cast(Any, self.events.append)))

    def assertTrouble(self, number: int, call: str, code: int, enhanced: str) -> None:
        """A system call fails: the client is told what to do, the log what it was."""
        handler = self.handler()
        fake = FakeOS()
        fake.replaced = {call: failing(number)}
        self.patch(files, "os", fake)
        refused = self.rejection(self.store(handler, MESSAGE))
        self.assertEqual(refused[:2], (code, enhanced))
        self.assertNotIn(str(self.path), refused[2])
        self.assertNotIn(os.strerror(number), refused[2])
        event = self.events.pop()
        self.assertEqual((event["id"], event["error"].errno), ("0123abc-1", number))
        self.assertEqual(event["path"], str(self.path))
        self.patch(files, "os", os)
        self.assertStored()

    def test_full(self) -> None:
        """No space, no quota, no larger files."""
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            for call in ("write", "fsync"):
                self.assertTrouble(number, call, 452, "4.3.1")

    def test_other(self) -> None:
        """Anything else is a local error that may pass."""
        for number, call in (
            (errno.EACCES, "open"),
            (errno.EROFS, "open"),
            (errno.EMFILE, "open"),
            (errno.EIO, "fsync"),
            (errno.ENOENT, "rename"),
        ):
            self.assertTrouble(number, call, 451, "4.3.0")

    def test_folderGone(self) -> None:
        """The folders were removed while the server runs."""
        handler = self.handler()
        (self.path / "new").rmdir()
        self.assertEqual(self.rejection(self.store(handler, MESSAGE))[0], 451)
        self.assertEqual(self.names("tmp"), [])
        (self.path / "tmp").rmdir()
        self.assertEqual(self.rejection(self.store(handler, MESSAGE))[0], 451)

    def test_cause(self) -> None:
        """The rejection has its cause."""
        handler = self.handler()
        (self.path / "new").rmdir()
        failure = self.failureResultOf(self.store(handler, MESSAGE), Rejection)
        self.assertIsInstance(failure.value.__cause__, FileNotFoundError)

    def test_connectionLost(self) -> None:
        """A client that leaves is no trouble with the disk, though its exception is an OSError."""
        handler = self.handler()
        self.events.clear()
        self.failureResultOf(self.store(handler, MESSAGE, ConnectionLost()), ConnectionLost)
        self.assertEqual(self.events, [])
        self.assertStored()

    def test_refusedByTheStream(self) -> None:
        """A refusal by the stream, for its size for example, is passed on."""
        refusal = Rejection("too large", 552)
        storing = self.store(self.handler(), bytes(HOP_SIZE), refusal)
        self.assertIs(self.failureResultOf(storing).value, refusal)
        self.assertStored()

    def test_cancelled(self) -> None:
        """A message that is given up leaves nothing, even if it was complete."""
        threads = FakeThreads()
        storing = self.store(self.handler(threads), MESSAGE)
        end = threads.work()
        self.assertEqual(len(self.names("new")), 1)
        storing.cancel()
        self.failureResultOf(storing, CancelledError)
        end()
        threads.run()
        self.assertStored()


class UnfinishedTests(MaildirTests):
    """Clients that stop in the middle of their messages."""

    LIMIT = 20_000

    def test_memory(self) -> None:
        """All of them together have no more in memory than the bound, and each may go on."""
        self.patch(files, "MAX_GATHERED", self.LIMIT)
        self.patch(files, "_MOST_IDLE", self.LIMIT // 2)
        self.patch(files, "_BUDGET", budget := MemoryBudget(self.LIMIT))
        factory = makeFactory(self.handler())
        clients = [walk(connect(factory), Phase.DATA) for _ in range(100)]
        for client in clients:
            client.send(b"x" * 998 + b"\r\n")
        self.assertLessEqual(budget.used, self.LIMIT // 2)
        self.assertGreaterEqual(len(self.names("tmp")), 90)
        for client in clients:
            self.assertEqual(client.say(".").code, 250)
        self.assertEqual((len(self.names("new")), self.names("tmp")), (100, []))
        self.assertEqual(budget.used, 0)


class ReactorTests(TestCase):
    """With the reactor's own threads, which is the default."""

    async def test_stores(self) -> None:
        """Many messages at the same time."""
        with tempfile.TemporaryDirectory() as directory:
            handler = Maildir(directory)
            self.assertIs(handler._runInThread, deferToThread)
            storing = [
                Deferred.fromCoroutine(handler.onData(cast(Any, FakeStream(b"%d" % n)), Session()))
                for n in range(20)
            ]
            for each in storing:
                await each
            contents = [
                file.read_bytes().rpartition(b"\n")[2]
                for file in pathlib.Path(directory, "new").iterdir()
            ]
            self.assertEqual(sorted(map(int, contents)), list(range(20)))


class ReadyTests(MaildirTests):
    """Whether there is room for messages, and leave to write them."""

    def test_ready(self) -> None:
        """There is."""
        self.assertIsNone(self.successResultOf(self.handler().ready()))

    def test_trouble(self) -> None:
        """There isn't: a folder is gone, or isn't ours; the disk is full, or has no more files."""
        handler = self.handler()

        def trouble() -> int | None:
            error = self.failureResultOf(handler.ready(), OSError).value
            assert isinstance(error, OSError)
            return error.errno

        system = SimpleNamespace(f_bavail=5, f_files=0, f_favail=0)
        with patch.object(os, "statvfs", lambda path: system):
            self.assertIsNone(self.successResultOf(handler.ready()))
            system.f_files = 9
            self.assertEqual(trouble(), errno.ENOSPC)
            system.f_favail, system.f_bavail = 1, 0
            self.assertEqual(trouble(), errno.ENOSPC)
        with patch.object(os, "access", lambda path, mode: False):
            self.assertEqual(trouble(), errno.EACCES)
        (self.path / "new").rmdir()
        self.assertEqual(trouble(), errno.ENOENT)

"""Tests for :mod:`twisted_smtpserver.auth.passwordfile`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.auth import passwordfile
from twisted_smtpserver.auth.passwordfile import IndexedPasswordDB, indexed


class IndexedPasswordDBTests(SynchronousTestCase):
    """What is found, and how often the file is read."""

    def setUp(self) -> None:
        """A file that was changed long ago."""
        self.path = Path(self.mktemp())
        self.seconds = 1_000_000
        self.write(b"joe:sesame:x\njane:secret\n\nnobody\njoe:other\n")
        self.checker: Any = IndexedPasswordDB(str(self.path))
        self.reads = 0
        read = self.checker._read

        def counted() -> Any:
            self.reads += 1
            return read()

        setattr(self.checker, "_read", counted)  # noqa: B010  # types

    def write(self, content: bytes) -> None:
        """Change the file, a second later."""
        self.path.write_bytes(content)
        self.seconds += 1
        os.utime(self.path, (self.seconds, self.seconds))

    def test_finds(self) -> None:
        """It finds what the plain class finds, and nothing else."""
        plain = FilePasswordDB(str(self.path))
        for name in (b"joe", b"jane"):
            self.assertEqual(self.checker.getUser(name), plain.getUser(name))
        for name in (b"nobody", b"JOE", b""):
            for each in (self.checker, plain):
                self.assertRaises(KeyError, each.getUser, name)

    def test_login(self) -> None:
        """The right password logs in, another one doesn't."""
        ask = self.checker.requestAvatarId
        self.assertEqual(self.successResultOf(ask(UsernamePassword(b"joe", b"sesame"))), b"joe")
        for wrong in ((b"joe", b"other"), (b"ann", b"sesame")):
            self.failureResultOf(ask(UsernamePassword(*wrong)), UnauthorizedLogin)

    def test_readOnce(self) -> None:
        """The file is read when it has changed, and not at each login."""
        for _ in range(50):
            self.checker.getUser(b"joe")
        self.assertEqual(self.reads, 1)
        self.write(b"joe:new\n")
        self.assertEqual(self.checker.getUser(b"joe"), (b"joe", b"new"))
        self.assertRaises(KeyError, self.checker.getUser, b"jane")
        self.assertEqual(self.reads, 2)

    def test_mode(self) -> None:
        """A change of the mode counts as well: it may be that we mustn't read it any more."""
        self.checker.getUser(b"joe")
        self.path.chmod(0o600)
        self.checker.getUser(b"joe")
        self.assertEqual(self.reads, 2)

    def test_fresh(self) -> None:
        """A file that was changed just now is read again: it may have changed since."""
        self.patch(passwordfile, "_FRESH", 3600)
        os.utime(self.path)
        for _ in range(2):
            self.checker.getUser(b"joe")
        self.assertEqual(self.reads, 2)

    def test_gone(self) -> None:
        """A file that is gone is no wrong login."""
        self.checker.getUser(b"joe")
        self.path.unlink()
        self.assertRaises(FileNotFoundError, self.checker.getUser, b"joe")

    def test_long(self) -> None:
        """All lines of a long file count, and other threads get their turn meanwhile."""
        turns: list[float] = []
        self.patch(time, "sleep", turns.append)
        self.write(b"".join(b"user%d:password%d\n" % (n, n) for n in range(2500)))
        self.assertEqual(self.checker.getUser(b"user2499")[1], b"password2499")
        self.assertEqual(turns, [0] * 3)

    def test_threads(self) -> None:
        """Of several threads one reads the file, and all have what is in it."""
        found: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: found.append(self.checker.getUser(b"joe")[1]))
            for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual((found, self.reads), ([b"sesame"] * 10, 1))


class IndexedTests(SynchronousTestCase):
    """Which checkers get an index."""

    def test_plain(self) -> None:
        """A plain one, with all that it was given."""
        path = Path(self.mktemp())
        path.write_bytes(b"x|PASSWORD|Joe\n")

        def unhashed(name: bytes, password: bytes, stored: bytes) -> bytes:
            return password.upper()

        made: Any = indexed(FilePasswordDB(str(path), b"|", 2, 1, False, unhashed))
        self.assertIsInstance(made, IndexedPasswordDB)
        self.assertEqual(made.getUser(b"JOE"), (b"joe", b"PASSWORD"))
        asked = made.requestAvatarId(UsernamePassword(b"jOe", b"password"))
        self.assertEqual(self.successResultOf(asked), b"joe")

    def test_others(self) -> None:
        """Any other stays as it is."""

        class Own(FilePasswordDB):
            """Perhaps it reads something else."""

        for checker in (Own("x"), InMemoryUsernamePasswordDatabaseDontUse()):
            self.assertIs(indexed(checker), checker)

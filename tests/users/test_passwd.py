"""The command that writes a file of users."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE
from tests.users.test_table import BCRYPT
from twisted_smtpserver import __main__
from twisted_smtpserver.tables.watched import WatchedFile
from twisted_smtpserver.tools.dispatch import findCommand
from twisted_smtpserver.users import passwd, schemes
from twisted_smtpserver.users.editing import changeFile
from twisted_smtpserver.users.table import UserTable


class PasswdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(schemes, "_SCRAM_ITERATIONS", 4096)
        self.patch(schemes, "_SHA512_ROUNDS", 1000)
        self.patch(schemes, "_BCRYPT_COST", 4)
        self.path = Path(self.mktemp())

    def passwd(self, *arguments: str, typed: Sequence[str] = (), stdin: str = "") -> str:
        """What it says."""
        answers = iter(typed)
        output = io.StringIO()
        self.asked: list[str] = []

        def ask(prompt: str) -> str:
            self.asked.append(prompt)
            return next(answers)

        passwd.main([str(self.path), *arguments], ask, io.StringIO(stdin), output)
        return output.getvalue()

    def refused(self, *arguments: str, typed: Sequence[str] = (), stdin: str = "") -> str:
        """What it says against it; the file is as it was."""
        before = self.path.read_bytes() if self.path.exists() else None
        ended = self.assertRaises(SystemExit, self.passwd, *arguments, typed=typed, stdin=stdin)
        after = self.path.read_bytes() if self.path.exists() else None
        self.assertEqual(before, after)
        return str(ended.code)

    @property
    def users(self) -> UserTable:
        return WatchedFile(self.path, UserTable.parse).load()

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def test_add(self) -> None:
        """A user is added; the file is nobody else's to read."""
        said = self.passwd("joe", typed=["sesame", "sesame"])
        self.assertEqual(said, "The user was added.\n")
        self.assertEqual(self.asked, ["Password: ", "The same again: "])
        self.assertTrue(self.users.check("joe", "sesame"))
        self.assertEqual(self.mode, 0o600)
        self.assertIn("joe:$argon2id$", self.path.read_text())

    def test_schemes(self) -> None:
        """Each way to keep a password, from the standard input."""
        for scheme in schemes.SCHEMES:
            self.passwd(scheme, "--scheme", scheme, "--stdin", stdin=f"for {scheme}\nmore\n")
        self.assertEqual(self.asked, [])
        for scheme in schemes.SCHEMES:
            self.assertTrue(self.users.check(scheme, f"for {scheme}"))

    def test_scram(self) -> None:
        """A SCRAM secret is added beside another hash."""
        self.passwd("joe", "--scheme=bcrypt", "--scram", "--stdin", stdin="sesame")
        self.assertEqual(self.path.read_text().count("joe:"), 2)
        self.assertIn("SCRAM-SHA-256", self.users.mechanisms)
        self.passwd("joe", "--scheme=scram", "--scram", "--stdin", stdin="other")
        self.assertEqual(self.path.read_text().count("joe:"), 1)
        self.assertTrue(self.users.check("joe", "other"))

    def test_change(self) -> None:
        """A password is changed in its place; the rest of the file stays, comments included."""
        before, after = "# staff\nann:$1$x\n", "\n#joe:old\n  sue:y"
        self.path.write_text(f"{before}joe:{BCRYPT}\njoe:SCRAM-SHA-256$old\n{after}")
        self.path.chmod(0o640)
        said = self.passwd("joe", "--scheme=scram", "--stdin", stdin="sesame\r\n")
        self.assertTrue(
            said.startswith("The user was changed. But the server can't use the file: ")
        )
        self.assertIn("line 2: this kind of hash isn't supported", said)
        text = self.path.read_text()
        self.assertTrue(text.startswith(before + "joe:SCRAM-SHA-256$4096:"))
        self.assertTrue(text.endswith(f"\n{after}\n"))
        self.assertEqual(text.count("\njoe:"), 1)
        self.assertEqual(self.mode, 0o640)

    def test_delete(self) -> None:
        """A user is deleted, with all lines."""
        self.path.write_text(f"joe:{BCRYPT}\n# joe\nann:{BCRYPT}\njoe:SCRAM-SHA-256$\n")
        self.assertEqual(self.passwd("joe", "--delete"), "The user was deleted.\n")
        self.assertEqual(self.path.read_text(), f"# joe\nann:{BCRYPT}\n")
        self.assertEqual(self.refused("joe", "--delete"), "passwd: there is no such user")

    def test_deleteNothing(self) -> None:
        """No file is made to delete somebody from it."""
        self.assertIn("No such file", self.refused("joe", "--delete"))

    def test_verify(self) -> None:
        """A password is checked, and nothing changed."""
        self.path.write_text(f"joe:{BCRYPT}\n")
        self.assertEqual(
            self.passwd("joe", "--verify", typed=["sesame"]), "The password is right.\n"
        )
        for name, typed in (("joe", "x"), ("eve", "sesame")):
            said = self.refused(name, "--verify", typed=[typed])
            self.assertEqual(said, "passwd: the password is wrong, or there is no such user")
        self.path.unlink()
        said = self.refused("joe", "--verify", "--stdin", stdin="sesame")
        self.assertIn("can't be read: No such file", said)

    def test_badPasswords(self) -> None:
        """What can't be a password is refused; so are two that differ."""
        for typed, reason in (
            (["a", "b"], "the passwords differ"),
            (["", ""], "the password is empty, or has control characters"),
            (["a\0b", "a\0b"], "the password is empty, or has control characters"),
            (["x" * 1025] * 2, "the password has more than 1024 octets"),
        ):
            self.assertEqual(self.refused("joe", typed=typed), f"passwd: {reason}")
        said = self.refused("joe", "--scheme", "bcrypt", typed=["x" * 73] * 2)
        self.assertEqual(
            said, "passwd: bcrypt takes passwords of at most 72 octets: choose another scheme"
        )

    def test_badNames(self) -> None:
        """What the file couldn't tell from something else is no name."""
        for name in ("a:b", "#joe", "a\nb", "", " joe", "x" * 256):
            self.assertIn("passwd: a name has no colon", self.refused(name, typed=["x", "x"]))

    def test_spelling(self) -> None:
        """A name has one line, however it is composed; a password is prepared by SASLprep."""
        self.passwd("jose\u0301", "--stdin", stdin="pa\u0301ss")
        self.passwd("jos\u00e9", "--stdin", stdin="pa\u0301ss")
        self.assertEqual(self.path.read_text().count("\n"), 1)
        self.assertTrue(self.users.check("jos\u00e9", "p\u00e1ss"))

    def test_missingLibrary(self) -> None:
        """Without a library the error names the command that installs it; nothing changes."""
        with mock.patch.dict(sys.modules, {"argon2": None}):
            said = self.refused("joe", "--stdin", stdin="sesame")
        self.assertIn('pip install "twisted-smtpserver[passwords]"', said)

    def test_command(self) -> None:
        """``python -m twisted_smtpserver passwd`` is this; it is in the help."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted_smtpserver", "passwd", str(self.path), "joe"),
                *("--scheme=bcrypt", "--stdin"),
            ],
            input="sesame\n",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.stdout, done.stderr), ("The user was added.\n", ""))
        self.assertTrue(self.users.check("joe", "sesame"))
        output = io.StringIO()
        self.assertRaises(SystemExit, __main__.prepare, ["--help"], output)
        self.assertIn("python -m twisted_smtpserver passwd --help", output.getvalue())

    def test_dispatch(self) -> None:
        """A first argument that is no command is the catcher's."""
        self.assertIsNone(findCommand([]))
        self.assertIsNone(findCommand(["--port", "passwd"]))
        self.patch(sys, "argv", ["x", "passwd", str(self.path), "a:b"])
        self.assertRaises(SystemExit, __main__.run)


class EditingTests(SynchronousTestCase):
    """One change at a time, all of it or nothing."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("one\n")
        self.patch(time, "sleep", self.sleep)
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1

    def change(self, text: str = "two\n", create: bool = True) -> None:
        changeFile(str(self.path), lambda lines: [*lines, text], create=create)

    def test_link(self) -> None:
        """What a symbolic link leads to is changed, and the link stays."""
        link = Path(self.mktemp())
        link.symlink_to(self.path.absolute())
        changeFile(str(link), lambda lines: ["new\n"], create=True)
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_text(), "new\n")

    def test_failure(self) -> None:
        """If the new file can't be written the old one stays, and nothing is left beside it."""

        def fail(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", fail)
        self.assertRaises(OSError, self.change)
        self.assertEqual(self.path.read_text(), "one\n")
        beside = [name for name in os.listdir(self.path.parent) if name.endswith(".tmp")]
        self.assertEqual(beside, [])

    def test_order(self) -> None:
        """The content is on the disk before the name leads to it."""
        calls: list[str] = []

        def noting(function: Any) -> Any:
            def noted(*arguments: Any) -> None:
                calls.append(function.__name__)
                function(*arguments)

            return noted

        self.patch(os, "fsync", noting(os.fsync))
        self.patch(os, "replace", noting(os.replace))
        self.change()
        self.assertEqual(calls, ["fsync", "replace", "fsync"])

    def test_owner(self) -> None:
        """The new file belongs to whom the old one did; if that can't be, nothing changes."""
        given: list[tuple[int, int]] = []
        self.patch(os, "fchown", lambda descriptor, *owner: given.append(owner))
        self.change()
        self.assertEqual(given, [])
        owner = (self.path.stat().st_uid, self.path.stat().st_gid)
        self.patch(os, "geteuid", lambda: owner[0] + 1)
        self.change()
        self.assertEqual(given, [owner])

    def test_locked(self) -> None:
        """While another change goes on this one waits, but not forever."""
        with self.path.open("r+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            times = iter([0.0, 1.0, 5.0, 10.0])
            error = self.assertRaises(
                TimeoutError,
                changeFile,
                str(self.path),
                list,
                create=False,
                clock=lambda: next(times),
            )
        self.assertIn("is being changed by another process: try again", str(error))
        self.assertEqual(self.slept, 2)

    def test_replaced(self) -> None:
        """A file that was replaced before it could be locked isn't the one to change."""
        flock = fcntl.flock

        def replacing(descriptor: int, operation: int) -> None:
            flock(descriptor, operation)
            if not self.slept:
                new = Path(self.mktemp())
                new.write_text("newer\n")
                new.rename(self.path)

        self.patch(fcntl, "flock", replacing)
        self.change()
        self.assertEqual(self.path.read_text(), "newer\ntwo\n")
        self.assertEqual(self.slept, 1)

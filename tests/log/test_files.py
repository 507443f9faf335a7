"""The log file, and what others do to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.support.services import need
from twisted_smtpserver.log.files import LogFile


class FileCase(SynchronousTestCase):
    """Each test has a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "twistd.log"

    def open(self, size: int = 0) -> LogFile:
        made = LogFile(str(self.path), size)
        self.addCleanup(made.close)
        return made

    def files(self) -> dict[str, bytes]:
        """What is in the folder."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


class FileTests(FileCase):
    def test_appends(self) -> None:
        """What is there stays."""
        self.path.write_bytes(b"a\n")
        file = self.open()
        file.write(b"b\n")
        file.flush()
        self.assertEqual(self.files(), {"twistd.log": b"a\nb\n"})

    def test_full(self) -> None:
        """A file that is full gets a number, the latest 1, and none is removed."""
        file = self.open(4)
        for octets in (b"1234", b"5678", b"9", b"0123", b"4"):
            file.write(octets)
        self.assertEqual(
            self.files(),
            {
                "twistd.log": b"4",
                "twistd.log.1": b"90123",
                "twistd.log.2": b"5678",
                "twistd.log.3": b"1234",
            },
        )

    def test_rotate(self) -> None:
        """So does one that isn't, if it is told to."""
        file = self.open()
        file.write(b"a")
        file.rotate()
        file.write(b"b")
        self.assertEqual(self.files(), {"twistd.log": b"b", "twistd.log.1": b"a"})

    def test_moved(self) -> None:
        """If another program has moved it away, a new one is begun at its path."""
        file = self.open()
        file.write(b"a")
        self.path.rename(self.folder / "old")
        file.write(b"b")
        file.rotate()
        file.write(b"c")
        self.assertEqual(self.files(), {"old": b"ab", "twistd.log": b"c"})

    def test_created(self) -> None:
        """Or the one that it has put there."""
        file = self.open()
        file.write(b"a")
        self.path.rename(self.folder / "old")
        self.path.write_bytes(b"")
        file.rotate()
        file.write(b"b")
        self.assertEqual(self.files(), {"old": b"a", "twistd.log": b"b"})

    def test_cutOff(self) -> None:
        """If it has cut it off, the file begins anew, without a hole."""
        file = self.open()
        file.write(b"abc")
        os.truncate(self.path, 0)
        file.write(b"d")
        self.assertEqual(self.files(), {"twistd.log": b"d"})

    def test_forbidden(self) -> None:
        """Where no file may be renamed, or made, the old one goes on."""
        file = self.open()
        for name in ("rename", "open"):
            with patch.object(os, name, side_effect=PermissionError):
                file.rotate()
            file.write(b"a")
        self.assertEqual(b"".join(self.files().values()), b"aa")

    def test_part(self) -> None:
        """All of it is written, however little the system takes at a time."""
        file = self.open()
        write = os.write
        with patch.object(os, "write", lambda number, octets: write(number, octets[:2])):
            file.write(b"abcde")
        self.assertEqual(self.files(), {"twistd.log": b"abcde"})


class LogrotateTests(FileCase):
    """logrotate itself, in both ways."""

    def logrotate(self, *words: str) -> None:
        """Run it."""
        program = need("logrotate")
        settings = self.folder.parent / f"{self.folder.name}.conf"
        lines = "\n".join(("rotate 5", "su root root" if os.geteuid() == 0 else "", *words))
        settings.write_text(f"{self.path} {{\n{lines}\n}}\n")
        settings.chmod(0o644)
        shutil.chown(settings, os.geteuid())
        done = subprocess.run(
            [program, "--force", "--state", f"{settings}.state", str(settings)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_copyTruncate(self) -> None:
        """copytruncate leaves no hole."""
        file = self.open()
        file.write(b"a\n")
        self.logrotate("copytruncate")
        file.write(b"b\n")
        self.assertEqual(self.files(), {"twistd.log": b"b\n", "twistd.log.1": b"a\n"})

    def test_create(self) -> None:
        """Moved away by it; then it tells us."""
        file = self.open()
        file.write(b"a\n")
        self.logrotate("create")
        file.rotate()
        file.write(b"b\n")
        self.assertEqual(self.files(), {"twistd.log": b"b\n", "twistd.log.1": b"a\n"})

"""Files that change: when they are read, without a reactor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.testing import runInline
from twisted_smtpserver.tls.renewal import (
    INTERVAL,
    QUIET,
    CertificateWatch,
    describeEnd,
    firstEnd,
    stampsOf,
)


class FilesCase(SynchronousTestCase):
    """Each test has a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "cert.pem"
        self.path.write_text("one")

    def stamp(self) -> object:
        """What is seen of the file."""
        return stampsOf([str(self.path)])


class StampTests(FilesCase):
    """What is seen of a file without reading it."""

    def test_same(self) -> None:
        """A file that stays is the same."""
        self.assertEqual(self.stamp(), self.stamp())

    def test_written(self) -> None:
        """One that is written to, though its length and its time are the same, isn't."""
        before, found = self.stamp(), self.path.stat()
        for _ in range(1000):  # until the clock of the file system has moved
            self.path.write_text("two")
            os.utime(self.path, ns=(found.st_atime_ns, found.st_mtime_ns))
            if self.path.stat().st_ctime_ns != found.st_ctime_ns:
                break
        self.assertNotEqual(self.stamp(), before)

    def test_certbot(self) -> None:
        """certbot keeps all certificates, and turns a link to the newest."""
        for number in (1, 2):
            (self.folder / f"cert{number}.pem").write_text("same length")
        link = self.folder / "live.pem"
        link.symlink_to("cert1.pem")
        before = stampsOf([str(link)])
        link.unlink()
        link.symlink_to("cert2.pem")
        self.assertNotEqual(stampsOf([str(link)]), before)

    def test_kubernetes(self) -> None:
        """Kubernetes turns a link to another folder; the file's own link stays."""
        for number in (1, 2):
            (self.folder / f"..{number}").mkdir()
            (self.folder / f"..{number}" / "tls.crt").write_text("same length")
        data, file = self.folder / "..data", self.folder / "tls.crt"
        data.symlink_to("..1")
        file.symlink_to("..data/tls.crt")
        before = stampsOf([str(file)])
        new = self.folder / "..data_tmp"
        new.symlink_to("..2")
        new.rename(data)
        self.assertNotEqual(stampsOf([str(file)]), before)

    def test_trouble(self) -> None:
        """A file that is gone has a reason in the place of facts, and so has no path at all."""
        self.path.unlink()
        self.assertEqual(self.stamp(), {str(self.path): "No such file or directory"})
        self.assertIn("null", str(stampsOf(["\0"])["\0"]))


class WatchTests(FilesCase):
    """When files are read."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.reads: list[str] = []
        self.runInThread: Any = runInline

    def watch(self, interval: float = INTERVAL) -> CertificateWatch:
        def reload() -> Deferred[None]:
            self.reads.append(self.path.read_text())
            return succeed(None)

        made = CertificateWatch(
            interval, self.clock, lambda: [str(self.path)], reload, self.inThread
        )
        made.start()
        self.addCleanup(made.stop)
        return made

    def inThread(self, function: Any, *arguments: Any) -> Any:
        return self.runInThread(function, *arguments)

    def write(self, text: str) -> None:
        (self.folder / "new").write_text(text)
        os.replace(self.folder / "new", self.path)

    def test_atOnce(self) -> None:
        """What has changed between the reading and the start is noticed at the start."""
        made = self.watch(0)
        self.assertFalse(made.isOn)
        self.write("two")
        made._interval = INTERVAL
        made.start()
        self.clock.advance(0)
        self.clock.advance(QUIET)
        self.assertEqual(self.reads, ["two"])

    def test_quiet(self) -> None:
        """While a file changes it isn't read; it is when it has been the same for a while."""
        self.watch()
        self.clock.advance(INTERVAL)
        for text in ("two", "three", "four"):
            self.write(text)
            self.clock.advance(INTERVAL if text == "two" else QUIET)
            self.assertEqual(self.reads, [])
        self.clock.advance(QUIET)
        self.assertEqual(self.reads, ["four"])
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual(self.reads, ["four"])

    def test_back(self) -> None:
        """A file that is what it was isn't read."""
        made = self.watch()
        self.clock.advance(INTERVAL)
        self.write("two")
        self.clock.advance(INTERVAL)
        made.known = stampsOf([str(self.path)])  # read because of a signal
        self.clock.advance(QUIET)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.reads, [])

    def test_slowDisk(self) -> None:
        """No second look begins before the first has ended, and one that ends late does nothing."""
        looks: list[Deferred[Any]] = []

        def slow(function: Any, *arguments: Any) -> Deferred[Any]:
            looks.append(Deferred())
            return looks[-1]

        made = self.watch()
        self.runInThread = slow
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual(len(looks), 1)
        made.stop()
        looks[0].callback({})
        self.assertEqual((self.clock.getDelayedCalls(), self.reads), ([], []))

    def test_unreadable(self) -> None:
        """A file that was read as root, and can't be read as another user, is noticed."""
        self.watch()
        self.clock.advance(INTERVAL)
        self.patch(os, "access", lambda *arguments, **more: False)
        self.clock.advance(INTERVAL)
        self.clock.advance(QUIET)
        self.assertEqual(len(self.reads), 1)

    def test_noFiles(self) -> None:
        """Where there are no files no thread is asked; there may be some later."""
        files: list[str] = []
        self.runInThread = lambda *arguments: self.fail("a thread")
        made = CertificateWatch(INTERVAL, self.clock, lambda: files, Deferred, self.inThread)
        made.start()
        self.addCleanup(made.stop)
        self.clock.pump([INTERVAL] * 3)
        self.runInThread = runInline
        files.append(str(self.path))
        self.clock.advance(INTERVAL)
        self.clock.advance(QUIET)
        self.assertEqual(list(made.known), files)

    def test_stopped(self) -> None:
        """After a stop nothing is looked at, and stopping twice is no harm."""
        made = self.watch()
        made.stop()
        made.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_intervals(self) -> None:
        """An interval is 0, or so long that looking costs nothing."""
        for wrong in (0.5, -1.0, float("inf"), float("nan")):
            with self.assertRaisesRegex(ConfigurationError, "neither 0 nor at least 1"):
                self.watch(wrong)


class EndTests(SynchronousTestCase):
    """When certificates end."""

    def describe(self, days: float) -> tuple[str, bool]:
        text, isWarning = describeEnd(makeCertificate(None, ["mx.test"], days=days).certificate)
        return text.partition("20")[0] + text.partition("20")[2][8:], isWarning

    def test_described(self) -> None:
        """The last day; a warning in the last two weeks, and when it is too late."""
        self.assertEqual(self.describe(15), ("The certificate of mx.test expires on ", False))
        for days, soon in (
            (13.5, "13 days"),
            (2.5, "2 days"),
            (1.99, "47 hours"),
            (0.01, "0 hours"),
        ):
            text = f"The certificate of mx.test expires on , in {soon}: it should have been renewed"
            self.assertEqual(self.describe(days), (f"{text} by now", True))
        text = "The certificate of mx.test expired on : renew it now"
        self.assertEqual(self.describe(-1), (text, True))

    def test_first(self) -> None:
        """The first of several ends first."""
        first, second = (makeCertificate(None, ["mx.test"], days=n).certificate for n in (2, 3))
        self.assertEqual(firstEnd([second, first]), first.not_valid_after_utc)
        self.assertIsNone(firstEnd([]))

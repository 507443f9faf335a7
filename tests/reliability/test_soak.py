"""The soak test, for as long as it takes to see that it works, and that it would notice."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from tests.reliability.soak.ledger import Ledger
from tests.reliability.soak.run import Sample, Soak

ROOT = Path(__file__).parent.parent.parent
TRACE = b"Return-Path: <>\r\nReceived: from client.example\r\n\tby mx.test; now\r\n"


class SoakTests(SynchronousTestCase):
    def soak(self, *arguments: str) -> str:
        """Run it, and return what it reports."""
        command = [sys.executable, "-m", "tests.reliability.soak", "--seconds=3", "--clients=8"]
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.endswith("Nothing was lost.\n"), done.stdout)
        self.assertEqual(os.listdir(folder), [])
        return done.stdout

    def test_mixed(self) -> None:
        """Mixed clients and faults beside idle connections: all that was answered 250 is there."""
        report = Path(self.mktemp()).absolute()
        output = self.soak("--connections=20", "--kills=0", f"--report={report}")
        self.assertRegex(output, r"\nkills +0\n")
        self.assertIn(report.read_text(encoding="utf-8"), output)

    def test_kills(self) -> None:
        """So it is when the server is killed meanwhile."""
        self.assertRegex(self.soak("--connections=20", "--kills=1"), r"\nkills +1\n")


class LedgerTests(SynchronousTestCase):
    """Each way to go wrong is noticed."""

    def setUp(self) -> None:
        maildir = Path(self.mktemp())
        self.new = maildir / "new"
        self.new.mkdir(parents=True)
        self.ledger = Ledger(maildir)
        self.name, self.content = self.ledger.message(500)

    def faults(self, fate: str, *files: bytes) -> list[str]:
        self.ledger.messages[self.name].fate = fate
        for number, octets in enumerate(files):
            (self.new / str(number)).write_bytes(octets)
        self.ledger.sweep()
        self.assertEqual(list(self.new.iterdir()), [])
        return list(self.ledger.faults())

    def test_fine(self) -> None:
        """An accepted message that is there, with our two fields before it."""
        self.assertEqual(self.faults("accepted", TRACE + self.content), [])
        self.assertEqual(self.ledger.fates()["accepted"], (1, 1))

    def test_missing(self) -> None:
        """An accepted one that isn't."""
        self.assertEqual(self.faults("accepted"), ["answered 250, and missing"])

    def test_twice(self) -> None:
        """One that is there twice, whatever its client knows."""
        whole = TRACE + self.content
        for fate in ("accepted", "open"):
            with self.subTest(fate=fate):
                self.setUp()
                self.assertEqual(self.faults(fate, whole, whole), ["stored more than once"])

    def test_refused(self) -> None:
        """One that is there though it was refused, or never sent to its end."""
        whole = TRACE + self.content
        self.assertEqual(self.faults("refused", whole), ["stored, though refused"])
        self.assertEqual(self.faults("begun"), ["stored, though never sent to the end"])

    def test_open(self) -> None:
        """Nobody knows the answer: it may be there, or not."""
        self.assertEqual(self.faults("open"), [])
        self.assertEqual(self.faults("open", TRACE + self.content), [])

    def test_changed(self) -> None:
        """One octet less, more or different; a field of ours missing; something before it."""
        content = self.content
        for octets in (
            TRACE + content[:-1],
            TRACE + content + b".",
            TRACE + content.replace(b"yyy", b"yxy", 1),
            content,
            b"X" + TRACE + content,
        ):
            with self.subTest(octets=octets):
                self.setUp()
                self.assertEqual(self.faults("accepted", octets), ["stored, but changed"])

    def test_unknown(self) -> None:
        """Something that no client sent."""
        self.assertEqual(self.faults("open", b"x\r\n"), ["stored, and nobody's"])


class MemoryTests(SynchronousTestCase):
    """The server's memory is judged by the middle and the end of the run."""

    def judged(self, sizes: list[float]) -> tuple[list[str], dict[str, object]]:
        server = SimpleNamespace(maildir=Path(self.mktemp()))
        soak = Soak(argparse.Namespace(), server)  # type: ignore[arg-type]  # one that only stores
        soak.samples = [Sample(n * 36.0, 10.0, size, 7) for n, size in enumerate(sizes)]
        soak._judgeMemory()
        return soak.faults, soak.facts

    def test_flat(self) -> None:
        """What it has once it is warm, with a peak on the way, is no growth."""
        faults, facts = self.judged([20.0, 60.0, *[100.0] * 20, 400.0, *[100.0] * 20])
        self.assertEqual(faults, [])
        what = "anonymous memory, MiB: first, middle, end, most"
        self.assertEqual(facts[what], "20.0, 100.0, 100.0, 400.0")

    def test_leak(self) -> None:
        """What grows steadily is."""
        faults, facts = self.judged([100.0 + n for n in range(100)])
        self.assertEqual(faults, ["anonymous memory grew from 150.0 to 190.0 MiB"])
        self.assertEqual(facts["anonymous memory over the second half, MiB an hour"], "+100.0")

    def test_short(self) -> None:
        """A few samples tell nothing."""
        faults, facts = self.judged([1.0, 100.0, 200.0])
        self.assertEqual(faults, [])
        self.assertEqual(facts["memory"], "too few samples to tell")

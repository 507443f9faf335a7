"""The benchmark itself: that it works, not what comes out."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from benchmarks import crowd, filtered, stored
from benchmarks.bodies import makeMessage

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 120


class BenchmarkTests(TestCase):
    """``python -m benchmarks``, in a hurry."""

    def run_(self, *arguments: str) -> Path:
        """Run it, and return the folder with what it wrote."""
        output = Path(self.mktemp()).absolute()
        command = (sys.executable, "-m", "benchmarks", *arguments, "--quick", "--repeat", "1")
        ended = subprocess.run(
            [*command, "--output", str(output)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return output

    def test_compare(self) -> None:
        """All workloads run, no message is lost, and the tables and the picture are written."""
        output = self.run_("--peers", "ours")
        results = json.loads((output / "results.json").read_text())
        ours = {each["workload"] for each in results if each["peer"] == "ours"}
        self.assertGreaterEqual(ours, {"sessions", "messages", "pipelined", "bulk", "bdat", "idle"})
        self.assertIn("twisted_smtpserver", (output / "results.rst").read_text())
        self.assertIn("</svg>", (output / "results.svg").read_text())

    def test_peers(self) -> None:
        """The other servers are measured as well, those that are installed."""
        output = self.run_("--workloads", "pipelined")
        results = json.loads((output / "results.json").read_text())
        self.assertGreaterEqual({each["peer"] for each in results}, {"ours-log", "twisted.mail"})

    def test_growth(self) -> None:
        """The second command writes its tables and pictures, too."""
        output = self.run_("growth")
        self.assertRegex(
            (output / "growth.rst").read_text(),
            r"checkout: a message costs \d+ µs at 10 connections and \d+ µs at 100, as shipped",
        )
        self.assertIn("Recipients", (output / "growth.rst").read_text())
        self.assertTrue((output / "growth-connections.svg").exists())

    def test_workers(self) -> None:
        """The third command says what a message costs with workers, beside a floor."""
        output = self.run_("workers")
        table = (output / "workers.rst").read_text()
        for part in ("2 workers", "Session", "Twisted, doing nothing"):
            self.assertIn(part, table)

    def test_crowd(self) -> None:
        """Of a few clients that come at once nobody is refused; both kinds of server are asked."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            crowd.main(["20"])
        rows = [line.split() for line in output.getvalue().splitlines()[1:]]
        self.assertEqual([row[-4:-2] for row in rows], [["20", "0"]] * 2)

    def test_stored(self) -> None:
        """What a stored message costs is measured; all of them were stored."""
        ours = next(iter(stored.SERVERS))
        with contextlib.redirect_stdout(io.StringIO()) as output:
            given = ["--messages", "20", "--connections", "2", "--repeat", "1", "--servers", ours]
            stored.main(given)
        self.assertRegex(output.getvalue(), rf"{ours} +2 ")

    def test_filtered(self) -> None:
        """What a filter costs is measured beside the Maildir, and beside that once more."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            filtered.main(["--starts", "1", "--sets", "2", "--messages", "4", "--large", "1"])
        for name in (filtered.AGAIN, filtered.FILTERED):
            self.assertRegex(output.getvalue(), rf"{re.escape(name)} +\d+ .+%, with 95 % from")
            self.assertRegex(output.getvalue(), rf"{re.escape(name)} +NOOP while 10 MiB come")

    def test_installed(self) -> None:
        """What another Python has installed is measured, too, and named in the table."""
        output = self.run_(
            *("--peers", "ours", "--workloads", "pipelined", "--python", f"same={sys.executable}")
        )
        table = (output / "results.rst").read_text()
        self.assertIn("twisted_smtpserver, same", table)
        self.assertRegex(table, r"(pure|compiled), Python 3\.")

    def test_shipped(self) -> None:
        """The command as it is shipped is measured beside the embedded factory."""
        output = self.run_("--peers", "ours,ours-twistd", "--workloads", "sessions")
        results = json.loads((output / "results.json").read_text())
        self.assertEqual({each["peer"] for each in results}, {"ours", "ours-twistd"})
        self.assertFalse([each["errors"] for each in results if each["errors"]])

    def test_unknown(self) -> None:
        """A misspelled server is an error, not an empty table."""
        with self.assertRaises(self.failureException) as caught:
            self.run_("--peers", "our")
        self.assertIn("no our among", str(caught.exception))


class MessageTests(TestCase):
    """The messages that are sent."""

    @settings(max_examples=50, deadline=None)
    @given(st.integers(200, 5000), st.sampled_from(["base64", "prose"]))
    def test_octets(self, size: int, kind: str) -> None:
        """A message is as long as it says, and undoing the dots gives its content."""
        message = makeMessage(size, kind)
        content = b"".join(message.content())
        self.assertEqual((message.octets, len(content)), (size, size))
        self.assertTrue(content.endswith(b"\r\n"))
        dotted = b"".join(message.dotted())
        self.assertEqual(dotted.count(b"\r\n.\r\n"), 1)
        self.assertEqual(dotted[:-3].replace(b"\r\n.", b"\r\n"), content)

"""The soak test, for as long as it takes to see that it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


class SoakTests(SynchronousTestCase):
    def soak(self, *arguments: str) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.soak",
            "--seconds=2",
            "--clients=5",
            *arguments,
        ]
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        environment = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("nothing was lost", done.stdout)
        self.assertEqual(os.listdir(folder), [])

    def test_mixed(self) -> None:
        """Mixed clients beside idle ones: all that was answered 250 is there."""
        self.soak("--connections=20")

    def test_kills(self) -> None:
        """So it is when the server is killed meanwhile."""
        self.soak("--kills=1")

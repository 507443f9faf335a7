"""The script that measures what hostile clients cost others runs, for a moment."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from tests.reliability.hostile import __main__ as hostile

ARGUMENTS = ["--seconds", "0.2", "--clients", "2", "crowd-implicit", "milter-breaks"]


class HostileTests(SynchronousTestCase):
    """A short run."""

    def test_runs(self) -> None:
        """Each attack that was asked for has its row, beside the one without any."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertEqual(hostile.main(ARGUMENTS), 0)
        rows = [line.split() for line in output.getvalue().splitlines()]
        self.assertEqual(
            [row[0] for row in rows], ["Attack", "none", "crowd-implicit", "milter-breaks"]
        )
        for row in rows[1:]:
            self.assertGreater(int(row[3]), 0)
            self.assertGreater(float(row[5]), 0)
            self.assertEqual(row[9], "0")

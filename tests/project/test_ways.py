"""The ways through the code that the documentation shows are those that it takes."""

from __future__ import annotations

import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.ways import WAYS, describe
from twisted_smtpserver import isCompiled

PAGE = Path(__file__).parent.parent.parent / "docs" / "ways.txt"


class WayTests(SynchronousTestCase):
    """What ``python -m tests.support.ways`` prints."""

    @unittest.skipIf(isCompiled, "what is compiled isn't seen by a tracing function")
    def test_shown(self) -> None:
        """It is what stands in docs/ways.txt."""
        self.assertEqual(describe().splitlines(), PAGE.read_text(encoding="utf-8").splitlines())

    def test_short(self) -> None:
        """No way comes through more files than it may."""
        for name, (way, most) in WAYS.items():
            way()
            self.assertLessEqual(len(way()) - 1, most, name)

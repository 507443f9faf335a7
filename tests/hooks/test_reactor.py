"""The way to the reactor."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet import reactor
from twisted.trial import unittest

from twisted_smtpserver.hooks.reactor import theReactor


class ReactorTests(unittest.TestCase):
    """:func:`theReactor`."""

    def test_same(self) -> None:
        """It is the reactor of the process."""
        self.assertIs(theReactor(), reactor)

    def test_late(self) -> None:
        """Importing the package doesn't choose a reactor."""
        code = "import sys, twisted_smtpserver; print('twisted.internet.reactor' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        self.assertEqual(found.stdout.strip(), b"False")

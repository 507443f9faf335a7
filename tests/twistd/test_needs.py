"""Flags that mean nothing without another flag."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.twistd.flags import BY_NAME
from twisted_smtpserver.twistd.needs import NEEDS, checkNeeds


class NeedsTests(SynchronousTestCase):
    """:func:`checkNeeds`."""

    def test_flags(self) -> None:
        """All names are those of flags."""
        self.assertLessEqual({*NEEDS, *NEEDS.values()}, set(BY_NAME))

    def test_each(self) -> None:
        """Each flag is refused without the one that it needs, and that one is named."""
        for name, other in NEEDS.items():
            error = self.assertRaises(ConfigurationError, checkNeeds, {name: "x"})
            self.assertEqual(str(error), f"--{name}: needs --{other}")
            if other not in NEEDS:
                checkNeeds({name: "x", other: "x"})

"""Tests for :mod:`twisted_smtpserver.wire.hostname`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.hostname import hostName, isHostName


class HostNameTests(SynchronousTestCase):
    def test_limits(self):
        """
        Labels have 1 to 63 characters, names up to 253; hyphens stand inside of labels only.
        """
        long = ".".join(["a" * 63] * 3 + ["b" * 61])
        self.assertEqual(253, len(long))
        for name in (long, long + ".", "a" * 63, "a" * 63 + ".b", "a-b.c-d", "_a._b", "1.2.3.x"):
            self.assertEqual(name.removesuffix("."), hostName(name))
        for name in (
            *(long + "b", "a" * 64, "a" * 64 + ".b", "a..b", ".a", "a..", ".", "", "a.1", "a\n"),
            *("-a", "a-", "-a.b", "a-.b", "b.-a", "b.a-", "xn--\uffff", "\u2024", "a\u3002\u3002b"),
        ):
            self.assertIsNone(hostName(name), name)

    @given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
    @settings(max_examples=200, deadline=None)
    def test_totality(self, octets):
        """
        Any octets are either a name of the normal form or none.
        """
        name = hostName(octets.decode("utf-8", "replace"))
        if name is not None:
            self.assertRegex(name, r"\A[a-z0-9_.-]{1,253}\Z")
            self.assertEqual(name, hostName(name))

    def test_isHostName(self) -> None:
        """An address without brackets has the form of a name; case makes no difference."""
        for text in ("192.0.2.1", "MX.Example", "my_laptop", "a" * 63):
            self.assertTrue(isHostName(text), text)
        for text in ("", "-a", "a.", "a b", "a\n", "\u212a", "a" * 64, "(none)", "a." * 127 + "a"):
            self.assertFalse(isHostName(text), text)

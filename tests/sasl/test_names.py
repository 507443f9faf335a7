"""Tests for :mod:`twisted_smtpserver.sasl.names`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl.names import decodeName, decodePassword, saslprep


class DecodeNameTests(SynchronousTestCase):
    """User names over the wire."""

    def test_takesUTF8(self) -> None:
        """Names are text, with spaces and up to 255 octets."""
        for name in ("tim", "J\u00f6 User", "\u7528\u6237", "a" * 255, "\u00f6" * 127):
            with self.subTest(name=name):
                self.assertEqual(decodeName(name.encode()), name)

    def test_refusesControls(self) -> None:
        """C0, DEL, C1 and the line separators of Unicode are refused, wherever they stand."""
        controls = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
        for control in map(chr, controls):
            for name in (control, f"{control}x", f"x{control}", f"x{control}x"):
                with self.subTest(name=name):
                    self.assertIsNone(decodeName(name.encode()))

    def test_refusesBadOctets(self) -> None:
        """Nothing, too much, and what is no UTF-8 (surrogates, overlong forms) is refused."""
        for octets in (b"", b"a" * 256, b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
            with self.subTest(octets=octets):
                self.assertIsNone(decodeName(octets))

    @settings(deadline=None, max_examples=200)
    @given(st.binary())
    def test_isTotal(self, octets: bytes) -> None:
        """Whatever comes in, the result is that very name, or ``None``."""
        name = decodeName(octets)
        if name is not None:
            self.assertEqual(name.encode(), octets)
            self.assertTrue(all(ord(char) >= 0x20 for char in name))


class DecodePasswordTests(SynchronousTestCase):
    """Passwords over the wire."""

    def test_takesUTF8(self) -> None:
        """Anything but NUL may be in a password, of up to 1024 octets."""
        for password in ("x", "\t\r\n\x7f", "\u00f6\U0001f600", "a" * 1024):
            with self.subTest(password=password):
                self.assertEqual(decodePassword(password.encode()), password)

    def test_refusesBadOctets(self) -> None:
        """Nothing, too much, NUL and what is no UTF-8 is refused."""
        for octets in (b"", b"a" * 1025, b"a\0b", b"\xff"):
            with self.subTest(octets=octets):
                self.assertIsNone(decodePassword(octets))


class SaslprepTests(SynchronousTestCase):
    """Preparation by RFC 4013."""

    def test_examples(self) -> None:
        """The examples of RFC 4013 §3, the two that fail included."""
        for text, prepared in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
            ("\u0007", None),
            ("\u0627\u0031", None),
        ):
            with self.subTest(text=text):
                self.assertEqual(saslprep(text), prepared)

    def test_maps(self) -> None:
        """Other spaces become a space; what is mapped to nothing may leave nothing."""
        self.assertEqual(saslprep("a\u00a0b\u1680c"), "a b c")
        self.assertEqual(saslprep("\u00ad\u200b"), "")
        self.assertEqual(saslprep(""), "")

    def test_prohibits(self) -> None:
        """Characters out of the tables of RFC 4013 §2.3 are refused, wherever they stand."""
        for char in "\x00\x7f\x80\u0085\ue000\ufdd0\ud800\ufff9\u2ff0\u206a\u202a\U000e0001":
            for text in (f"a{char}", f"{char}a", f"\u00e0{char}"):
                with self.subTest(text=text):
                    self.assertIsNone(saslprep(text))

    def test_directions(self) -> None:
        """Right-to-left text must stand at both ends, with no left-to-right text between."""
        for text, isGood in (
            ("\u0627\u0628", True),
            ("\u06271\u0628", True),
            ("\u0627", True),
            ("\u0627b\u0628", False),
            ("1\u0627", False),
            ("\u06271", False),
        ):
            with self.subTest(text=text):
                self.assertEqual(saslprep(text), text if isGood else None)

    def test_leavesUnassignedAlone(self) -> None:
        """What Unicode 3.2 didn't know is allowed in a query (RFC 3454 §7)."""
        self.assertEqual(saslprep("\U0001f600"), "\U0001f600")

    @settings(deadline=None, max_examples=200)
    @given(st.text())
    def test_isTotal(self, text: str) -> None:
        """It never raises, and what is prepared has no controls in it."""
        prepared = saslprep(text)
        if prepared:
            self.assertFalse(any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in prepared))

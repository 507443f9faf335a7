"""Tests for the scanner, which is there in two forms."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver
from tests.support import compiledscanner
from tests.wire.test_dotdata import CONTENT, MODES, decode, reference
from twisted_smtpserver.wire import dotdata, newlines, scanning
from twisted_smtpserver.wire.scanning import hasBareNewlinePurely, scanPurely

#: What matters to it, and what goes past in blocks of sixteen.
PIECES = (
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\r\n.",
        b"\r\n.\r\n",
        b"\r\n..",
        b"x",
        b"x" * 15,
        b"\0",
        b"\xff",
    ),
)
octets = st.lists(st.sampled_from(PIECES)).map(b"".join)


class PureTests(SynchronousTestCase):
    """The definition."""

    def test_scan(self) -> None:
        """Dots, the end, and bare newlines up to there, if they matter."""
        table = {
            b"": (b"", -1, False),
            b"a\r\nb\r": (b"a\r\nb\r", -1, False),
            b"a\r\n.b\r\n..c": (b"a\r\nb\r\n.c", -1, False),
            b"a\r\n.\r\nb\n": (b"a\r\n", 1, False),
            b"a\r\n..\r\n.\r\n": (b"a\r\n.\r\n", 5, False),
            b"a\nb\r\n.\r\n": (b"a\nb\r\n", 3, True),
            b"a\n.\r\n": (b"a\n.\r\n", -1, True),
            b"a\r\r\n.\r\n": (b"a\r\r\n", 2, True),
            b"\r\n.x" * 300 + b"\r\n.\r\n": (b"\r\nx" * 300 + b"\r\n", 1200, False),
        }
        for raw, expected in table.items():
            self.assertEqual(scanPurely(raw, True), expected, raw)
            self.assertEqual(scanPurely(raw, False), (*expected[:2], False), raw)

    def test_which(self) -> None:
        """It is told which form is used, and that one is."""
        isNative = not dotdata.__file__.endswith(".py")
        self.assertIs(twisted_smtpserver.isCompiled, isNative and scanning.isCompiled)
        self.assertEqual(scanning.scan is scanPurely, not scanning.isCompiled)
        self.assertIs(vars(dotdata)["scan"], scanning.scan)


class CompiledTests(SynchronousTestCase):
    """The form in C does the same."""

    scanner: Any

    def setUp(self) -> None:
        """Build it, once for all tests."""
        self.scanner = compiledscanner.build()

    def assertSame(self, raw: bytes) -> None:
        """Assert that all of it is the same."""
        for isStrict in (True, False):
            self.assertEqual(self.scanner.scan(raw, isStrict), scanPurely(raw, isStrict), raw)
        self.assertEqual(self.scanner.hasBareNewline(raw), hasBareNewlinePurely(raw), raw)

    def test_short(self) -> None:
        """For all that is short."""
        for length in range(6):
            for letters in itertools.product(b"\r\n.x", repeat=length):
                self.assertSame(bytes(letters))

    @given(octets)
    def test_any(self, raw: bytes) -> None:
        """For anything."""
        self.assertSame(raw)

    def test_blocks(self) -> None:
        """Wherever what matters is in the blocks of sixteen."""
        for before in range(40):
            for middle in PIECES:
                for after in (0, 1, 15, 16, 17):
                    self.assertSame(b"x" * before + middle + b"y" * after)

    def test_same(self) -> None:
        """What has nothing to take out isn't copied."""
        raw = b"x" * 100
        self.assertIs(self.scanner.scan(raw, True)[0], raw)

    def test_kinds(self) -> None:
        """It takes bytes, and nothing else."""
        for wrong in (bytearray(b"x"), "x", None, memoryview(b"x")):
            self.assertRaises(TypeError, self.scanner.scan, wrong, True)
            self.assertRaises(TypeError, self.scanner.hasBareNewline, wrong)
        self.assertRaises(TypeError, self.scanner.scan, b"x")


class CompiledDecoderTests(SynchronousTestCase):
    """The decoder with the form in C."""

    def setUp(self) -> None:
        """Put it in."""
        scanner = compiledscanner.build()
        self.patch(dotdata, "scan", scanner.scan)
        self.patch(dotdata, "hasBareNewline", scanner.hasBareNewline)
        self.patch(newlines, "hasBareNewline", scanner.hasBareNewline)

    def test_cuts(self) -> None:
        """Each message, cut at every two places that are near, gives what the reference says."""
        for raw, _, _ in CONTENT:
            message = raw + b"\r\n.\r\nrest"
            for mode in MODES:
                expected = reference(mode, message)
                for first in range(len(message) + 1):
                    for second in range(first, min(first + 7, len(message) + 1)):
                        segments = (message[:first], message[first:second], message[second:])
                        found = decode(mode, [segment for segment in segments if segment])
                        self.assertEqual(found[1:], expected[1:], segments)
                        if not expected[2]:
                            self.assertEqual(found[0], expected[0], segments)

    @given(octets, st.lists(st.integers(0, 200), max_size=5), st.sampled_from(MODES))
    def test_any(self, raw: bytes, cuts: list[int], mode: Any) -> None:
        """So does anything, cut anywhere."""
        places = sorted({0, *(min(cut, len(raw)) for cut in cuts), len(raw)})
        segments = [raw[start:end] for start, end in itertools.pairwise(places)]
        expected = reference(mode, raw + b"\r\n.\r\n")
        found = decode(mode, [*segments, b"\r\n.\r\n"])
        self.assertEqual(found[1:], expected[1:])
        if not expected[2]:
            self.assertEqual(found[0], expected[0])

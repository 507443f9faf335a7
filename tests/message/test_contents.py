"""Tests for transfer encodings."""

from __future__ import annotations

import base64
import binascii
import quopri
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message import contents
from twisted_smtpserver.message.contents import decodeContent
from twisted_smtpserver.message.slices import finish

ENCODINGS = ("base64", "quoted-printable", "x-uuencode", "7bit", "")


def decode(octets: bytes, encoding: str) -> bytes:
    return finish(decodeContent(memoryview(octets), encoding))


def uuencoded(octets: bytes) -> bytes:
    pieces = (octets[start : start + 45] for start in range(0, len(octets), 45))
    return b"begin 644 x\n" + b"".join(map(binascii.b2a_uu, pieces)) + b"`\nend\n"


class ContentTests(SynchronousTestCase):
    def test_table(self) -> None:
        """What comes, and what is made of it."""
        table: dict[tuple[bytes, str], bytes] = {
            (b"QUJD", "base64"): b"ABC",
            (b"QU\r\nJD\r\n", "base64"): b"ABC",
            (b"QUJDRA==", "base64"): b"ABCD",
            (b"QUJDRA", "base64"): b"ABCD",
            (b"QUJDR", "base64"): b"ABC",
            (b"Q!U\x00J\xffD", "base64"): b"ABC",
            (b"QQ==QUJD", "base64"): b"A",
            (b"=QUJD", "base64"): b"",
            (b"a=C3=A4=\r\nb", "quoted-printable"): "aäb".encode(),
            (b"a=ZZ", "quoted-printable"): b"a=ZZ",
            (b"a=", "quoted-printable"): b"a",
            (b"hello\nbegin 644 x\n#86)C\n`\nend\nmore", "x-uuencode"): b"abc",
            (b"begin 644 x\r\n#86)C\r\nend\r\n", "uue"): b"abc",
            (b"begin 644 x\n#86)C", "uuencode"): b"abc",
            (b"begin 644 x\n#86)CXX\n\nyy", "uuencode"): b"abc",
            (b"begin 644 x\n#\xff\xff\xff\xff\n#86)C\n", "uuencode"): b"abc",
            (b"hello", "uuencode"): b"hello",
            (b"QUJD", "7bit"): b"QUJD",
            (b"QUJD", "x-unknown"): b"QUJD",
        }
        for (octets, encoding), expected in table.items():
            self.assertEqual(decode(octets, encoding), expected, octets)

    def test_manyLines(self) -> None:
        """What is uuencoded in many lines is decoded; in too many, it stays as it is."""
        many = bytes(600 * 45)
        self.assertEqual(decode(uuencoded(many), "uue"), many)
        self.patch(contents, "_MAX_UU_LINES", 20)
        self.assertEqual(decode(uuencoded(b"x" * 90), "uue"), b"x" * 90)
        octets = uuencoded(b"x" * 1000)
        self.assertEqual(decode(octets, "uue"), octets)

    def test_longLines(self) -> None:
        """Of a uuencoded line so much counts as its first octet says, however long it is."""
        self.assertEqual(
            decode(b"begin 644 x\n#86)C" + b"X" * 10**6 + b"\n#86)C", "uue"), b"abcabc"
        )
        self.assertEqual(decode(b"begin 644 x\n#86)C" + b"\r" * 10**6 + b"\nend\nx", "uue"), b"abc")

    def test_memory(self) -> None:
        """Nothing of a uuencoded part is copied whole, whatever its lines."""
        many = b"#86)C\n" * 10_000
        for lines in (b"M" + b"A" * 2**22, many + b"\r" * 2**22, many + b"\n" + b"x" * 2**22):
            octets = b"begin 644 x\n" + lines
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            decode(octets, "uue")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertLess(peak, 2**21)

    @given(st.binary(max_size=300), st.integers(5, 40))
    def test_slices(self, octets: bytes, size: int) -> None:
        """What was encoded is decoded, wherever the slices end."""
        self.patch(contents, "SLICE", size)
        try:
            self.assertEqual(decode(base64.encodebytes(octets), "base64"), octets)
            text = octets.replace(b"\r", b"")
            printed = quopri.encodestring(text, quotetabs=True)
            self.assertEqual(decode(printed, "quoted-printable"), text)
            self.assertEqual(decode(uuencoded(octets), "uue"), octets)
        finally:
            self.patch(contents, "SLICE", 65536)

    @given(st.binary(), st.sampled_from(ENCODINGS), st.booleans())
    def test_any(self, octets: bytes, encoding: str, isBegun: bool) -> None:
        """Any octets are decoded somehow, and don't become more."""
        octets = b"begin 644 x\n" + octets if isBegun else octets
        self.assertLessEqual(len(decode(octets, encoding)), len(octets))

    def test_long(self) -> None:
        """Much is done in slices."""
        for encoding, least in (("base64", 15), ("quoted-printable", 15), ("8bit", 3), ("uue", 3)):
            steps = decodeContent(memoryview(base64.b64encode(bytes(10**6))), encoding)
            self.assertGreater(sum(1 for _ in steps), least, encoding)

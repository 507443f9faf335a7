"""Tests for :mod:`twisted_smtpserver.filters.header`."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Rejection
from twisted_smtpserver.filters.header import (
    MAX_FIELDS,
    MAX_TEXT,
    foldedField,
    makeField,
    makeFields,
    parseHeader,
)
from twisted_smtpserver.message.bounds import MAX_HEADER

LIKELY = st.sampled_from(
    [b"A", b"b-c", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"value", b"\x00", b"\xff", b";"]
)


class ParseTests(SynchronousTestCase):
    """Any octets have a header section, if an empty one."""

    def test_fields(self) -> None:
        """Names, values and texts, folded or not."""
        octets = (
            b"Subject: one\r\n\ttwo \r\nX-Empty:\r\nfrom : a@b\r\nBare: lf\n  more\n"
            b"U: \xff\xc3\xa9\r\n\r\nbody: no field\r\n"
        )
        header, end = parseHeader(octets)
        self.assertEqual(octets[end:], b"\r\nbody: no field\r\n")
        self.assertEqual(
            [(field.name, field.value, field.text) for field in header],
            [
                ("Subject", b" one\r\n\ttwo ", "one\ttwo"),
                ("X-Empty", b"", ""),
                ("from", b" a@b", "a@b"),
                ("Bare", b" lf\n  more", "lf  more"),
                ("U", b" \xff\xc3\xa9", "\ufffdé"),
            ],
        )
        self.assertEqual((header.get("FROM"), header.get("none"), len(header)), ("a@b", "", 5))
        self.assertEqual(header.all("subject"), ["one\ttwo"])
        self.assertFalse(header.changed)

    def test_ends(self) -> None:
        """What is no field ends the section, with or without an empty line."""
        for octets, end in [
            (b"", 0),
            (b"\r\nA: b\r\n", 0),
            (b" A: b\r\n", 0),
            (b"A: b\r\nno field\r\nC: d\r\n", 6),
            (b"A: b\r\n:c\r\n", 6),
            (b"A: b\r\nC:d", 9),
            (b"A: b\r\nM\xc3\xa9: d\r\n", 6),
            (b"A B: c\r\n", 0),
        ]:
            self.assertEqual(parseHeader(octets)[1], end, octets)

    @given(st.lists(LIKELY, max_size=40).map(b"".join))
    @example(b"A:\n\n")
    def test_total(self, octets: bytes) -> None:
        """Whatever it is, the fields are the octets up to the end, and none is lost."""
        header, end = parseHeader(octets)
        self.assertEqual(header.toBytes(), octets[:end])
        for field in header:
            self.assertNotIn("\n", field.text.replace("\r", ""))
            self.assertTrue(field.isCalled(field.name.upper()))

    def test_tooLong(self) -> None:
        """A section that is too long, or has too many fields, is refused, not cut."""
        cases = [
            b"A: b\r\n" * (MAX_FIELDS + 1),
            b"A: " + bytes(MAX_HEADER),
            b"A: b\r\n " + b"c" * MAX_HEADER,
            b"A: b\r\n" + b"C" * MAX_HEADER,
            (b"A: " + b"b" * 995 + b"\r\n") * (MAX_HEADER // 1000 + 1),
        ]
        for octets in cases:
            error = self.assertRaises(Rejection, parseHeader, octets)
            self.assertEqual((error.code, error.enhanced), (554, "5.6.0"))

    def test_longBody(self) -> None:
        """A long body isn't a long header, not even if it is one line."""
        octets = b"A: b\r\n\r\n" + b"c" * MAX_HEADER
        self.assertEqual(parseHeader(octets)[1], 6)


class ChangeTests(SynchronousTestCase):
    """Changes of a header."""

    def setUp(self) -> None:
        self.header, _ = parseHeader(b"A: 1\r\nB: 2\r\na: 3\r\n\r\n")

    def assertIs_(self, octets: bytes) -> None:
        """The header has these octets, and knows that it was changed."""
        self.assertEqual(self.header.toBytes(), octets)
        self.assertTrue(self.header.changed)

    def test_prepend(self) -> None:
        """Fields come before all others."""
        self.header.prepend(b"X: 1\r\nY: 2\r\n\t3\r\n")
        self.assertIs_(b"X: 1\r\nY: 2\r\n\t3\r\nA: 1\r\nB: 2\r\na: 3\r\n")

    def test_insert(self) -> None:
        """Or behind so many."""
        self.header.insert(1, b"X: 1\r\n")
        self.header.insert(99, b"Y: 1\r\n")
        self.assertIs_(b"A: 1\r\nX: 1\r\nB: 2\r\na: 3\r\nY: 1\r\n")

    def test_replace(self) -> None:
        """One of a name is changed, or taken out; where there is none nothing is."""
        self.assertTrue(self.header.replace("A", 2, b"a: 4\r\n"))
        self.assertTrue(self.header.replace("a", 1, b""))
        self.assertFalse(self.header.replace("A", 2, b"a: 5\r\n"))
        self.assertFalse(self.header.replace("A", 0, b"a: 5\r\n"))
        self.assertIs_(b"B: 2\r\na: 4\r\n")

    def test_remove(self) -> None:
        """All that somebody doesn't want."""
        self.assertEqual(self.header.remove(lambda field: field.name == "C"), 0)
        self.assertFalse(self.header.changed)
        self.assertEqual(self.header.remove(lambda field: field.isCalled("a")), 2)
        self.assertIs_(b"B: 2\r\n")

    def test_incomplete(self) -> None:
        """What isn't complete fields can't get in, by whatever way."""
        for octets in (
            b"X: 1",
            b"X: 1\n",
            b"X\r\n",
            b"X: 1\r\n\r\n",
            b"X: 1\r\nbody\r\n",
            b" X: 1\r\n",
        ):
            self.assertRaises(ValueError, self.header.prepend, octets)
            self.assertRaises(ValueError, self.header.insert, 0, octets)
            self.assertRaises(ValueError, self.header.replace, "A", 1, octets)
        self.assertFalse(self.header.changed)


class MakeTests(SynchronousTestCase):
    """Fields made of texts."""

    def test_make(self) -> None:
        """ASCII stays as it is, what is long is folded, and other characters are encoded."""
        self.assertEqual(makeField("X-A", "b c"), b"X-A: b c\r\n")
        self.assertEqual(makeField("X-A", ""), b"X-A: \r\n")
        long = makeField("X-A", " ".join(["word"] * 40))
        self.assertLessEqual(max(map(len, long.split(b"\r\n"))), 78)
        self.assertEqual(parseHeader(long)[0].get("x-a"), " ".join(["word"] * 40))
        self.assertEqual(makeField("X-A", "é"), b"X-A: =?utf-8?b?w6k=?=\r\n")
        self.assertEqual(makeFields({"A": "1", "B": "2"}), b"A: 1\r\nB: 2\r\n")

    def test_bad(self) -> None:
        """No name makes more than one field."""
        for name in ("", "a b", "a:", "é", "a\r\nb", "\udc80"):
            self.assertRaises(ValueError, makeField, name, "c")

    def test_controls(self) -> None:
        """Nor does a value: what can't be in one becomes a space, or a question mark."""
        for value, octets in [
            ("a\tb", b"A: a b\r\n"),
            ("a\r\nB: c", b"A: a  B: c\r\n"),
            ("a\0\x85", b"A: a\r\n"),
            ("a\udc80", b"A: a?\r\n"),
        ]:
            self.assertEqual(makeField("A", value).rstrip(), octets.rstrip())
        self.assertLess(len(makeField("A", "b" * 10 * MAX_TEXT)), MAX_TEXT + 20)

    @given(st.text(max_size=60))
    def test_always(self, value: str) -> None:
        """Whatever the value is: one field."""
        octets = makeField("X-A", value)
        header, end = parseHeader(octets)
        self.assertEqual((len(header), end), (1, len(octets)))

    def test_folded(self) -> None:
        """A value that a program has folded stays folded; one that isn't is made so."""
        for value, octets in [
            (b" a", b"N: a\r\n"),
            (b"a\n\tb", b"N:a\r\n\tb\r\n"),
            (b"a\r\nEvil: b", b"N:a\r\n\tEvil: b\r\n"),
            (b"a\r\n\r\nbody", b"N:a\r\n\tbody\r\n"),
            (b"a\n \n b\n", b"N:a\r\n b\r\n"),
            (b"a\rb\0c", b"N:a\r\n\tbc\r\n"),
        ]:
            self.assertEqual(foldedField(b"N", value), octets)
        for name in (b"", b"a b", b"a\r\nb", b"a:", b"\xff"):
            self.assertRaises(ValueError, foldedField, name, b"c")

    @given(st.lists(LIKELY, max_size=30).map(b"".join))
    def test_foldedAlways(self, value: bytes) -> None:
        """Whatever the value is: one field."""
        octets = foldedField(b"N", value)
        header, end = parseHeader(octets)
        self.assertEqual((len(header), end), (1, len(octets)))

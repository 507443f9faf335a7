"""Tests for :mod:`twisted_smtpserver.wire.bdat`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.replies import MALFORMED_CHUNK
from twisted_smtpserver.wire.bdat import Chunk, parseBdat


class ParseBdatTests(SynchronousTestCase):
    """The argument of BDAT."""

    def test_sizes(self) -> None:
        """A size alone is a chunk that isn't the last, whatever its size."""
        for argument, size in (
            (b"0", 0),
            (b"1", 1),
            (b"00012", 12),
            (b"99999999999999999999", 99999999999999999999),
        ):
            self.assertEqual(parseBdat(argument), Chunk(size, False))

    def test_last(self) -> None:
        """LAST, in any case, marks the last chunk, which may be empty."""
        for argument in (b"86 LAST", b"86 last", b"86 LasT"):
            self.assertEqual(parseBdat(argument), Chunk(86, True))
        self.assertEqual(parseBdat(b"0 LAST"), Chunk(0, True))

    def test_malformed(self) -> None:
        """Whatever else it is, it is refused with 501 5.5.4."""
        for argument in (
            *(b"", b" ", b"LAST", b"-1", b"+1", b"1.0", b"0x10", b"1_000", b"1,000", b"1K"),
            *(b" 1", b"1 ", b"1  LAST", b"1 LAST ", b"1 LAST x", b"1LAST", b"1\tLAST", b"1 LAS"),
            *(b"1\n", b"1 LAST\n", b"\n1", b"1\0", "१".encode(), "１".encode(), b"\xb2"),
            b"100000000000000000000",  # 21 digits
            b"9" * 10000,
        ):
            self.assertEqual(parseBdat(argument), MALFORMED_CHUNK, argument)
        self.assertEqual((MALFORMED_CHUNK.code, MALFORMED_CHUNK.enhanced), (501, "5.5.4"))

    def test_frozen(self) -> None:
        """A chunk can't be changed."""
        with self.assertRaises(AttributeError):
            Chunk(1, False).last = True  # type: ignore[misc]

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.binary(), st.from_regex(rb"[0-9]{0,25}( LAST)?\n?")))
    def test_total(self, argument: bytes) -> None:
        """No octets make it raise, and what it accepts it can be written as again."""
        result = parseBdat(argument)
        if isinstance(result, Chunk):
            written = f"{result.size}{' LAST' if result.last else ''}".encode()
            self.assertEqual(argument.upper().lstrip(b"0"), written.lstrip(b"0"))
        else:
            self.assertIs(result, MALFORMED_CHUNK)

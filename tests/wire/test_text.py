"""Tests for text from the peer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.text import decodeText, escape

# Not st.characters(), which reads the whole Unicode table before its first character.
characters = st.integers(0, 0x10FFFF).map(chr)


class DecodeTextTests(SynchronousTestCase):
    """Octets that are text on one line, and others."""

    def test_text(self) -> None:
        """Valid UTF-8 is decoded, spaces and letters of any script included."""
        table = {
            b"": "",
            b"plain text": "plain text",
            "gr\u00fc\u00df \u4e2d \U0001f600".encode(): "gr\u00fc\u00df \u4e2d \U0001f600",
            b"\xc2\xa0": "\u00a0",
        }
        self.assertEqual({octets: decodeText(octets) for octets in table}, table)

    def test_refused(self) -> None:
        """Malformed UTF-8, surrogates, controls of both sets and line separators are no text."""
        cases = [
            *(b"a\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
            *(b"a\x00", b"a\tb", b"a\rb", b"a\nb", b"\x1b[0m", b"\x7f"),
            *(b"\xc2\x85", b"\xc2\x9b", "\u2028".encode(), "\u2029".encode()),
        ]
        self.assertEqual([case for case in cases if decodeText(case) is not None], [])


class EscapeTests(SynchronousTestCase):
    """Text for a log line."""

    def test_table(self) -> None:
        """What isn't printable is escaped, and so is the backslash; all else stays."""
        table: dict[str | bytes, str] = {
            "": "",
            "MAIL FROM:<a@b>": "MAIL FROM:<a@b>",
            b"MAIL FROM:<a@b>": "MAIL FROM:<a@b>",
            "b\u00fccher \u4e2d": "b\u00fccher \u4e2d",
            "b\u00fccher".encode(): "b\u00fccher",
            "a\\b": "a\\x5cb",
            b"a\\x0a": "a\\x5cx0a",
            "a\r\nb\x00\t\x7f": "a\\x0d\\x0ab\\x00\\x09\\x7f",
            b"a\r\nb": "a\\x0d\\x0ab",
            "\x1b[31m": "\\x1b[31m",
            "\u0085\u009b": "\\u0085\\u009b",
            "\u2028\u00a0\u202e": "\\u2028\\u00a0\\u202e",
            "\ud800": "\\ud800",
            "a\udcff": "a\\xff",
            "a\udc80\udc7f\udd00": "a\\x80\\udc7f\\udd00",
            "\x1f\x80": "\\x1f\\u0080",
            "\uffff": "\\uffff",
            "\U000e0001": "\\U000e0001",
            b"\xff\xc3": "\\xff\\xc3",
            b"\xed\xa0\x80": "\\xed\\xa0\\x80",
        }
        self.assertEqual({text: escape(text) for text in table}, table)

    def test_limit(self) -> None:
        """What is too long ends in an ellipsis, within the limit and never within an escape."""
        table: dict[tuple[str | bytes, int], str] = {
            ("a" * 256, 256): "a" * 256,
            ("a" * 257, 256): "a" * 255 + "\u2026",
            ("abcd", 4): "abcd",
            ("abcde", 4): "abc\u2026",
            (b"abcde", 4): "abc\u2026",
            ("\n", 4): "\\x0a",
            ("\n", 3): "\u2026",
            ("a\n", 4): "a\u2026",
            ("a\nb", 5): "a\u2026",
            ("a\nb", 6): "a\\x0ab",
            ("ab", 1): "\u2026",
            ("\U0001f600" * 5, 4): "\U0001f600" * 3 + "\u2026",
            (("\U0001f600" * 5).encode(), 4): "\U0001f600" * 3 + "\u2026",
            (("\U0001f600" * 4).encode(), 4): "\U0001f600" * 4,
        }
        self.assertEqual({case: escape(*case) for case in table}, table)

    def test_defaultLimit(self) -> None:
        """Without a limit given, a line can't be made longer than 256 characters."""
        self.assertEqual(len(escape(b"\x00" * 10_000)), 253)
        self.assertEqual(len(escape("x" * 10_000)), 256)

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.binary(), st.lists(characters).map("".join)), st.integers(1, 60))
    def test_total(self, text: str | bytes, limit: int) -> None:
        """Whatever comes in, the result is printable, within the limit, and fit for any charset."""
        result = escape(text, limit)
        self.assertTrue(result.isprintable())
        self.assertTrue(len(result) <= limit)
        result.encode("utf-8")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=40))
    def test_reversible(self, octets: bytes) -> None:
        """A log that shows an octet escaped shows which one it was."""
        result = escape(octets, 1000)
        unescaped = result.encode("latin-1", "backslashreplace").decode("unicode_escape")
        self.assertEqual(
            unescaped.encode("utf-16", "surrogatepass"),
            "".join(
                chr(ord(c) - 0xDC00) if 0xDC80 <= ord(c) <= 0xDCFF else c
                for c in octets.decode("utf-8", "surrogateescape")
            ).encode("utf-16", "surrogatepass"),
        )

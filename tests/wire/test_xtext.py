"""Tests for xtext and its Unicode relative."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.xtext import decodeUtf8AddrXtext, decodeXtext, encodeXtext

# Not st.characters(), which reads the whole Unicode table before its first character.
characters = st.integers(0, 0x10FFFF).map(chr)

values = st.one_of(
    st.lists(characters).map("".join),
    st.lists(
        st.sampled_from(
            [
                *(
                    "a",
                    "@",
                    "+",
                    "+2",
                    "+2B",
                    "+41",
                    "+0A",
                    "+80",
                    "=",
                    "\\",
                    "\\x",
                    "\\x{",
                    "}",
                    " ",
                ),
                *(
                    "\\x{5C}",
                    "\\x{FC}",
                    "\\x{85}",
                    "\\x{D800}",
                    "\\x{10FFFF}",
                    "\\x{110000}",
                    "\u00fc",
                ),
            ]
        )
    ).map("".join),
)


class DecodeXtextTests(SynchronousTestCase):
    """xtext, RFC 3461 section 4."""

    def test_wellFormed(self) -> None:
        """A character stands for itself, +XX for the one with that code."""
        table = {
            "": "",
            "abc": "abc",
            "!*,<>~": "!*,<>~",
            "a+2Bb+3Dc": "a+b=c",
            "a+20b": "a b",
            "+41+7E": "A~",
            "+2B41": "+41",
            "Bob@Example.ORG": "Bob@Example.ORG",
            "<>": "<>",
            "back\\slash": "back\\slash",
        }
        self.assertEqual({value: decodeXtext(value) for value in table}, table)

    def test_malformed(self) -> None:
        """What the grammar hasn't, lower-case digits included, is refused."""
        for value in ("+", "a+", "+4", "+4g", "+2b", "+ 1", "++2B", "a=b", "a b", "a\tb", "a\n"):
            self.assertIsNone(decodeXtext(value), value)
        for value in ("\u00fc", "+\u0661\u0661", "\x7f", "\x00", "\ud800", "+4\uff11"):
            self.assertIsNone(decodeXtext(value), repr(value))

    def test_unprintable(self) -> None:
        """An escaped control or non-ASCII octet is refused."""
        for code in (*range(0x20), *range(0x7F, 0x100)):
            self.assertIsNone(decodeXtext(f"a+{code:02X}b"), hex(code))

    @settings(max_examples=200, deadline=None)
    @given(values)
    def test_total(self, value: str) -> None:
        """Any text decodes to printable ASCII that encodes to the same meaning, or to nothing."""
        text = decodeXtext(value)
        if text is not None:
            self.assertRegex(text, r"\A[ -~]*\Z")
            self.assertEqual(decodeXtext(encodeXtext(text)), text)


class EncodeXtextTests(SynchronousTestCase):
    """The way back."""

    def test_table(self) -> None:
        """Space, plus and equals are escaped, as is all that isn't printable ASCII."""
        table = {
            "": "",
            "user@example.com": "user@example.com",
            "a+b=c d": "a+2Bb+3Dc+20d",
            "!*,<>~\\": "!*,<>~\\",
            "\r\n\x7f": "+0D+0A+7F",
            "\u00fc": "+C3+BC",
        }
        self.assertEqual({text: encodeXtext(text) for text in table}, table)

    def test_surrogate(self) -> None:
        """A lone surrogate has no octets."""
        self.assertRaises(UnicodeEncodeError, encodeXtext, "a\ud800")

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0x20, 0x7E).map(chr)).map("".join))
    def test_roundTrip(self, text: str) -> None:
        """Printable ASCII survives."""
        self.assertEqual(decodeXtext(encodeXtext(text)), text)


class DecodeUtf8AddrXtextTests(SynchronousTestCase):
    """utf-8-addr-xtext and utf-8-addr-unitext, RFC 6533 section 3."""

    def test_wellFormed(self) -> None:
        r"""A character stands for itself, \x{HEX} for the one with that code point."""
        table = {
            "a@b": "a@b",
            "\u00fc@b": "\u00fc@b",
            "\\x{FC}@b": "\u00fc@b",
            "\\x{fc}@b": "\u00fc@b",
            "a\\x{2B}b": "a+b",
            "a\\x{3D}b": "a=b",
            "a\\x{3d}b": "a=b",
            "a\\x{5C}b": "a\\b",
            "\\x{20}": " ",
            "\\x{A0}": "\u00a0",
            "\\x{100}": "\u0100",
            "\\x{4E2D}": "\u4e2d",
            "\\x{D7FF}": "\ud7ff",
            "\\x{E000}": "\ue000",
            "\\x{1F600}": "\U0001f600",
            "\\x{10FFFF}": "\U0010ffff",
            "\\x{5C}x{FC}": "\\x{FC}",
        }
        self.assertEqual({value: decodeUtf8AddrXtext(value) for value in table}, table)

    def test_malformed(self) -> None:
        """What the grammar hasn't is refused: bare specials, needless and broken escapes."""
        cases = [
            *("", "a b", "a+b", "a+2B", "a=b", "\\", "a\\b", "\\x", "\\x{", "\\x{FC", "\\x{}"),
            *("\\X{FC}", "\\x{0FC}", "\\x{00FC}", "\\x{41}", "\\x{2D}", "\\x{2C}", "\\x{5}"),
            *("\\x{110000}", "\\x{FFFFFF}", "\\x{1000000}", "\\x{G0}", "\\x{ FC}", "\\x{-C}"),
            *("\\x{\uff11\uff11\uff11}", "a\n", "\\x{FC}\n", "u+00fc", "\\u{FC}"),
        ]
        for value in cases:
            self.assertIsNone(decodeUtf8AddrXtext(value), value)

    def test_controls(self) -> None:
        """Controls and line separators are refused, escaped or not."""
        for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029):
            self.assertIsNone(decodeUtf8AddrXtext(f"a\\x{{{code:02X}}}"), hex(code))
            self.assertIsNone(decodeUtf8AddrXtext(f"a{chr(code)}"), hex(code))

    def test_surrogates(self) -> None:
        """Surrogates are refused, escaped or not, and pairs of them as well."""
        for value in ("\\x{D800}", "\\x{DFFF}", "\\x{D83D}\\x{DE00}", "\ud800", "\ud83d\ude00"):
            self.assertIsNone(decodeUtf8AddrXtext(value), repr(value))

    @settings(max_examples=200, deadline=None)
    @given(values)
    def test_total(self, value: str) -> None:
        """Any text decodes to text that is valid UTF-8 and has no controls, or to nothing."""
        text = decodeUtf8AddrXtext(value)
        if text is not None:
            text.encode("utf-8")
            self.assertNotRegex(text, "[\x00-\x1f\x7f-\x9f\u2028\u2029]")

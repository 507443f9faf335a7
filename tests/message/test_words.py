"""Tests for charsets and encoded words."""

from __future__ import annotations

import codecs
import encodings

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message import words
from twisted_smtpserver.message.words import charsetOf, cleanText, decodeText, decodeWords


class CharsetTests(SynchronousTestCase):
    def test_known(self) -> None:
        """Charsets are found by the names that mail has for them."""
        table = {
            "utf-8": "utf_8",
            "UTF8": "utf_8",
            " utf-8 ": "utf_8",
            "us-ascii": "ascii",
            "ISO-8859-1": "latin_1",
            "iso_8859-15": "iso8859_15",
            "windows-1252": "cp1252",
            "gb2312": "gb18030",
            "GBK": "gb18030",
            "ks_c_5601-1987": "cp949",
            "Shift_JIS": "cp932",
            "koi8-u": "koi8_u",
            "iso-2022-jp": "iso2022_jp",
        }
        self.assertEqual({name: charsetOf(name) for name in table}, table)

    def test_unknown(self) -> None:
        """What isn't a charset of mail, or would take long, isn't found, nor looked for."""
        before = dict(encodings._cache)
        for name in (
            *("", "x-unknown", "punycode", "idna", "unicode_escape", "base64", "zlib", "rot13"),
            *("undefined", "mbcs", "../x", "\0", "ü", "x" * 1000, "utf-8\udcff"),
        ):
            self.assertIsNone(charsetOf(name), name)
            decodeText(b"\xff", name)
        added = set(encodings._cache) - set(before)
        self.assertEqual(added - {"cp1252"}, set())

    def test_all(self) -> None:
        """Each that is known is a codec of text, and decodes anything into clean text."""
        octets = bytes(range(256)) * 300
        for name in words._CHARSETS:
            self.assertTrue(codecs.lookup(name)._is_text_encoding, name)
            decodeText(octets, name).encode("utf-8")

    def test_text(self) -> None:
        """Text is decoded as well as can be."""
        table = {
            ("ä".encode(), "utf-8"): "ä",
            (b"\xe4", "utf-8"): "\ufffd",
            (b"\xe4", "iso-8859-1"): "ä",
            ("ä".encode(), ""): "ä",
            (b"\xe4", ""): "ä",
            ("ä".encode(), "us-ascii"): "ä",
            (b"\xe4\x80", "x-unknown"): "ä€",
            (b"", "utf-8"): "",
            (b"x", "utf-16"): "\ufffd",
            ("ä".encode("utf-16"), "utf-16"): "ä",
            (b"+2AA-", "utf-7"): "\ufffd",
        }
        for (octets, charset), expected in table.items():
            self.assertEqual(decodeText(octets, charset), expected)

    def test_raising(self) -> None:
        """A codec that raises whatever it is told leaves a mark."""
        self.patch(words, "_charsetFor", lambda octets, label: "undefined")
        self.assertEqual(decodeText(b"x", "utf-8"), "\ufffd")

    def test_slices(self) -> None:
        """It makes no difference where the slices end."""
        text = "äöü€日本語" * 50
        self.patch(words, "_SLICE", 7)
        for charset in ("utf-8", "utf-16", "gb18030", "utf-32"):
            self.assertEqual(decodeText(text.encode(charset), charset), text)

    @settings(deadline=None)
    @given(st.binary(), st.sampled_from(sorted(words._CHARSETS)))
    def test_any(self, octets: bytes, charset: str) -> None:
        """Any octets in any charset give text that UTF-8 can encode."""
        decodeText(octets, charset).encode("utf-8")


class WordTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Encoded words, by RFC 2047 and beside it."""
        table = {
            "plain": "plain",
            "=?utf-8?q?=C3=A4?=": "ä",
            "=?UTF-8?B?w6Q=?=": "ä",
            "=?utf-8*en?q?=C3=A4?=": "ä",
            "a =?utf-8?q?b_c?= d": "a b c d",
            "=?utf-8?q?a?= =?utf-8?q?b?=": "ab",
            "=?utf-8?q?a?=\r\n =?iso-8859-1?q?=E4?=": "aä",
            "=?utf-8?q?a?= x =?utf-8?q?b?=": "a x b",
            "=?utf-8?q?=C3?= =?utf-8?q?=A4?=": "ä",
            "=?utf-8?b?ww?= =?utf-8?b?pA?=": "ä",
            "=?utf-8?b?w6?=": "\ufffd",
            "=?utf-8?b?w?=": "",
            "=?utf-8?b?w6Q!?=": "ä",
            "=?utf-8?q?a b?=": "a b",
            "=?utf-8?q?=ZZ=?=": "=ZZ",
            "x=?utf-8?q?a?=y": "xay",
            "=?x?y?z?=": "=?x?y?z?=",
            "=?utf-8?q?a": "=?utf-8?q?a",
            "=?punycode?q?a-b?=": "a-b",
            "=?utf-8?q?a=0D=0Ab=00?=": "a b",
            "a\r\n b": "a b",
            "a\nb": "a b",
            "\udcc3\udca4": "ä",
            "\udce4": "ä",
            "ü": "ü",
            "\ud83d x": "\ufffd x",
            "=?utf-8?q?\udce4?=": "\ufffd",
            "a\u2028b": "a b",
        }
        for value, expected in table.items():
            self.assertEqual(decodeWords(value), expected, value)

    def test_bounded(self) -> None:
        """No more than so many of a field are decoded."""
        self.patch(words, "_MAX_WORDS", 2)
        self.assertEqual(decodeWords("=?x?q?a?= " * 3), "aa =?x?q?a?=")

    def test_clean(self) -> None:
        """Text can be made one line."""
        self.assertEqual(cleanText(" a\r\n\tb\ud800\x9f "), "a b\ufffd")

    @given(st.text(st.sampled_from("=?utf-8qb_ ABw6\udcff\r\n")))
    def test_any(self, value: str) -> None:
        """Anything gives one line of text."""
        self.assertNotIn("\n", decodeWords(value))
        decodeWords(value).encode("utf-8")

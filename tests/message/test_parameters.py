"""Tests for values with parameters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message.parameters import (
    Parameterized,
    parseContentType,
    parseParameterized,
)


class ParameterTests(SynchronousTestCase):
    def test_table(self) -> None:
        """What programs write, by the rules and beside them."""
        table: dict[str, dict[str, str]] = {
            "x": {},
            "x;": {},
            "x; ;a=b;": {"a": "b"},
            "x; A=B; a=c": {"a": "B"},
            'x; a="b;c=\\"d\\\\"; e=f': {"a": 'b;c="d\\', "e": "f"},
            'x; a="b': {"a": "b"},
            'x; a="b\\': {"a": "b\\"},
            "x; a = b ; c= d e ;f": {"a": "b", "c": "d e"},
            "x (c;d=e (f)) ; a=b (g)": {"a": "b"},
            "x; a=b) ; c=d": {"a": "b", "c": "d"},
            "x; a=b\\;c": {"a": "b\\;c"},
            "x; =b": {},
            "x; a==?utf-8?q?=C3=A4?=": {"a": "ä"},
            'x; boundary="=?utf-8?q?=C3=A4?= "': {"boundary": "=?utf-8?q?=C3=A4?="},
            "x; a*=utf-8''%C3%A4": {"a": "ä"},
            "x; a*=utf-8'en'%C3%A4; a=b": {"a": "ä"},
            "x; a*=%41": {"a": "A"},
            "x; a*0=b; a*1=c": {"a": "bc"},
            "x; a*1*=%C3%A4; a*0*=''b": {"a": "bä"},
            "x; a*0*=utf-8''%C3; a*1*=%A4": {"a": "ä"},
            "x; a*1=b": {"a": "b"},
            "x; a*01=b": {"a*01": "b"},
            "x; a*99999=b": {"a*99999": "b"},
            "x; a*=%0D%0ABcc%3A": {"a": "Bcc:"},
            "x; a=b\x00c\r\n d": {"a": "b c d"},
        }
        for text, expected in table.items():
            found = parseParameterized(text)
            self.assertEqual((found.value, found.parameters), ("x", expected), text)
            self.assertEqual(found.excess, "")

    def test_excess(self) -> None:
        """What there is too much of is told, and left out."""
        found = parseParameterized("x" + ";a=b" * 101)
        self.assertIn("more than 100 parameters", found.excess)
        found = parseParameterized("x" + "".join(f"; p{n}=v" for n in range(200)))
        self.assertEqual(len(found.parameters), 100)
        found = parseParameterized("x" + "(" * 21 + ")" * 21 + ";a=b")
        self.assertIn("more than 20 comments", found.excess)
        self.assertEqual(found.parameters, {"a": "b"})
        self.assertEqual(parseParameterized("x" + "(" * 20).excess, "")

    def test_contentType(self) -> None:
        """What is no content type is taken for text/plain."""
        self.assertEqual(parseContentType(None), Parameterized("text/plain"))
        self.assertEqual(parseContentType("TEXT/Html").value, "text/html")
        for text in ("", "text", "text/", "a/b/c", "a b/c", "/", "ä/b", "x" * 200 + "/y"):
            self.assertEqual(parseContentType(text).value, "text/plain", text)
        self.assertEqual(parseContentType("text; charset=x").parameters, {"charset": "x"})

    @given(st.lists(st.sampled_from([*"x;=\"\\()*0'% \udcff", "=?utf-8?q?=41?=", "utf-8''"])))
    def test_any(self, pieces: list[str]) -> None:
        """Anything gives parameters."""
        found = parseParameterized("".join(pieces))
        "".join([found.value, *found.parameters]).encode()

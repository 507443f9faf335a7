"""Lines of Dovecot's authentication protocol."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.users.dovecot.codec import (
    DovecotError,
    authRequest,
    escapeWord,
    parseVerdict,
    splitLine,
)


class RequestTests(SynchronousTestCase):
    def test_request(self) -> None:
        """What Dovecot is told: flags have no value, and what isn't known is left out."""
        line = authRequest(
            7, "joe", "sesame", {"service": "smtp", "secured": "", "rip": "192.0.2.1", "lip": None}
        )
        response = base64.b64encode(b"\0joe\0sesame")
        expected = b"AUTH\t7\tPLAIN\tservice=smtp\tsecured\trip=192.0.2.1\tresp=" + response
        self.assertEqual(line, expected + b"\n")

    @given(st.text(), st.text(), st.text())
    def test_injection(self, username: str, password: str, value: str) -> None:
        """No name, password or value makes a word or a line of its own."""
        name, secret = (text.encode("utf-8", "ignore").decode() for text in (username, password))
        value = value.encode("utf-8", "ignore").decode()
        line = authRequest(1, name, secret, {"session": value or "-"})
        self.assertEqual(line.count(b"\n"), 1)
        command, words = splitLine(line[:-1])
        self.assertEqual(command, b"AUTH")
        self.assertEqual(words[:3], ["1", "PLAIN", f"session={value or '-'}"])
        self.assertEqual(len(words), 4)
        response = base64.b64decode(words[3].removeprefix("resp="))
        self.assertEqual(response, f"\0{name}\0{secret}".encode())

    def test_escapes(self) -> None:
        """As its documentation has it."""
        self.assertEqual(escapeWord("a\0\x01\t\r\nb"), "a\x010\x011\x01t\x01r\x01nb")


class VerdictTests(SynchronousTestCase):
    def test_split(self) -> None:
        """Words are unescaped; what is escaped without need is itself."""
        self.assertEqual(
            splitLine(b"OK\t1\tuser=a\x01tb\x01nc\x01xd\tflag"),
            (b"OK", ["1", "user=a\tb\ncxd", "flag"]),
        )
        self.assertEqual(splitLine(b""), (b"", []))
        self.assertRaises(DovecotError, splitLine, b"OK\t\xff")

    def test_verdict(self) -> None:
        """A number, and values by name."""
        verdict = parseVerdict(b"OK", ["12", "user=joe", "a=b=c", "flag"])
        self.assertEqual(
            (verdict.kind, verdict.number, verdict.values),
            (b"OK", 12, {"user": "joe", "a": "b=c", "flag": ""}),
        )
        for words in ([], [""], ["x"], ["-1"], ["1" * 11], ["\u0663"]):
            self.assertRaises(DovecotError, parseVerdict, b"OK", words)

    def test_temporary(self) -> None:
        """A failure is temporary in the words of either version."""
        for word, isTemporary in {"temp": True, "code=temp_fail": True, "code=x": False}.items():
            self.assertIs(parseVerdict(b"FAIL", ["1", word]).isTemporary, isTemporary)

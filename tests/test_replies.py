"""Tests for replies."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import replies
from twisted_smtpserver.replies import MAX_REPLY_LINE, Reply, defaultEnhanced, printable

CATALOG = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


#: Each reply's code and enhanced code: RFC 5321 §4.2, RFC 3463, RFC 5248, and the extensions' RFCs.
CODES = {
    "OK": "250 2.0.0",
    "RESET": "250 2.0.0",
    "SENDER_OK": "250 2.1.0",
    "RECIPIENT_OK": "250 2.1.5",
    "MESSAGE_ACCEPTED": "250 2.6.0",
    "GOODBYE": "221 2.0.0",
    "HELP": "214 2.0.0",
    "CANNOT_VERIFY": "252 2.1.5",
    "START_INPUT": "354",
    "READY_FOR_TLS": "220 2.0.0",
    "AUTHENTICATED": "235 2.7.0",
    "UNRECOGNIZED": "500 5.5.2",
    "MALFORMED_LINE": "500 5.5.2",
    "LINE_TOO_LONG": "500 5.5.2",
    "AUTH_LINE_TOO_LONG": "500 5.5.6",
    "BARE_NEWLINE_IN_COMMAND": "500 5.5.2",
    "NOT_IMPLEMENTED": "502 5.5.1",
    "LMTP_ONLY": "500 5.5.1",
    "NOT_LMTP": "500 5.5.1",
    "NO_ARGUMENT_ALLOWED": "501 5.5.4",
    "ARGUMENT_NEEDED": "501 5.5.4",
    "BAD_HELLO": "501 5.5.4",
    "HELLO_FIRST": "503 5.5.1",
    "MAIL_FIRST": "503 5.5.1",
    "RCPT_FIRST": "503 5.5.1",
    "NESTED_MAIL": "503 5.5.1",
    "IN_TRANSACTION": "503 5.5.1",
    "BDAT_UNDER_WAY": "503 5.5.1",
    "NOT_WELCOME": "503 5.5.1",
    "TLS_ALREADY": "503 5.5.1",
    "AUTH_ALREADY": "503 5.5.1",
    "TLS_NEEDED": "530 5.7.0",
    "AUTH_NEEDED": "530 5.7.0",
    "AUTH_NEEDS_TLS": "538 5.7.11",
    "AUTH_FAILED": "535 5.7.8",
    "AUTH_CANCELED": "501 5.7.0",
    "AUTH_BAD_BASE64": "501 5.5.2",
    "AUTH_MALFORMED": "501 5.5.2",
    "AUTH_UNKNOWN_MECHANISM": "504 5.5.4",
    "TOO_MANY_RECIPIENTS": "452 4.5.3",
    "UNKNOWN_PARAMETER": "555 5.5.4",
    "TOO_LARGE": "552 5.3.4",
    "TOO_COMPLEX": "554 5.6.0",
    "BARE_NEWLINE": "550 5.6.0",
    "SHUTTING_DOWN": "421 4.3.2",
    "TOO_MANY_CLIENTS": "421 4.3.2",
    "IDLE_TOO_LONG": "421 4.4.2",
    "TOO_MANY_ERRORS": "421 4.7.0",
    "TOO_MANY_UNAUTHENTICATED": "421 4.7.0",
    "TOO_MUCH_JUNK": "421 4.7.0",
    "TOO_MANY_AUTH_FAILURES": "421 4.7.0",
    "EARLY_TALKER": "421 4.7.0",
    "NOT_HTTP": "554 5.7.0",
    "NOT_TLS": "554 5.7.0",
    "HANDLER_TIMED_OUT": "451 4.3.0",
    "NO_RESULT": "451 4.3.0",
    "TOO_SLOW": "421 4.4.2",
    "SESSION_TOO_LONG": "421 4.4.2",
    "TOO_MANY_MESSAGES": "421 4.7.0",
    "ENOUGH_REFUSED": "452 4.5.3",
    "TOO_MANY_REFUSED": "421 4.7.0",
    "TOO_MANY_FROM_ADDRESS": "421 4.7.0",
    "MAIL_NEEDS_UTF8": "550 5.6.7",
    "RCPT_NEEDS_UTF8": "553 5.6.7",
    "VRFY_NOT_UTF8": "501 5.5.4",
    "VRFY_VALUE": "501 5.5.4",
    "BINARY_NEEDS_BDAT": "503 5.5.1",
    "AUTH_SYNTAX": "501 5.5.4",
    "BAD_PARAMETER": "501 5.5.4",
    "NOT_TRUSTED": "550 5.7.0",
    "AFTER_XCLIENT": "503 5.5.1",
    "REPLIES_FOLLOW": "353",
    "ACCEPTED_FOR_SOME": "250 2.6.0",
    "MALFORMED_CHUNK": "501 5.5.4",
    "MALFORMED_PARAMETER": "501 5.5.4",
    "DUPLICATE_PARAMETER": "501 5.5.4",
    "MALFORMED_ATTRIBUTE": "501 5.5.4",
    "DUPLICATE_ATTRIBUTE": "501 5.5.4",
    "UNKNOWN_ATTRIBUTE": "501 5.5.4",
}


class EncodeTests(SynchronousTestCase):
    """Whatever the text, what goes out is well-formed."""

    def test_oneLine(self) -> None:
        """A reply is its code, its enhanced code and its text."""
        self.assertEqual(Reply(250, "2.0.0", "OK").encode(), b"250 2.0.0 OK\r\n")
        self.assertEqual(Reply(220, None, "mx ESMTP").encode(), b"220 mx ESMTP\r\n")

    def test_noText(self) -> None:
        """A reply without a text is a line nevertheless (RFC 5321 section 4.2)."""
        self.assertEqual(Reply(250, None).encode(), b"250 \r\n")
        self.assertEqual(Reply(250, None).lines, ("",))

    def test_severalLines(self) -> None:
        """All lines but the last have a hyphen; each has both codes (RFC 2034 section 4)."""
        self.assertEqual(
            Reply(550, "5.7.1", "one", "two", "three").encode(),
            b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n",
        )

    def test_controls(self) -> None:
        """No control character gets out: it could end the line, or repaint a terminal."""
        for code in (*range(32), *range(127, 160), 0x2028, 0x2029):
            octets = Reply(250, None, f"a{chr(code)}b").encode(utf8=True)
            self.assertEqual(octets, b"250 a b\r\n", code)
        self.assertEqual(printable("\r\n250 OK"), "  250 OK")

    def test_ascii(self) -> None:
        """Outside of ASCII nothing is said to a client that didn't ask for UTF-8."""
        reply = Reply(550, None, "Grüße, 日本")
        self.assertEqual(reply.encode(), b"550 Gr??e, ??\r\n")
        self.assertEqual(reply.encode(utf8=True), "550 Grüße, 日本\r\n".encode())
        self.assertEqual(Reply(550, None, "\ud800").encode(utf8=True), b"550 ?\r\n")

    def test_wrapped(self) -> None:
        """A long text becomes several lines, cut at a space where there is one."""
        octets = Reply(550, "5.1.1", "x" * 400 + " " + "y" * 200).encode()
        self.assertEqual(
            octets, b"550-5.1.1 " + b"x" * 400 + b"\r\n550 5.1.1 " + b"y" * 200 + b"\r\n"
        )

    def test_wrappedAnywhere(self) -> None:
        """A text without spaces is cut where the line is full, which is at 512 octets."""
        octets = Reply(550, None, "x" * 1000).encode()
        first, second = octets.splitlines(keepends=True)
        self.assertEqual(len(first), MAX_REPLY_LINE)
        self.assertEqual(first.count(b"x") + second.count(b"x"), 1000)

    def test_exactlyFull(self) -> None:
        """A line of 512 octets isn't cut."""
        self.assertEqual(len(Reply(550, None, "x" * 506).encode()), MAX_REPLY_LINE)

    def test_wrappedBetweenCharacters(self) -> None:
        """No UTF-8 sequence is cut in two."""
        for offset in range(4):
            text = "x" * offset + "\U0001f4e7" * 300
            lines = Reply(550, None, text).encode(utf8=True).splitlines()
            self.assertEqual("".join(line[4:].decode("utf-8") for line in lines), text)

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from([None, "2.0.0", "5.123.456"]),
        st.lists(st.text(max_size=700), max_size=3),
        st.booleans(),
    )
    def test_wellFormed(self, enhanced: str | None, lines: list[str], utf8: bool) -> None:
        """Any texts become lines of at most 512 octets with the codes before them."""
        octets = Reply(250, enhanced, *lines).encode(utf8)
        self.assertTrue(octets.endswith(b"\r\n"))
        *others, last = octets[:-2].split(b"\r\n")
        code = b"" if enhanced is None else enhanced.encode() + b" "
        for line in others:
            self.assertTrue(line.startswith(b"250-" + code), line)
        self.assertTrue(last.startswith(b"250 " + code), last)
        for line in (*others, last):
            self.assertLessEqual(len(line) + 2, MAX_REPLY_LINE)
            self.assertNotRegex(line, rb"[\x00-\x1f\x7f]")
            line.decode("utf-8" if utf8 else "ascii")


class ReplyTests(SynchronousTestCase):
    def test_value(self) -> None:
        """Replies with the same content are equal, and can't be changed."""
        self.assertEqual(Reply(250, "2.0.0", "OK"), Reply(250, "2.0.0", "OK"))
        self.assertNotEqual(Reply(250, "2.0.0", "OK"), Reply(250, None, "OK"))
        with self.assertRaises(dataclasses.FrozenInstanceError):
            Reply(250, None).code = 550  # type: ignore[misc]

    def test_isPositive(self) -> None:
        """2yz and 3yz are good news."""
        found = [code for code in (220, 250, 354, 421, 450, 550) if Reply(code, None).isPositive]
        self.assertEqual(found, [220, 250, 354])

    def test_text(self) -> None:
        """The text for the log is all lines, without controls."""
        self.assertEqual(Reply(550, None, "a\r\nb", "c").text, "a  b c")

    def test_defaultEnhanced(self) -> None:
        """Where no enhanced code was given, one of the right class that fits is taken."""
        table = {421: "4.3.2", 450: "4.2.0", 503: "5.5.1", 550: "5.7.1", 554: "5.0.0", 250: "2.0.0"}
        self.assertEqual({code: defaultEnhanced(code) for code in table}, table)


class CatalogTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Each reply has the codes that it should have, and each is in the table."""
        found = {
            name: f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
            for name, reply in CATALOG.items()
        }
        self.assertEqual(found, CODES)

    def test_classes(self) -> None:
        """The class of an enhanced code is the first digit of the code (RFC 2034 section 4)."""
        for name, reply in CATALOG.items():
            if reply.enhanced is not None:
                self.assertRegex(reply.enhanced, rf"\A{reply.code // 100}\.\d+\.\d+\Z", name)

    def test_enhanced(self) -> None:
        """Only intermediate replies, 3yz, have none (RFC 2034 section 4)."""
        without = {name for name, reply in CATALOG.items() if reply.enhanced is None}
        self.assertEqual(without, {n for n, reply in CATALOG.items() if 300 <= reply.code < 400})

    def test_codes(self) -> None:
        """Codes are of the form that RFC 5321 section 4.2 prescribes, texts are plain."""
        for name, reply in CATALOG.items():
            self.assertRegex(str(reply.code), r"\A[2-5][0-5][0-9]\Z", name)
            self.assertRegex(reply.encode(), rb"\A[ -~]+\r\n\Z", name)

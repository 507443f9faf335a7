"""Tests for command lines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import replies
from twisted_smtpserver.wire.commands import Command, parseCommand

CONTROLS = [bytes([code]) for code in (*range(0x20), 0x7F)]

lines = st.one_of(
    st.binary(),
    st.lists(
        st.sampled_from(
            [
                *(b"MAIL", b"rcpt", b"QuIt", b"X-A", b" ", b"  ", b"\t", b"FROM:<a@b>"),
                *(b"\r", b"\n", b"\x00", b"\xc3\xbc", b"\xff", b"A" * 17),
            ]
        )
    ).map(b"".join),
)


class ParseCommandTests(SynchronousTestCase):
    """A line becomes a verb and an argument, or is refused."""

    def test_split(self) -> None:
        """The verb goes up to the first space and is in upper case; the argument stays as sent."""
        table = {
            b"QUIT": Command("QUIT", b""),
            b"quit": Command("QUIT", b""),
            b"qUiT": Command("QUIT", b""),
            b"DATA": Command("DATA", b""),
            b"MAIL FROM:<a@b> SIZE=1": Command("MAIL", b"FROM:<a@b> SIZE=1"),
            b"mail from:<A@b>": Command("MAIL", b"from:<A@b>"),
            b"NOOP  two spaces": Command("NOOP", b" two spaces"),
            b"FOO bar": Command("FOO", b"bar"),
            b"a": Command("A", b""),
            b"ABCDEFGHIJKLMNOP x": Command("ABCDEFGHIJKLMNOP", b"x"),
            "RCPT TO:<\u00fc@b>".encode(): Command("RCPT", "TO:<\u00fc@b>".encode()),
            b"RCPT \xff\x80": Command("RCPT", b"\xff\x80"),
        }
        self.assertEqual({line: parseCommand(line) for line in table}, table)

    def test_trailingWhitespace(self) -> None:
        """Spaces and tabs at the end of a line are tolerated (RFC 5321 section 4.1.1)."""
        for line in (b"RSET", b"RSET ", b"RSET\t", b"RSET \t \t"):
            self.assertEqual(parseCommand(line), Command("RSET", b""))
        self.assertEqual(parseCommand(b"EHLO a.example \t"), Command("EHLO", b"a.example"))

    def test_unrecognized(self) -> None:
        """Without a verb of 1 to 16 ASCII letters, a line is no command."""
        cases = [
            *(
                b"",
                b" ",
                b"\t",
                b" \t ",
                b" MAIL FROM:<a@b>",
                b"1QUIT",
                b"X-FOO",
                b"MAIL:",
                b"QUIT!",
            ),
            *(b"ABCDEFGHIJKLMNOPQ", b"A" * 5000, b"GET/ HTTP", b"\xff", b"MA\xcfL x"),
            *("\u00c9HLO x".encode(), "QUIT\u00a0".encode(), "QU\u0131T".encode(), b"M\xc2\xadAIL"),
        ]
        for line in cases:
            self.assertEqual(parseCommand(line), replies.UNRECOGNIZED, line)

    def test_controls(self) -> None:
        """An ASCII control anywhere in the line makes it malformed, whatever else is wrong."""
        for control in CONTROLS:
            for line in (b"%bMAIL x", b"MA%bIL x", b"MAIL%bx", b"NOOP a%bb", b"1-%b2"):
                octets = line % control
                self.assertEqual(parseCommand(octets), replies.MALFORMED_LINE, octets)

    def test_tabs(self) -> None:
        """In MAIL and RCPT a tab is a space, but not where there are quotes."""
        for verb in ("MAIL", "RCPT"):
            line = f"{verb} FROM:\t<a@b>\t\tX".encode()
            self.assertEqual(parseCommand(line), Command(verb, b"FROM: <a@b>  X"))
            line = f'{verb.lower()} FROM:\t<"a\tb"@c>'.encode()
            self.assertEqual(parseCommand(line), replies.MALFORMED_LINE)
            self.assertEqual(parseCommand(f"{verb} \t\0".encode()), replies.MALFORMED_LINE)
        self.assertEqual(parseCommand(b"MAIL\tFROM:<a@b>"), replies.MALFORMED_LINE)

    def test_trailingControls(self) -> None:
        """Of all controls, only the tab is tolerated at the end."""
        for control in CONTROLS:
            expected = Command("NOOP", b"x") if control == b"\t" else replies.MALFORMED_LINE
            self.assertEqual(parseCommand(b"NOOP x" + control), expected, control)
            self.assertEqual(parseCommand(b"NOOP x" + control + b" "), expected, control)

    def test_reprKeepsSecrets(self) -> None:
        """The repr doesn't show the argument, which holds a password in the case of AUTH."""
        command = parseCommand(b"AUTH PLAIN c2VjcmV0")
        self.assertEqual(repr(command), "Command(verb='AUTH')")

    def test_immutable(self) -> None:
        """A command can't be changed."""
        command = Command("NOOP", b"")
        with self.assertRaises(AttributeError):
            command.verb = "QUIT"  # type: ignore[misc]

    @settings(max_examples=200, deadline=None)
    @given(lines)
    def test_total(self, line: bytes) -> None:
        """Any octets are a command of a proper form or one of two refusals."""
        result = parseCommand(line)
        if isinstance(result, Command):
            self.assertRegex(result.verb, r"\A[A-Z]{1,16}\Z")
            self.assertNotRegex(result.argument, rb"[\x00-\x1f\x7f]|[ \t]\Z")
            again = parseCommand(result.verb.encode("ascii") + b" " + result.argument)
            self.assertEqual(again, result)
        else:
            self.assertIn(result, (replies.UNRECOGNIZED, replies.MALFORMED_LINE))

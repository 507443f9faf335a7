"""The short ways to the verbs come to what the usual way comes to."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import MAIL, RCPT
from twisted_smtpserver.testing import Client, RecordingHandler, connect

LOCALS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{0,70}", fullmatch=True),
    st.sampled_from(["joe", '"joe b"', "j\x7f", "jos\u00e9", "a..b", "a b", "<", "@x:joe"]),
)
DOMAINS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9.-]{0,70}", fullmatch=True),
    st.sampled_from(["example.com", "EXAMPLE.com", "xn--bcher-kva.example", "[192.0.2.1]", "a.1"]),
)
ENDS = st.sampled_from(
    [
        *("", "", "", " ", " X", "x", "\t", " SMTPUTF8", ">", " RET=HDRS", " size=9 BODY=7bit"),
        *(" SIZE=1", "  SIZE=1", " SIZE=1 SIZE=2", " SIZE=1 body=8BITMIME", " SIZE=x", " SIZE="),
        " A=" + 600 * "b",
    ]
)
PATHS = st.one_of(
    st.builds("{}@{}".format, LOCALS, DOMAINS), st.sampled_from(["", "postmaster", "joe", "@"])
)
MESSAGE_LINES = st.one_of(
    st.builds("{}<{}>{}".format, st.sampled_from(["MAIL FROM:", "mail from:"]), PATHS, ENDS),
    st.builds(
        "{}<{}>{}".format, st.sampled_from(["RCPT TO:", "Rcpt To:", "RCPT TO: "]), PATHS, ENDS
    ),
    st.sampled_from(
        [MAIL, RCPT, MAIL, RCPT, "DATA", "DATA ", "data", "DATAX", "RSET", "AUTH PLAIN"]
    ),
    st.sampled_from(["QUIT", "quit", "QUIT ", "QUITX", "QUIT x", "LHLO a"]),
    st.builds("{} {}".format, st.sampled_from(["EHLO", "ehlo", "Ehlo"]), DOMAINS),
)


class ShortcutTests(SynchronousTestCase):
    """The short ways lead where the usual way leads."""

    OPTIONS: tuple[dict[str, Any], ...] = (
        {},
        {"lenientAddressParsing": True, "maxRecipients": 2},
        {"secured": True, "onAuth": lambda *arguments: None},
        {"secured": True, "onAuth": lambda *arguments: None, "authOptional": True},
        {"selfSigned": True, "tlsRequired": True},
        {"disabledCommands": ["RCPT"], "lmtp": True},
        {"extensions": ["DSN", "PRDR"], "maxMessages": 2},
    )

    def seen(self, client: Client, lines: list[str]) -> list[object]:
        """All there is to see after each line."""
        client.say("LHLO a.example" if client.session.lmtp else "EHLO a.example")
        found: list[object] = []
        for line in lines:
            answer = client.say(line.encode("utf-8"))
            session, envelope = client.session, client.session.envelope
            found.append((session.openingCommand, session.hostNameAppearsAs, session.errors))
            found.append((answer, client.protocol.dialogue.phase, envelope.perRecipient))
            for address in (envelope.mailFrom, *envelope.rcptTo):
                names = () if address is None else address.__slots__
                found.append({name: getattr(address, name) for name in names})
            if answer.code in (221, 354, 421):
                break
        return found

    @given(st.sampled_from(OPTIONS), st.lists(MESSAGE_LINES, max_size=8))
    @settings(deadline=None, max_examples=200)
    def test_same(self, options: dict[str, Any], lines: list[str]) -> None:
        """Whatever comes, the answers and the envelope are the same."""
        short, usual = (
            connect(RecordingHandler(), **options)
            if "onAuth" not in options
            else connect(**options)
            for _ in range(2)
        )
        steps = usual.protocol.factory.steps
        known = {name for _, _, shortcuts in steps.values() for name in shortcuts}
        self.assertLessEqual({b"EHLO ", b"MAIL ", b"DATA", b"QUIT"}, known)
        usual.protocol.factory.steps = {cause: (*step[:2], {}) for cause, step in steps.items()}
        self.assertEqual(self.seen(short, lines), self.seen(usual, lines))

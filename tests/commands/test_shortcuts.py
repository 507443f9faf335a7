"""The short ways to the verbs come to what the usual way comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import MAIL, RCPT
from twisted_smtpserver import Address, Envelope, Session
from twisted_smtpserver.connection.lines import SLICE_LINES
from twisted_smtpserver.dialogue.outcome import LATER
from twisted_smtpserver.dialogue.step import Step
from twisted_smtpserver.extensions import Extension
from twisted_smtpserver.testing import Answer, Client, RecordingHandler, connect

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
        known = {name for step in steps.values() for name in step.shortcuts}
        self.assertLessEqual({b"EHLO ", b"MAIL ", b"DATA", b"QUIT"}, known)
        usual.protocol.factory.steps = {
            cause: Step(step.phase, step.admitted, {}) for cause, step in steps.items()
        }
        self.assertEqual(self.seen(short, lines), self.seen(usual, lines))


RECIPIENT_LINES = st.one_of(
    st.builds(
        "{}<{}@{}>{}".format,
        st.sampled_from(["RCPT TO:", "rcpt to:", "Rcpt To:", "RCPT TO: "]),
        st.one_of(st.sampled_from(["a", "a.b", "A-1", '"a b"', "a" * 64, "a" * 65, ""]), LOCALS),
        st.sampled_from(["example.com", "Example.COM", "a" * 63, "a" * 64, "[192.0.2.1]", "1", ""]),
        st.sampled_from(["", "", "", "", " ", " A=B", "x", "\n", " NOTIFY=NEVER"]),
    ),
    st.sampled_from([RCPT, RCPT, RCPT, "NOOP", "MAIL FROM:<a@b>", "RSET", MAIL, "RCPT", "X", ""]),
)


def nothing(stream: object, session: Session) -> None:
    """Throws messages away."""


class SeesRecipients(Extension):
    """Wants to see each recipient."""

    keyword = "SEES"

    def onRcpt(self, address: Address, envelope: Envelope, session: Session) -> None:
        """See it."""


class _Interrupting:
    """Does something at the second recipient."""

    def __init__(self, interrupt: Callable[[Session], None]) -> None:
        self.interrupt = interrupt
        self.asked: list[str] = []

    def onRcptTo(self, address: Address, session: Session) -> None:
        self.asked.append(address.local)
        if address.local == "b":
            self.interrupt(session)


class RunTests(SynchronousTestCase):
    """Recipients that come together are taken as those that come one by one."""

    OPTIONS: tuple[dict[str, Any], ...] = (
        {},
        {"maxRecipients": 3},
        {"lmtp": True, "extensions": ["DSN"]},
        {"lenientAddressParsing": True, "maxErrors": 3},
        {"onRcptTo": lambda address, session: (address.local == "a" and "fine") or None},
        {"onMailFrom": lambda address, session: None},
        {"onHello": lambda name, session: setattr(session, "disabledCommands", ["RCPT"])},
    )

    def seen(self, client: Client, answers: list[Answer]) -> object:
        """All there is to see in the end."""
        envelope, session = client.session.envelope, client.session
        return (
            [answer.lines for answer in answers],
            [(each.address, each.raw, each.args, each.values) for each in envelope.rcptTo],
            (session.errors, session.error, client.protocol.dialogue.phase, client.isClosed),
        )

    @given(st.sampled_from(OPTIONS), st.lists(RECIPIENT_LINES, max_size=12))
    @settings(deadline=None, max_examples=300)
    def test_same(self, options: dict[str, Any], lines: list[str]) -> None:
        """Whatever comes, the answers and the envelope are the same."""
        together, single = (connect(onData=nothing, **options) for _ in range(2))
        for client in (together, single):
            client.say("LHLO a.example" if options.get("lmtp") else "EHLO a.example")
            client.pipeline(MAIL, RCPT)
        octets = [f"{line}\r\n".encode() for line in lines]
        together.send(b"".join(octets))
        for one in octets:
            single.send(one)
        self.assertEqual(
            self.seen(together, together.answers()), self.seen(single, single.answers())
        )

    def test_taken(self) -> None:
        """Those behind the first are taken at once; a line that is another ends that."""
        client = connect(onData=nothing)
        client.say("EHLO a.example")
        dialogue = client.protocol.dialogue
        lines = b"RCPT TO:<b@c.example>\r\n" * 3 + b"NOOP\r\n"
        self.assertEqual(dialogue.linesReceived(lines, 0, 10), (0, 0, LATER))
        client.pipeline(MAIL, RCPT)
        self.assertEqual(dialogue.linesReceived(lines, 0, 2), (2, 46, LATER))
        self.assertEqual(dialogue.linesReceived(lines, 46, 10), (1, 69, LATER))
        self.assertEqual(dialogue.linesReceived(lines, 69, 10), (0, 69, LATER))
        self.assertEqual(len(client.session.envelope.rcptTo), 4)

    def test_seen(self) -> None:
        """Where an extension wants to see each, each is taken by itself."""
        client = connect(onData=nothing, extensions=[SeesRecipients()])
        client.say("EHLO a.example")
        client.pipeline(MAIL, RCPT)
        lines = b"RCPT TO:<b@c.example>\r\n"
        self.assertEqual(client.protocol.dialogue.linesReceived(lines, 0, 9), (0, 0, LATER))

    def test_interrupted(self) -> None:
        """It ends where the handler closes, or forbids the command."""

        def close(session: Session) -> None:
            client.transport.loseConnection()

        def forbid(session: Session) -> None:
            session.disabledCommands = frozenset({"RCPT"})

        def stop(session: Session) -> None:
            client.protocol.channel.shutDown()

        for interrupt, expected in ((close, 2), (forbid, 2), (stop, 4)):
            handler = _Interrupting(interrupt)
            client = connect(handler)
            client.say("EHLO a.example")
            client.pipeline(MAIL)
            client.send(b"".join(b"RCPT TO:<%c@c.example>\r\n" % each for each in b"abcd"))
            self.assertEqual(len(handler.asked), expected)

    def test_slices(self) -> None:
        """No more are taken in one turn than of any lines."""
        client = connect(onData=nothing, maxRecipients=1000)
        client.say("EHLO a.example")
        client.pipeline(MAIL, RCPT)
        client.protocol.dataReceived(b"RCPT TO:<b@c.example>\r\n" * (2 * SLICE_LINES))
        self.assertEqual(len(client.session.envelope.rcptTo), 1 + SLICE_LINES)
        client.settle()
        self.assertEqual(len(client.session.envelope.rcptTo), 1 + 2 * SLICE_LINES)

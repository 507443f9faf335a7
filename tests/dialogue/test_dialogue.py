"""Tests for the conversation: order under any pipelining, bounds, any octets."""

from __future__ import annotations

import itertools
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.connection.test_lines import pieces
from tests.support.talk import HELLO, MAIL, RCPT, WAYS, Later, brief, codes, talk, walk
from twisted_smtpserver import Rejection, SMTPHandler
from twisted_smtpserver.connection.lines import MAX_JOINED
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)


class Sync(SMTPHandler):
    """Has every hook, and answers at once."""

    def onConnect(self, session: Session) -> None:
        """Accept."""

    def onHello(self, hostname: str, session: Session) -> None:
        """Accept."""

    def onMailFrom(self, address: Any, session: Session) -> str:
        """Accept."""
        return "fine"

    def onRcptTo(self, address: Any, session: Session) -> None:
        """Accept, or don't."""
        if address.local == "no":
            raise Rejection("no")

    def onData(self, stream: Any, session: Session) -> str:
        """Accept."""
        return "fine"

    def onTransactionEnd(self, envelope: Any, outcome: str, session: Session) -> None:
        """Do nothing."""

    def onClose(self, session: Session) -> None:
        """Do nothing."""


class PipeliningTests(SynchronousTestCase):
    """RFC 2920: many commands in one segment, each answered, in order."""

    LINES = [HELLO, MAIL, "RCPT TO:<no@example.com>", RCPT, "NOOP", "DATA", "x", ".", "FOO", "QUIT"]
    CODES = [250, 250, 550, 250, 250, 354, 250, 500, 221]

    def test_order(self) -> None:
        """All in one segment, or each octet in its own: the answers are the same."""
        octets = "\r\n".join([*self.LINES, ""]).encode()
        for step in (len(octets), 7, 1):
            client = connect(Sync())
            for start in range(0, len(octets), step):
                client.send(octets[start : start + step])
            self.assertEqual(codes(client.answers()), self.CODES)

    def test_oneWrite(self) -> None:
        """The answers to one segment leave in one write."""
        client = connect(Sync())
        before = client.transport.writes
        self.assertEqual(codes(client.pipeline(*self.LINES)), self.CODES)
        self.assertEqual(client.transport.writes - before, 1)

    def test_oneWriteWhenReleased(self) -> None:
        """So do those that waited for a handler."""
        later = Later()
        client = talk(Phase.MAIL, onRcptTo=later)
        client.pipeline(RCPT, "NOOP", "NOOP")
        before = client.transport.writes
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 250, 250])
        self.assertEqual(client.transport.writes - before, 1)

    def test_noDeferred(self) -> None:
        """Handlers that answer at once cost no Deferred, in a whole conversation."""
        made: list[object] = []
        original = Deferred.__init__

        def counting(deferred: Deferred[Any], *arguments: Any, **keywords: Any) -> None:
            made.append(deferred)
            original(deferred, *arguments, **keywords)

        self.patch(Deferred, "__init__", counting)
        client = connect(Sync())
        for line in self.LINES:
            client.send(line.encode() + b"\r\n")
        self.assertEqual(codes(client.answers()), self.CODES)
        client = talk(Phase.RCPT, Sync(), lmtp=True)
        client.send(b"BDAT 3\r\nx\r\nBDAT 0 LAST\r\n")
        client.lose()
        self.assertEqual(made, [])
        Deferred()
        self.assertEqual(len(made), 1)


MODES = ("now", "fired", "later", "coroutine", "never")
SCRIPTS = st.lists(
    st.sampled_from(
        [
            [b"NOOP\r\n"],
            [b"RSET\r\n"],
            [b"VRFY a\r\n"],
            [b"FOO\r\n"],
            [b"EHLO a.example\r\n"],
            [b"EHLO no.example\r\n"],
            [b"MAIL FROM:<no@a.example>\r\n"],
            [b"MAIL FROM:<ok@a.example> X\r\n"],
            *([b"MAIL FROM:<%b@a.example>\r\n" % word] for word in (b"ok", b"late", b"lazy")),
            *([b"RCPT TO:<%b@a.example>\r\n" % word] for word in (b"ok", b"ok", b"no")),
            [b"DATA\r\n", b"one\r\n", b"..two\r\n", b".\r\n"],
            [b"DATA\r\n", b"x\n\r\n", b".\r\n"],
            *(
                [
                    *(b"RSET\r\n", b"MAIL FROM:<%b@a.example>\r\n" % word),
                    *(b"RCPT TO:<ok@a.example>\r\n", b"DATA\r\n", b"three\r\n", b".\r\n"),
                ]
                for word in (b"ok", b"no", b"late", b"lazy")
            ),
            [
                *(b"RSET\r\n", b"MAIL FROM:<bdat@a.example>\r\n", b"RCPT TO:<ok@a.example>\r\n"),
                *(b"BDAT 6\r\nNOOP\r\n", b"BDAT 6 LAST\r\nRSET\r\n"),
            ],
        ]
    ),
    max_size=10,
).map(lambda parts: [b"EHLO ok.example\r\n", *(line for part in parts for line in part)])


class Mixed(SMTPHandler):
    """
    Decides by the words it is asked about, and answers in many ways.

    :param modes: how, in order and over again.
    """

    def __init__(self, modes: list[str]) -> None:
        self.modes = itertools.cycle(modes)
        self.gates: list[Deferred[None]] = []

    def gate(self) -> Deferred[None]:
        self.gates.append(Deferred())
        return self.gates[-1]

    def decide(self, word: str) -> str:
        if word == "no":
            raise Rejection("no")
        return word

    def answer(self, word: str) -> Any:
        mode = next(self.modes)
        if mode == "never":
            return Deferred()
        if mode == "timed out":
            raise Rejection("too long", 451)
        if mode == "now":
            return self.decide(word)
        return (succeed(None) if mode == "fired" else self.gate()).addCallback(
            lambda _: self.decide(word)
        )

    def onHello(self, hostname: str, session: Session) -> Any:
        return self.answer(hostname.partition(".")[0])

    def onMailFrom(self, address: Any, session: Session) -> Any:
        return self.answer(address.local)

    def onRcptTo(self, address: Any, session: Session) -> Any:
        return self.answer(address.local)

    def onData(self, stream: Any, session: Session) -> Any:
        word = session.envelope.mailFrom.local  # type: ignore[union-attr]
        if word == "bdat":
            return word
        mode = next(self.modes)
        if mode == "timed out":
            raise Rejection("too long", 451)
        return Deferred.fromCoroutine(self.read(stream, word, mode))

    async def read(self, stream: Any, word: str, mode: str) -> str:
        if mode == "never":
            await Deferred()
        if mode in ("later", "coroutine"):
            await self.gate()
        if word == "lazy":
            return word
        if word == "late":
            async for _ in stream:
                if mode == "coroutine":
                    await self.gate()
            raise Rejection("late", 554)
        return self.decide(word)


class OrderTests(SynchronousTestCase):
    """Whatever handlers do, replies keep their order."""

    OPTIONS: dict[str, Any] = {
        "maxUnrecognizedCommands": 1000,
        "handlerTimeout": 10,
        "socketTimeout": 10**6,
    }

    def lineByLine(self, script: list[bytes], modes: list[str]) -> list[str]:
        """What the client hears if it says one line at a time, and all is answered at once."""
        plain = ["timed out" if mode == "never" else "now" for mode in modes]
        client = connect(Mixed(plain), **self.OPTIONS)
        for line in script:
            client.send(line)
        return [f"{answer.code}" for answer in client.answers()]

    def mixed(self, script: list[bytes], modes: list[str], cuts: list[int]) -> list[str]:
        """What it hears if it waits after DATA only, and answers come as they may."""
        handler = Mixed(modes)
        client = connect(handler, **self.OPTIONS)
        # DATA is the last command of a group (RFC 2920 section 3.1).
        for group in re.split(rb"(?<=DATA\r\n)", b"".join(script)):
            for number, segment in enumerate(pieces(group, cuts)):
                client.send(segment)
                if handler.gates and number % 2:
                    handler.gates.pop(0).callback(None)
            while handler.gates or client.protocol.channel.pending is not None:
                if handler.gates:
                    handler.gates.pop(0).callback(None)
                else:
                    client.wait(10)
        return [f"{answer.code}" for answer in client.answers()]

    @settings(max_examples=200, deadline=None)
    @given(
        SCRIPTS,
        st.lists(st.sampled_from(MODES), min_size=1, max_size=8),
        st.lists(st.integers(0, 200), max_size=8),
    )
    def test_order(self, script: list[bytes], modes: list[str], cuts: list[int]) -> None:
        """Now, later, by coroutine or never, in any segments: as if said line by line."""
        self.assertEqual(self.mixed(script, modes, cuts), self.lineByLine(script, modes))


class SlowTransport(MemoryTransport):
    """A transport whose peer reads only when it is told to; like TCP, it minds 64 KiB."""

    def writeRaw(self, data: bytes) -> None:
        """Keep it."""
        super().writeRaw(data)
        if len(self.output) > 65536 and self.producer is not None:
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """Let the peer read."""
        octets = bytes(self.output)
        self.output.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return octets


class UnreadRepliesTests(SynchronousTestCase):
    """A client that sends, and doesn't read what it is told."""

    LINES = b"EHLO a.example\r\n" * 4096

    def setUp(self) -> None:
        """A server, and a transport that fills up."""
        self.transport = SlowTransport()
        factory = makeFactory()
        self.clock: Any = factory.clock
        self.protocol: Any = factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.transport.read()

    def receive(self, octets: bytes) -> None:
        """Let octets come, and the server do with them what it can."""
        self.protocol.dataReceived(octets)
        self.clock.advance(0)

    def test_bounded(self) -> None:
        """The replies that pile up are bounded: neither lines nor octets are taken any more."""
        self.receive(self.LINES)
        self.assertTrue(self.transport.isPaused)
        reply = 200
        self.assertLess(len(self.transport.output), 65536 + MAX_JOINED * reply)
        before = len(self.transport.output)
        self.receive(b"NOOP\r\n")
        self.assertEqual(len(self.transport.output), before)

    def test_order(self) -> None:
        """When it reads again, it goes on where it was; no reply is lost."""
        self.receive(self.LINES)
        heard = b""
        while self.transport.output:
            heard += self.transport.read()
            self.clock.advance(0)
        self.assertFalse(self.transport.isPaused)
        self.assertEqual(heard.count(b"250-mx.test"), 4096)

    def test_never(self) -> None:
        """A client that never reads is cut off in the end."""
        self.receive(self.LINES)
        self.clock.advance(300)
        self.clock.advance(10)
        self.assertTrue(self.transport.isAborted)


class AnyOctetsTests(SynchronousTestCase):
    """Whatever a client sends, in whatever segments."""

    PARTS = [
        *(b"EHLO a.example\r\n", b"HELO a\r\n", b"LHLO a\r\n", b"MAIL FROM:<a@b.example>\r\n"),
        *(b"MAIL FROM:<> SMTPUTF8 BODY=8BITMIME\r\n", b"RCPT TO:<a@b.example>\r\n", b"DATA\r\n"),
        *(b"RCPT TO:<\xc3\xbc@b.example>\r\n", b"\r\n.\r\n", b".\r\n", b"x\r\n", b"\n", b"\r"),
        *(b"BDAT 3\r\n", b"BDAT 3 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT x\r\n", b"abc", b"\x00"),
        *(b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH PLAIN AGpvZQBqb2U=\r\n", b"*\r\n", b"=\r\n"),
        *(b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"VRFY x\r\n", b"HELP\r\n", b"STARTTLS\r\n"),
        *(b"\x16\x03\x01", b"GET / HTTP/1.0\r\n", b"\xff\xfe\r\n", b"a" * 13000, b" ", b"\r\n"),
    ]

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=30)), max_size=20),
        st.lists(st.integers(0, 10000), max_size=10),
        st.sampled_from([{}, {"lmtp": True}, {"secured": True}, {"size": 5}]),
    )
    def test_total(self, parts: list[bytes], cuts: list[int], options: dict[str, Any]) -> None:
        """Nothing is raised, every reply is well-formed, and the cuts make no difference."""
        octets = b"".join(parts)
        heard = []
        for segments in (pieces(octets, cuts), pieces(octets, [])):
            handler = RecordingHandler()
            handler.onAuth = lambda *arguments: "joe"  # type: ignore[attr-defined]
            client = connect(handler, allowInsecureAuth=True, authOptional=True, **options)
            for segment in segments:
                client.send(segment)
            heard.append([brief(answer) for answer in client.answers()])
            client.lose()
            self.assertEqual(handler.errors, [])
            self.assertEqual(handler.calls.count("onClose"), 1)
            ended = handler.calls.count("onTransactionEnd")
            self.assertLessEqual(ended, handler.calls.count("onMailFrom"))
            self.assertEqual(client.clock.getDelayedCalls(), [])
        self.assertEqual(*heard)


class WalkTests(SynchronousTestCase):
    def test_walk(self) -> None:
        """The helper that these tests rely on arrives where it should."""
        for phase in WAYS:
            self.assertIs(walk(connect(), phase).protocol.dialogue.phase, phase)

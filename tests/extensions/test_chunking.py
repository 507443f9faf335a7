"""BDAT in any segmentation and behind every gate, BINARYMIME: RFC 3030 over the wire."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, Later, brief, codes, talk
from tests.wire.test_dotdata import MODES
from twisted_smtpserver import Rejection
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect
from twisted_smtpserver.wire.newlines import BareNewlines

#: What the octets of a chunk are when they would do harm as commands.
TROUBLE = f"{MAIL}\r\n{RCPT}\r\nBDAT 0 LAST\r\nQUIT\r\n.\r\n".encode()

#: What chunks are made of.
PIECES = (b"a", b"\r", b"\n", b"\r\n", b".", b"\0", TROUBLE)


def greeted(handler: object = None, **options) -> Client:
    """A client that has said hello to a server with BINARYMIME."""
    client = connect(handler, extensions=["BINARYMIME"], **options)
    client.say("EHLO client.example")
    return client


class BinaryMimeTests(SynchronousTestCase):
    """BODY=BINARYMIME, RFC 3030 section 3."""

    def test_offer(self):
        """It is off unless asked for, and never offered without CHUNKING."""
        hello = "EHLO client.example"
        self.assertNotIn("BINARYMIME", connect().say(hello).lines)
        lines = connect(extensions=["BINARYMIME"]).say(hello).lines
        self.assertIn("BINARYMIME", lines)
        self.assertIn("CHUNKING", lines)
        lines = connect(extensions=["BINARYMIME"], disabledCommands=["BDAT"]).say(hello).lines
        self.assertNotIn("BINARYMIME", lines)
        self.assertNotIn("CHUNKING", lines)

    def test_values(self):
        """All three values of BODY are known then, and no fourth one."""
        client = greeted()
        for value in ("7BIT", "8BITMIME", "BINARYMIME"):
            self.assertEqual(client.say(f"MAIL FROM:<joe@example.org> BODY={value}").code, 250)
            self.assertEqual(client.session.envelope.bodyType, value)
            client.say("RSET")
        answer = client.say("MAIL FROM:<joe@example.org> BODY=16BIT")
        self.assertEqual(
            (answer.code, answer.text), (501, "BODY must be one of 7BIT, 8BITMIME, BINARYMIME")
        )

    def test_withoutChunking(self):
        """Without CHUNKING the other two are left."""
        client = greeted(disabledCommands=["BDAT"])
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> BODY=BINARYMIME").code, 501)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> BODY=8BITMIME").code, 250)

    def test_onlyBdat(self):
        """Content that isn't lines comes by BDAT as it is; DATA is refused."""
        handler = RecordingHandler()
        client = greeted(handler)
        client.say("MAIL FROM:<joe@example.org> BODY=BINARYMIME")
        client.say("RCPT TO:<jane@example.com>")
        answer = client.say("DATA")
        self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))
        content = bytes(range(256)) + b"\n.\r.\n\r"
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        self.assertEqual([answer.code for answer in client.answers()], [250])
        self.assertEqual(handler.messages[0].content, content)


def hasBareNewline(octets: bytes) -> bool:
    """Whether it can be told by now that a CR or LF stands alone: a CR at the end may not."""
    return re.search(rb"\r[^\n]|(?<!\r)\n", octets) is not None


class SegmentationTests(SynchronousTestCase):
    """Chunks are told from commands by counting, and by nothing else."""

    @settings(max_examples=200, deadline=None)
    @given(
        mode=st.sampled_from(MODES),
        chunks=st.lists(
            st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join), min_size=1, max_size=5
        ),
        data=st.data(),
    )
    def test_anyCut(self, mode: BareNewlines, chunks: list[bytes], data: st.DataObject) -> None:
        """However content is cut into chunks, and those into segments, it is what was sent."""
        octets = b""
        expected = []
        for number, chunk in enumerate(chunks, 1):
            isLast = number == len(chunks)
            octets += b"BDAT %d%s\r\n%s" % (len(chunk), b" LAST" if isLast else b"", chunk)
            seen = b"".join(chunks[:number]) + (b"." if isLast else b"")
            expected.append(550 if mode == "reject" and hasBareNewline(seen) else 250)
        octets += b"NOOP\r\n"

        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler, bareNewlines=mode)
        while octets:
            cut = data.draw(st.integers(1, len(octets)))
            client.send(octets[:cut])
            octets = octets[cut:]
        self.assertEqual(codes(client.answers()), [*expected, 250])
        content = b"".join(chunks)
        if mode == "normalize":
            content = re.sub(rb"\r{1,8}\n|\r|\n", b"\r\n", content)
        stored = [message.content for message in handler.messages]
        self.assertEqual(stored, [content] if expected[-1] == 250 else [])
        self.assertEqual(handler.calls.count("onMailFrom"), 1)


def unwelcome() -> Client:
    """A client whose connection was refused."""

    def refuse(session):
        raise Rejection("no")

    return connect(onConnect=refuse)


def suspended() -> Client:
    """A client whose handler took BDAT away in the middle of the session."""
    client = talk(Phase.RCPT)
    client.session.disabledCommands = ["bdat"]
    return client


def loginMissing(**options: int) -> Client:
    """A client that must log in."""
    return talk(Phase.READY, onAuth=lambda *_: None, allowInsecureAuth=True, **options)


class GatesTests(SynchronousTestCase):
    """A chunk that is refused is read to its end all the same, whoever refuses it."""

    def test_refused(self) -> None:
        """Its octets are no commands, however they are cut; the next line is one."""
        table: dict[str, tuple[Callable[[], Client], int]] = {
            "unwelcome": (unwelcome, 503),
            "disabled": (lambda: talk(Phase.RCPT, disabledCommands=["BDAT"]), 502),
            "disabled in the session": (suspended, 502),
            "before the hello": (lambda: talk(Phase.GREETED), 503),
            "before MAIL": (lambda: talk(Phase.READY), 503),
            "before RCPT": (lambda: talk(Phase.MAIL), 503),
            "before TLS": (lambda: talk(Phase.READY, selfSigned=True, tlsRequired=True), 530),
            "before the login": (loginMissing, 503),
            "in LMTP": (lambda: talk(Phase.MAIL, lmtp=True), 503),
        }
        for last in (b"", b" LAST"):
            octets = b"BDAT %d%s\r\n%sNOOP\r\n" % (len(TROUBLE), last, TROUBLE)
            for name, (begin, code) in table.items():
                noop = 503 if name == "unwelcome" else 250
                for step in (len(octets), 7, 1):
                    client = begin()
                    phase = client.protocol.dialogue.phase
                    for start in range(0, len(octets), step):
                        client.send(octets[start : start + step])
                    self.assertEqual(codes(client.answers()), [code, noop], name)
                    self.assertIs(client.protocol.dialogue.phase, phase)

    def test_cutOff(self):
        """So is one whose refusal closes the connection."""
        client = loginMissing(maxAllowedUnauthenticatedCommands=2)
        client.send(b"BDAT %d\r\n" % len(TROUBLE) + TROUBLE[:10])
        self.assertEqual(client.answers(), [])
        client.send(TROUBLE[10:] + b"NOOP\r\n")
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)

    def test_endless(self):
        """A chunk that nobody will wait for closes at once; one that is only too large doesn't."""
        for size, octets in ((0, 2**40 + 1), (1000, 2**20 + 2001), (50 * 2**20, int("9" * 20))):
            client = talk(Phase.RCPT, size=size)
            client.send(b"BDAT %d LAST\r\nNOOP\r\n" % octets)
            self.assertEqual(codes(client.answers()), [552], size)
            self.assertTrue(client.isClosed)
        client = talk(Phase.MAIL)
        client.send(b"BDAT %d\r\nNOOP\r\n" % (2**40 + 1))
        self.assertEqual(codes(client.answers()), [503])
        self.assertTrue(client.isClosed)
        client = talk(Phase.RCPT, size=1000)
        client.send(b"BDAT 3000 LAST\r\n" + bytes(3000))
        self.assertEqual(codes(client.answers()), [552])
        self.assertEqual(client.say("NOOP").code, 250)

    def test_largeRefused(self):
        """What is thrown away is never held."""
        client = talk(Phase.MAIL)
        client.send(b"BDAT %d\r\n" % 2**20)
        for _ in range(16):
            client.send(bytes(65536))
            self.assertEqual(len(client.protocol.channel.waitingInput), 0)
            self.assertFalse(client.transport.isPaused)
        self.assertEqual(codes(client.answers()), [503])


class NeverReadingTests(SynchronousTestCase):
    """A handler that begins with a message, and never reads it."""

    def test_backPressure(self):
        """The socket is stopped, so that no more than the mark and a segment is held."""
        later = Later()
        client = talk(Phase.RCPT, onData=later, handlerTimeout=60)
        segment = bytes(16384)
        client.send(b"BDAT %d LAST\r\n" % 2**30)
        sent = 0
        while not client.transport.isPaused:
            client.send(segment)
            sent += len(segment)
        self.assertEqual(sent, HIGH_WATER)
        client.wait(59)
        self.assertTrue(client.transport.isPaused)

    def test_timeout(self):
        """After handlerTimeout it is canceled, and the rest of the chunk thrown away."""
        later = Later()
        client = talk(Phase.RCPT, onData=later, handlerTimeout=60, socketTimeout=100)
        total = 4 * HIGH_WATER
        client.send(b"BDAT %d LAST\r\n" % total + bytes(HIGH_WATER))
        client.wait(60)
        self.assertEqual(later.canceled, 1)
        self.assertFalse(client.transport.isPaused)
        client.send(bytes(total - HIGH_WATER) + b"NOOP\r\n")
        self.assertEqual([brief(a) for a in client.answers()], [(451, "4.3.0"), (250, "2.0.0")])


class BetweenTests(SynchronousTestCase):
    """What may come between two chunks."""

    def test_harmless(self):
        """Commands that concern no transaction (RFC 5321 section 4.1.4)."""
        handler = RecordingHandler()
        client = talk(Phase.CHUNKS, handler)
        for line, code in (("NOOP", 250), ("VRFY joe", 252), ("HELP", 214), ("EXPN x", 502)):
            self.assertEqual(client.say(line).code, code)
        client.send(b"BDAT 3 LAST\r\nx\r\n")
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(handler.messages[0].content, b"x\r\n")

    def test_quit(self):
        """QUIT gives the message up."""
        handler = RecordingHandler()
        client = talk(Phase.CHUNKS, handler)
        self.assertEqual(client.say("QUIT").code, 221)
        self.assertEqual((handler.messages, handler.outcomes), ([], ["lost"]))

    def test_refusedHello(self):
        """A hello that the handler refuses ends nothing."""
        handler = RecordingHandler()
        client = talk(Phase.CHUNKS, handler)

        def refuse(hostname, session):
            raise Rejection("Who?")

        handler.onHello = refuse
        self.assertEqual(client.say(HELLO).code, 550)
        client.send(b"BDAT 0 LAST\r\n")
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(handler.outcomes, ["accepted"])

"""
SMTP smuggling over the wire: what isn't <CRLF>.<CRLF> ends no message, and nothing behind it is
run (RFC 5321 sections 2.3.8 and 4.1.1.4).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import MAIL, RCPT, brief, codes, talk
from tests.wire.test_dotdata import MODES, reference
from twisted_smtpserver import BareNewline, SMTPHandler
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler
from twisted_smtpserver.wire.newlines import BareNewlines

FIRST = b"Subject: first\r\n\r\nHello"
#: What an attacker would have the server run.
SECOND = (
    b"MAIL FROM:<admin@example.net>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n"
    b"Subject: second\r\n\r\nSmuggled\r\n"
)
END = b".\r\n"
NOOP = b"NOOP\r\n"

# What some server or other took for an end of message: the bare newlines before and after the dot,
# the NULs that somebody dropped, the CRs that somebody added, and dots that are content.
KNOWN = (
    *(b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r"),
    *(b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\r\n.\r\0\n", b"\n\n.\n\n", b"\n\r.\n\r", b"\r\n\r.\r\n"),
    *(b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n\0.\0\r\n", b"\r\0\n.\r\0\n", b"\0\r\n.\r\0\n"),
    *(b"\n\0.\n", b"\n.\0\n", b"\r\n..\r\n", b"\r\n...\r\n", b"\n..\n", b"\n..\r\n", b"\r..\r"),
    *(b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n", b"\r\n.\0\n"),
    *(b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c.\x0c", b"\\r\\n.\\r\\n"),
    *(b"=0D=0A.=0D=0A", b"%0D%0A.%0D%0A", b"\x8d\x8a.\x8d\x8a", b"\r\n\xe3\x80\x82\r\n"),
)

NEWLINES = (
    *(b"\r\n", b"\n", b"\r", b"\n\r", b"\n\n", b"\r\r", b"\r\r\n", b"\r\n\n", b"\r\0\n", b"\0\n"),
    *(b"\r\n\0", b"\n\0", b"\0\r\n", b"\r\n ", b" \r\n", b"\x0b"),
)
DOTS = (b".", b"..", b"...", b".\0", b"\0.", b".\0.")


def singles(octets: bytes) -> Iterable[bytes]:
    """One octet at a time."""
    return (octets[i : i + 1] for i in range(len(octets)))


class SmugglingTestCase(SynchronousTestCase):
    def begin(self, mode: BareNewlines) -> None:
        """A client that is about to send a message, and a handler that keeps what comes."""
        self.mode = mode
        self.handler = RecordingHandler()
        self.client = talk(Phase.DATA, self.handler, bareNewlines=mode)

    def assertOneMessage(self, variant: bytes, segments: Iterable[bytes] | None = None) -> None:
        """
        Assert that all that is sent is one message, and the NOOP behind it a command.

        :param segments: how it is cut; by default it isn't.
        """
        content = FIRST + variant + SECOND
        stored, rest, isBare = reference(self.mode, content + END)
        self.assertEqual(rest, b"", variant)
        for segment in segments or [content + END + NOOP]:
            self.client.send(segment)
        final, afterwards = self.client.answers()
        self.assertEqual(brief(final), (550, "5.6.0") if isBare else (250, "2.6.0"), variant)
        self.assertEqual(brief(afterwards), (250, "2.0.0"))
        contents = [message.content for message in self.handler.messages]
        self.assertEqual(contents, [] if isBare else [stored], variant)
        self.assertEqual(self.handler.calls.count("onMailFrom"), 1, variant)

    def assertAlive(self) -> None:
        """Assert that the session goes on: the next message is its own."""
        self.assertEqual(codes(self.client.pipeline(MAIL, RCPT, "DATA")), [250, 250, 354])
        self.client.send(b"good\r\n" + END)
        self.assertEqual(codes(self.client.answers()), [250])
        self.assertEqual(self.handler.messages[-1].content, b"good\r\n")


class DataTests(SmugglingTestCase):
    """A second transaction hidden in the first one's content."""

    def test_known(self):
        """None of the variants that are known from the wild ends a message, in no mode."""
        for mode, variant in itertools.product(MODES, KNOWN):
            self.begin(mode)
            self.assertOneMessage(variant)
            self.assertAlive()

    def test_everyCut(self):
        """Nor does one that is cut into two segments, wherever."""
        for mode, variant in itertools.product(MODES, KNOWN):
            octets = FIRST + variant + SECOND + END + NOOP
            for cut in range(len(FIRST) - 1, len(FIRST + variant) + 2):
                self.begin(mode)
                self.assertOneMessage(variant, [octets[:cut], octets[cut:]])

    def test_singleOctets(self):
        """Nor if each octet comes by itself."""
        for mode, variant in itertools.product(MODES, KNOWN):
            self.begin(mode)
            self.assertOneMessage(variant, singles(FIRST + variant + SECOND + END + NOOP))

    def test_combinations(self):
        """Nor does any other combination of newlines, dots and NULs."""
        for mode in MODES:
            self.begin(mode)
            for parts in itertools.product(NEWLINES, DOTS, NEWLINES):
                variant = b"".join(parts)
                if b"\r\n.\r\n" in variant:
                    continue
                self.assertOneMessage(variant)
                self.handler.messages.clear()
                self.handler.calls.clear()
                self.client.pipeline(MAIL, RCPT, "DATA")

    def test_atTheBeginning(self):
        """Nor at the beginning, where the CRLF of the DATA command is the one before the dot."""
        for mode, beginning in itertools.product(
            MODES, (b".\n", b".\r", b".\r\r\n", b"..\r\n", b".\0\r\n", b"\0.\r\n", b". \r\n")
        ):
            self.begin(mode)
            octets = beginning + SECOND + END
            stored, _, isBare = reference(mode, octets)
            self.client.send(octets)
            self.assertEqual(codes(self.client.answers()), [550 if isBare else 250], beginning)
            contents = [message.content for message in self.handler.messages]
            self.assertEqual(contents, [] if isBare else [stored])
            self.assertAlive()

    def test_trueEnd(self):
        """A bare newline hides no true end: what is behind that is commands, as it always is."""
        for mode, before in itertools.product(MODES, (b"\r", b"\n", b"\n.", b"\r\n.\n")):
            self.begin(mode)
            self.client.send(FIRST + before + b"\r\n" + END + NOOP)
            self.assertEqual(codes(self.client.answers()), [550 if mode == "reject" else 250, 250])
            self.assertAlive()

    def test_cure(self):
        """The refusal says what is wrong, so that whoever wrote the client can mend it."""
        self.begin("reject")
        self.client.send(FIRST + b"\n.\n\r\n" + END)
        (answer,) = self.client.answers()
        self.assertIn("bare CR or LF: lines must end in CRLF", answer.text)


class Curious(SMTPHandler):
    """
    Reads a message, and says thank you whatever comes of that.

    :ivar raised: what the reading raised.
    """

    raised: Exception | None = None

    async def onData(self, stream, session):
        try:
            await stream.read()
        except BareNewline as error:
            self.raised = error
        return "Thank you"


class HandlerTests(SynchronousTestCase):
    """What a handler can do about it: nothing that gets such a message accepted."""

    def refused(self, client: Client, segments: Iterable[bytes]) -> None:
        for segment in segments:
            client.send(segment)
        self.assertEqual([brief(a) for a in client.answers()], [(550, "5.6.0"), (250, "2.0.0")])

    def test_curious(self):
        """Reading raises, and the handler's acceptance counts for nothing."""
        client = talk(Phase.DATA, handler := Curious())
        self.refused(client, [FIRST + b"\n.\n" + SECOND + END + NOOP])
        self.assertIsInstance(handler.raised, BareNewline)

    def test_returnedBefore(self):
        """So it is where the handler had its result before the first octet came."""
        client = talk(Phase.DATA, onData=lambda stream, session: "Thank you")
        self.refused(client, [FIRST, b"\n.\n", SECOND, END, NOOP])

    def test_readBefore(self) -> None:
        """The octets before the bare newline may have been read; the end isn't reached."""
        chunks: list[bytes] = []

        async def onData(stream, session):
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401
            chunks.append(b"the end")

        client = talk(Phase.DATA, onData=onData)
        self.refused(client, [FIRST, b"\n.\n" + SECOND, END + NOOP])
        self.assertEqual(chunks, [FIRST])

    def test_refusedFirst(self):
        """What the handler refused stays refused in its words; it is read to its true end, too."""

        async def onData(stream, session):
            await anext(stream)
            raise ValueError

        client = talk(Phase.DATA, onData=onData)
        client.send(FIRST)
        client.send(b"\n.\n" + SECOND + END + NOOP)
        self.assertEqual(codes(client.answers()), [451, 250])
        self.flushLoggedErrors(ValueError)

    def test_tooLarge(self):
        """Of two reasons it is the size that is told, and once."""
        large = b"x" * 1000 + b"\r\n"
        for size, content in ((500, large + b"\n.\n"), (5000, b"\n.\n" + large * 10)):
            handler = RecordingHandler()
            client = talk(Phase.DATA, handler, size=size)
            client.send(content[:900])
            client.send(content[900:] + SECOND + END + NOOP)
            self.assertEqual(codes(client.answers()), [552, 250])
            self.assertEqual(handler.messages, [])


class CommandTests(SynchronousTestCase):
    """Commands hidden in commands."""

    def test_bareLF(self):
        """A LF alone ends no command: neither half is run, and the connection is closed."""
        for cut in range(len(MAIL) + 1):
            handler = RecordingHandler()
            client = talk(Phase.READY, handler)
            octets = MAIL.encode() + b"\n" + RCPT.encode() + b"\r\n" + NOOP
            client.send(octets[:cut])
            client.send(octets[cut:])
            answers = client.answers()
            self.assertEqual([brief(answer) for answer in answers], [(500, "5.5.2")])
            self.assertEqual(answers[0].text, "Lines end in CRLF")
            self.assertTrue(client.isClosed)
            self.assertNotIn("onMailFrom", handler.calls)

    def test_bareCR(self):
        """A CR alone doesn't either; there the line ends where every server sees its end."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler)
        client.send(MAIL.encode() + b"\r" + RCPT.encode() + b"\r\n" + NOOP)
        self.assertEqual(codes(client.answers()), [500, 250])
        self.assertNotIn("onMailFrom", handler.calls)

    def test_bareLFBehindData(self):
        """DATA with a bare LF begins no message."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        client.send(b"DATA\n" + FIRST + b"\r\n" + END)
        self.assertEqual(codes(client.answers()), [500])
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.outcomes, ["lost"])


class TooLargeTests(SynchronousTestCase):
    """A message that is too large, and has bare newlines as well."""

    def test_cuts(self):
        """It gets the same answer for every way of cutting it."""
        content = b"bare\nnewline\r\n" + b"x" * 30 + b"\r\n.\r\n"
        answers = set()
        for cut in range(len(content) + 1):
            client = talk(Phase.DATA, RecordingHandler(), size=20)
            client.send(content[:cut])
            client.send(content[cut:])
            answers |= {brief(answer) for answer in client.answers()}
        self.assertEqual(answers, {(552, "5.3.4")})

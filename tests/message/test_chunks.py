"""Tests for BDAT (RFC 3030)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import BODIES, Handler, handlerOf, outcomes, readAll, refusing, sender
from tests.support.talk import HELLO, MAIL, RCPT, Later, brief, codes, talk
from twisted_smtpserver import Rejection, TransactionReset
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect


def inPieces(client: Client, octets: bytes, step: int) -> list[int]:
    """Send octets in segments of some length; the reply codes."""
    for start in range(0, len(octets), step):
        client.send(octets[start : start + step])
    return codes(client.answers())


class MessageTests(SynchronousTestCase):
    """A message in chunks."""

    def test_chunks(self) -> None:
        """Chunks are content as they are, dots and all, in any segmentation."""
        octets = (
            b"BDAT 7\r\n.\r\n.\r\n." + b"BDAT 0\r\n" + b"bdat 4\r\nx\r\n\r" + b"BDAT 1 last\r\n\n"
        )
        for step in (len(octets), 1, 2, 5):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler)
            self.assertEqual(inPieces(client, octets, step), [250] * 4)
            self.assertEqual(handler.messages[0].content, b".\r\n.\r\n.x\r\n\r\n")
            self.assertEqual(handler.outcomes, ["accepted"])
            self.assertEqual(client.session.transaction, 2)

    def test_replies(self) -> None:
        """Each chunk has its reply, with the octets of the chunk in it (RFC 3030 section 2)."""
        client = talk(Phase.RCPT)
        client.send(b"BDAT 5\r\n12345")
        (answer,) = client.answers()
        self.assertEqual((*brief(answer), answer.text), (250, "2.0.0", "5 octets received"))
        answer = client.say("BDAT 0 LAST")
        self.assertEqual((*brief(answer), answer.text), (250, "2.6.0", "Message accepted"))

    def test_onlyLast(self) -> None:
        """A message may be a single chunk, and even empty."""
        for octets, content in ((b"BDAT 3 LAST\r\nx\r\n", b"x\r\n"), (b"BDAT 0 LAST\r\n", b"")):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler)
            client.send(octets)
            self.assertEqual(codes(client.answers()), [250])
            self.assertEqual(handler.messages[0].content, content)

    def test_pipelined(self) -> None:
        """A whole transaction may come in one segment (RFC 3030 section 4.2)."""
        client = connect()
        lines = [HELLO, MAIL, RCPT, "BDAT 3", "x", "BDAT 0 LAST", "QUIT"]
        self.assertEqual(codes(client.pipeline(*lines)), [250] * 5 + [221])

    def test_notWaiting(self) -> None:
        """A chunk's 250 doesn't wait for the handler; that of the last one does."""
        later = Later()
        client = sender(later)
        client.send(b"BDAT 3\r\nx\r\n")
        self.assertEqual(codes(client.answers()), [250])
        client.send(b"BDAT 3 LAST\r\ny\r\nNOOP\r\n")
        self.assertEqual(client.answers(), [])
        later.answer("stored")
        self.assertEqual([answer.text for answer in client.answers()], ["stored", "OK"])

    def test_size(self) -> None:
        """The size counts over all chunks; the chunk that is too much has the 552."""
        for body in BODIES.values():
            client = sender(body, size=10)
            client.send(b"BDAT 6\r\n1234\r\nBDAT 6\r\n1234\r\nBDAT 2\r\n\r\nBDAT 0 LAST\r\n")
            self.assertEqual(codes(client.answers()), [250, 552, 552, 552])
            self.assertEqual(outcomes(client), ["refused"])
        client = sender(readAll, size=10)
        client.send(b"BDAT 6\r\n1234\r\nBDAT 4 LAST\r\n12\r\n")
        self.assertEqual(codes(client.answers()), [250, 250])


class BareNewlineTests(SynchronousTestCase):
    """Chunks have to be lines, too, unless it is BODY=BINARYMIME."""

    def test_rejected(self) -> None:
        """A CR or LF that stands alone: 550 5.6.0, for all that follows, too."""
        for octets, expected in (
            (b"BDAT 3\r\na\nbBDAT 0 LAST\r\n", [550, 550]),
            (b"BDAT 2\r\na\rBDAT 1\r\nbBDAT 0 LAST\r\n", [250, 550, 550]),
            (b"BDAT 2\r\na\rBDAT 0 LAST\r\n", [250, 550]),
        ):
            for body in BODIES.values():
                client = sender(body)
                self.assertEqual(inPieces(client, octets, 1), expected)
                self.assertEqual(outcomes(client), ["refused"])

    def test_modes(self) -> None:
        """The option holds here as for DATA."""
        for mode, content in (("accept", b"a\nb\r\nc\r"), ("normalize", b"a\r\nb\r\nc\r\n")):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler, bareNewlines=mode)
            client.send(b"BDAT 4\r\na\nb\rBDAT 3 LAST\r\n\nc\r")
            self.assertEqual(codes(client.answers()), [250, 250])
            self.assertEqual(handler.messages[0].content, content)

    def test_binary(self) -> None:
        """BODY=BINARYMIME may have anything in it, whatever the option."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler, extensions=["BINARYMIME"])
        client.pipeline(f"{MAIL} BODY=BINARYMIME", RCPT)
        content = bytes(range(256)) + b"\n\r\r"
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(handler.messages[0].content, content)


class RefusedTests(SynchronousTestCase):
    """The octets of a chunk come whether it was refused or not; they are never commands."""

    def test_outOfOrder(self) -> None:
        """They are thrown away, and the refusal comes after them."""
        for phase in (Phase.GREETED, Phase.READY, Phase.MAIL):
            client = talk(phase)
            client.send(b"BDAT 6 LAST\r\nQU")
            self.assertEqual(client.answers(), [])
            client.send(b"IT\r\nNOOP\r\n")
            self.assertEqual([brief(a) for a in client.answers()], [(503, "5.5.1"), (250, "2.0.0")])

    def test_malformed(self) -> None:
        """Where the chunk ends nobody knows, so what comes next isn't run: 501, closed."""
        for line in ("BDAT", "BDAT x", "BDAT -1", "BDAT 5 FIRST", "BDAT 5  LAST", f"BDAT {10**20}"):
            for phase in (Phase.READY, Phase.RCPT, Phase.CHUNKS):
                client = talk(phase)
                answers = client.pipeline(line, "QUIT")
                self.assertEqual(codes(answers), [503 if phase is Phase.READY else 501], line)
                self.assertTrue(client.isClosed)

    def test_almost(self) -> None:
        """Nor is what comes behind a line that only somebody less strict takes for BDAT."""
        for line in (
            *(b"BDAT\t76", b" BDAT 76", b"BDAT 76\tLAST", b"\0BDAT 76", b"bdat\xa076 LAST"),
            *(b"BDAT " + b"0" * 3000 + b"76", b"\tBdat " + b"0" * 20000 + b"76", b"BDAT\r 76"),
        ):
            for phase in (Phase.READY, Phase.RCPT, Phase.CHUNKS):
                client = talk(phase)
                client.send(line + b"\r\nRSET\r\n" + MAIL.encode() + b"\r\n")
                self.assertEqual(codes(client.answers()), [500], line[:20])
                self.assertTrue(client.isClosed)
        client = talk(Phase.RCPT)
        for line in (b"BDATA 76", b"BDAT1 76", b"X BDAT 76"):
            self.assertEqual(client.say(line).code, 500)

    def test_byTheHandler(self) -> None:
        """Once the handler has failed, that chunk and all later ones have the failure."""
        for later in (False, True):
            body = Later() if later else refusing(Rejection("no", 554))
            client = sender(body)
            client.send(b"BDAT 6\r\nQU")
            if isinstance(body, Later):
                body.fail(Rejection("no", 554))
            client.send(b"IT\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
            self.assertEqual(codes(client.answers()), [554, 554, 554, 250])
            self.assertEqual(outcomes(client), ["refused"])

    def test_close(self) -> None:
        """A refusal with 421 closes."""
        client = sender(refusing(Rejection("no", 421)))
        client.send(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)

    def test_mixed(self) -> None:
        """DATA can't follow BDAT, nor can MAIL or RCPT (RFC 3030 section 3)."""
        client = talk(Phase.CHUNKS)
        for line in ("DATA", MAIL, RCPT, "STARTTLS"):
            self.assertEqual(brief(client.say(line)), (503, "5.5.1"))
        self.assertEqual(client.say("BDAT 0 LAST").code, 250)


class ResetTests(SynchronousTestCase):
    """Between two chunks the client may give up (RFC 3030 section 2)."""

    def test_reader(self) -> None:
        """Whoever reads gets TransactionReset; the client gets its 250."""
        errors: list[Exception] = []

        async def body(stream: Any) -> None:
            try:
                await stream.read()
            except TransactionReset as error:
                errors.append(error)
                raise

        for line in ("RSET", HELLO):
            client = sender(body)
            client.say("BDAT 0")
            self.assertEqual(client.say(line).code, 250)
            self.assertIsInstance(errors.pop(), TransactionReset)
            self.assertEqual(outcomes(client), ["reset"])
            self.assertEqual(brief(client.say("BDAT 0 LAST")), (503, "5.5.1"))
            self.assertEqual(client.deliver(b"").code, 250)

    def test_canceled(self) -> None:
        """A handler that doesn't read is canceled."""
        later = Later()
        client = sender(later)
        client.say("BDAT 0")
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["reset"])

    def test_lost(self) -> None:
        """The client may leave in the middle of a chunk, too."""
        for octets in (b"BDAT 10\r\nx", b"BDAT 1\r\nx"):
            later = Later()
            client = sender(later)
            client.send(octets)
            client.lose()
            self.assertEqual(later.canceled, 1)
            self.assertEqual(outcomes(client), ["lost"])
            self.assertEqual(client.clock.getDelayedCalls(), [])


class TimeoutTests(SynchronousTestCase):
    """The client's time and the handler's."""

    def test_silentClient(self) -> None:
        """In a chunk and between two the client's time runs, though the handler waits."""
        for octets, more in ((b"BDAT 10\r\nx", b"x"), (b"BDAT 1\r\nx", b"NOOP\r\n")):
            client = sender(Later(), socketTimeout=60, handlerTimeout=5)
            client.send(octets)
            client.wait(59)
            client.send(more)
            client.answers()
            client.wait(59)
            self.assertEqual(client.answers(), [])
            client.wait(1)
            self.assertEqual(codes(client.answers()), [421])

    def test_pausedHandler(self) -> None:
        """While the handler leaves the stream full its time runs: 451 for what follows."""
        later = Later()
        client = sender(later, socketTimeout=10, handlerTimeout=60)
        chunk = b"BDAT %d\r\n" % HIGH_WATER + b"x" * HIGH_WATER
        client.send(chunk)
        self.assertEqual(codes(client.answers()), [250])
        self.assertTrue(client.transport.isPaused)
        client.wait(60)
        self.assertFalse(client.transport.isPaused)
        self.assertEqual(later.canceled, 1)
        client.send(chunk + b"BDAT 0 LAST\r\n")
        self.assertEqual(codes(client.answers()), [451, 451])
        self.assertEqual(outcomes(client), ["refused"])

    def test_pausedHandlerInBetween(self) -> None:
        """It goes on running when other commands, answered late, come in between."""
        later = Later()
        client = sender(later, socketTimeout=200, handlerTimeout=60, maxErrors=4, errorDelay=1)
        chunk = b"BDAT %d\r\n" % HIGH_WATER + b"x" * HIGH_WATER
        client.send(chunk + b"VRFY\r\n" * 3)
        client.wait(1)
        self.assertEqual(codes(client.answers()), [250, 501, 501, 501])
        self.assertTrue(client.transport.isPaused)
        client.wait(59)
        self.assertEqual(later.canceled, 0)
        client.wait(1)
        self.assertEqual(later.canceled, 1)
        self.assertFalse(client.transport.isPaused)
        client.send(b"BDAT 0 LAST\r\n")
        self.assertEqual(codes(client.answers()), [451])

    def test_bounded(self) -> None:
        """However many chunks come, no more than two segments wait for a handler."""
        gates: list[Deferred[None]] = []

        async def slow(stream: Any) -> None:
            async for _ in stream:
                gates.append(Deferred())
                await gates[-1]

        client = sender(slow)
        chunk = b"BDAT 1024\r\n" + b"x" * 1024
        segment = chunk * 64
        most = 0
        for _ in range(200):
            client.protocol.dataReceived(segment)
            stream = handlerOf(client).stream
            most = max(most, stream._buffered + len(client.protocol.channel.waitingInput))
            while client.transport.isPaused:
                gates.pop().callback(None)
        self.assertLessEqual(most, HIGH_WATER + len(segment))
        self.assertEqual(codes(client.answers()), [250] * 200 * 64)


class LmtpTests(SynchronousTestCase):
    def test_replies(self) -> None:
        """In LMTP the last chunk has a reply for each recipient, the others one."""
        client = talk(Phase.MAIL, Handler(lambda stream: [None, Rejection("no")]), lmtp=True)
        client.pipeline(RCPT, RCPT)
        client.send(b"BDAT 0\r\nBDAT 0 LAST\r\nNOOP\r\n")
        self.assertEqual(codes(client.answers()), [250, 250, 450, 250])

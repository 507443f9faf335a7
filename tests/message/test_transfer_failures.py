"""Tests for messages that can't be accepted, and clients that leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import (
    BODIES,
    MESSAGE,
    failOtherwise,
    handlerOf,
    outcomes,
    readAll,
    sender,
)
from tests.support.talk import Later, Log, brief, codes, talk
from twisted_smtpserver import (
    BareNewline,
    ConnectionLost,
    MessageTooLarge,
    Rejection,
)
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler


class CondemnedTests(SynchronousTestCase):
    """A message that can't be accepted isn't, whatever the handler does; the connection goes on."""

    def refused(self, body: Callable[..., Any], octets: bytes, **options: Any) -> Client:
        """Send a message in one segment, and in many, which makes no difference."""
        answers = []
        for step in (len(octets), 7):
            client = sender(body, **options)
            client.say("DATA")
            for start in range(0, len(octets), step):
                client.send(octets[start : start + step])
            (answer,) = client.answers()
            answers.append((*brief(answer), answer.text))
            self.assertEqual(outcomes(client), ["refused"])
            self.assertEqual(client.session.messages, 0)
            self.assertEqual(client.deliver(b"x\r\n").code, 250)
        self.assertEqual(answers[0], answers[1])
        self.answer = answers[0]
        return client

    def test_tooLarge(self) -> None:
        """Over the size: 552 5.3.4 (RFC 1870 section 6.3), after the true end."""
        for body in BODIES.values():
            client = self.refused(body, b"x" * 50 + b"\r\n.\r\n", size=50)
            self.assertEqual(self.answer[:2], (552, "5.3.4"))
            self.assertEqual(client.session.octets, 52 + 3)

    def test_exactSize(self) -> None:
        """The size counts the CRLFs, not the stuffed dots nor the end (RFC 1870 section 5)."""
        for content, code in ((b"." * 48 + b"\r\n", 250), (b"." * 49 + b"\r\n", 552)):
            client = sender(readAll, size=50)
            self.assertEqual(client.deliver(content).code, code)

    def test_bareNewline(self) -> None:
        """A bare newline: 550 5.6.0, and the text names the cure."""
        for body in BODIES.values():
            for octets in (
                b"a\nb\r\n.\r\n",
                b"a\rb\r\n.\r\n",
                b"x\r\n\n.\r\n.\r\n",
                b"\n\r\n.\r\n",
            ):
                self.refused(body, octets)
                self.assertEqual(self.answer[:2], (550, "5.6.0"))
                self.assertIn("CRLF", self.answer[2])

    def test_ownWords(self) -> None:
        """The handler may refuse it in its own words."""
        self.refused(failOtherwise, b"a\nb\r\n.\r\n")
        self.assertEqual(self.answer, (554, "5.0.0", "my own words"))

    def test_neverRead(self) -> None:
        """No octet of a segment with a bare newline is given out."""
        seen: list[bytes] = []

        async def body(stream: Any) -> None:
            async for octets in stream:
                seen.append(octets)  # noqa: PERF401  (what came before the failure counts)

        client = sender(body)
        client.say("DATA")
        client.send(b"good\r\n")
        client.send(b"bad\n")
        client.send(b"more\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [550])
        self.assertEqual(seen, [b"good\r\n"])

    def test_live(self) -> None:
        """byteLength and sizeExceeded are true while the octets come."""
        client = sender(readAll, size=10)
        client.say("DATA")
        stream = handlerOf(client).stream
        client.send(b"12345")
        self.assertEqual((stream.byteLength, stream.sizeExceeded), (5, False))
        client.send(b"678901")
        self.assertEqual((stream.byteLength, stream.sizeExceeded), (11, True))
        client.send(b"x" * 100 + b"\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [552])

    def test_failsAtOnce(self) -> None:
        """The handler learns of it while the client still sends."""
        errors: list[type[Exception]] = []

        async def body(stream: Any) -> None:
            try:
                await stream.read()
            except Exception as error:
                errors.append(type(error))

        for octets, error in ((b"a\nb", BareNewline), (b"x" * 60, MessageTooLarge)):
            client = sender(body, size=50)
            client.say("DATA")
            client.send(octets)
            self.assertEqual(errors.pop(), error)

    def test_modes(self) -> None:
        """bareNewlines: "accept" leaves them as they are, "normalize" makes them CRLF."""
        for mode, content in (("accept", b"a\nb\rc\r\n"), ("normalize", b"a\r\nb\r\nc\r\n")):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler, bareNewlines=mode)
            client.say("DATA")
            client.send(b"a\nb\rc\r\n.\r\n")
            self.assertEqual(codes(client.answers()), [250])
            self.assertEqual(handler.messages[0].content, content)

    def test_returnsTwice(self) -> None:
        """Under "normalize" CR CR LF is one line's end: it doesn't end the header."""
        sent = b"Subject: a\r\r\nTo: b\r\r\n\r\r\nText\r\r\n.\r\n"
        for segments in ([sent], [sent[place : place + 1] for place in range(len(sent))]):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler, bareNewlines="normalize")
            client.say("DATA")
            for segment in segments:
                client.send(segment)
            self.assertEqual(codes(client.answers()), [250])
            content = handler.messages[0].content
            self.assertEqual(content, b"Subject: a\r\nTo: b\r\n\r\nText\r\n")


class LostTests(SynchronousTestCase):
    """The client leaves."""

    def test_meanwhile(self) -> None:
        """In the middle of the message every way of reading raises ConnectionLost."""
        errors: list[BaseException] = []

        def noting(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
            async def body(stream: Any) -> None:
                try:
                    await read(stream)
                except BaseException as error:
                    errors.append(error)
                    raise

            return body

        async def iterate(stream: Any) -> None:
            async for _ in stream:
                pass

        path = self.mktemp()
        for read in (
            *(lambda s: s.read(), lambda s: s.message(), iterate),
            lambda s: s.saveTo(path),
        ):
            client = sender(noting(read))
            client.say("DATA")
            client.send(b"x\r\n")
            client.lose()
            self.assertIsInstance(errors.pop(), ConnectionLost)
            self.assertEqual(outcomes(client), ["lost"])
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_beforeReading(self) -> None:
        """A handler that doesn't read is canceled: before the 354, and after it."""
        for commands in ([b"DATA\r\n"], [b"DATA\r\n", b"x" * 2 * HIGH_WATER]):
            later = Later()
            client = sender(later)
            for octets in commands:
                client.send(octets)
                if len(commands) > 1 and octets == commands[0]:
                    later.calls[0][0].read(1).addErrback(lambda _: None)
            client.lose()
            self.assertEqual(later.canceled, 1)
            self.assertEqual(outcomes(client), ["lost"])
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_afterTheEnd(self) -> None:
        """Once the true end was seen the handler may finish; that nobody heard of it is logged."""
        for result, outcome, reply in (
            ("stored", "accepted", 250),
            (Rejection("no", 550), "refused", 550),
        ):
            log = Log()
            later = Later()
            client = sender(later, logger=log.logger)
            client.send(b"DATA\r\n")
            later.calls[0][0].read().addErrback(lambda failure: None)
            client.send(MESSAGE)
            client.lose()
            self.assertEqual(later.canceled, 0)
            self.assertEqual(outcomes(client), [])
            later.answers[0].callback(Failure(result) if reply == 550 else result)
            self.assertEqual(outcomes(client), [outcome])
            (event,) = log.of("replyLost")
            self.assertEqual(event["reply"], reply)
            self.assertEqual(len(log.of("message")), 1)
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_afterTheEndForever(self) -> None:
        """It isn't allowed to go on forever, though."""
        later = Later()
        client = sender(later, handlerTimeout=60)
        client.send(b"DATA\r\n")
        later.calls[0][0].read().addErrback(lambda failure: None)
        client.send(MESSAGE)
        client.lose()
        client.clock.advance(60)
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_fromWithin(self) -> None:
        """Even the handler itself may be who ends the connection."""
        for result in (None, Later()):
            clients: list[Client] = []

            def body(stream: Any, result: Any = result, clients: list[Client] = clients) -> Any:
                clients[0].lose()
                return result and result()

            clients.append(sender(body))
            clients[0].send(b"DATA\r\n")
            self.assertEqual(outcomes(clients[0]), ["lost"])
            self.assertEqual(clients[0].transport.output, b"")
            self.assertEqual(clients[0].clock.getDelayedCalls(), [])
            if result is not None:
                self.assertEqual(result.canceled, 1)

    def test_stoppedServer(self) -> None:
        """
        But it is when the server stops waiting for it: what was answered 421 comes again, and must
        not be stored.
        """
        log = Log()
        later = Later()
        client = sender(later, logger=log.logger, handlerTimeout=60)
        client.send(b"DATA\r\n")
        later.calls[0][0].read().addErrback(lambda failure: None)
        client.send(MESSAGE)
        client.factory.shutdown(5)
        client.wait(5)
        self.assertEqual(codes(client.answers())[1:], [421])
        self.assertTrue(client.isClosed)
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(log.of("replyLost"), [])
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_earlyResult(self) -> None:
        """A result that came before the octets makes no message of them."""
        client = sender(lambda stream: "fine")
        client.say("DATA")
        client.send(b"x\r\n")
        client.lose()
        self.assertEqual(outcomes(client), ["lost"])
        self.assertEqual(client.session.messages, 0)


class UnreadTests(SynchronousTestCase):
    def test_inTheBackground(self) -> None:
        """Who reads on after onData has returned gets an error, and no 250."""
        errors: list[Failure] = []

        def body(stream: Any) -> None:
            stream.read().addErrback(errors.append)

        client = sender(body)
        client.say("DATA")
        client.send(MESSAGE)
        self.assertEqual(codes(client.answers()), [451])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(errors[0].check(RuntimeError))

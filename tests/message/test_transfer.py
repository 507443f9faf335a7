"""Tests for a message on its way: DATA, the handler, the final reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import (
    CONTENT,
    MESSAGE,
    handlerOf,
    outcomes,
    readAll,
    readLate,
    refusing,
    sender,
)
from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk
from twisted_smtpserver import (
    Accepted,
    Rejection,
)
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import RecordingHandler


class BeginningTests(SynchronousTestCase):
    """354 is sent when the handler first reads, or when it returns without having refused."""

    def test_reads(self) -> None:
        """Who reads at once lets the client go on at once."""
        client = sender(readAll)
        self.assertEqual(brief(client.say("DATA")), (354, None))
        client.send(MESSAGE)
        self.assertEqual([brief(answer) for answer in client.answers()], [(250, "2.6.0")])
        self.assertEqual(outcomes(client), ["accepted"])

    def test_waits(self) -> None:
        """While the handler hasn't decided, nothing is said; nor is anything run."""
        gate: Deferred[None] = Deferred()
        client = sender(readLate(gate))
        self.assertEqual(client.pipeline("DATA"), [])
        gate.callback(None)
        self.assertEqual(codes(client.answers()), [354])
        client.send(MESSAGE)
        self.assertEqual(client.answers()[0].text, "read")

    def test_returnsWithoutReading(self) -> None:
        """Who returns without reading gets the message taken, and thrown away."""
        for body in (lambda stream: "fine", Later()):
            client = sender(body)
            client.send(b"DATA\r\n")
            if isinstance(body, Later):
                self.assertEqual(client.answers(), [])
                body.answer("fine")
            self.assertEqual(codes(client.answers()), [354])
            client.send(MESSAGE)
            answers = client.answers()
            self.assertEqual([(a.code, a.text) for a in answers], [(250, "fine")])
            self.assertEqual(client.session.octets, len(CONTENT))

    def test_refuses(self) -> None:
        """A refusal before anything was read answers DATA itself: nothing is transferred."""
        for later in (False, True):
            body = Later() if later else refusing(Rejection("no"))
            client = sender(body)
            client.send(b"DATA\r\n")
            if isinstance(body, Later):
                body.fail(Rejection("no"))
            self.assertEqual([brief(answer) for answer in client.answers()], [(450, "4.3.0")])
            self.assertEqual(outcomes(client), ["refused"])
            self.assertEqual(brief(client.say("DATA")), (503, "5.5.1"))
            self.assertEqual(client.say(MAIL).code, 250)
            self.assertEqual(client.session.transaction, 1)

    def test_refusesAndCloses(self) -> None:
        """With 421 it closes, too."""
        client = sender(refusing(Rejection("no", 421)))
        self.assertEqual(brief(client.say("DATA")), (421, "4.3.2"))
        self.assertTrue(client.isClosed)
        self.assertEqual(outcomes(client), ["refused"])

    def test_refusesAfterReading(self) -> None:
        """Who reads first and refuses then does so after the message."""

        def body(stream: Any) -> None:
            stream.read().addErrback(lambda failure: None)
            raise Rejection("no", 550)

        client = sender(body)
        self.assertEqual(client.say("DATA").code, 354)
        client.send(MESSAGE)
        self.assertEqual(codes(client.answers()), [550])
        self.assertEqual(outcomes(client), ["refused"])

    def test_octetsBehindData(self) -> None:
        """Octets that come before the 354 are content all the same; none is lost."""
        gate: Deferred[None] = Deferred()
        for body, fire in ((readAll, lambda: None), (readLate(gate), lambda: gate.callback(None))):
            client = sender(body)
            client.send(b"DATA\r\n" + MESSAGE + b"NOOP\r\n")
            fire()
            self.assertEqual(codes(client.answers()), [354, 250, 250])
            self.assertEqual(client.session.octets, len(CONTENT))


class FinalReplyTests(SynchronousTestCase):
    """The final reply waits for the handler's result and the true end of the message."""

    def test_handlerLast(self) -> None:
        """If the message is there first, it waits for the handler; commands wait behind it."""
        later = Later()
        client = sender(later)
        client.send(b"DATA\r\n")
        later.calls[0][0].read().addErrback(lambda failure: None)
        client.send(MESSAGE + b"NOOP\r\n")
        self.assertEqual(codes(client.answers()), [354])
        later.answer("stored")
        self.assertEqual([answer.text for answer in client.answers()], ["stored", "OK"])

    def test_handlerFirst(self) -> None:
        """If the handler is first, it waits for the end of the message."""
        client = sender(lambda stream: "early")
        client.say("DATA")
        client.send(b"x" * 1000 + b"\r\n.\r")
        self.assertEqual(client.answers(), [])
        client.send(b"\n")
        self.assertEqual(client.answers()[0].text, "early")

    def test_content(self) -> None:
        """The content is what was sent, without the dots that were stuffed."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        client.say("DATA")
        client.send(MESSAGE)
        self.assertEqual(handler.messages[0].content, CONTENT)
        self.assertEqual(handler.messages[0].envelope.id, f"{client.session.id}-1")

    def test_results(self) -> None:
        """Text and Accepted choose the words; anything else is a bug: 451."""
        table: list[tuple[Any, tuple[int, str]]] = [
            (None, (250, "Message accepted")),
            ("", (250, "Message accepted")),
            ("queued", (250, "queued")),
            (Accepted("queued", "2.0.0"), (250, "queued")),
        ]
        for result, expected in table:
            client = sender(lambda stream, result=result: result)
            answer = client.deliver(b"", hello=HELLO)
            self.assertEqual((answer.code, answer.text), expected)
        for result in (False, 250, [None, None], {"x@example.com": None}, Accepted(code=251)):
            client = sender(lambda stream, result=result: result)
            self.assertEqual(brief(client.deliver(b"", hello=HELLO)), (451, "4.3.0"))
            self.assertEqual(outcomes(client), ["reset", "refused"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError, ValueError)), 5)

    def test_refusals(self) -> None:
        """A refusal at the end is 450, or what it says; 421 closes."""
        for error, expected in (
            (Rejection("no"), (450, "4.3.0")),
            (Rejection("no", 550, "5.7.1"), (550, "5.7.1")),
            (Rejection("no", 421), (421, "4.3.2")),
        ):

            async def body(stream: Any, error: Exception = error) -> None:
                await stream.read()
                raise error

            client = sender(body)
            client.say("DATA")
            client.send(MESSAGE + b"NOOP\r\n")
            answers = client.answers()
            self.assertEqual(brief(answers[0]), expected)
            self.assertEqual(client.isClosed, expected[0] == 421)
            self.assertEqual(outcomes(client), ["refused"])

    def test_midway(self) -> None:
        """Who fails midway has the rest thrown away; the reply comes at the true end."""

        async def body(stream: Any) -> None:
            async for _ in stream:
                raise Rejection("seen enough", 554)

        client = sender(body)
        client.say("DATA")
        client.send(b"x\r\n")
        client.send(b"y" * 10 * HIGH_WATER)
        self.assertFalse(client.transport.isPaused)
        self.assertEqual(client.answers(), [])
        client.send(b"\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [554])

    def test_nextMessage(self) -> None:
        """Nothing of one message gets into the next one."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler)
        for content in (b"one\r\n", b"two\r\n", b""):
            self.assertEqual(client.deliver(content, hello=None).code, 250)
        self.assertEqual([m.content for m in handler.messages], [b"one\r\n", b"two\r\n", b""])
        self.assertEqual(len({message.envelope.id for message in handler.messages}), 3)


class BugTests(SynchronousTestCase):
    """An exception that is no refusal: 451 and an incident id; its text stays here."""

    SECRET = "secret /etc/passwd"

    def bodies(self, error: Exception) -> dict[str, Callable[[Any], Any]]:
        """The ways to fail."""

        def atOnce(stream: Any) -> None:
            raise error

        def later(stream: Any) -> Deferred[Any]:
            return stream.read().addCallback(lambda _: atOnce(stream))

        async def coroutine(stream: Any) -> None:
            await stream.read()
            raise error

        return {"at once": atOnce, "later": later, "coroutine": coroutine}

    def test_bugs(self) -> None:
        """However it fails, the client learns no more than the id, which the log has, too."""
        for name, body in self.bodies(ZeroDivisionError(self.SECRET)).items():
            log = Log()
            client = sender(body, logger=log.logger)
            client.send(b"DATA\r\n")
            if name != "at once":
                client.send(MESSAGE)
            answer = client.answers()[-1]
            self.assertEqual(brief(answer), (451, "4.3.0"), name)
            (incident,) = log.of("incident")
            self.assertEqual(answer.text, f"Internal error, incident {incident['incident']}")
            self.assertIn(self.SECRET, "\n".join(log.lines))
            self.assertEqual(handlerOf(client).errors[0].value.args, (self.SECRET,))
            self.assertEqual(client.say("NOOP").code, 250)

    def test_responseCode(self) -> None:
        """An integer responseCode makes it a refusal, whose text is for the client."""
        for code, enhanced in ((550, "5.7.1"), (452, "4.3.1"), (421, "4.3.2")):
            error = LookupError("no such list")
            error.responseCode = code  # type: ignore[attr-defined]
            client = sender(self.bodies(error)["coroutine"])
            client.say("DATA")
            client.send(MESSAGE)
            (answer,) = client.answers()
            self.assertEqual((*brief(answer), answer.text), (code, enhanced, "no such list"))

    def test_wrongResponseCode(self) -> None:
        """A code that can't refuse is a bug."""
        for code in (250, 354, 1000, 599, True):
            error = LookupError(self.SECRET)
            error.responseCode = code  # type: ignore[attr-defined]
            client = sender(self.bodies(error)["at once"])
            answer = client.say("DATA")
            self.assertEqual(brief(answer), (451, "4.3.0"))
            self.assertNotIn("secret", answer.text)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)  # True is no code at all

    def test_wrongRejection(self) -> None:
        """So is a rejection with something in it that can't be sent."""
        for wrong in ({"code": 250}, {"text": 5}, {"code": "550"}, {"enhanced": "5.x"}):

            def body(stream: Any, wrong: Any = wrong) -> None:
                raise Rejection(**{"text": "no", **wrong})

            self.assertEqual(brief(sender(body).say("DATA")), (451, "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors()), 4)

    def test_bareBaseException(self) -> None:
        """Even a Deferred that fails with what is no Exception doesn't hang the client."""
        later = Later()
        client = sender(later)
        client.send(b"DATA\r\n")
        later.fail(GeneratorExit())  # type: ignore[arg-type]
        self.assertEqual([brief(answer) for answer in client.answers()], [(451, "4.3.0")])
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_consumerStopped(self) -> None:
        """What the handler lets escape of the stream's own exceptions isn't the client's fault."""

        async def body(stream: Any) -> None:
            await stream.read(3)

        client = sender(body)
        client.say("DATA")
        client.send(MESSAGE)
        self.assertEqual([brief(answer) for answer in client.answers()], [(552, "5.3.4")])


class SmtpUtf8Tests(SynchronousTestCase):
    """Replies outside of ASCII, only after SMTPUTF8 (RFC 6531 section 3.7.4.1)."""

    def test_replies(self) -> None:
        """From MAIL to the final reply; the next transaction is in ASCII again."""

        def greet(*arguments: Any) -> str:
            return "Grüße"

        client = talk(Phase.READY, onMailFrom=greet, onRcptTo=greet, onData=greet)
        for parameter, text in ((" SMTPUTF8", "Grüße"), ("", "Gr??e")):
            answers = client.pipeline(MAIL + parameter, RCPT, "DATA", ".")
            self.assertEqual([a.text for a in answers if a.code == 250], [text] * 3)

    def test_refusedMail(self) -> None:
        """The refusal of a MAIL with SMTPUTF8 may be UTF-8; what is said next may not."""
        client = talk(Phase.READY)
        handler: Any = client.factory.handler
        handler.onMailFrom = handler.onHello = refusing(Rejection("Grüße"))
        self.assertEqual(client.say(f"{MAIL} SMTPUTF8").text, "Grüße")
        self.assertEqual(client.say(HELLO).text, "Gr??e")

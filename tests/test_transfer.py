"""Tests for a message on its way: DATA, the handler, the final reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk
from twisted_smtpserver import (
    Accepted,
    BareNewline,
    ConnectionLost,
    MessageTooLarge,
    Rejection,
)
from twisted_smtpserver.body import HIGH_WATER
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler

MESSAGE = b"Subject: test\r\n\r\n..dots\r\n.\r\n"
CONTENT = b"Subject: test\r\n\r\n.dots\r\n"


class Handler(RecordingHandler):
    """
    Runs what it is given for ``onData``.

    :ivar stream: the last message's stream.
    """

    stream: Any = None

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body

    def onData(self, stream: Any, session: Session) -> Any:
        """Run it."""
        self.stream = stream
        return self.body(stream)


def sender(body: Callable[..., Any], **options: Any) -> Client:
    """A client that is about to say DATA."""
    return talk(Phase.RCPT, Handler(body), **options)


def handlerOf(client: Client) -> Any:
    """The server's handler."""
    return client.factory.handler


def outcomes(client: Client) -> list[str]:
    """How the transactions ended."""
    found: list[str] = handlerOf(client).outcomes
    return found


def readLate(gate: Deferred[None]) -> Callable[[Any], Any]:
    """An ``onData`` that waits before it reads."""

    async def onData(stream: Any) -> str:
        await gate
        await stream.read()
        return "read"

    return onData


def refusing(error: Exception) -> Callable[..., Any]:
    """A hook that raises."""

    def hook(*arguments: Any) -> None:
        raise error

    return hook


async def readAll(stream: Any) -> None:
    """The simplest ``onData``."""
    await stream.read()


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
        for result in (False, 250, [None], {"jane@example.com": None}, Accepted(code=251)):
            client = sender(lambda stream, result=result: result)
            self.assertEqual(brief(client.deliver(b"", hello=HELLO)), (451, "4.3.0"))
            self.assertEqual(outcomes(client), ["reset", "refused"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 5)

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


async def catchAll(stream: Any) -> str:
    """An ``onData`` that claims success whatever happened."""
    try:
        async for _ in stream:
            pass
    except Exception:
        return "accepted nevertheless"
    return "accepted"


async def failOtherwise(stream: Any) -> None:
    """An ``onData`` that refuses in its own words."""
    try:
        await stream.read()
    except Rejection as error:
        raise Rejection("my own words", 554) from error


BODIES: dict[str, Callable[[Any], Any]] = {
    "reads": readAll,
    "catches": catchAll,
    "returns": lambda stream: "accepted",
    "iterates": lambda stream: Deferred.fromCoroutine(catchAll(stream)),
    "parses": lambda stream: stream.message().addCallback(lambda message: None),
}


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

    def test_earlyResult(self) -> None:
        """A result that came before the octets makes no message of them."""
        client = sender(lambda stream: "fine")
        client.say("DATA")
        client.send(b"x\r\n")
        client.lose()
        self.assertEqual(outcomes(client), ["lost"])
        self.assertEqual(client.session.messages, 0)


class TimeoutTests(SynchronousTestCase):
    """The client's time and the handler's."""

    def test_silentClient(self) -> None:
        """While someone reads it is the client's time that runs; each octet renews it."""
        client = sender(readAll, socketTimeout=60, handlerTimeout=5)
        client.say("DATA")
        for _ in range(10):
            client.wait(59)
            client.send(b"x")
        client.wait(60)
        self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
        self.assertTrue(client.isClosed)
        self.assertEqual(outcomes(client), ["lost"])

    def test_beforeReading(self) -> None:
        """A handler that doesn't decide: DATA is 451; it is canceled; the transaction is over."""
        later = Later()
        client = sender(later, handlerTimeout=60)
        client.send(b"DATA\r\nNOOP\r\n")
        client.wait(59)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(
            [brief(answer) for answer in client.answers()], [(451, "4.3.0"), (250, "2.0.0")]
        )
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(client.say("DATA").code, 503)

    def test_paused(self) -> None:
        """While the handler has paused the stream, its time runs; then the rest is drained."""
        gate: Deferred[None] = Deferred()

        async def body(stream: Any) -> None:
            async for _ in stream:
                await gate

        client = sender(body, socketTimeout=10, handlerTimeout=60)
        client.say("DATA")
        client.send(b"x")
        client.send(b"x" * HIGH_WATER)
        self.assertTrue(client.transport.isPaused)
        client.wait(59)
        self.assertTrue(client.transport.isPaused)
        client.wait(1)
        self.assertFalse(client.transport.isPaused)
        self.assertTrue(gate.called)
        client.wait(9)
        client.send(b"x" * HIGH_WATER + b"\r\n.\r\n")
        self.assertEqual([brief(answer) for answer in client.answers()], [(451, "4.3.0")])
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(client.say("NOOP").code, 250)

    def test_resumed(self) -> None:
        """When it reads again it is the client's turn again."""
        gates: list[Deferred[None]] = []

        async def body(stream: Any) -> None:
            async for _ in stream:
                gates.append(Deferred())
                await gates[-1]

        client = sender(body, socketTimeout=10, handlerTimeout=60)
        client.say("DATA")
        client.send(b"x")
        client.send(b"x" * HIGH_WATER)
        client.wait(59)
        gates[0].callback(None)
        gates[1].callback(None)
        client.wait(9)
        self.assertFalse(client.isClosed)
        client.wait(1)
        self.assertEqual(codes(client.answers()), [421])

    def test_afterTheEnd(self) -> None:
        """After the true end the handler's time runs: 451."""
        later = Later()
        client = sender(later, socketTimeout=10, handlerTimeout=60)
        client.send(b"DATA\r\n")
        later.calls[0][0].read().addErrback(lambda failure: None)
        client.send(MESSAGE + b"NOOP\r\n")
        client.answers()
        client.wait(59)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(codes(client.answers()), [451, 250])
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])

    def test_deaf(self) -> None:
        """A handler that doesn't listen, and answers later or never, disturbs nothing."""
        rest: Deferred[None] = Deferred()
        gate: Deferred[None] = Deferred()

        async def deaf(stream: Any) -> str:
            await stream.read(10**6)
            try:
                await gate
            except CancelledError:
                await rest
            return "late"

        client = sender(deaf, handlerTimeout=60)
        client.say("DATA")
        client.send(MESSAGE)
        client.wait(60)
        self.assertEqual(codes(client.answers()), [451])
        client.pipeline(MAIL, RCPT)
        rest.callback(None)
        self.assertEqual(client.answers(), [])
        self.assertIs(client.protocol.phase, Phase.RCPT)
        self.assertEqual(outcomes(client), ["refused"])

    def test_badCanceller(self) -> None:
        """A Deferred whose canceller fails is a bug, and nothing more."""

        def canceller(_: object) -> None:
            raise ZeroDivisionError

        client = sender(lambda stream: Deferred(canceller), handlerTimeout=60)
        client.send(b"DATA\r\n")
        client.wait(60)
        self.assertEqual(codes(client.answers()), [451])
        self.assertEqual(client.say("NOOP").code, 250)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class BackPressureTests(SynchronousTestCase):
    """A slow reader stops the client; memory stays bounded, however large the message."""

    def test_bounded(self) -> None:
        """Of 1 GiB that a slow reader takes chunk by chunk, no more than two segments wait."""
        gates: list[Deferred[None]] = []
        read = 0

        async def slow(stream: Any) -> None:
            nonlocal read
            async for octets in stream:
                read += len(octets)
                gates.append(Deferred())
                await gates[-1]

        client = sender(slow)
        client.say("DATA")
        stream = handlerOf(client).stream
        protocol = client.protocol
        chunk = (b"x" * 1022 + b"\r\n") * 64
        most = 0
        pauses = 0
        for _ in range(2**30 // len(chunk)):
            protocol.dataReceived(chunk)
            most = max(most, stream._buffered + len(protocol._buffer))
            while client.transport.isPaused:
                pauses += 1
                gates.pop().callback(None)
        self.assertEqual(stream.byteLength, 2**30)
        self.assertLessEqual(most, HIGH_WATER + len(chunk))
        self.assertGreater(pauses, 2**30 // len(chunk) // 2)
        protocol.dataReceived(b".\r\n")
        while gates:
            gates.pop().callback(None)
        client.settle()
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(read, 2**30)

    def test_unread(self) -> None:
        """A handler that takes its time before it reads lets the client wait, with the socket."""
        gate: Deferred[None] = Deferred()

        async def body(stream: Any) -> None:
            await stream.__anext__()
            await gate
            await stream.read()

        client = sender(body)
        client.say("DATA")
        client.send(b"x" * HIGH_WATER)
        self.assertFalse(client.transport.isPaused)
        client.send(b"x" * (HIGH_WATER - 1))
        self.assertFalse(client.transport.isPaused)
        client.send(b"x")
        self.assertTrue(client.transport.isPaused)
        gate.callback(None)
        self.assertFalse(client.transport.isPaused)
        client.send(b"\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [250])

    def test_wholeMessageWaits(self) -> None:
        """The end may come in the segment that stopped the socket; it stays stopped till read."""
        gate: Deferred[None] = Deferred()

        async def body(stream: Any) -> None:
            await stream.__anext__()
            await gate
            await stream.read()

        client = sender(body)
        client.say("DATA")
        client.send(b"x")
        client.send(b"x" * HIGH_WATER + b"\r\n.\r\nNOOP\r\n")
        self.assertTrue(client.transport.isPaused)
        self.assertEqual(client.answers(), [])
        gate.callback(None)
        self.assertFalse(client.transport.isPaused)
        self.assertEqual(codes(client.answers()), [250, 250])


class UnreadTests(SynchronousTestCase):
    def test_inTheBackground(self) -> None:
        """Who reads on after onData has returned gets an error, never an end of file."""
        readings: list[Deferred[bytes]] = []

        def body(stream: Any) -> None:
            readings.append(stream.read())

        client = sender(body)
        client.say("DATA")
        client.send(MESSAGE)
        self.assertEqual(codes(client.answers()), [250])
        self.failureResultOf(readings[0], RuntimeError)


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

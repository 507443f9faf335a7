"""Mistakes that handlers make: each is answered, told the log, and loses no mail in silence."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import CONTENT
from tests.support.talk import HELLO, MAIL, RCPT, brief, talk
from twisted_smtpserver import ConfigurationError, Rejection, SMTPServerFactory, SMTPService
from twisted_smtpserver.dialogue import dialogue
from twisted_smtpserver.handlers import Chain, Maildir
from twisted_smtpserver.hooks import coroutines, task
from twisted_smtpserver.message import transfer
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, connect

INCIDENT = (451, "4.3.0")


def deliver(onData: Callable[..., Any], **keywords: Any) -> tuple[int, str | None]:
    """The answer to a message that a handler takes."""
    return brief(connect(onData=onData, **keywords).deliver(CONTENT))


class ForgottenAwaitTests(SynchronousTestCase):
    """A read that was begun, and not waited for."""

    def assertNamed(self, name: str) -> None:
        """The log says which call wants an await."""
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn(f"stream.{name}() was done: await it", failure.getErrorMessage())

    def test_forgotten(self) -> None:
        """However it was to be read, nothing is answered 250, and the log names the call."""
        path = self.mktemp()
        for name, arguments in (
            ("saveTo", (path,)),
            ("read", ()),
            ("message", ()),
            ("parsed", ()),
            ("pipeTo", (StringTransport(),)),
        ):

            async def onData(stream: Any, session: object) -> str:
                getattr(stream, name)(*arguments)  # noqa: B023  # called within the loop
                return "Stored"

            self.assertEqual(deliver(onData), INCIDENT, name)
            self.assertNamed(name)

    def test_plain(self) -> None:
        """A plain function is told so, too."""

        def onData(stream: Any, session: object) -> None:
            stream.read()

        self.assertEqual(deliver(onData), INCIDENT)
        self.assertNamed("read")

    def test_waitedFor(self) -> None:
        """What is awaited, returned or given up is no mistake."""

        async def awaited(stream: Any, session: object) -> None:
            await stream.read()

        def returned(stream: Any, session: object) -> Deferred[None]:
            done: Deferred[None] = stream.read().addCallback(lambda octets: None)
            return done

        def givenUp(stream: Any, session: object) -> None:
            stream.read().addErrback(lambda failure: None).cancel()

        for onData in (awaited, returned, givenUp):
            self.assertEqual(deliver(onData)[0], 250)

    def test_refused(self) -> None:
        """A refusal stays one, whatever was begun before it."""

        async def onData(stream: Any, session: object) -> None:
            stream.read().addErrback(lambda failure: None)
            raise Rejection("No", 550)

        self.assertEqual(deliver(onData)[0], 550)


class ReadTwiceTests(SynchronousTestCase):
    """A message that is read to its end, and then once more: nothing would be read."""

    def test_twice(self) -> None:
        """What would be saved is an empty file: that is no 250, and the log has the cure."""
        path = self.mktemp()

        async def whole(stream: Any) -> None:
            await stream.read()

        async def parsed(stream: Any) -> None:
            await stream.message()

        async def pieces(stream: Any) -> None:
            async for _ in stream:
                pass

        async def saved(stream: Any) -> None:
            await stream.saveTo(path)

        for first in (whole, parsed, pieces):
            for second in (saved, pieces, whole):

                async def onData(stream: Any, session: object) -> str:
                    await first(stream)  # noqa: B023  # called within the loop
                    await second(stream)  # noqa: B023
                    return "Stored"

                self.assertEqual(deliver(onData), INCIDENT, (first, second))
                (failure,) = self.flushLoggedErrors(RuntimeError)
                self.assertIn("give that to parseMessage()", failure.getErrorMessage())
        self.assertFalse(os.path.exists(path))

    def test_rest(self) -> None:
        """Who stops in the middle may read the rest, even if there is none."""

        async def onData(stream: Any, session: object) -> str:
            async for octets in stream:
                if octets:
                    break
            return f"{len(await stream.read())} octets left"

        answer = connect(onData=onData).deliver(CONTENT)
        self.assertEqual((answer.code, answer.text), (250, "0 octets left"))


class AdviceTests(SynchronousTestCase):
    """What goes wrong in a hook, and the one line of the log that says what to do."""

    def incident(self, **hooks: Any) -> str:
        """The line, and what was raised."""
        with capturedLogs() as events:
            client = talk(Phase.READY, **hooks)
            for line in (MAIL, RCPT, "DATA"):
                if client.say(line).code >= 400:
                    break
            else:
                self.assertEqual(brief(client.say(CONTENT.decode() + ".")), INCIDENT)
        (failure,) = self.flushLoggedErrors()
        texts = [formatEvent(event) for event in events if event.get("event") == "incident"]
        return f"{texts} {failure.getErrorMessage()}"

    def test_advice(self) -> None:
        """Mistakes that people make."""

        async def refuse(*arguments: object) -> None:
            raise Rejection("no")

        async def unawaited(*arguments: object) -> Any:
            return refuse()

        async def generates(*arguments: object) -> Any:
            yield b""

        def generator(stream: Any, session: object) -> Any:
            yield stream.read()

        def raisesText(*arguments: object) -> None:
            raise "550 no"  # type: ignore[misc]  # noqa: B016  # the mistake

        def wrongWayRound(*arguments: object) -> None:
            raise Rejection(550, "no")  # type: ignore[arg-type]

        def textCode(*arguments: object) -> None:
            raise Rejection("no", "550")  # type: ignore[arg-type]

        table: dict[str, dict[str, Any]] = {
            "returned coroutine: await it": {"onRcptTo": unawaited},
            "returned async_generator: there is a yield in it": {"onData": generates},
            "returned generator: there is a yield in it": {"onData": generator},
            "returned Rejection: raise it": {"onRcptTo": lambda *_: Rejection("no")},
            "onRcptTo returned False, which accepts": {"onRcptTo": lambda *_: False},
            "onMailFrom returned False": {"onMailFrom": lambda *_: succeed(False)},
            "returned bool: raise Rejection(text, code)": {"onRcptTo": lambda *_: True},
            "returned tuple: raise Rejection(text, code)": {"onRcptTo": lambda *_: (550, "no")},
            "returned bytes: return None, a str": {"onRcptTo": lambda *_: b"ok"},
            "raise Rejection(text) to refuse": {"onRcptTo": raisesText},
            "comes first: Rejection('no', 550)": {"onRcptTo": wrongWayRound},
            "'550' is not a reply code, a number": {"onRcptTo": textCode},
            "await it in an async def": {"onData": lambda stream, _: len(stream.read())},
            "read the message by async for": {"onData": lambda stream, _: list(stream)},
            "has 0 of 1 recipients, and 1 that": {"onData": lambda *_: {"a@b.example": None}},
            "not str: encode() text": {"onData": lambda stream, _: stream.prepend("X: y")},
            'binary mode, as with "wb"': {"onData": lambda stream, _: stream.saveTo(io.StringIO())},
            "saveTo() takes a path": {"onData": lambda stream, _: stream.saveTo(None)},
        }
        for advice, hooks in table.items():
            self.assertIn(advice, self.incident(**hooks))

    def test_noSuper(self) -> None:
        """A class whose constructor doesn't call ours is named."""

        class Mine(Maildir):
            def __init__(self) -> None:
                self.colour = "red"

        class Other(Maildir):
            async def onData(self, stream: Any, session: object) -> str:
                return str(self.notThere)  # type: ignore[attr-defined]

        with capturedLogs() as events:
            self.assertEqual(brief(connect(Mine()).deliver(CONTENT)), INCIDENT)
            other = connect(Other(self.mktemp()))
            self.assertEqual(brief(other.deliver(CONTENT)), INCIDENT)
        self.flushLoggedErrors(AttributeError)
        first, second = [formatEvent(event) for event in events if event.get("event") == "incident"]
        self.assertIn("Mine.__init__ has to call super().__init__() of Maildir", first)
        self.assertNotIn("super()", second)

    def test_onConnect(self) -> None:
        """A hook that refuses by ``False`` hasn't, and is told so, also at the greeting."""
        for hook in ("onConnect", "onHello"):
            hooks: dict[str, Any] = {hook: lambda *_: False}
            client = connect(**hooks)
            answer = client.greeting if hook == "onConnect" else client.say(HELLO)
            assert answer is not None
            self.assertEqual(answer.code, 451, hook)
            (failure,) = self.flushLoggedErrors(ValueError)
            self.assertIn(f"{hook} returned False", failure.getErrorMessage())

    def test_function(self) -> None:
        """A function in the place of a handler."""
        for function, name in ((Maildir.onData, "onData"), (lambda *_: None, "<lambda>")):
            error = self.assertRaises(ConfigurationError, SMTPServerFactory, function)
            self.assertIn(f"{name} is a function: name its hook, as in onData=", str(error))

    def test_class(self) -> None:
        """A class in the place of a handler, also of a stage."""
        for make in (SMTPServerFactory, Chain):
            error = self.assertRaises(ConfigurationError, make, Maildir)
            self.assertEqual(str(error), "Maildir is a class: give an instance of it, Maildir()")

    def test_service(self) -> None:
        """What a service is made of: pairs."""
        for wrong in ("tcp:2525", ["tcp:2525"], [Maildir], [("tcp:2525",)]):
            with self.assertRaises(ConfigurationError) as caught:
                SMTPService(wrong)  # type: ignore[arg-type]
            self.assertIn('SMTPService([("tcp:2525", ', str(caught.exception))


class RefusalAsTextTests(SynchronousTestCase):
    """Text that begins like a reply code."""

    def test_hooks(self) -> None:
        """``return "550 no"`` is an incident, and no acceptance."""
        for text in ("550 no", "450-later", "550", " 250 fine"):
            for hook, lines in (
                ("onMailFrom", [MAIL]),
                ("onRcptTo", [MAIL, RCPT]),
                ("onData", [MAIL, RCPT, "DATA", CONTENT.decode() + "."]),
            ):
                hooks: dict[str, Any] = {hook: lambda *_: text}  # noqa: B023  # called at once
                client = talk(Phase.READY, **hooks)
                *before, last = [client.say(line) for line in lines]
                self.assertTrue(all(answer.code < 400 for answer in before))
                self.assertEqual(brief(last), INCIDENT, (hook, text))
                self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_perRecipient(self) -> None:
        """Nor is it one for a recipient of LMTP."""
        client = talk(Phase.RCPT, lmtp=True, onData=lambda stream, session: ["550 no"])
        client.say("DATA")
        self.assertEqual(brief(client.say(".")), INCIDENT)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_numbers(self) -> None:
        """Text may begin with other numbers."""
        for text in ("2500 thanks", "42", "1550 no", "5500", "550th message"):
            self.assertEqual(deliver(lambda stream, session: text)[0], 250)  # noqa: B023


class ExitTests(SynchronousTestCase):
    """Exceptions that aren't Exceptions, from hooks that answer at once or wait."""

    ERRORS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)

    def ways(self, error: type[BaseException]) -> dict[str, Callable[..., Any]]:
        """Hooks that fail."""
        self.gates: list[Deferred[None]] = []

        def plain(*arguments: object) -> None:
            raise error

        def deferred(*arguments: object) -> Deferred[None]:
            return fail(error())

        async def early(*arguments: object) -> None:
            raise error

        async def late(*arguments: object) -> None:
            gate: Deferred[None] = Deferred()
            self.gates.append(gate)
            await gate
            raise error

        return {"plain": plain, "deferred": deferred, "early": early, "late": late}

    def answer(self, client: Client, line: str) -> tuple[int, str | None]:
        """The answer to a line, when hooks that wait go on."""
        client.send(line.encode() + b"\r\n")
        for gate in self.gates:
            gate.callback(None)
        (answer,) = client.answers()
        return brief(answer)

    def test_answered(self) -> None:
        """Each is an incident like any other bug, and the session goes on."""
        stages = {
            "onHello": (Phase.READY, HELLO, (451, None)),
            "onMailFrom": (Phase.READY, MAIL, INCIDENT),
            "onRcptTo": (Phase.MAIL, RCPT, INCIDENT),
            "onData": (Phase.RCPT, "DATA", INCIDENT),
            "onAuth": (Phase.READY, "AUTH PLAIN AGpvZQBqb2U=", (454, "4.7.0")),
        }
        for error in self.ERRORS:
            for hook, (phase, line, expected) in stages.items():
                for way, function in self.ways(error).items():
                    client = talk(phase, allowInsecureAuth=True, authOptional=True)
                    setattr(client.factory.handler, hook, function)
                    if hook == "onAuth":  # which is offered if the handler has it
                        client = talk(
                            phase, onAuth=function, allowInsecureAuth=True, authOptional=True
                        )
                    self.assertEqual(self.answer(client, line), expected, (error, hook, way))
                    self.assertEqual(client.say("NOOP").code, 250)
                    self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_onConnect(self) -> None:
        """In the place of the greeting the client is told of the incident."""
        for error in self.ERRORS:
            for way, function in self.ways(error).items():
                client = connect(onConnect=function)
                for gate in self.gates:
                    gate.callback(None)
                greeting = client.greeting or client.answer()
                assert greeting is not None
                self.assertEqual(greeting.code, 451, (error, way))
                self.flushLoggedErrors(error)


class BlockingHookTests(SynchronousTestCase):
    """A hook that keeps the reactor, and so all clients, waiting."""

    def blocked(self, **hooks: Any) -> list[str]:
        """The hooks that the log names while a message is delivered."""
        with capturedLogs() as events:
            self.assertEqual(connect(**hooks).deliver(CONTENT).code, 250)
        return [event["hook"] for event in events if event.get("event") == "hookBlocked"]

    def tooLong(self) -> None:
        """Any time is too long."""
        for module in (dialogue, transfer, coroutines, task):
            self.patch(module, "BLOCKING_TIME", -1)

    def test_named(self) -> None:
        """The log has its name, of plain functions and of each step of a coroutine."""

        async def onData(stream: Any, session: object) -> None:
            await stream.read()

        def onMailFrom(address: object, session: object) -> None:
            """Accept."""

        self.assertEqual(self.blocked(onData=onData, onMailFrom=onMailFrom), [])
        self.tooLong()
        named = self.blocked(onData=onData, onMailFrom=onMailFrom)
        self.assertIn("onMailFrom", named)
        self.assertTrue(any(name.endswith("onData") for name in named), named)

    def test_plainData(self) -> None:
        """So is an onData that is a plain function."""
        self.tooLong()
        self.assertEqual(self.blocked(onData=lambda stream, session: None), ["onData"])

    def test_task(self) -> None:
        """So is each step of a task, where asyncio's loop runs."""
        self.tooLong()
        results: list[object] = []

        async def slow() -> str:
            await asyncio.sleep(0)
            return "done"

        async def main() -> None:
            task.HookTask(slow(), results.append, results.append)
            while not results:
                await asyncio.sleep(0)

        with capturedLogs() as events:
            asyncio.run(asyncio.wait_for(main(), 30))
        self.assertEqual(results, ["done"])
        named = [event["hook"] for event in events if event.get("event") == "hookBlocked"]
        self.assertEqual(len(named), 2)

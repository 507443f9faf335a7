"""Tests for asking the handler and waiting for its answer: hold, time-outs, bugs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import refusing
from tests.support.talk import HELLO, MAIL, RCPT, WAYS, Later, Log, brief, codes, talk
from twisted_smtpserver import Rejection
from twisted_smtpserver.connection.lines import MAX_WAITING
from twisted_smtpserver.connection.timeouts import CLOSING_TIME
from twisted_smtpserver.extensions import Extension
from twisted_smtpserver.replies import OK, Reply
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    RecordingHandler,
    connect,
)

# Each hook that answers a command: the phase it comes in, the command, its refusal.
HOOKS: dict[str, tuple[Phase, str, int]] = {
    "onHello": (Phase.GREETED, HELLO, 550),
    "onMailFrom": (Phase.READY, MAIL, 550),
    "onRcptTo": (Phase.MAIL, RCPT, 550),
    "onData": (Phase.RCPT, "DATA", 450),
}


def talkTo(hook: str, function: Callable[..., Any], **options: Any) -> Client:
    """A client that is about to say the command that a hook is for."""
    handler = RecordingHandler()
    client = talk(HOOKS[hook][0], handler, **options)
    setattr(handler, hook, function)
    return client


def deaf(gate: Deferred[None], result: object = None) -> Callable[..., Any]:
    """A hook that doesn't listen when it is canceled, and waits for something else."""

    async def hook(*arguments: Any) -> Any:
        try:
            await Deferred()
        except CancelledError:
            await gate
        if isinstance(result, Exception):
            raise result
        return result

    return hook


async def raising() -> None:
    """A bug, after a while."""
    await succeed(None)
    raise ZeroDivisionError


class HoldTests(SynchronousTestCase):
    """While a hook is pending, no later command runs."""

    def test_hold(self) -> None:
        """Nothing is run, nothing is said; then all goes on in order."""
        for hook, (_, line, _) in HOOKS.items():
            later = Later()
            client = talkTo(hook, later)
            self.assertEqual(client.pipeline(line), [])
            if hook == "onData":
                later.fail(Rejection("no"))
                self.assertEqual(codes(client.answers()), [450])
                continue
            self.assertEqual(client.pipeline("NOOP", "VRFY a", "FOO"), [])
            client.send(b"HELP\r\n")
            self.assertEqual(client.answers(), [])
            later.answer()
            self.assertEqual(codes(client.answers()), [250, 250, 252, 500, 214])

    def test_lateReactor(self) -> None:
        """
        A reactor that was kept from its work for longer than all waits runs what is due in its
        order: the answer comes before the end of the wait for it.
        """
        client: Client = talk(
            Phase.MAIL,
            socketTimeout=30,
            handlerTimeout=30,
            onRcptTo=lambda *_: deferLater(client.clock, 2, lambda: None),
        )
        client.wait(29)
        client.send(f"{RCPT}\r\n".encode())
        client.clock.advance(60)
        self.assertEqual(codes(client.answers()), [250])

    def test_clientsTimeStandsStill(self) -> None:
        """While it is held the client's time doesn't run."""
        later = Later()
        client = talkTo("onRcptTo", later, socketTimeout=10, handlerTimeout=100)
        client.send(b"RCPT TO:<jane@example.com>\r\n")
        client.wait(99)
        later.answer()
        self.assertEqual(codes(client.answers()), [250])
        client.wait(9)
        self.assertFalse(client.isClosed)
        client.wait(1)
        self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
        self.assertTrue(client.isClosed)

    def test_bounded(self) -> None:
        """What waits behind it is bounded: the socket is paused, and resumed later."""
        later = Later()
        client = talkTo("onRcptTo", later)
        client.send(RCPT.encode() + b"\r\n")
        for _ in range(20):
            if not client.transport.isPaused:
                client.send(b"NOOP\r\n" * 1000)
        self.assertTrue(client.transport.isPaused)
        self.assertLess(len(client.protocol.channel.waitingInput), MAX_WAITING + 6001)
        waiting = len(client.protocol.channel.waitingInput) // 6
        later.answer()
        self.assertEqual(codes(client.answers()), [250] * (1 + waiting))
        self.assertFalse(client.transport.isPaused)

    def test_leaving(self) -> None:
        """A client that leaves cancels what is pending, and nothing more is said."""
        for hook, (_, line, _) in HOOKS.items():
            later = Later()
            client = talkTo(hook, later)
            client.send(line.encode() + b"\r\nNOOP\r\n")
            client.lose()
            self.assertEqual(later.canceled, 1, hook)
            self.assertEqual(client.transport.output, b"")
            self.assertEqual(client.clock.getDelayedCalls(), [])
            handler: Any = client.factory.handler
            outcome = [] if hook in ("onHello", "onMailFrom") else ["lost"]
            self.assertEqual(handler.outcomes, outcome, hook)
            self.assertEqual(handler.calls.count("onClose"), 1)
            self.assertEqual(handler.errors, [])

    def test_leavingDeaf(self) -> None:
        """If it answers nevertheless, nobody cares."""
        for hook, (_, line, _) in HOOKS.items():
            gate: Deferred[None] = Deferred()
            client = talkTo(hook, deaf(gate))
            client.send(line.encode() + b"\r\n")
            client.lose()
            gate.callback(None)
            handler: Any = client.factory.handler
            self.assertEqual(handler.errors, [])


class HandlerTimeoutTests(SynchronousTestCase):
    """A hook that takes longer than handlerTimeout: 451."""

    def test_timeout(self) -> None:
        """It is canceled, the client told 451, and the dialogue goes on where it was."""
        for hook, (phase, line, _) in HOOKS.items():
            later = Later()
            client = talkTo(hook, later, handlerTimeout=60)
            client.pipeline(line)
            client.wait(59)
            self.assertEqual((client.answers(), later.canceled), ([], 0))
            client.wait(1)
            enhanced = None if hook == "onHello" else "4.3.0"
            self.assertEqual([brief(answer) for answer in client.answers()], [(451, enhanced)])
            self.assertEqual(client.say("NOOP").code, 250)
            self.assertEqual(later.canceled, 1)
            after = Phase.READY if hook == "onData" else phase
            self.assertIs(client.protocol.dialogue.phase, after)
            self.assertEqual(client.factory.handler.errors, [])  # type: ignore[attr-defined]

    def test_severalInARow(self) -> None:
        """Each hook has a time of its own, though they wait behind each other."""
        for mode in ("canceled", "deaf"):
            gates: list[Deferred[None]] = [Deferred() for _ in range(3)]
            hooks = iter(gates if mode == "canceled" else [deaf(gate)() for gate in gates])
            client = talk(
                Phase.MAIL, handlerTimeout=60, onRcptTo=lambda *_, hooks=hooks: next(hooks)
            )
            client.pipeline(*[RCPT] * 3, "NOOP")
            client.wait(60)
            self.assertEqual(codes(client.answers()), [451])
            client.wait(59)
            if mode == "canceled":
                gates[1].errback(ZeroDivisionError())
                self.assertEqual(codes(client.answers()), [451])
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            else:
                client.wait(1)
                self.assertEqual(codes(client.answers()), [451])
            client.wait(60)
            self.assertEqual(codes(client.answers()), [451, 250])

    def test_bugBehindTimeout(self) -> None:
        """A bug in the next hook isn't taken for the one before's taking too long."""
        hooks = iter([Deferred(), Deferred.fromCoroutine(raising())])
        client = talk(Phase.MAIL, handlerTimeout=60, onRcptTo=lambda *_: next(hooks))
        client.pipeline(RCPT, RCPT)
        client.wait(60)
        first, second = client.answers()
        self.assertEqual(first.text, "Processing took too long, try again later")
        self.assertIn("incident", second.text)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_late(self) -> None:
        """What a hook says that didn't listen comes too late: it moves nothing, undoes nothing."""
        for result in (None, "late", Rejection("late", 421), ZeroDivisionError("late")):
            for hook, (phase, line, _) in HOOKS.items():
                gate: Deferred[None] = Deferred()
                client = talkTo(hook, deaf(gate, result), handlerTimeout=60)
                client.send(line.encode() + b"\r\n")
                client.wait(60)
                self.assertEqual(codes(client.answers()), [451])
                # Another transaction is under way when the answer comes.
                handler: Any = client.factory.handler
                setattr(handler, hook, lambda *arguments: None)
                for command in [line for line in WAYS[Phase.RCPT] if line not in WAYS[phase]]:
                    client.say(command)
                if hook == "onData":
                    client.pipeline(MAIL, RCPT)
                envelope = client.session.envelope
                gate.callback(None)
                self.assertEqual(client.answers(), [], (hook, result))
                self.assertIs(client.protocol.dialogue.phase, Phase.RCPT)
                self.assertIs(client.session.envelope, envelope)
                self.assertEqual(codes(client.pipeline("DATA", ".")), [354, 250])
                self.assertEqual(handler.errors, [])

    def test_answersOnCancel(self) -> None:
        """A hook that answers because it is canceled is too late, too."""
        for result in ("late", Rejection("late")):

            async def hook(*arguments: Any, result: Any = result) -> Any:
                try:
                    await Deferred()
                except CancelledError:
                    if isinstance(result, Exception):
                        raise result from None
                    return result

            for name, (phase, line, _) in HOOKS.items():
                client = talkTo(name, hook, handlerTimeout=60)
                client.send(line.encode() + b"\r\n")
                client.wait(60)
                self.assertEqual(codes(client.answers()), [451])
                after = Phase.READY if name == "onData" else phase
                self.assertIs(client.protocol.dialogue.phase, after)

    def test_badCanceller(self) -> None:
        """A canceller that fails is a bug that is logged; the client is told 451 all the same."""

        def canceller(_: object) -> None:
            raise ZeroDivisionError

        for hook, (_, line, _) in HOOKS.items():
            client = talkTo(hook, lambda *_: Deferred(canceller), handlerTimeout=60)
            client.send(line.encode() + b"\r\n")
            client.wait(60)
            self.assertEqual(codes(client.answers()), [451])
            self.assertEqual(client.say("NOOP").code, 250)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_twice(self) -> None:
        """Deferreds that fire from within others don't confuse it."""
        client = talk(Phase.MAIL, onRcptTo=lambda *_: succeed("at once"))
        answers = client.pipeline(RCPT, RCPT, "NOOP")
        self.assertEqual([answer.text for answer in answers], ["at once", "at once", "OK"])


class IdleTests(SynchronousTestCase):
    """A client that says nothing."""

    def test_idle(self) -> None:
        """After socketTimeout it is told 421 4.4.2, and the connection is closed."""
        for phase in (Phase.GREETED, Phase.READY, Phase.RCPT, Phase.DATA, Phase.CHUNKS):
            client = talk(phase, RecordingHandler(), socketTimeout=60)
            client.wait(59)
            self.assertEqual(client.answers(), [])
            client.wait(1)
            self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
            self.assertTrue(client.isClosed)

    def test_renewed(self) -> None:
        """Each line renews its time; a line that doesn't end doesn't."""
        client = talk(Phase.READY, socketTimeout=60)
        for _ in range(3):
            client.wait(59)
            self.assertEqual(client.say("NOOP").code, 250)
        for _ in range(59):
            client.wait(1)
            client.send(b"x")
        client.wait(1)
        self.assertEqual(codes(client.answers()), [421])


class BugTests(SynchronousTestCase):
    """An exception that is no refusal: 451 and an incident id."""

    SECRET = "secret /etc/passwd"

    def test_bugs(self) -> None:
        """The client learns no more than the id, which the log and onError have, too."""

        def atOnce(*arguments: Any) -> None:
            raise ZeroDivisionError(self.SECRET)

        async def later(*arguments: Any) -> None:
            await succeed(None)
            raise ZeroDivisionError(self.SECRET)

        for hook, (_, line, _) in HOOKS.items():
            for function in (atOnce, later):
                log = Log()
                client = talkTo(hook, function, logger=log.logger)
                answer = client.say(line)
                self.assertEqual(answer.code, 451)
                (event,) = log.of("incident")
                self.assertEqual(answer.text, f"Internal error, incident {event['incident']}")
                self.assertEqual(event["session"], client.session.id)
                self.assertIn(self.SECRET, "\n".join(log.lines))
                handler: Any = client.factory.handler
                self.assertEqual([error.value.args for error in handler.errors], [(self.SECRET,)])
                self.assertEqual(client.say("NOOP").code, 250)

    def test_closing(self) -> None:
        """421 from any hook closes, whether it answers now or later."""
        for hook, (_, line, _) in HOOKS.items():
            for later in (False, True):
                function = Later() if later else refusing(Rejection("Bye", 421, "4.7.0"))
                client = talkTo(hook, function)
                client.send(line.encode() + b"\r\n")
                if isinstance(function, Later):
                    function.fail(Rejection("Bye", 421, "4.7.0"))
                (answer,) = client.answers()
                self.assertEqual((answer.code, answer.text), (421, "Bye"))
                self.assertTrue(client.isClosed)
                self.assertEqual(client.protocol.dialogue.closeReason, "Bye")

    def test_responseCode(self) -> None:
        """An exception with an integer responseCode is a refusal."""
        for hook, (_, line, _) in HOOKS.items():
            error = LookupError("not here")
            error.responseCode = 551  # type: ignore[attr-defined]
            answer = talkTo(hook, refusing(error)).say(line)
            self.assertEqual((answer.code, answer.text), (551, "not here"))

    def test_defaults(self) -> None:
        """Each hook's refusal has a code of its own."""
        for hook, (_, line, code) in HOOKS.items():
            answer = talkTo(hook, refusing(Rejection("not here"))).say(line)
            self.assertEqual((answer.code, answer.text), (code, "not here"))

    def test_controls(self) -> None:
        """Nothing in a text can forge a reply."""
        client = talkTo("onRcptTo", refusing(Rejection("no\r\n250 OK\r\n\x00")))
        (answer,) = client.pipeline(RCPT)
        self.assertEqual((answer.code, answer.text), (550, "no  250 OK   "))

    def test_long(self) -> None:
        """A long text is wrapped; each line has both codes."""
        client = talkTo("onRcptTo", refusing(Rejection("x" * 2000)))
        answer = client.say(RCPT)
        self.assertEqual(brief(answer), (550, "5.1.1"))
        self.assertEqual("".join(answer.lines), "x" * 2000)

    def test_onError(self) -> None:
        """onError may fail as well, now or later: that is logged, and nothing more."""
        for later in (False, True):
            log = Log()
            client = talkTo("onRcptTo", refusing(ZeroDivisionError()), logger=log.logger)
            handler: Any = client.factory.handler
            onError = Later() if later else refusing(LookupError())
            handler.onError = onError
            self.assertEqual(client.say(RCPT).code, 451)
            if isinstance(onError, Later):
                onError.fail(LookupError())
            failures = [event["log_failure"].type for event in log.of("incident")]
            self.assertEqual(failures, [ZeroDivisionError, LookupError])

    def test_noSay(self) -> None:
        """onTransactionEnd and onClose have no say: what they raise is logged, now or later."""
        for name in ("onTransactionEnd", "onClose"):
            for later in (False, True):
                log = Log()
                handler = RecordingHandler()
                hook = Later() if later else refusing(Rejection("no", 421))
                setattr(handler, name, hook)
                client = talk(Phase.MAIL, handler, logger=log.logger)
                self.assertEqual(client.say("RSET").code, 250)
                client.lose()
                if isinstance(hook, Later):
                    hook.fail(Rejection("no"))
                self.assertEqual(len(log.of("incident")), 1)
                self.assertEqual(len(handler.errors), 1)


class EndedMeanwhileTests(SynchronousTestCase):
    """The connection is ended while a hook is at work, or by it."""

    def test_deafClient(self) -> None:
        """A hook that waits doesn't give a client more time that doesn't take the last word."""
        clients: list[Client] = []

        def onMailFrom(address: Any, session: Any) -> Deferred[Any]:
            clients[0].protocol.channel.shutDown()
            return Deferred()

        clients.append(connect(onMailFrom=onMailFrom))
        transport = clients[0].transport
        self.patch(transport, "loseConnection", lambda: None)  # what was said is not taken
        clients[0].pipeline(HELLO)
        clients[0].send(MAIL.encode() + b"\r\n")
        self.assertEqual(codes(clients[0].answers()), [421])
        clients[0].wait(CLOSING_TIME)
        self.assertTrue(transport.isAborted)
        self.assertEqual(clients[0].clock.getDelayedCalls(), [])

    def test_lastOctets(self) -> None:
        """A message whose reader ends the connection is lost, and not accepted besides."""
        clients: list[Client] = []
        outcomes = []

        async def onData(stream: Any, session: Any) -> None:
            await stream.read()
            clients[0].lose()

        def onTransactionEnd(envelope: Any, outcome: str, session: Any) -> None:
            outcomes.append(outcome)

        for last in (["DATA", "x", "."], ["BDAT 0 LAST"]):
            clients[:] = [connect(onData=onData, onTransactionEnd=onTransactionEnd)]
            clients[0].pipeline(HELLO, MAIL, RCPT, *last)
            self.assertEqual((outcomes.pop(), clients[0].session.messages), ("lost", 0))

    def test_toldNobody(self) -> None:
        """What isn't said isn't the session's last refusal, nor one of its errors."""
        waiting: Deferred[Any] = Deferred()
        client = connect(onMailFrom=lambda address, session: waiting)
        client.say(HELLO)
        client.send(MAIL.encode() + b"\r\n")
        client.protocol.channel.cutOff()
        client.protocol.channel.cutOff()
        self.assertEqual((client.session.errors, codes(client.answers())), (1, [421]))


class HelloTests(SynchronousTestCase):
    """RFC 2034 §4: no enhanced status code in any answer to a hello."""

    def test_tooManyErrors(self) -> None:
        """Nor if it is the last."""
        client = connect(maxErrors=1)
        answer = client.say("EHLO")
        self.assertEqual((answer.code, answer.enhanced), (421, None))


class TransactionEndTests(SynchronousTestCase):
    """onTransactionEnd: once for each accepted MAIL. onClose: once for each connection."""

    def test_outcomes(self) -> None:
        """However it ends, the outcome is the right one."""
        table: dict[str, list[str | bytes]] = {
            "accepted": ["DATA", "."],
            "refused": ["DATA", "x\ny", "."],
            "reset": ["RSET"],
            "lost": ["QUIT"],
        }
        for outcome, lines in table.items():
            handler: Any = RecordingHandler()
            client = talk(Phase.RCPT, handler)
            envelope = client.session.envelope
            seen: list[Any] = []
            handler.onTransactionEnd = lambda *args, seen=seen: seen.append(args)
            client.pipeline(*lines)
            client.lose()
            self.assertEqual(seen, [(envelope, outcome, client.session)])

    def test_notForRefusedMail(self) -> None:
        """A MAIL that was refused was no transaction."""
        handler = RecordingHandler()
        handler.onMailFrom = refusing(Rejection("no"))  # type: ignore[method-assign]
        client = talk(Phase.READY, handler)
        client.pipeline(MAIL, "MAIL FROM:<", "RSET", HELLO, "QUIT")
        self.assertEqual(handler.outcomes, [])

    def test_calls(self) -> None:
        """A whole session calls every hook, each when it is its turn."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        client.pipeline("DATA", ".", "QUIT")
        client.lose()
        self.assertEqual(
            handler.calls,
            [
                *("onConnect", "onHello", "onMailFrom", "onRcptTo"),
                *("onData", "onTransactionEnd", "onClose"),
            ],
        )


class Verbs(Extension):
    """Verbs that do all kinds of things."""

    keyword = "VERBS"

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.verbs = {"X": lambda dialogue, argument: self.outcomes.pop(0)}


class VerbTests(SynchronousTestCase):
    """Verbs of extensions may be anybody's code."""

    def test_outcomes(self) -> None:
        """A reply, several, or a Deferred of those."""
        several = [Reply(250, "2.0.0", "one"), Reply(250, "2.0.0", "two")]
        verbs = Verbs(OK, several, succeed(OK), succeed(several), None)
        client = talk(Phase.READY, extensions=[verbs])
        self.assertEqual(codes(client.pipeline("X", "X", "X", "X")), [250] * 6)

    def test_nonsense(self) -> None:
        """Anything else is a bug, which doesn't end the session."""
        for nonsense in ("OK", 250, b"250 OK", [OK, "OK"], object(), {}):
            client = talk(Phase.READY, extensions=[Verbs(nonsense, succeed(nonsense))])
            self.assertEqual(codes(client.pipeline("X", "NOOP", "X", "NOOP")), [451, 250] * 2)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_raises(self) -> None:
        """So is what it raises, now or later; a rejection is 451, too, unless it says more."""
        verbs = Verbs()
        client = talk(Phase.READY, extensions=[verbs])
        self.assertEqual(client.say("X").code, 451)  # IndexError
        verbs.outcomes = [Later()(), Later()()]
        client.send(b"X\r\n")
        later: Deferred[Any] = Deferred()
        verbs.outcomes = [later]
        client = talk(Phase.READY, extensions=[verbs])
        client.send(b"X\r\n")
        later.errback(ZeroDivisionError())
        self.assertEqual(codes(client.answers()), [451])
        self.assertEqual(len(self.flushLoggedErrors(IndexError, ZeroDivisionError)), 2)

    def test_timeout(self) -> None:
        """A Deferred of its own is canceled when it takes too long; what comes late is ignored."""
        for canceller in (None, lambda _: None, lambda deferred: deferred.callback(OK)):
            client = talk(Phase.READY, extensions=[Verbs(Deferred(canceller))], handlerTimeout=60)
            client.send(b"X\r\n")
            client.wait(60)
            self.assertEqual(len(client.answers()), 1)
            self.assertEqual(client.say("NOOP").code, 250)

    def test_deaf(self) -> None:
        """One that doesn't listen disturbs nothing."""
        gate: Deferred[Any] = Deferred()
        outcome = Deferred.fromCoroutine(deaf(gate, OK)())
        client = talk(Phase.READY, extensions=[Verbs(outcome)], handlerTimeout=60)
        client.send(b"X\r\n")
        client.wait(60)
        self.assertEqual(codes(client.answers()), [451])
        client.send(b"NOOP\r\n")
        gate.callback(None)
        self.assertEqual(codes(client.answers()), [250])

"""Tests for :mod:`twisted_smtpserver.handlers.chain`."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import AuthenticationFailed, ConfigurationError, Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.handlers.chain import Chain
from twisted_smtpserver.handlers.functions import fromFunctions
from twisted_smtpserver.hooks import findHook, invoke
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.session import Session

ASKING = {
    name: ["argument"] * arguments
    for name, arguments in (
        ("onConnect", 0),
        ("onSecure", 0),
        ("onHello", 1),
        ("onMailFrom", 1),
        ("onRcptTo", 1),
    )
}
UNTIL_ANSWERED = {"onAuth": ["credentials"], "scramSecret": ["user", "SCRAM-SHA-256"]}
TELLING = {"onTransactionEnd": ["envelope", "accepted"], "onError": ["failure"]}

#: For hooks beside onData, no stage needs to have that one.
Part = functools.partial(Chain, isPart=True)


class ChainTests(SynchronousTestCase):
    """What the tests here share: stages that note what they are asked."""

    def setUp(self) -> None:
        """Begin to take notes."""
        self.asked: list[str] = []
        self.session = Session()

    def stage(self, name: str, result: object, *hooks: str) -> SMTPHandler:
        """
        A stage that answers to hooks.

        :param result: what it returns; an exception is raised.
        """

        def hook(*arguments: object) -> object:
            self.asked.append(name)
            self.arguments = arguments
            if isinstance(result, Exception):
                raise result
            return result

        stage = SMTPHandler()
        for each in hooks:
            setattr(stage, each, hook)
        return stage

    def chain(self, hooks: Sequence[str], *results: object) -> Chain:
        """A chain with stages a, b, c … that have these hooks and results."""
        stages = zip("abcdef", results, strict=False)
        return Part(*(self.stage(name, result, *hooks) for name, result in stages))

    def call(self, chain: object, hook: str, *arguments: object) -> Any:
        """Call a chain's hook as the server does."""
        function = findHook(chain, hook)
        assert function is not None
        return invoke(function, *arguments, self.session)

    def assertAsked(self, names: str) -> None:
        """The stages were asked in this order."""
        self.assertEqual("".join(self.asked), names)
        self.asked.clear()


class HookTests(ChainTests):
    """Which hooks a chain has."""

    def test_none(self) -> None:
        """Defaults aren't hooks, for a chain either."""
        for chain in (Part(), Part(SMTPHandler(), object()), Part(Part())):
            for name in HOOKS:
                self.assertFalse(hasattr(chain, name))
                self.assertIsNone(findHook(chain, name))

    def test_each(self) -> None:
        """A chain has exactly the hooks that a stage has."""
        for given in HOOKS:
            chain = Part(SMTPHandler(), fromFunctions(**{given: lambda *arguments: None}))
            for name in HOOKS:
                self.assertEqual(findHook(chain, name) is not None, name == given)

    def test_later(self) -> None:
        """A hook that is assigned to a stage later counts from then on."""
        stage = SMTPHandler()
        chain = Part(stage)
        self.assertIsNone(findHook(chain, "onRcptTo"))
        stage.onRcptTo = lambda address, session: "later"  # type: ignore[method-assign]
        self.assertEqual(self.call(chain, "onRcptTo", "address"), "later")

    def test_ownHook(self) -> None:
        """A hook that is assigned to the chain itself takes its stages' place."""
        chain: Any = self.chain(["onRcptTo"], "stage")
        chain.onRcptTo = lambda address, session: "chain"
        self.assertEqual(self.call(chain, "onRcptTo", "address"), "chain")

    def test_otherAttributes(self) -> None:
        """A chain doesn't lend other attributes of its stages."""
        stage = SMTPHandler()
        stage.other = 1  # type: ignore[attr-defined]
        with self.assertRaises(AttributeError) as raised:
            _ = Part(stage).other
        self.assertIn("'Chain'", str(raised.exception))

    def test_repr(self) -> None:
        """The repr names the stages."""
        self.assertEqual(repr(Part("a", Part("b"))), "<Chain of 'a', <Chain of 'b'>>")


class AskingTests(ChainTests):
    """The hooks that may refuse."""

    def test_order(self) -> None:
        """All stages are asked, in order, with the hook's arguments."""
        for hook, arguments in ASKING.items():
            self.assertIsNone(self.call(self.chain([hook], None, None, None), hook, *arguments))
            self.assertAsked("abc")
            self.assertEqual(self.arguments, (*arguments, self.session))

    def test_refusal(self) -> None:
        """The first refusal wins, and ends it."""
        for hook, arguments in ASKING.items():
            refusal = Rejection("no")
            chain = self.chain([hook], None, refusal, Rejection("never"))
            self.assertIs(self.assertRaises(Rejection, self.call, chain, hook, *arguments), refusal)
            self.assertAsked("ab")

    def test_text(self) -> None:
        """The first text wins, but ends nothing."""
        for hook, arguments in ASKING.items():
            chain = self.chain([hook], None, "first", None, "second")
            self.assertEqual(self.call(chain, hook, *arguments), "first")
            self.assertAsked("abcd")

    def test_stagesWithoutTheHook(self) -> None:
        """A stage without the hook isn't asked."""
        chain = Part(SMTPHandler(), self.stage("b", "text", "onHello"), object())
        self.assertEqual(self.call(chain, "onHello", "name"), "text")
        self.assertAsked("b")

    def test_nested(self) -> None:
        """A chain may be a stage."""
        first = self.chain(["onRcptTo"], None, "text")
        chain = Part(first, self.stage("c", "other", "onRcptTo"))
        self.assertEqual(self.call(chain, "onRcptTo", "address"), "text")
        self.assertAsked("abc")


class WaitingTests(ChainTests):
    """Stages that take their time."""

    def setUp(self) -> None:
        """Have something to wait for."""
        super().setUp()
        self.first: Deferred[Any] = Deferred()
        self.second: Deferred[Any] = Deferred()

    def test_inTurn(self) -> None:
        """A stage isn't asked before the one before it has answered."""
        chain = self.chain(["onRcptTo"], None, self.first, None, self.second, None)
        result = self.call(chain, "onRcptTo", "address")
        self.assertAsked("ab")
        self.first.callback(None)
        self.assertAsked("cd")
        self.second.callback("text")
        self.assertAsked("e")
        self.assertEqual(self.successResultOf(result), "text")

    def test_textBefore(self) -> None:
        """A text from before the wait wins over those after it."""
        for results in (("text", succeed("b"), "c"), (None, succeed("text"), succeed("c"))):
            result = self.call(self.chain(["onRcptTo"], *results), "onRcptTo", "address")
            self.assertEqual(self.successResultOf(result), "text")
            self.assertAsked("abc")

    def test_refusedLate(self) -> None:
        """A refusal that was waited for ends it, too."""
        result = self.call(self.chain(["onRcptTo"], self.first, "never"), "onRcptTo", "address")
        self.first.errback(Rejection("no"))
        self.failureResultOf(result, Rejection)
        self.assertAsked("a")

    def test_refusedAfterwards(self) -> None:
        """So does one that follows a wait."""
        chain = self.chain(["onRcptTo"], self.first, Rejection("no"), "never")
        result = self.call(chain, "onRcptTo", "address")
        self.first.callback(None)
        self.failureResultOf(result, Rejection)
        self.assertAsked("ab")

    def test_coroutine(self) -> None:
        """A stage's hook may be a coroutine."""

        async def hook(address: object, session: object) -> Any:
            return await self.first

        chain = Part(fromFunctions(onRcptTo=hook), self.stage("b", None, "onRcptTo"))
        result = self.call(chain, "onRcptTo", "address")
        self.assertAsked("")
        self.first.callback("text")
        self.assertAsked("b")
        self.assertEqual(self.successResultOf(result), "text")

    def test_cancelled(self) -> None:
        """Canceling cancels the stage that is waited for, and asks no other."""
        for before in ((), (succeed(None),)):
            pending: Deferred[Any] = Deferred()
            chain = self.chain(["onRcptTo"], *before, pending, None)
            result = self.call(Part(chain), "onRcptTo", "address")
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.assertTrue(pending.called)
            self.assertAsked("ab"[: len(before) + 1])


class AuthTests(ChainTests):
    """The hooks that look for an answer."""

    def test_firstWins(self) -> None:
        """The first answer ends it."""
        for hook, arguments in UNTIL_ANSWERED.items():
            chain = self.chain([hook], None, "answer", "never")
            self.assertEqual(self.call(chain, hook, *arguments), "answer")
            self.assertAsked("ab")
            self.assertEqual(self.arguments, (*arguments, self.session))

    def test_nobody(self) -> None:
        """No answer from anybody is no answer."""
        for hook, arguments in UNTIL_ANSWERED.items():
            self.assertIsNone(self.call(self.chain([hook], None, None), hook, *arguments))
            self.assertAsked("ab")

    def test_refusal(self) -> None:
        """A refusal ends it."""
        for hook, arguments in UNTIL_ANSWERED.items():
            chain = self.chain([hook], None, AuthenticationFailed(), "never")
            self.assertRaises(AuthenticationFailed, self.call, chain, hook, *arguments)
            self.assertAsked("ab")

    def test_waiting(self) -> None:
        """An answer that was waited for ends it; if it is None the next stage is asked."""
        for hook, arguments in UNTIL_ANSWERED.items():
            for first, asked in (("answer", "a"), (None, "ab")):
                chain = self.chain([hook], succeed(first), "answer", "never")
                result = self.call(chain, hook, *arguments)
                self.assertEqual(self.successResultOf(result), "answer")
                self.assertAsked(asked)


class DataTests(ChainTests):
    """The one stage that takes the message."""

    def test_one(self) -> None:
        """It is called with the stream; its result is the chain's."""
        chain = Chain(SMTPHandler(), self.stage("b", "stored", "onData"), SMTPHandler())
        self.assertEqual(self.call(chain, "onData", "stream"), "stored")
        self.assertEqual(self.arguments, ("stream", self.session))

    def test_waiting(self) -> None:
        """It may take its time, and can be cancelled."""
        pending: Deferred[Any] = Deferred()
        result = self.call(self.chain(["onData"], pending), "onData", "stream")
        self.assertNoResult(result)
        result.cancel()
        self.failureResultOf(result, CancelledError)

    def test_none(self) -> None:
        """One has to have it, unless the chain is to be a stage itself."""
        for stages in ((), (SMTPHandler(), self.stage("b", None, "onRcptTo"))):
            error = self.assertRaises(ConfigurationError, Chain, *stages)
            self.assertIn("onData", str(error))

    def test_two(self) -> None:
        """Two are refused at once, by name."""

        class Store(SMTPHandler):
            def onData(self, stream: object, session: object) -> None:
                pass

        for stage in (Store(), Chain(Store()), fromFunctions(onData=Store().onData)):
            error = self.assertRaises(ConfigurationError, Chain, Store(), object(), stage)
            self.assertIn("onData", str(error))
            self.assertIn("Store", str(error))
            self.assertIn(repr(stage), str(error))

    def test_twoLater(self) -> None:
        """A second one that is assigned later is found when a message comes."""
        late = SMTPHandler()
        chain = Chain(self.stage("a", None, "onData"), late)
        late.onData = lambda stream, session: None  # type: ignore[method-assign]
        self.assertRaises(ConfigurationError, self.call, chain, "onData", "stream")
        self.assertAsked("")

    def test_nestedPolicies(self) -> None:
        """A chain without onData may be a stage of one that has it."""
        policies = self.chain(["onRcptTo"], None, None)
        chain = Chain(policies, self.stage("c", "stored", "onData"))
        self.assertEqual(self.call(chain, "onData", "stream"), "stored")
        self.assertAsked("c")

    def test_inner(self) -> None:
        """It may be within a chain that is a stage."""
        chain = Chain(SMTPHandler(), Chain(self.stage("c", "stored", "onData")))
        self.assertEqual(self.call(chain, "onData", "stream"), "stored")


class CloseTests(ChainTests):
    """Who learns of a connection's end."""

    BOTH = ("onConnect", "onClose")

    def close(self, chain: Chain, asked: str) -> None:
        """The connection ends, and the stages learn of it in this order."""
        self.asked.clear()
        self.assertIsNone(self.call(chain, "onClose"))
        self.assertAsked(asked)

    def test_all(self) -> None:
        """All stages, the last one first."""
        chain = self.chain(self.BOTH, None, None, None)
        self.call(chain, "onConnect")
        self.close(chain, "cba")

    def test_refused(self) -> None:
        """Those that were asked, the one that refused included."""
        chain = Part(
            self.stage("a", None, *self.BOTH),
            self.stage("b", None, "onClose"),
            refusing := self.stage("c", Rejection("no"), "onConnect"),
            self.stage("d", None, "onClose"),
            self.stage("e", None, *self.BOTH),
        )
        refusing.onClose = lambda session: self.asked.append("c")  # type: ignore[method-assign]
        self.assertRaises(Rejection, self.call, chain, "onConnect")
        self.assertAsked("ac")
        self.close(chain, "cba")

    def test_lostWhileWaiting(self) -> None:
        """Those up to the one that is waited for when the client leaves."""
        pending: Deferred[None] = Deferred()
        first = self.stage("a", None, *self.BOTH)
        second = self.stage("b", None, "onClose")
        second.onConnect = lambda session: pending  # type: ignore[method-assign]
        chain = Part(first, second, self.stage("c", None, *self.BOTH))
        connecting = self.call(chain, "onConnect")
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.close(chain, "ba")

    def test_nobodyIsAsked(self) -> None:
        """All of them where no stage has onConnect, so that the chain wasn't asked."""
        self.close(self.chain(["onClose"], None, None), "ba")

    def test_secondPass(self) -> None:
        """A second pass that ends earlier, as after XCLIENT, doesn't undo the first."""
        refusing = self.stage("b", None, *self.BOTH)
        chain = Part(self.stage("a", None, *self.BOTH), refusing, self.stage("c", None, *self.BOTH))
        self.call(chain, "onConnect")
        refusing.onConnect = self.stage("b", Rejection("no"), "onConnect").onConnect  # type: ignore[method-assign]
        self.assertRaises(Rejection, self.call, chain, "onConnect")
        self.close(chain, "cba")

    def test_sessions(self) -> None:
        """Each session is remembered for itself, and forgotten when it is closed or gone."""
        chain = self.chain(["onConnect", "onClose"], None)
        other = Session()
        self.call(chain, "onConnect")
        chain.onConnect(other)
        self.assertEqual(len(chain._reached), 2)
        self.call(chain, "onClose")
        self.assertEqual(list(chain._reached), [other])
        del other
        gc.collect()
        self.assertEqual(len(chain._reached), 0)

    def test_nested(self) -> None:
        """A chain that is a stage remembers its own."""
        inner = Part(
            self.stage("b", None, *self.BOTH),
            self.stage("c", Rejection("no"), "onConnect"),
            self.stage("d", None, *self.BOTH),
        )
        chain = Part(self.stage("a", None, *self.BOTH), inner, self.stage("e", None, *self.BOTH))
        self.assertRaises(Rejection, self.call, chain, "onConnect")
        self.close(chain, "ba")


class TellingTests(ChainTests):
    """Hooks that all stages must hear."""

    def test_order(self) -> None:
        """All stages are told, in order."""
        for hook, arguments in TELLING.items():
            self.assertIsNone(self.call(self.chain([hook], None, "text", None), hook, *arguments))
            self.assertAsked("abc")
            self.assertEqual(self.arguments, (*arguments, self.session))

    def assertAllTold(
        self, results: Sequence[object], hook: str, arguments: Sequence[object], asked: str
    ) -> None:
        """Two stages fail, the others are told nevertheless."""
        result = None
        with contextlib.suppress(ValueError):
            result = self.call(self.chain([hook], *results), hook, *arguments)
        if result is not None:
            self.failureResultOf(result, ValueError)
        self.assertAsked(asked)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_raising(self) -> None:
        """No failure stops it; the first one is raised, the other is logged."""
        for kind in (lambda error: error, fail):
            for hook, arguments in TELLING.items():
                results = [None, kind(ValueError()), kind(KeyError()), None]
                self.assertAllTold(results, hook, arguments, "abcd")
            results = [None, kind(KeyError()), kind(ValueError()), None]
            self.assertAllTold(results, "onClose", [], "dcba")

    def test_waiting(self) -> None:
        """A stage is told when the one before it is done."""
        pending: Deferred[None] = Deferred()
        chain = self.chain(["onError"], None, pending, None)
        result = self.call(chain, "onError", "failure")
        self.assertAsked("ab")
        pending.callback(None)
        self.assertAsked("c")
        self.assertIsNone(self.successResultOf(result))

    def test_cancelled(self) -> None:
        """Canceling cancels the stage that is waited for; the others are told nevertheless."""
        pending: Deferred[None] = Deferred()
        result = self.call(self.chain(["onError"], pending, None), "onError", "failure")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertAsked("ab")

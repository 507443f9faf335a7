"""Tests for calling the user's code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
from collections.abc import Callable, Generator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    fail,
    inlineCallbacks,
    maybeDeferred,
    succeed,
)
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks import blocking, defaultHook, findHook, invoke
from twisted_smtpserver.hooks.advice import loopAdvice
from twisted_smtpserver.hooks.coroutines import CoroutineRunner
from twisted_smtpserver.hooks.singleawait import SingleAwait


class FindHookTests(SynchronousTestCase):
    def test_found(self) -> None:
        """Whatever the handler has by that name, looked up each time."""
        handler = SimpleNamespace()
        self.assertIsNone(findHook(handler, "onData"))
        handler.onData = print
        self.assertIs(findHook(handler, "onData"), print)
        handler.onData = None
        self.assertIsNone(findHook(handler, "onData"))

    def test_default(self) -> None:
        """A default counts as none; a mock's doesn't count as one."""
        self.assertIsNone(findHook(SimpleNamespace(onData=defaultHook(lambda: None)), "onData"))
        mock = Mock()
        self.assertIs(findHook(mock, "onData"), mock.onData)


class InvokeTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """A plain function's result comes as it is, its exception too."""
        result = object()
        self.assertIs(invoke(lambda one, two: (one, two, result)[2], 1, 2), result)
        self.assertRaises(ZeroDivisionError, invoke, lambda: 1 // 0)

    def test_deferred(self) -> None:
        """A Deferred is passed on."""
        result: Deferred[None] = Deferred()
        self.assertIs(invoke(lambda: result), result)

    def test_coroutine(self) -> None:
        """An async def is run at once, as far as it goes without waiting."""
        steps: list[str] = []
        gate: Deferred[str] = Deferred()

        async def hook(argument: str) -> str:
            steps.append(argument)
            steps.append(await gate)
            return "done"

        result = invoke(hook, "begun")
        self.assertEqual(steps, ["begun"])
        self.assertNoResult(result)
        gate.callback("gone on")
        self.assertEqual(steps, ["begun", "gone on"])
        self.assertEqual(self.successResultOf(result), "done")

    def test_coroutineThatNeverWaits(self) -> None:
        """An async def that has nothing to wait for is as good as a plain function."""

        async def hook(divisor: int) -> float:
            return await succeed(1) / divisor

        self.assertEqual(invoke(hook, 2), 0.5)
        self.assertRaises(ZeroDivisionError, invoke, hook, 0)

    def test_coroutineEnds(self) -> None:
        """What isn't for callers to catch is the Deferred's failure, also if it comes at once."""
        for error in (GeneratorExit, SystemExit, asyncio.CancelledError):

            async def hook(error: type[BaseException] = error) -> None:
                raise error

            self.failureResultOf(invoke(hook), error)

    def test_firedAlready(self) -> None:
        """An awaitable may hand over Deferreds that have fired; the stack doesn't grow by that."""

        @types.coroutine
        def ask(deferred: Deferred[int]) -> Any:
            return (yield deferred)

        async def hook() -> int:
            total = 0
            for _ in range(5000):
                total += await ask(succeed(1))
                with contextlib.suppress(LookupError):
                    await ask(fail(LookupError()))
            return total

        self.assertEqual(invoke(hook), 5000)

    def test_coroutineRaises(self) -> None:
        """What it raises after it waited is the Deferred's failure."""
        gate: Deferred[int] = Deferred()

        async def hook() -> float:
            return 1 / await gate

        result = invoke(hook)
        gate.callback(0)
        self.failureResultOf(result, ZeroDivisionError)

    def test_context(self) -> None:
        """It has a copy of the context (PEP 567): what it sets there stays, and with it alone."""
        variable: ContextVar[str] = ContextVar("variable", default="outside")
        gate: Deferred[None] = Deferred()

        async def hook() -> str:
            variable.set("inside")
            await gate
            return variable.get()

        result = invoke(hook)
        self.assertEqual(variable.get(), "outside")
        gate.callback(None)
        self.assertEqual(self.successResultOf(result), "inside")
        self.assertEqual(variable.get(), "outside")

    def test_coroutineCatches(self) -> None:
        """The failure of what it awaits is raised in it, and can be caught."""
        gate: Deferred[None] = Deferred()

        async def hook() -> str:
            try:
                await gate
            except LookupError:
                return "caught"
            return "not raised"

        result = invoke(hook)
        gate.errback(LookupError())
        self.assertEqual(self.successResultOf(result), "caught")

    def test_canceled(self) -> None:
        """To cancel the Deferred is to cancel what the coroutine awaits."""
        clock = Clock()

        async def hook() -> None:
            await deferLater(clock, 5)

        result = invoke(hook)
        result.cancel()
        self.failureResultOf(result)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_canceledInVain(self) -> None:
        """A coroutine may go on after it was canceled; its end is of no interest then."""
        gate: Deferred[bool] = Deferred()

        async def hook() -> float:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return 1 / await gate

        for outcome in (True, False):
            gate = Deferred()
            result = invoke(hook)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            gate.callback(outcome)

    def test_closed(self) -> None:
        """A coroutine that is dropped while it waits is closed properly."""
        closed: list[bool] = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                closed.append(True)

        result = invoke(hook)
        self.assertNoResult(result)
        del result
        gc.collect()
        self.assertEqual(closed, [True])

    def test_otherAwaitable(self) -> None:
        """What isn't a Deferred, as ``asyncio.sleep(0)`` yields, is no reason to wait."""

        async def hook() -> str:
            await asyncio.sleep(0)
            return "done"

        self.assertEqual(invoke(hook), "done")


@inlineCallbacks
def byGenerator(hook: Callable[[], Any]) -> Generator[Any, Any, Any]:
    """Run a coroutine in the old way."""
    return (yield Deferred.fromCoroutine(hook()))


class SingleAwaitTests(SynchronousTestCase):
    """A wait of which a Run is told directly, and others as by any Deferred."""

    def waiting(self, run: Callable[[Any], Any]) -> tuple[SingleAwait[str], Any]:
        def cancel(awaited: Deferred[str]) -> None:
            assert isinstance(awaited, SingleAwait)
            awaited.fire(Failure(CancelledError()))

        awaited = SingleAwait[str](cancel)

        async def hook() -> str:
            try:
                return await awaited + " came"
            except ZeroDivisionError:
                return "nothing came"

        result = run(hook)
        self.assertNoResult(result)
        return awaited, result

    RUNS: tuple[Callable[[Any], Any], ...] = (
        invoke,
        lambda hook: Deferred.fromCoroutine(hook()),
        byGenerator,
    )

    def test_result(self) -> None:
        """The result arrives, whoever runs the coroutine; a Run needs no callback for it."""
        for run in self.RUNS:
            awaited, result = self.waiting(run)
            self.assertEqual(awaited.waiter is not None, run is invoke)
            awaited.fire("it")
            self.assertEqual(self.successResultOf(result), "it came")
            self.assertRaises(AlreadyCalledError, awaited.callback, "again")

    def test_failure(self) -> None:
        """So does a failure."""
        for run in self.RUNS:
            awaited, result = self.waiting(run)
            awaited.fire(Failure(ZeroDivisionError()))
            self.assertEqual(self.successResultOf(result), "nothing came")

    def test_cancelTooLate(self) -> None:
        """What is over can't be canceled."""
        results: list[int] = []

        async def hook() -> int:
            return 5

        CoroutineRunner(hook(), results.append, self.fail).cancel()
        self.assertEqual(results, [5])

    def test_cancel(self) -> None:
        """Who cancels the coroutine ends the wait."""
        for run in self.RUNS:
            _, result = self.waiting(run)
            result.cancel()
            self.failureResultOf(result, CancelledError)


class AsyncioTests(SynchronousTestCase):
    """What awaits asyncio's futures works where asyncio's loop runs, and says so elsewhere."""

    def test_otherReactor(self) -> None:
        """Without the loop there is advice."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)

        async def hook() -> None:
            await loop.create_future()

        error = self.assertRaises(RuntimeError, invoke, hook)
        self.assertIn("--reactor=asyncio", str(error))
        self.assertRaises(RuntimeError, invoke, loop.create_future)

    def test_advice(self) -> None:
        """What fails for want of the loop, even as a cause, gets advice; other errors get none."""
        coroutines: list[Callable[[], Any]] = [
            lambda: asyncio.sleep(1),
            lambda: asyncio.to_thread(print),
            lambda: asyncio.open_connection("127.0.0.1", 1),
        ]
        for make in coroutines:
            error = self.assertRaises(RuntimeError, invoke, make)
            self.assertIn("--reactor=asyncio", loopAdvice(error))
        # As sniffio says it to httpx, and a library that wraps it.
        unknown = RuntimeError("unknown async library, or not in async context")
        wrapped = ValueError("no answer")
        wrapped.__cause__ = unknown
        for caused in (unknown, wrapped):
            self.assertIn("--reactor=asyncio", loopAdvice(caused))
        endless = ValueError("again")
        endless.__context__ = endless
        for other in (None, endless, ValueError("event loop"), RuntimeError(), RuntimeError("no")):
            self.assertEqual(loopAdvice(other), "")

    def test_adviceInLoop(self) -> None:
        """Where the loop runs there is other advice, about Deferreds in tasks of one's own."""

        async def main() -> list[str]:
            try:
                await asyncio.ensure_future(self.awaitDeferred())
            except RuntimeError as error:
                return [loopAdvice(error), loopAdvice(RuntimeError("no running event loop"))]
            raise AssertionError

        advice, none = asyncio.run(main())
        self.assertIn("asFuture", advice)
        self.assertEqual(none, "")

    async def awaitDeferred(self) -> None:
        await Deferred()

    def inLoop(self, hook: Any, *arguments: Any) -> Any:
        """Run a hook where asyncio's loop runs."""

        async def main() -> Any:
            result = maybeDeferred(invoke, hook, *arguments)
            return await result.asFuture(asyncio.get_running_loop())

        return asyncio.run(main())

    def test_futures(self) -> None:
        """A coroutine may await futures and Deferreds in turns; a future may be the result."""

        async def hook() -> list[str]:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, "future")
            task = asyncio.create_task(asyncio.sleep(0, "task"))
            return [await future, await succeed("deferred"), await task]

        self.assertEqual(self.inLoop(hook), ["future", "deferred", "task"])
        self.assertEqual(self.inLoop(lambda: asyncio.ensure_future(asyncio.sleep(0, 7))), 7)

    def test_failingFuture(self) -> None:
        """A future's exception is raised where it is awaited."""

        async def hook() -> str:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(LookupError("gone"))
            try:
                await future
            except LookupError as error:
                return str(error)
            return "not raised"

        self.assertEqual(self.inLoop(hook), "gone")

    def test_cancel(self) -> None:
        """To cancel the hook is to cancel the future it awaits."""
        futures: list[asyncio.Future[None]] = []

        async def hook() -> None:
            futures.append(asyncio.get_running_loop().create_future())
            await futures[0]

        async def main() -> None:
            result = invoke(hook)
            result.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.failureResultOf(result)

        asyncio.run(main())
        self.assertTrue(futures[0].cancelled())


class BlockingTests(TestCase):
    def test_blockingCoroutine(self) -> None:
        """An async def in a thread would never run, and so never refuse."""

        async def check() -> None:
            """Never called."""

        self.assertRaises(ConfigurationError, blocking, check)

    def test_blocking(self) -> Deferred[Any]:
        """A blocking hook runs in a thread, with the hook's arguments, by name as well."""

        def check(one: int, *, two: int) -> int:
            return one + two

        def judge(result: int) -> None:
            self.assertEqual(result, 3)

        return blocking(check)(1, two=2).addCallback(judge)

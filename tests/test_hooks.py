"""Tests for calling the user's code."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks import _bridge, blocking, defaultHook, findHook, invoke


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

    def test_coroutineRaises(self) -> None:
        """What it raises, before or after it waited, is the Deferred's failure."""

        async def hook(wait: bool) -> None:
            if wait:
                await succeed(None)
            raise ZeroDivisionError

        for wait in (False, True):
            self.failureResultOf(invoke(hook, wait), ZeroDivisionError)

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

    def test_closed(self) -> None:
        """A coroutine that is dropped while it waits is closed properly."""
        closed: list[bool] = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                closed.append(True)

        bridge = _bridge(hook())
        bridge.send(None)
        bridge.close()
        self.assertEqual(closed, [True])


class AsyncioTests(SynchronousTestCase):
    """What awaits asyncio's futures works where asyncio's loop runs, and says so elsewhere."""

    def test_otherReactor(self) -> None:
        """Without the loop there is advice."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)

        async def hook() -> None:
            await loop.create_future()

        failure = self.failureResultOf(invoke(hook), RuntimeError)
        self.assertIn("--reactor=asyncio", str(failure.value))
        self.assertRaises(RuntimeError, invoke, loop.create_future)

    def inLoop(self, hook: Any, *arguments: Any) -> Any:
        """Run a hook where asyncio's loop runs."""

        async def main() -> Any:
            return await invoke(hook, *arguments).asFuture(asyncio.get_running_loop())

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
        """A blocking hook runs in a thread, with the hook's arguments."""

        def check(one: int, two: int) -> int:
            return one + two

        def judge(result: int) -> None:
            self.assertEqual(result, 3)

        return blocking(check)(1, 2).addCallback(judge)

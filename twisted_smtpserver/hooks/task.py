"""
Hooks as tasks of asyncio's, where its loop runs: then they may await what asyncio offers.

``asyncio.timeout()``, ``TaskGroup``, anyio and httpx ask for the current task, and cancel it. A
:class:`HookTask` is one, that awaits Deferreds as well.
"""

from __future__ import annotations

import asyncio
from asyncio import _enter_task, _leave_task  # asyncio's documentation has them, "Extending"
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from time import perf_counter
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.blocked import BLOCKING_TIME, hookBlocked, nameOf
from twisted_smtpserver.hooks.firing import whenFired

_NOTHING = object()


class HookTask:
    """
    Runs a coroutine in a task.

    It is begun at once, and not with the loop's next turn: a hook that never waits has its result
    at once, as on other reactors. To cancel it is to cancel the task: what it awaits is canceled,
    be it a future or a Deferred, and the coroutine meets :exc:`asyncio.CancelledError`.

    :param coroutine: it runs in a copy of the current context (PEP 567).
    :param returned: called with its result.
    :param raised: called with its exception, :class:`twisted.internet.defer.CancelledError` if it
        was canceled; one of the two is called once.
    :raises RuntimeError: if no loop runs.
    """

    __slots__ = (
        "__weakref__",
        "_coroutine",
        "_early",
        "_future",
        "_isOver",
        "_loop",
        "_raised",
        "_returned",
        "_runInContext",
        "_task",
    )

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        returned: Callable[[Any], object],
        raised: Callable[[BaseException], object],
    ) -> None:
        self._coroutine = coroutine
        self._returned = returned
        self._raised = raised
        self._runInContext = copy_context().run
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] | None = None  # stands for the Deferred that is awaited
        self._isOver = False
        # Not by the loop, whose factory may begin it, too.
        self._task = asyncio.Task(cast("Coroutine[Any, Any, None]", self), loop=self._loop)
        # What the coroutine waits for, until the task takes it up.
        self._early: Any = _NOTHING
        self._goOn(self._coroutine.send, None)

    def cancel(self) -> None:
        """Cancel the task, unless it is over."""
        if not self._isOver:
            self._task.cancel()

    def _goOn(self, resume: Callable[[Any], Any], argument: Any) -> None:
        """Go on at once, in the task's name, and not when the loop next comes to it."""
        current = asyncio.current_task(self._loop)
        if current is not None:
            _leave_task(self._loop, current)
        _enter_task(self._loop, self._task)
        try:
            self._early = self._step(resume, argument)
        except (StopIteration, asyncio.CancelledError):
            self._early = _NOTHING
        finally:
            _leave_task(self._loop, self._task)
            if current is not None:
                _enter_task(self._loop, current)

    # -- What the task calls ----------------------------------------------------------------------

    def send(self, value: None) -> Any:
        """What it waited for is there."""
        if self._isOver:
            raise StopIteration
        if self._early is _NOTHING:
            return self._step(self._coroutine.send, None)
        early, self._early = self._early, _NOTHING
        return early

    def throw(self, error: BaseException) -> Any:
        """It was canceled, or what it waited for failed."""
        if self._isOver:
            raise StopIteration
        early, self._early, self._future = self._early, _NOTHING, None
        if isinstance(early, asyncio.Future):  # the task doesn't know it yet
            early.cancel()
        return self._step(self._coroutine.throw, error)

    def close(self) -> None:
        """The loop gives it up."""
        self._coroutine.close()

    def _step(self, resume: Callable[[Any], Any], argument: Any) -> Any:
        """
        Go on.

        :returns: what the task is to wait for.
        :raises StopIteration: at the end.
        """
        while True:
            began = perf_counter()
            try:
                awaited = self._runInContext(resume, argument)
            except StopIteration as stop:
                if perf_counter() - began > BLOCKING_TIME:
                    hookBlocked(nameOf(self._coroutine), perf_counter() - began)
                self._isOver = True
                self._returned(stop.value)
                raise StopIteration from None
            except asyncio.CancelledError:
                self._isOver = True
                self._raised(CancelledError())
                raise
            except BaseException as error:
                self._isOver = True
                self._raised(error)
                raise StopIteration from None
            if perf_counter() - began > BLOCKING_TIME:
                hookBlocked(nameOf(self._coroutine), perf_counter() - began)
            if not isinstance(awaited, Deferred):
                return awaited
            future = self._follow(awaited)
            if not future.done():
                self._future = future
                return future
            resume, argument = self._resumption(future.result())

    def _follow(self, deferred: Deferred[Any]) -> asyncio.Future[Any]:
        """
        A future for the task to wait for in place of a Deferred.

        When that fires, the coroutine goes on at once, so that the code that fired it may see what
        comes of it; the task learns of it later. ``Deferred.__await__`` takes the result from where
        it is, so that has to stay.
        """
        future = self._loop.create_future()

        def fired(result: Any) -> None:
            if not future.done():  # else it was canceled
                isAwaited = self._future is future  # else it had fired already
                future.set_result(None if isAwaited else result)
                if isAwaited:
                    self._future = None
                    self._goOn(*self._resumption(result))

        def ended(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                deferred.cancel()

        whenFired(deferred, fired)
        future.add_done_callback(ended)
        future._asyncio_future_blocking = True  # as its __await__ would
        return future

    def _resumption(self, result: Any) -> tuple[Callable[[Any], Any], Any]:
        """How to go on with the result of a Deferred."""
        if isinstance(result, Failure):
            return self._coroutine.throw, result.value
        return self._coroutine.send, result


Coroutine.register(HookTask)  # a task asks for no more than send(), throw() and close()

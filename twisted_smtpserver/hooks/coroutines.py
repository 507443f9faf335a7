"""Running a hook that is an ``async def``."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # without the exception that get_running_loop() makes
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from time import perf_counter
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.advice import NEEDS_ASYNCIO
from twisted_smtpserver.hooks.blocked import BLOCKING_TIME, hookBlocked, nameOf
from twisted_smtpserver.hooks.firing import whenFired
from twisted_smtpserver.hooks.singleawait import SingleAwait
from twisted_smtpserver.hooks.task import HookTask

_T = TypeVar("_T")


def runCoroutine(
    coroutine: Coroutine[Any, Any, Any],
    returned: Callable[[Any], object],
    raised: Callable[[BaseException], object],
) -> CoroutineRunner | HookTask:
    """
    Run a coroutine: as a task of asyncio's where its loop runs, else by a runner of our own.

    :param coroutine: begun at once, and run until it waits.
    :param returned: called with its result.
    :param raised: called with its exception; one of the two is called once.
    """
    if _get_running_loop() is None:
        return CoroutineRunner(coroutine, returned, raised)
    return HookTask(coroutine, returned, raised)


_WAITED_FOR: Final = (Deferred, asyncio.Future)


class CoroutineRunner:
    """
    Runs a coroutine that awaits Deferreds, where no loop of asyncio's runs: else it is for a
    :class:`~twisted_smtpserver.hooks.task.HookTask`.

    :meth:`Deferred.fromCoroutine` takes three times as long. Like that, it runs the coroutine in a
    copy of the current context (PEP 567).

    :param coroutine: begun at once, and run until it waits.
    :param returned: called with its result.
    :param raised: called with its exception; one of the two is called once.
    """

    __slots__ = (
        "_awaited",
        "_coroutine",
        "_isEarly",
        "_raised",
        "_result",
        "_returned",
        "_runInContext",
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
        self._awaited: Deferred[Any] | None = None
        self._runInContext = copy_context().run
        self._isEarly = False
        self._result: Any = None
        self._resume(None)

    def cancel(self) -> None:
        """Cancel what the coroutine awaits."""
        if self._awaited is not None:
            self._awaited.cancel()

    def _resume(self, result: Any) -> None:
        """(Also the callback and errback of what is awaited.)"""
        if self._isEarly:  # it had fired already: the loop below goes on, or the stack might end
            self._isEarly = False
            self._result = result
            return
        run, send = self._runInContext, self._coroutine.send
        while True:
            self._awaited = None
            try:
                began = perf_counter()
                if isinstance(result, Failure):
                    awaited = run(result.throwExceptionIntoGenerator, self._coroutine)
                else:
                    awaited = run(send, result)
                while type(awaited) is not SingleAwait and not isinstance(awaited, _WAITED_FOR):
                    awaited = run(send, awaited)
            except StopIteration as stop:
                if perf_counter() - began > BLOCKING_TIME:
                    hookBlocked(nameOf(self._coroutine), perf_counter() - began)
                self._returned(stop.value)
                return
            except BaseException as error:
                self._raised(error)
                return
            if perf_counter() - began > BLOCKING_TIME:
                hookBlocked(nameOf(self._coroutine), perf_counter() - began)
            if type(awaited) is SingleAwait:
                self._awaited = awaited
                awaited.waiter = self._resume
                return
            if not self._follow(awaited):
                return
            result, self._result = self._result, None

    def _follow(self, awaited: Deferred[Any] | asyncio.Future[Any]) -> bool:
        """
        Wait for something.

        :returns: whether that is over already; then there is a result.
        """
        if isinstance(awaited, asyncio.Future):
            awaited = _await(awaited)
        self._awaited = awaited
        self._isEarly = True
        whenFired(awaited, self._resume)
        isOver = not self._isEarly
        self._isEarly = False
        return isOver


def _await(future: asyncio.Future[Any]) -> Deferred[Any]:
    # The code that drives a coroutine must clear this mark, as asyncio's own tasks do.
    future._asyncio_future_blocking = False
    try:
        return fromFuture(future)
    except RuntimeError:
        return fail()


def fromFuture(future: asyncio.Future[_T]) -> Deferred[_T]:
    """
    :param future: one of asyncio's.
    :returns: a Deferred with its result.
    :raises RuntimeError: if its loop doesn't run here.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is not future.get_loop():
        raise RuntimeError(NEEDS_ASYNCIO)
    return Deferred.fromFuture(future)

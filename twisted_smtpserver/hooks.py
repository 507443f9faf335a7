"""
Calling the user's code.

A hook that answers at once costs a plain function call: no Deferred is made for it, nor for an
``async def`` that never waits. The others take the asynchronous path, which is the caller's to
choose by looking at the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError

_T = TypeVar("_T")

Hook = Callable[..., Any]

_NEEDS_ASYNCIO = (
    "this hook awaits an asyncio future, which needs Twisted's asyncio reactor: run twistd with "
    "--reactor=asyncio, or install twisted.internet.asyncioreactor before anything else"
)


def findHook(handler: object, name: str) -> Hook | None:
    """
    The handler's hook of a name, looked up anew each time: it may be assigned later.

    :param handler: any object.
    :param name: a name from :data:`twisted_smtpserver.interfaces.HOOKS`.
    :returns: the callable, or ``None`` where the handler has none, or only the default that
        :class:`~twisted_smtpserver.handlers.SMTPHandler` gave it.
    """
    hook: Hook | None = getattr(handler, name, None)
    return None if hook is None or isDefault(hook) else hook


def isDefault(hook: Hook) -> bool:
    """Whether a hook is marked by :func:`defaultHook`."""
    # "is True": a mock has every attribute that it is asked for.
    return getattr(hook, "isDefaultHook", None) is True


def defaultHook(function: _T) -> _T:
    """Mark a hook as a default, which counts as none."""
    function.isDefaultHook = True  # type: ignore[attr-defined]
    return function


def invoke(function: Hook, *arguments: object) -> Any:
    """
    Call a hook.

    :param function: the hook.
    :returns: its plain result, also that of an ``async def`` which never had to wait; a Deferred if
        it returned one or waits.
    :raises Exception: whatever the hook raises before it first waits.
    """
    return resultOf(function(*arguments))


def resultOf(returned: Any) -> Any:
    """
    :param returned: what a hook returned when it was called.
    :returns: its plain result, or a Deferred; as :func:`invoke`.
    """
    if isinstance(returned, CoroutineType):
        return _whenDone(returned)
    return returned if returned is None else asDeferred(returned)


def asDeferred(result: Any) -> Any:
    """
    :param result: what a hook returned that is no ``async def``.
    :returns: a Deferred for an asyncio future; all else as it is.
    """
    return _fromFuture(result) if isinstance(result, asyncio.Future) else result


def _whenDone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, or a Deferred with it."""
    early: list[tuple[Any, BaseException | None]] = []
    answer: Deferred[Any] | None = None

    def returned(result: Any) -> None:
        if answer is None:
            early.append((result, None))
        elif not answer.called:  # it may have gone on after it was canceled
            answer.callback(result)

    def raised(error: BaseException) -> None:
        if answer is None:
            early.append((None, error))
        elif not answer.called:
            answer.errback(Failure(error))

    run = Run(coroutine, returned, raised)
    if early:
        result, error = early.pop()  # not kept: a traceback that leads to itself is garbage
        if error is None:
            return result
        if not isinstance(error, Exception):
            return fail(error)  # CancelledError, GeneratorExit …: not for our callers to fall over
        try:
            raise error
        finally:
            del error
    answer = Deferred(lambda _: run.cancel())
    return answer


class Awaited(Deferred[_T]):
    """
    A Deferred for one ``await``, and nothing else.

    If it is a :class:`Run` that waits, the result goes there directly, at a tenth of what it costs
    to run callbacks. To all others it is any Deferred. It is fired by :meth:`fire` only, and not
    before it is awaited.

    :ivar waiter: called with the result, or a Failure.
    """

    waiter: Callable[[Any], None] | None = None

    def __await__(self) -> Generator[Any, Any, _T]:
        result: _T = yield self  # who runs the coroutine sends it
        return result

    def fire(self, result: Any) -> None:
        """
        End the wait.

        :param result: the result, or a Failure.
        """
        if self.waiter is None:
            self.callback(result)
        else:
            self.called = True
            self.waiter(result)


_WAITED_FOR = (Deferred, asyncio.Future)


class Run:
    """
    Runs a coroutine that awaits Deferreds and, on the asyncio reactor, asyncio's futures.

    :meth:`Deferred.fromCoroutine` takes three times as long, and doesn't know futures. Like that,
    it runs the coroutine in a copy of the current context (PEP 567).

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
                if isinstance(result, Failure):
                    awaited = run(result.throwExceptionIntoGenerator, self._coroutine)
                else:
                    awaited = run(send, result)
                while type(awaited) is not Awaited and not isinstance(awaited, _WAITED_FOR):
                    awaited = run(send, awaited)
            except StopIteration as stop:
                self._returned(stop.value)
                return
            except BaseException as error:
                self._raised(error)
                return
            if type(awaited) is Awaited:
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
        awaited.addBoth(self._resume)
        isOver = not self._isEarly
        self._isEarly = False
        return isOver


def _await(future: asyncio.Future[Any]) -> Deferred[Any]:
    # Whoever drives a coroutine must clear this mark, as asyncio's own tasks do.
    future._asyncio_future_blocking = False
    try:
        return _fromFuture(future)
    except RuntimeError:
        return fail()


def _fromFuture(future: asyncio.Future[_T]) -> Deferred[_T]:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is not future.get_loop():
        raise RuntimeError(_NEEDS_ASYNCIO)
    return Deferred.fromFuture(future)


def blocking(function: Callable[..., _T]) -> Callable[..., Deferred[_T]]:
    """
    Turn a function that blocks into a hook, by running it in the reactor's thread pool.

    ::

        SMTPServerFactory(onRcptTo=blocking(lookUpInTheDatabase))

    :param function: it must not touch anything of Twisted's but through ``callFromThread``; reading
        the session and the address is fine. It can't be interrupted: after ``handlerTimeout`` its
        result is thrown away.
    :returns: a callable with the same arguments, whose result is a Deferred.
    :raises ConfigurationError: for an ``async def``, which is a hook as it is.
    """
    if iscoroutinefunction(function):
        raise ConfigurationError("blocking() is for plain functions: an async def never blocks")

    def runInThread(*arguments: object, **keywords: object) -> Deferred[_T]:
        return deferToThread(function, *arguments, **keywords)

    return runInThread

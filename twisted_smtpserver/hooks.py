"""
Calling the user's code.

A hook that answers at once costs a plain function call: no Deferred is made for it. Coroutines and
Deferreds take the asynchronous path, which is the caller's to choose by looking at the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from inspect import iscoroutinefunction
from types import CoroutineType, coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

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
    # "is True": a mock has every attribute that it is asked for.
    return None if getattr(hook, "isDefaultHook", None) is True else hook


def defaultHook(function: _T) -> _T:
    """Mark a hook as a default, which counts as none."""
    function.isDefaultHook = True  # type: ignore[attr-defined]
    return function


def invoke(function: Hook, *arguments: object) -> Any:
    """
    Call a hook.

    :param function: the hook.
    :returns: its plain result; a Deferred if it returned one or is an ``async def``.
    :raises Exception: whatever the hook raises before it first waits.
    """
    result = function(*arguments)
    if isinstance(result, CoroutineType):
        return Deferred.fromCoroutine(_bridge(result))
    if isinstance(result, asyncio.Future):
        return _fromFuture(result)
    return result


@coroutine
def _bridge(inner: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    """Let a coroutine await both Deferreds and, on the asyncio reactor, asyncio's futures."""
    step: Callable[[Any], Any] = inner.send
    value: Any = None
    while True:
        try:
            awaited = step(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        try:
            value = yield from _wait(awaited)
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:
            step, value = inner.throw, error
        else:
            step = inner.send


def _wait(awaited: Any) -> Generator[Any, Any, Any]:
    if isinstance(awaited, asyncio.Future):
        # Whoever drives a coroutine must clear this mark, as asyncio's own tasks do.
        awaited._asyncio_future_blocking = False
        yield from _fromFuture(awaited)
        return None  # the future gives its result to whoever awaits it by itself
    return (yield awaited)


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

    def runInThread(*arguments: object) -> Deferred[_T]:
        return deferToThread(function, *arguments)

    return runInThread

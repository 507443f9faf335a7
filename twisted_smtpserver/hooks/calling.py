"""
Calling the user's code.

A hook that answers at once costs a plain function call: no Deferred is made for it, nor for an
``async def`` that never waits. The others take the asynchronous path, which is the caller's to
choose by looking at the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.coroutines import fromFuture, runCoroutine

_T = TypeVar("_T")

Hook = Callable[..., Any]


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
    return fromFuture(result) if isinstance(result, asyncio.Future) else result


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

    run = runCoroutine(coroutine, returned, raised)
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

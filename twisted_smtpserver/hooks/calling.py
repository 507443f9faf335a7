"""
Calling the user's code.

A hook that answers at once costs a plain function call: no Deferred is made for it, nor for an
``async def`` that never waits. The others take the asynchronous path, which is the caller's to
choose by looking at the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.coroutines import fromFuture, runCoroutine

_T = TypeVar("_T")

Hook = Callable[..., Any]

#: ``getattr``, by a name that means nothing to mypyc: where there is no such attribute, what that
#: makes of it raises an exception and catches it, which takes four times as long.
attribute: Final[Any] = getattr


def findHook(handler: object, name: str) -> Hook | None:
    """
    The handler's hook of a name, looked up each time: it may be assigned later.

    :param handler: any object.
    :param name: a name from :data:`twisted_smtpserver.interfaces.HOOKS`.
    :returns: the callable, or ``None`` where the handler has none, or only the default that
        :class:`~twisted_smtpserver.handlers.SMTPHandler` gave it.
    """
    hook: Hook | None = attribute(handler, name, None)
    return None if hook is None or isDefault(hook) else hook


def isDefault(hook: Hook) -> bool:
    """Whether a hook is marked by :func:`defaultHook`."""
    # The mark is the function's, and a bound method without it takes an exception to say so.
    function = attribute(hook, "__func__", hook)
    # "is True": a mock has every attribute that it is asked for.
    return attribute(function, "isDefaultHook", None) is True


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
    answer = _Answer()
    run = runCoroutine(coroutine, answer.returned, answer.raised)
    return answer.take() if answer.isThere else answer.wait(run.cancel)


class _Answer:
    """
    What comes of a coroutine.

    :ivar isThere: whether it came before anybody waited.
    """

    __slots__ = ("_error", "_result", "_waiter", "isThere")

    def __init__(self) -> None:
        self.isThere = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._waiter: Deferred[Any] | None = None

    def returned(self, result: Any) -> None:
        if self._waiter is None:
            self.isThere = True
            self._result = result
        elif not self._waiter.called:  # it may have gone on after it was canceled
            self._waiter.callback(result)

    def raised(self, error: BaseException) -> None:
        if self._waiter is None:
            self.isThere = True
            self._error = error
        elif not self._waiter.called:
            self._waiter.errback(Failure(error))

    def take(self) -> Any:
        """The result, which is there."""
        error, self._error = self._error, None  # a traceback that leads to itself is garbage
        if error is None:
            return self._result
        if not isinstance(error, Exception):
            return fail(error)  # CancelledError, GeneratorExit …: not for our callers to fall over
        try:
            raise error
        finally:
            del error

    def wait(self, cancel: Callable[[], None]) -> Deferred[Any]:
        """A Deferred of the result; it is canceled by the given function."""
        self._waiter = Deferred(lambda _: cancel())
        return self._waiter

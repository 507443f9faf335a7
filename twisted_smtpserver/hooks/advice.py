"""What to do about hooks that want a loop of asyncio's where none runs, or the other way round."""

from __future__ import annotations

import inspect
import re
from asyncio import _get_running_loop  # without the exception that get_running_loop() makes

_INSTALL = (
    "run twistd with --reactor=asyncio, or install twisted.internet.asyncioreactor before anything "
    "else"
)

#: Advice for a hook that awaits an asyncio future without that reactor.
NEEDS_ASYNCIO = (
    f"this hook awaits an asyncio future, which needs Twisted's asyncio reactor: {_INSTALL}"
)
_NEEDS_LOOP = (
    f"it needs asyncio's loop: {_INSTALL}; or use what Twisted has, deferLater() instead of "
    "asyncio.sleep(), blocking() or deferToThread() instead of to_thread()"
)
# What asyncio, anyio and sniffio say.
_NO_LOOP = re.compile("event loop|async library")
_FOREIGN_TASK = (
    "a task of your own can't await a Deferred: have it await "
    "deferred.asFuture(asyncio.get_running_loop())"
)
_BAD_YIELD = re.compile("Task got bad yield: <Deferred")
_MOST_CAUSES = 10


# What Python says of mistakes that people make in hooks, and what to do.
_MISTAKES = {
    re.compile("'(?:Deferred|coroutine)' object|type '(?:Deferred|coroutine)'"): (
        "a Deferred or a coroutine was used instead of its result: await it in an async def"
    ),
    re.compile("'MessageStream' object is not iterable"): (
        "read the message by async for, or await stream.read(), in an async def"
    ),
    re.compile("exceptions must derive from BaseException"): "raise Rejection(text) to refuse",
}
_PACKAGE = __name__.partition(".")[0]


def adviceOn(error: BaseException | None) -> str:
    """
    What to do about an error of a hook's, if it is one that people make.

    :param error: what it raised.
    :returns: the advice; ``""`` if there is none.
    """
    if isinstance(error, (AttributeError, TypeError)):
        for pattern, advice in _MISTAKES.items():
            if pattern.search(str(error.args[:1])):
                return advice
    if isinstance(error, AttributeError):
        return _superAdvice(error.obj, error.name)
    return loopAdvice(error)


def _superAdvice(made: object, name: str | None) -> str:
    """About an attribute that the constructor of a class of ours would have set."""
    first, *bases = type(made).__mro__
    for base in bases:
        begin = base.__dict__.get("__init__")
        if not base.__module__.startswith(_PACKAGE) or not inspect.isfunction(begin):
            continue
        if name in begin.__code__.co_names:
            return f"{first.__name__}.__init__ has to call super().__init__() of {base.__name__}"
    return ""


def loopAdvice(error: BaseException | None) -> str:
    """
    What to do about an error, if a hook failed because asyncio's loop doesn't run here, or because
    Deferreds are none of asyncio's business.

    :param error: what it raised.
    :returns: the advice; ``""`` if the error is another, or says it already.
    """
    isRunning = _get_running_loop() is not None
    pattern, advice = (_BAD_YIELD, _FOREIGN_TASK) if isRunning else (_NO_LOOP, _NEEDS_LOOP)
    cause = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            break
        if isinstance(cause, RuntimeError) and pattern.search(str(cause.args[:1])):
            return advice
        cause = cause.__cause__ or cause.__context__
    return ""

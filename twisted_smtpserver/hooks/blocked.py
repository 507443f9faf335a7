"""Telling the log of a hook that kept the reactor, and so all clients, waiting."""

from __future__ import annotations

from twisted.logger import Logger

#: How long the handler's code may keep the reactor before the log says so, in seconds.
BLOCKING_TIME = 0.5

_log = Logger()


def nameOf(coroutine: object) -> str:
    """
    :param coroutine: a hook's.
    :returns: the hook's name.
    """
    return getattr(coroutine, "__qualname__", "a hook")


def hookBlocked(hook: str, seconds: float) -> None:
    """
    Tell the log.

    :param hook: its name.
    :param seconds: how long it kept the reactor.
    """
    _log.warn(
        "{hook} kept all clients waiting for {seconds:.1f} s: await what takes time, or wrap a"
        " function that blocks in blocking()",
        event="hookBlocked",
        hook=hook,
        seconds=seconds,
    )

"""Waiting for a user's Deferred, which may have other waiters."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.reactor import theReactor

# The attribute of a Deferred that has the failure which was taken from it. Not a table of our own,
# not even a weak one: tracebacks lead back to the Deferred, so it would keep all of them forever.
_TAKEN = "failureTakenByHook"

#: The reactors that aren't the process's own, by the threads that they run in.
REACTORS: dict[int, IReactorFromThreads] = {}

_log = Logger()


def whenFired(deferred: Deferred[Any], take: Callable[[Any], object]) -> None:
    """
    Take a Deferred's result when it is there.

    Several hooks may have returned or awaited the same one, which a cache or a batch makes likely:
    each gets the result. By itself, the first would leave ``None`` for the others, which would make
    an acceptance of a refusal.

    A Deferred belongs to the reactor's thread. If another thread fires it, the log says so, and the
    result is taken to the thread that waits for it.

    :param deferred: the user's.
    :param take: called with the result, which may be a Failure.
    """
    deferred.addBoth(_fired, deferred, take, get_ident())


def _fired(value: Any, deferred: Deferred[Any], take: Callable[[Any], object], waiting: int) -> Any:
    if isinstance(value, Failure):
        setattr(deferred, _TAKEN, value)
    elif value is None:
        value = getattr(deferred, _TAKEN, None)
    if get_ident() == waiting:
        take(value)
    else:
        _takeOver(value, take, waiting)
    # A Failure that stays in a Deferred would be logged as one that nobody has seen.
    return None if isinstance(value, Failure) else value


def _takeOver(value: Any, take: Callable[[Any], object], waiting: int) -> None:
    """Take a result to the thread that waits for it."""
    _log.warn(
        "a hook's Deferred was fired in a thread: use reactor.callFromThread(deferred.callback,"
        " result), or blocking()",
        event="firedInThread",
    )
    reactor = REACTORS.get(waiting)
    (theReactor() if reactor is None else reactor).callFromThread(take, value)

"""Waiting for a user's Deferred, whoever else waits for it, and whatever thread fires it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

_log = Logger()

# The failure that was taken from each, as long as somebody has it.
_taken: WeakKeyDictionary[Deferred[Any], Failure] = WeakKeyDictionary()


#: The threads of further reactors, which Twisted doesn't know of: what fires there is in its place.
otherReactors: set[int] = set()


def whenFired(deferred: Deferred[Any], take: Callable[[Any], object]) -> None:
    """
    Take a Deferred's result when it is there.

    Several hooks may have returned or awaited the same one, which a cache or a batch makes likely:
    each gets the result. By itself, the first would leave ``None`` for the others, which would make
    an acceptance of a refusal.

    :param deferred: the user's.
    :param take: called with the result, which may be a Failure, in the reactor's thread.
    """
    deferred.addBoth(_fired, deferred, take)


def _fired(value: Any, deferred: Deferred[Any], take: Callable[[Any], object]) -> Any:
    isFailure = isinstance(value, Failure)
    if isFailure:
        _taken[deferred] = value
    elif value is None:
        value = _taken.get(deferred)
    thread = threading.get_ident()
    if threadable.ioThread in (None, thread) or thread in otherReactors:
        take(value)
    else:
        from twisted.internet import reactor

        _warnOfThread()
        threads: Any = reactor
        threads.callFromThread(take, value)
    # A Failure that stays in a Deferred would be logged as one that nobody has seen.
    return None if isFailure else value


@cache  # once is enough
def _warnOfThread() -> None:
    _log.warn(
        "A Deferred that a hook waits for was fired in a thread: use reactor.callFromThread, or "
        "deferToThread, or blocking() for the whole hook"
    )

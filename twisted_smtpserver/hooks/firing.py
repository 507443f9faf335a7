"""Waiting for a user's Deferred, whoever else waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

# The attribute of a Deferred that has the failure which was taken from it. Not a table of our own,
# not even a weak one: tracebacks lead back to the Deferred, so it would keep all of them forever.
_TAKEN = "failureTakenByHook"


def whenFired(deferred: Deferred[Any], take: Callable[[Any], object]) -> None:
    """
    Take a Deferred's result when it is there.

    Several hooks may have returned or awaited the same one, which a cache or a batch makes likely:
    each gets the result. By itself, the first would leave ``None`` for the others, which would make
    an acceptance of a refusal.

    :param deferred: the user's.
    :param take: called with the result, which may be a Failure.
    """
    deferred.addBoth(_fired, deferred, take)


def _fired(value: Any, deferred: Deferred[Any], take: Callable[[Any], object]) -> Any:
    if isinstance(value, Failure):
        setattr(deferred, _TAKEN, value)
    elif value is None:
        value = getattr(deferred, _TAKEN, None)
    take(value)
    # A Failure that stays in a Deferred would be logged as one that nobody has seen.
    return None if isinstance(value, Failure) else value

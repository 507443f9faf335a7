"""
Long work on the reactor's thread, a slice at a time.

A thread wouldn't help: parsing holds the interpreter's lock, and each system call of the reactor
has to wait to get it back. Nor could a thread be stopped. Work in slices takes turns with all other
work: of everything under way, one slice is done between two looks at the sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from threading import current_thread, main_thread
from time import sleep
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Cooperator, TaskStopped
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.reactor import theReactor

T = TypeVar("T")

#: Has the signature of :func:`runInSlices`.
RunInSlices = Callable[[Generator[None, None, Any]], "Deferred[Any]"]

#: Slices that are done at once: those of a small message. Each takes a fraction of a millisecond,
#: or one or two if somebody sees to it.
AT_ONCE = 8

#: How long a thread lets go of the interpreter's lock after a slice, in seconds.
PAUSE = 0.0001


def finish(steps: Generator[None, None, T]) -> T:
    """
    Do all of the work now. In a thread, the main thread has its turn after each slice.

    :param steps: the work, with a ``yield`` after each slice.
    :returns: its result.
    """
    isInThread = current_thread() is not main_thread()
    slices = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        slices += 1
        if isInThread and slices > AT_ONCE:
            # Otherwise the reactor waits 5 ms for the interpreter's lock, after each system call.
            sleep(PAUSE)


def runInSlices(steps: Generator[None, None, T], turns: Cooperator | None = None) -> Deferred[T]:
    """
    Do work a slice at a time; if it is little, at once.

    :param steps: the work, with a ``yield`` after each slice.
    :param turns: whose turns the slices take; by default, those of the reactor.
    :returns: a Deferred of its result. To cancel it ends the work.
    """
    results: list[T] = []
    work = _collect(steps, results)
    try:
        for _ in range(AT_ONCE):
            next(work)
    except StopIteration:
        return succeed(results[0])
    except Exception:
        return fail()
    task = (turns or _turns).cooperate(work)
    done: Deferred[T] = Deferred(lambda _: task.stop())

    def failed(failure: Failure) -> None:
        # Only a cancellation stops it.
        done.errback(CancelledError() if failure.check(TaskStopped) else failure)

    task.whenDone().addCallbacks(lambda _: done.callback(results[0]), failed)
    return done


def _collect(steps: Generator[None, None, T], results: list[T]) -> Generator[None, None, None]:
    # The cooperator has no use for results.
    results.append((yield from steps))


def _later(call: Callable[[], None]) -> IDelayedCall:
    later: IDelayedCall = theReactor().callLater(0, call)
    return later


def _oneSlice() -> Callable[[], bool]:
    return lambda: True


_turns = Cooperator(_oneSlice, _later)


def slicesOn(clock: IReactorTime) -> RunInSlices:
    """
    :func:`runInSlices` for a server on a reactor of its own.

    :param clock: the reactor.
    """
    turns = Cooperator(_oneSlice, lambda call: clock.callLater(0, call))
    return partial(runInSlices, turns=turns)

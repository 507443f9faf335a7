"""
How long the turns of a reactor take, by the processor's time: on a busy machine the clock on the
wall says how much else there is to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

from twisted.internet import base, posixbase


class TurnTimes:
    """
    Times what a reactor calls, with what the garbage collector does meanwhile.

    :ivar longest: the longest that anything took, in seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does the same, and is timed."""

        def run(*arguments: Any, **keywords: Any) -> Any:
            began = thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.longest = max(self.longest, thread_time() - began)

        return run

    def install(self, path: str) -> None:
        """
        Time all reactors of this process from here on.

        :param path: the file that gets the longest time when a reactor stops, in milliseconds.
        """
        poller: Any = posixbase._PollLikeMixin
        poller._doReadOrWrite = self.timed(poller._doReadOrWrite)
        reactor: Any = base.ReactorBase
        callLater, callFromThread = reactor.callLater, reactor.callFromThread
        reactor.callLater = lambda self_, seconds, function, *arguments, **keywords: callLater(
            self_, seconds, self.timed(function), *arguments, **keywords
        )
        reactor.callFromThread = lambda self_, function, *arguments, **keywords: callFromThread(
            self_, self.timed(function), *arguments, **keywords
        )
        fire = reactor.fireSystemEvent

        def fireSystemEvent(self_: Any, eventType: str) -> None:
            if eventType == "shutdown":  # twistd ends by a signal, so atexit has no part in it
                Path(path).write_text(f"{self.longest * 1000:.2f}")
            fire(self_, eventType)

        reactor.fireSystemEvent = fireSystemEvent

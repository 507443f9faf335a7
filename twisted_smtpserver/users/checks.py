"""Password checks in threads: a few at once, and a bounded number that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import AuthenticationFailed
from twisted_smtpserver.message.files import RunInThread

__all__ = ["MAX_CHECKS", "MAX_RUNNING", "Checks"]

_log = Logger()
_T = TypeVar("_T")

#: Checks at a time. The reactor's pool has ten threads, and others need some.
MAX_RUNNING = 4

#: Checks at a time, and those that wait for their turn.
MAX_CHECKS = 100


class Checks:
    """
    Runs slow functions in threads.

    :param running: how many at a time.
    :param most: how many at a time, and waiting. One client can have half of them: it gets no more
        than are left for others.
    :param runInThread: by default the reactor's thread pool.
    """

    def __init__(
        self,
        running: int = MAX_RUNNING,
        most: int = MAX_CHECKS,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self._most = most
        self._runInThread = runInThread
        self._slots = DeferredSemaphore(running)
        self._counts: Counter[Hashable] = Counter()
        self._total = 0
        self._isBusy = False

    async def run(self, client: Hashable, function: Callable[..., _T], *arguments: object) -> _T:
        """
        Run a function. A client that leaves while it waits frees its place; a running thread can't
        be stopped.

        :param client: the client that wants it.
        :raises AuthenticationFailed: 454 4.7.0 if too many wait already.
        """
        self._enter(client)
        try:
            await self._slots.acquire()
        except BaseException:
            self._leave(client)
            raise
        work = self._runInThread(function, *arguments)
        work.addBoth(self._done, client)
        waiting: Deferred[_T] = Deferred()
        work.chainDeferred(waiting)
        return await waiting

    def _enter(self, client: Hashable) -> None:
        if self._counts[client] >= self._most - self._total:
            if not self._isBusy:
                self._isBusy = True
                _log.warn(
                    "{count} logins wait for their passwords to be checked: further ones get 454 "
                    "until there are fewer",
                    count=self._total,
                )
            raise AuthenticationFailed("Too many logins at a time", 454, enhanced="4.7.0")
        self._counts[client] += 1
        self._total += 1

    def _leave(self, client: Hashable) -> None:
        self._total -= 1
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
        if not self._total:
            self._isBusy = False

    def _done(self, result: Any, client: Hashable) -> Any:
        self._slots.release()
        self._leave(client)
        return result

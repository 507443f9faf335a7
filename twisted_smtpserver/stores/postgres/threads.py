"""
Connections to PostgreSQL, each used by one thread at a time: the threads are few, and the store's
own, so that a slow database keeps nobody else's threads busy.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

_T = TypeVar("_T")

#: How long a thread waits at most for a new connection, in seconds. libpq takes no less than 2.
CONNECT_TIME = 10


class Job:
    """
    Something that a thread does with a connection, and that may be given up.

    :ivar isOver: whether nobody waits for it any more: then it must not commit.
    """

    def __init__(self) -> None:
        self.isOver = False
        self._connection: Any = None
        self._lock = threading.Lock()

    def begin(self, connection: Any) -> None:
        """
        (In the thread.) It uses this connection from now on.

        :raises CancelledError: if it was given up.
        """
        with self._lock:
            if self.isOver:
                raise CancelledError
            self._connection = connection

    def end(self) -> None:
        """(In the thread.) It doesn't use it any more."""
        with self._lock:
            self._connection = None

    def check(self) -> None:
        """
        (In the thread.) Call this before what can't be undone.

        :raises CancelledError: if it was given up.
        """
        if self.isOver:
            raise CancelledError

    def giveUp(self) -> None:
        """
        (In the reactor's thread.) End it. A thread that waits for the database gets an error at
        once: a network that swallows everything would keep it forever.
        """
        self.isOver = True
        with self._lock:
            if self._connection is not None:
                _shutDown(self._connection)


class _Threads(ThreadPool):
    """Threads that don't keep a process from ending: nobody is left to hear their results."""

    threadFactory: Any = functools.partial(threading.Thread, daemon=True)


class Desk:
    """
    Some threads, with a connection each.

    :param connect: makes a connection; called in a thread.
    :param size: how many threads and connections there are at most.
    :param reactor: by default the reactor.
    """

    def __init__(self, connect: Callable[[], Any], size: int, reactor: Any) -> None:
        self._connect = connect
        self._size = size
        self._reactor = reactor
        self._idle: list[Any] = []
        self._jobs: set[Job] = set()
        self._pool: ThreadPool | None = None

    def run(self, job: Job, function: Callable[[Any, Job], _T]) -> Deferred[_T]:
        """
        Run a function in a thread, with a connection.

        :param job: tells the function whether anybody still waits.
        :param function: called with the connection and the job.
        :returns: a Deferred of its result. To cancel it gives the job up.
        """
        result: Deferred[_T] = Deferred(lambda _: job.giveUp())
        self._jobs.add(job)
        hop: Deferred[_T] = deferToThreadPool(
            self._reactor, self._threads(), self._work, job, function
        )
        hop.addBoth(self._done, job, result)
        return result

    def close(self) -> None:
        """Give everything up, and end the threads. A later use starts again."""
        for job in list(self._jobs):
            job.giveUp()
        pool, self._pool = self._pool, None
        if pool is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            pool.stop()
        while self._idle:
            self._idle.pop().close()

    def _threads(self) -> ThreadPool:
        if self._pool is None:
            self._pool = _Threads(0, self._size, name="postgres")
            self._pool.start()
            self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self.close)
        return self._pool

    def _done(self, outcome: Any, job: Job, result: Deferred[Any]) -> None:
        self._jobs.discard(job)
        if not result.called:  # otherwise nobody waits for it any more
            result.callback(outcome)

    def _work(self, job: Job, function: Callable[[Any, Job], _T]) -> _T:
        """(In a thread.)"""
        job.check()
        connection = self._take() or self._connect()
        try:
            job.begin(connection)
            result = function(connection, job)
        except BaseException:
            connection.close()  # whatever state it is in
            raise
        finally:
            job.end()
        self._idle.append(connection)
        return result

    def _take(self) -> Any:
        """A connection that is idle, if there is one that wasn't lost meanwhile."""
        while True:
            try:
                connection = self._idle.pop()  # lists are safe between threads
            except IndexError:
                return None
            if not (connection.closed or isReadable(connection.fileno())):
                return connection
            connection.close()


def isReadable(descriptor: int) -> bool:
    """
    Whether a connection that is idle has something to say: that it is at its end.

    :param descriptor: the socket's.
    """
    with socket.socket(fileno=os.dup(descriptor)) as copy, contextlib.suppress(BlockingIOError):
        copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return True
    return False


def _shutDown(connection: Any) -> None:
    """End a connection whose thread is in the middle of using it."""
    with (
        contextlib.suppress(OSError, psycopg.Error),  # it is gone already
        socket.socket(fileno=os.dup(connection.fileno())) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)

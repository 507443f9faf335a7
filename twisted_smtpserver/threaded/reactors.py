"""Reactors that run in threads of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone  # before Python 3.11 not the built-in one
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.firing import REACTORS
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.threaded.privatereactor import PrivateReactor

#: How long a reactor may take to start, in seconds.
START_SECONDS = 30

_FORKED = (
    "the server's thread was started before this process was forked, and threads don't survive "
    "that: start the server in the process that is to serve"
)
_STOPPED = "the reactor was stopped, and Twisted's reactors can't be started again"
_SAME_THREAD = (
    "this thread runs the reactor and can't wait for it: in a program that has a reactor, listen "
    "with SMTPServerFactory or SMTPService instead of ServerThread"
)


class ReactorThread:
    """
    A reactor, and the thread that it runs in.

    :param reactor: the reactor. If it runs already, in another thread than the caller's, it is used
        as it is; otherwise :meth:`start` runs it in a daemon thread until the program's main thread
        ends.
    :ivar reactor: the same.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def start(self) -> None:
        """
        See to it that the reactor runs. If it does, nothing happens.

        :raises ConfigurationError: if it can't run, or runs in this very thread.
        """
        if self._process != os.getpid():
            raise ConfigurationError(_FORKED)
        with self._lock:
            if self._thread is None and self.reactor.running:
                if threadable.isInIOThread():
                    raise ConfigurationError(_SAME_THREAD)
            elif self._thread is None:
                self._run()
            elif not self._thread.is_alive():
                raise ConfigurationError(_STOPPED)

    def _run(self) -> None:
        started = threading.Event()
        self.reactor.callWhenRunning(started.set)
        self._thread = threading.Thread(
            target=self.reactor.run,
            kwargs={"installSignalHandlers": False},
            name="twisted_smtpserver",
            daemon=True,
        )
        self._thread.start()
        # Python waits for the reactor's pool of threads before it ends, so somebody has to end it.
        threading.Thread(target=self._stopAtExit, name="twisted_smtpserver exit").start()
        if not started.wait(START_SECONDS):
            raise ConfigurationError("the reactor didn't start: was it stopped before?")
        assert self._thread.ident is not None  # it has started
        REACTORS[self._thread.ident] = self.reactor

    def _stopAtExit(self) -> None:
        threading.main_thread().join()
        self.reactor.callFromThread(lambda: self.reactor.running and self.reactor.stop())

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float = 60) -> Any:
        """
        Call a function in the reactor's thread and wait for its result.

        :param function: may return a Deferred, which is waited for as well.
        :param timeout: how long to wait, in seconds.
        :returns: its result.
        :raises TimeoutError: if there is none in time.
        :raises Exception: what the function raised.
        """
        if self._thread is threading.current_thread():
            raise ConfigurationError(_SAME_THREAD)
        answer: Future[Any] = Future()

        def run() -> None:
            maybeDeferred(function, *arguments).addCallbacks(answer.set_result, failed)

        def failed(failure: Failure) -> None:
            answer.set_exception(failure.value)

        self.reactor.callFromThread(run)
        try:
            return answer.result(timeout)
        except NotDone:
            if answer.done():  # the function's own
                raise
            raise TimeoutError(f"no result within {timeout} s") from None


_lock = threading.Lock()
_threads: dict[object, ReactorThread] = {}


def sharedReactor() -> ReactorThread:
    """
    The reactor of the process, which ``from twisted.internet import reactor`` imports.

    :returns: it, not yet started unless somebody did that already.
    """
    reactor = theReactor()
    with _lock:
        return _threads.setdefault(reactor, ReactorThread(reactor))


def privateReactor() -> ReactorThread:
    """
    A reactor that nobody else knows, one for each process.

    It works in a program that runs *the* reactor in its main thread, or will: in tests, mostly.
    What asks for the process's reactor without saying so doesn't work on it:
    :func:`twisted.internet.threads.deferToThread`, for example.

    :returns: it, not yet started unless that was done before.
    """
    key = ("private", os.getpid())
    with _lock:
        if key not in _threads:
            _threads[key] = ReactorThread(PrivateReactor())
        return _threads[key]

"""Reactors in threads: one that runs is used, one that doesn't is run, and nobody waits forever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.threaded import ReactorThread, privateReactor, reactors, sharedReactor
from twisted_smtpserver.threaded.privatereactor import PrivateReactor

EXIT = """
from twisted_smtpserver.threaded import ServerThread
server = ServerThread(name="mx.test")
server.start()
server.call(lambda: server.factory.runInThread(print, "pool"))
print("end", server.port > 0)
"""


class Idle:
    """A reactor that somebody runs, or nobody."""

    def __init__(self, running: bool = False) -> None:
        self.running = running
        self.asked: list[object] = []

    def callWhenRunning(self, function: object) -> None:
        self.asked.append(function)

    callFromThread = callWhenRunning

    def run(self, installSignalHandlers: bool) -> None:
        """Return at once, as one that was stopped before."""


class StartTests(SynchronousTestCase):
    def patchEnd(self) -> threading.Thread:
        """Stand in for the program's main thread."""
        ending = threading.Thread()
        self.patch(ending, "join", lambda: None)
        self.patch(threading, "main_thread", lambda: ending)
        return ending

    def test_runs(self) -> None:
        """A reactor is run in a daemon thread, once, and ends with the program."""
        ending = self.patchEnd()
        gate = threading.Event()
        self.patch(ending, "join", gate.wait)
        thread = ReactorThread(PrivateReactor())
        thread.start()
        name = thread.call(lambda: threading.current_thread().name)
        thread.start()
        self.assertEqual(name, "twisted_smtpserver")
        gate.set()
        assert thread._thread is not None
        thread._thread.join(10)
        self.assertFalse(thread.reactor.running)
        error = self.assertRaises(ConfigurationError, thread.start)
        self.assertIn("can't be started again", str(error))

    def test_neverStarts(self) -> None:
        """A reactor that doesn't come up is given up."""
        self.patchEnd()
        self.patch(reactors, "START_SECONDS", 0.01)
        error = self.assertRaises(ConfigurationError, ReactorThread(Idle()).start)
        self.assertIn("didn't start", str(error))

    def test_runsElsewhere(self) -> None:
        """One that another thread runs is left to it."""
        self.patch(threadable, "isInIOThread", lambda: False)
        reactor = Idle(running=True)
        ReactorThread(reactor).start()
        self.assertEqual(reactor.asked, [])

    def test_runsHere(self) -> None:
        """One that this thread runs can't be waited for; the error names what to use."""
        self.patch(threadable, "isInIOThread", lambda: True)
        error = self.assertRaises(ConfigurationError, ReactorThread(Idle(running=True)).start)
        self.assertIn("SMTPServerFactory", str(error))

    def test_forked(self) -> None:
        """A child process is told that its parent's thread isn't there."""
        thread = ReactorThread(Idle())
        self.patch(os, "getpid", lambda: -1)
        self.assertIn("forked", str(self.assertRaises(ConfigurationError, thread.start)))


class CallTests(SynchronousTestCase):
    """Calls into a reactor's thread."""

    def setUp(self) -> None:
        self.thread = privateReactor()
        self.thread.start()

    def test_result(self) -> None:
        """The result comes back, with Deferreds waited for."""
        self.assertEqual(self.thread.call(divmod, 7, 3), (2, 1))
        deferred: Deferred[int] = Deferred()
        self.thread.reactor.callFromThread(deferred.callback, 5)
        self.assertEqual(self.thread.call(lambda: deferred), 5)

    def test_raises(self) -> None:
        """So does an exception, a TimeoutError too."""
        self.assertRaises(ZeroDivisionError, self.thread.call, divmod, 1, 0)

        def late() -> None:
            raise TimeoutError("mine")

        error = self.assertRaises(TimeoutError, self.thread.call, late)
        self.assertEqual(str(error), "mine")

    def test_bounded(self) -> None:
        """What doesn't end is waited for no longer than told."""
        error = self.assertRaises(TimeoutError, self.thread.call, Deferred, timeout=0.01)
        self.assertEqual(str(error), "no result within 0.01 s")

    def test_fromWithin(self) -> None:
        """The thread itself is told that it can't wait for itself."""

        def within() -> Any:
            return self.thread.call(int)

        self.assertRaises(ConfigurationError, self.thread.call, within)


class ChoiceTests(SynchronousTestCase):
    """Which reactor it is."""

    def test_shared(self) -> None:
        """The process's is Twisted's own, and always in the same thread."""
        from twisted.internet import reactor

        self.assertIs(sharedReactor().reactor, reactor)
        self.assertIs(sharedReactor(), sharedReactor())

    def test_private(self) -> None:
        """The other one is a single one, too, and another one in a forked process."""
        first = privateReactor()
        self.assertIs(privateReactor(), first)
        self.assertIsNot(first.reactor, sharedReactor().reactor)
        self.patch(os, "getpid", lambda: -1)
        self.addCleanup(reactors._threads.pop, ("private", -1))
        self.assertIsNot(privateReactor(), first)

    def test_threadable(self) -> None:
        """Twisted doesn't take the private one's thread for that of the process's reactor."""
        before = threadable.ioThread
        privateReactor().start()
        self.assertEqual(threadable.ioThread, before)


class ExitTests(SynchronousTestCase):
    def test_ends(self) -> None:
        """A program that doesn't stop its server, nor the pool of threads, ends all the same."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXIT],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("pool\nend True\n", "", 0))

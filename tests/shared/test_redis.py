"""Tests for twisted_smtpserver.shared.redis, with a connection that the test answers for."""

from __future__ import annotations

import importlib.util
from collections.abc import Coroutine
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.interfaces import ISharedState
from twisted_smtpserver.shared import RedisState, scripts
from twisted_smtpserver.shared.address import RedisAddress


class FakeConnection:
    """
    :ivar asked: what was: script, key, arguments.
    :ivar answers: what the next ones are answered; 1 if there are none.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, tuple[Any, ...]]] = []
        self.answers: list[Deferred[Any]] = []
        self.isConnected = True

    def eval(self, script: str, keys: list[str], args: tuple[Any, ...]) -> Deferred[Any]:
        (key,) = keys
        self.asked.append((script, key, args))
        return self.answers.pop(0) if self.answers else succeed(1)

    def disconnect(self) -> None:
        self.isConnected = False


class StateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = FakeConnection()
        self.state = RedisState(connection=self.connection, reactor=self.clock)

    def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))


class QuestionTests(StateCase):
    """What each method asks, and makes of the answer."""

    def test_interface(self) -> None:
        """It has all that a shared state has."""
        self.assertTrue(verifyObject(ISharedState, self.state, tentative=True))

    def test_count(self) -> None:
        """A count is forgotten after a time, in milliseconds."""
        self.connection.answers = [succeed(3)]
        self.assertEqual(self.ask(self.state.count("messages:192.0.2.1", 60)), 3)
        key = "smtp:count:messages:192.0.2.1"
        self.assertEqual(self.connection.asked, [(scripts.COUNT, key, (60_000,))])

    def test_greylist(self) -> None:
        """Addresses aren't in the key; 1 lets in."""
        self.connection.answers = [succeed(0), succeed(1)]
        got = [self.ask(self.state.greylist("joe@example.org", 1, 2, 3)) for _ in range(2)]
        self.assertEqual(got, [False, True])
        script, key, times = self.connection.asked[0]
        self.assertEqual((script, times), (scripts.GREYLIST, (1000, 2000, 3000)))
        self.assertRegex(key, r"\Asmtp:grey:[0-9a-f]{32}\Z")

    def test_logins(self) -> None:
        """Nor are names in the question."""
        self.connection.answers = [succeed(7)]
        self.assertEqual(self.ask(self.state.loginFailed("192.0.2.1", "joe\udc80", 900)), 7)
        self.ask(self.state.loginSucceeded("192.0.2.1", "joe\udc80"))
        (first, key, (name, time)), second = self.connection.asked
        self.assertEqual(
            (first, key, time), (scripts.LOGIN_FAILED, "smtp:login:192.0.2.1", 900_000)
        )
        self.assertRegex(name, r"\A[0-9a-f]{32}\Z")
        self.assertEqual(second, (scripts.LOGIN_SUCCEEDED, key, (name,)))

    def test_connections(self) -> None:
        """Connections are counted for this server, which gives signs of life, and says good bye."""
        self.connection.answers = [succeed(1), succeed(0)]
        got = [self.ask(self.state.enter("192.0.2.1", 5)) for _ in range(2)]
        self.assertEqual(got, [True, False])
        script, key, (server, alive, limit, *_) = self.connection.asked[0]
        self.assertEqual((script, key, limit), (scripts.ENTER, "smtp:clients:192.0.2.1", 5))
        self.ask(self.state.leave("192.0.2.1"))
        self.assertEqual(self.connection.asked.pop(), (scripts.LEAVE, key, (server,)))
        self.clock.advance(20)
        self.assertEqual(self.connection.asked.pop(), (scripts.ALIVE, alive + server, (60_000,)))
        self.ask(self.state.close())
        self.assertEqual(self.connection.asked.pop(), (scripts.GONE, alive + server, ()))
        self.assertFalse(self.connection.isConnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_servers(self) -> None:
        """Two servers are told apart; those with another prefix share nothing."""
        other = RedisState(connection=self.connection, reactor=self.clock, prefix="mx:")
        self.ask(self.state.leave("a"))
        self.ask(other.leave("a"))
        (_, first, names), (_, second, others) = self.connection.asked
        self.assertEqual((first, second), ("smtp:clients:a", "mx:clients:a"))
        self.assertNotEqual(names, others)


class FailureTests(StateCase):
    """Redis is away, slow, or says no."""

    def count(self) -> Any:
        return self.ask(self.state.count("x", 60))

    def test_open(self) -> None:
        """No method knows anything, and none raises."""
        for method, arguments in (
            ("count", ("x", 1)),
            ("greylist", ("x", 1, 2, 3)),
            ("loginFailed", ("x", "joe", 1)),
            ("loginSucceeded", ("x", "joe")),
            ("enter", ("x", 1)),
            ("leave", ("x",)),
        ):
            state = RedisState(connection=self.connection, reactor=self.clock)
            self.connection.answers = [fail(OSError("away"))]
            self.assertIsNone(self.ask(getattr(state, method)(*arguments)))

    def test_log(self) -> None:
        """One line says so, and one that it is over; it isn't asked in between."""
        self.connection.answers = [fail(OSError("away")), fail(OSError("still away")), succeed(4)]
        with capturedLogs() as events:
            self.assertEqual([self.count() for _ in range(3)], [None] * 3)
            self.clock.advance(5)
            self.assertEqual([self.count(), self.count()], [None, None])
            self.clock.advance(5)
            self.assertEqual([self.count(), self.count()], [4, 1])
        self.assertEqual(len(self.connection.asked), 4)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error, LogLevel.info])
        texts = list(map(formatEvent, events))
        self.assertIn("Redis localhost:6379/0 can't be reached", texts[0])
        self.assertIn("(away)", texts[0])
        self.assertEqual(texts[1], "Redis localhost:6379/0 can be reached again")

    def test_silence(self) -> None:
        """An answer is awaited for a second and a half; the others wait for nobody."""
        self.connection.answers = [Deferred()]
        with capturedLogs() as events:
            waiting = Deferred.fromCoroutine(self.state.count("x", 60))
            self.clock.advance(1.4)
            self.assertNoResult(waiting)
            self.clock.advance(0.1)
            self.assertIsNone(self.successResultOf(waiting))
        self.assertIn("(no answer)", formatEvent(events[0]))
        self.clock.advance(5)
        self.connection.answers = [Deferred()]
        waiting = Deferred.fromCoroutine(self.state.count("x", 60))
        self.assertIsNone(self.count())
        self.assertNoResult(waiting)

    def test_clientLeft(self) -> None:
        """A client that leaves meanwhile says nothing about Redis."""
        self.connection.answers = [Deferred()]
        with capturedLogs() as events:
            waiting = Deferred.fromCoroutine(self.state.count("x", 60))
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual(events, [])
        self.assertEqual(self.count(), 1)


class MadeTests(SynchronousTestCase):
    def test_lazy(self) -> None:
        """It connects when it is first asked; one that never was has nothing to close."""
        state = RedisState("redis://:secret@h/1", reactor=Clock())
        self.assertEqual(repr(state), "<RedisState h:6379/1>")
        self.successResultOf(Deferred.fromCoroutine(state.close()))
        connection = FakeConnection()
        with mock.patch.object(RedisAddress, "connect", return_value=connection) as connect:
            for _ in range(2):
                self.successResultOf(Deferred.fromCoroutine(state.count("x", 1)))
        connect.assert_called_once_with(1, state._refused)
        self.assertEqual(len(connection.asked), 2)

    def test_refused(self) -> None:
        """Not let in, it says why, and connects anew when it asks again."""
        clock = Clock()
        state = RedisState("redis://h", reactor=clock)
        connection = FakeConnection()
        connection.answers = [Deferred(), Deferred()]
        with (
            mock.patch.object(RedisAddress, "connect", return_value=connection) as connect,
            capturedLogs() as events,
        ):
            for _ in range(2):
                asked = Deferred.fromCoroutine(state.count("x", 1))
                connect.call_args.args[1](Failure(ValueError("WRONGPASS")))
                clock.advance(1.5)
                self.assertIsNone(self.successResultOf(asked))
                clock.advance(5)
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(state.count("x", 1))), 1)
        self.assertEqual(connect.call_count, 3)
        self.assertIn("(WRONGPASS)", formatEvent(events[0]))
        self.assertEqual(len(events), 2)

    def test_missing(self) -> None:
        """Without txredisapi the way to it is told."""
        with mock.patch.object(importlib.util, "find_spec", return_value=None):
            error = self.assertRaises(ConfigurationError, RedisState)
            RedisState(connection=FakeConnection())
        self.assertIn('pip install "twisted-smtpserver[redis]"', str(error))

    def test_clock(self) -> None:
        """By default it is the reactor that bounds the wait."""
        state = RedisState(connection=FakeConnection())
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(state.count("x", 1))), 1)

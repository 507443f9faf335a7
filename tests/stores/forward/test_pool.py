"""Connections: reused, bounded, by priority."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.forward.scripted import FakeHost, makePool
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.pool import IDLE_TIME, MAX_IDLE, MAX_MESSAGES, Connection


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.host = FakeHost()
        self.pool = makePool(self.clock, self.host)

    def acquire(self) -> Deferred[Connection]:
        return Deferred.fromCoroutine(self.pool.acquire())

    def opened(self, host: FakeHost | None = None) -> Connection:
        """A new connection."""
        waiting = self.acquire()
        (host or self.host).hops[-1].open()
        return self.successResultOf(waiting)

    def assertAway(self, text: str) -> None:
        self.assertIn(text, str(self.failureResultOf(self.acquire(), Unavailable).value))

    def test_reused(self) -> None:
        """A connection that is released is used again, the last one first."""
        connections = [self.opened(), self.opened()]
        for connection in connections:
            connection.release()
        self.assertIs(self.successResultOf(self.acquire()), connections[1])
        self.assertIs(self.successResultOf(self.acquire()), connections[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(connections[0].messages, 1)

    def test_lostWhileIdle(self) -> None:
        """One that was lost meanwhile is not."""
        self.opened().release()
        self.host.hops[0].say("421 4.4.2 idle for too long")
        self.opened()
        self.assertEqual(len(self.host.hops), 2)

    def test_idle(self) -> None:
        """One that nobody needed for long is closed, politely."""
        self.opened().release()
        self.clock.advance(IDLE_TIME)
        hop = self.host.hops[0]
        self.assertEqual(hop.heard(), [b"QUIT"])
        hop.say("221 bye")
        self.assertTrue(hop.isClosed)
        self.opened()
        self.assertEqual(len(self.host.hops), 2)

    def test_quitUnanswered(self) -> None:
        """Politeness has a deadline."""
        self.opened().release()
        self.clock.advance(IDLE_TIME)
        self.assertFalse(self.host.hops[0].isClosed)
        self.clock.advance(10)
        self.assertTrue(self.host.hops[0].isClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_worn(self) -> None:
        """After many messages a connection isn't kept."""
        connection = self.opened()
        connection.messages = MAX_MESSAGES - 1
        connection.release()
        self.assertEqual(self.host.hops[0].heard(), [b"QUIT"])

    def test_unusable(self) -> None:
        """One that was given up isn't kept either, nor said anything."""
        connection = self.opened()
        connection.abort()
        connection.release()
        self.assertEqual(self.host.hops[0].heard(), [])

    def test_mostIdle(self) -> None:
        """No more are kept than a bound."""
        self.pool = makePool(self.clock, self.host, maxConnections=MAX_IDLE + 2)
        for connection in [self.opened() for _ in range(MAX_IDLE + 1)]:
            connection.release()
        heard = [hop.heard() for hop in self.host.hops]
        self.assertEqual(heard, [[]] * MAX_IDLE + [[b"QUIT"]])

    def test_limit(self) -> None:
        """No more are open at a time than a bound."""
        connections = [self.opened() for _ in range(3)]
        self.assertAway("3 connections are open, which is the limit")
        connections[0].abort()
        self.opened()

    def test_limitWhileConnecting(self) -> None:
        """Those that are being made count."""
        self.host.set(isAway=None)
        waiting = [self.acquire() for _ in range(3)]
        self.assertAway("the limit")
        for each in waiting:
            each.cancel()
            self.failureResultOf(each)

    def test_away(self) -> None:
        """A host that is away isn't tried again before a pause is over."""
        self.host.set(isAway=True)
        self.assertAway("smtp://next.example:25: ConnectionRefusedError: Connection was refused")
        self.host.set(isAway=False)
        self.assertAway("smtp://next.example:25: it was away just now")
        self.clock.advance(1)
        self.opened()

    def test_connectDeadline(self) -> None:
        """To connect has a deadline."""
        self.host.set(isAway=None)
        waiting = self.acquire()
        self.clock.advance(10)
        self.failureResultOf(waiting, Unavailable)
        self.assertAway("it was away just now")

    def test_unknownName(self) -> None:
        """A host whose name isn't known is away, too: the next one is tried."""
        second = FakeHost("smtp://second.example")
        self.pool = makePool(self.clock, self.host, second)
        self.patch(FakeHost, "error", DNSLookupError("no such name"))
        self.host.set(isAway=True)
        self.assertEqual(self.opened(second).host, second)

    def test_openingFails(self) -> None:
        """If it doesn't take mail, there is a pause, too."""
        waiting = self.acquire()
        self.host.hops[0].say("421 busy")
        self.failureResultOf(waiting, Unavailable)
        self.assertAway("it was away just now")

    def test_canceled(self) -> None:
        """A client that leaves while its connection is opened is no reason for a pause."""
        waiting = self.acquire()
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertTrue(self.host.hops[0].isClosed)
        self.opened()

    def test_priority(self) -> None:
        """The first host that can be reached is used, and the first of all when it is back."""
        second = FakeHost("smtp://second.example")
        self.pool = makePool(self.clock, self.host, second)
        self.host.set(isAway=True)
        self.assertEqual(self.opened(second).host, second)
        self.host.set(isAway=False)
        self.assertEqual(self.opened(second).host, second)
        self.clock.advance(1)
        self.assertEqual(self.opened().host, self.host)

    def test_allAway(self) -> None:
        """If none can be reached, the reasons of all are told."""
        second = FakeHost("lmtp://second.example")
        self.pool = makePool(self.clock, self.host, second)
        for host in (self.host, second):
            host.set(isAway=True)
        self.assertAway("ConnectionRefusedError: Connection was refused by other side.; lmtp://sec")

    def test_close(self) -> None:
        """Closed, it ends idle connections at once, others when they are released."""
        busy, idle = self.opened(), self.opened()
        idle.release()
        closing: Deferred[Any] = self.pool.close()
        hops = self.host.hops
        self.assertEqual([hop.heard() for hop in hops], [[], [b"QUIT"]])
        hops[1].say("221 bye")
        self.assertNoResult(closing)
        busy.release()
        self.assertEqual(hops[0].heard(), [b"QUIT"])
        hops[0].lose()
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tls(self) -> None:
        """TLS is made for the host's name where there is TLS, and only there."""
        names: list[str] = []
        for url in ("smtps://a.example", "smtp://b.example", "smtp+starttls://c.example"):
            self.host = FakeHost(url)
            self.pool = makePool(self.clock, self.host, makeTLS=names.append)
            self.acquire().addErrback(lambda _: None)
        self.assertEqual(names, ["a.example", "c.example"])

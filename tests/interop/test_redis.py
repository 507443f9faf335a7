"""Limits that hold for several servers together, in a real Redis that is killed."""

from __future__ import annotations

import signal
import smtplib
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import Redis, once
from twisted_smtpserver.shared import RedisState

PASSWORD = "swordfish"


@once
def startRedis() -> Redis:
    redis = Redis("--requirepass", PASSWORD)
    redis.begin()
    return redis


class ScriptTests(TestCase):
    """The scripts, as Redis understands them; two servers."""

    def setUp(self) -> None:
        self.redis = startRedis()
        url = self.redis.url
        # A prefix for each test: nothing is left of another one.
        prefix = f"{self.id()}:"
        self.one = RedisState(url, password=PASSWORD, prefix=prefix)
        self.two = RedisState(url, password=PASSWORD, prefix=prefix)

        self.addCleanup(self.close, self.one)
        self.addCleanup(self.close, self.two)

    def close(self, state: RedisState) -> Deferred[None]:
        return Deferred.fromCoroutine(state.close())

    async def pause(self, seconds: float) -> None:
        clock: Any = IReactorTime(reactor)
        await deferLater(clock, seconds)

    async def test_count(self) -> None:
        """Events at two servers add up, and are forgotten after their time."""
        got = [await state.count("x", 0.2) for state in (self.one, self.two, self.one)]
        self.assertEqual(got, [1, 2, 3])
        self.assertEqual(await self.one.count("y", 60), 1)
        await self.pause(0.25)
        self.assertEqual(await self.two.count("x", 60), 1)

    async def test_greylist(self) -> None:
        """The first try is refused, and those after the delay are let in, by either server."""
        self.assertEqual(await self.one.greylist("x", 60, 120, 120), False)
        self.assertEqual(await self.two.greylist("x", 60, 120, 120), False)
        self.assertEqual(await self.two.greylist("x", 0, 120, 0.2), True)
        await self.pause(0.25)
        self.assertEqual(await self.one.greylist("x", 0, 120, 120), False)

    async def test_logins(self) -> None:
        """A login takes back the last failures with its name, and no others."""
        for state, name in ((self.one, "joe"), (self.two, "jane"), (self.one, "jane")):
            last = await state.loginFailed("x", name, 60)
        self.assertEqual(last, 3)
        await self.two.loginSucceeded("x", "joe")
        self.assertEqual(await self.one.loginFailed("x", "jane", 60), 4)
        await self.two.loginSucceeded("x", "jane")
        self.assertEqual(await self.one.loginFailed("x", "joe", 60), 2)
        await self.one.loginSucceeded("x", "joe")
        await self.one.loginSucceeded("x", "joe")  # these are taken back only once
        self.assertEqual(await self.one.loginFailed("x", "ann", 60), 2)

    async def test_connections(self) -> None:
        """Connections at two servers add up; those of a server that is gone don't count."""
        self.assertEqual([await self.one.enter("x", 2), await self.two.enter("x", 2)], [True] * 2)
        self.assertEqual(await self.two.enter("x", 2), False)
        await self.one.leave("x")
        self.assertEqual(await self.two.enter("x", 2), True)
        self.assertEqual(await self.one.enter("x", 2), False)
        await self.two.close()
        self.assertEqual(await self.one.enter("x", 2), True)

    async def test_wrongPassword(self) -> None:
        """With a wrong password nothing is known, and the log has no password."""
        state = RedisState(self.redis.url, password="wrong", prefix="x:")
        waiting: Deferred[Any] = Deferred.fromCoroutine(state.count("x", 1))
        self.assertIsNone(await waiting)
        await state.close()


class ServerTests(SynchronousTestCase):
    """Two servers as operators run them."""

    def setUp(self) -> None:
        self.redis = Redis()
        self.addCleanup(self.redis.stop)
        self.redis.begin()
        folder = Path(self.mktemp())
        flags = ("--discard", "--shared-state", self.redis.url)
        limits = ("--rate-messages", "2/h", "--max-clients-per-address", "3")
        self.servers = [LiveServer(folder / name, *flags, *limits) for name in ("one", "two")]
        for server in self.servers:
            self.addCleanup(server.__exit__)

    def mail(self, number: int) -> int:
        """The answer to a MAIL."""
        with smtplib.SMTP("127.0.0.1", self.servers[number].port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            return client.mail("joe@example.org")[0]

    def greeting(self, number: int) -> tuple[socket.socket, bytes]:
        client = socket.create_connection(("127.0.0.1", self.servers[number].port), PATIENCE)
        self.addCleanup(client.close)
        return client, client.recv(1000)[:3]

    def test_together(self) -> None:
        """Rates and connections are counted together. Without Redis mail goes on, which is said."""
        self.assertEqual([self.mail(0), self.mail(1), self.mail(0)], [250, 250, 450])
        clients = [self.greeting(number) for number in (0, 1, 0, 1)]
        self.assertEqual([code for _, code in clients], [b"220", b"220", b"220", b"421"])
        self.redis.send(signal.SIGSTOP)  # it hangs,
        self.assertEqual(self.mail(0), 250)
        self.redis.kill()  # and dies in the middle of it
        self.assertEqual([self.mail(1), self.mail(1), self.mail(1)], [250, 250, 450])
        for server in self.servers:
            log = server.stop()
            self.assertEqual(log.count("each server counts by itself"), 1, log)
            self.assertNotIn("Traceback", log)

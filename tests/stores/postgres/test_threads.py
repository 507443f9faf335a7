"""Tests for twisted_smtpserver.stores.postgres.threads, with connections that are sockets."""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver.stores.postgres.threads import Desk, Job


class FakeConnection:
    """One end of a socket pair; the other one is the database."""

    def __init__(self) -> None:
        self.socket, self.database = socket.socketpair()
        self.closed = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.closed = True
        self.socket.close()
        self.database.close()


class DeskTests(TestCase):
    def setUp(self) -> None:
        self.made: list[FakeConnection] = []
        self.desk = Desk(self.connect, 2, reactor)
        self.addCleanup(self.desk.close)

    def connect(self) -> FakeConnection:
        self.made.append(FakeConnection())
        return self.made[-1]

    async def test_kept(self) -> None:
        """A connection is used again; not one that has failed, and not one that is at its end."""
        for _ in range(2):
            self.assertEqual(await self.desk.run(Job(), lambda it, job: it), self.made[0])
        with self.assertRaises(ZeroDivisionError):
            await self.desk.run(Job(), lambda it, job: 1 / 0)
        self.assertTrue(self.made[0].closed)
        self.assertEqual(await self.desk.run(Job(), lambda it, job: it), self.made[1])
        self.made[1].database.close()  # the database was restarted
        self.assertEqual(await self.desk.run(Job(), lambda it, job: it), self.made[2])
        self.made[2].closed = True
        self.assertEqual(await self.desk.run(Job(), lambda it, job: it), self.made[3])

    async def test_givenUp(self) -> None:
        """A thread that waits for the database for ever gets an error when it is given up."""
        begun = threading.Event()

        def work(it: Any, job: Job) -> bytes:
            begun.set()
            octets: bytes = it.socket.recv(1)  # nothing ever comes
            job.check()
            return octets

        running = self.desk.run(Job(), work)
        await self.desk.run(Job(), lambda it, job: begun.wait(30))
        running.cancel()
        with self.assertRaises(CancelledError):
            await running

    async def test_closed(self) -> None:
        """An end gives everything up; what comes later begins anew."""
        await self.desk.run(Job(), lambda it, job: None)
        begun = threading.Event()

        def work(it: Any, job: Job) -> None:
            begun.set()
            it.socket.recv(1)
            job.check()

        running = self.desk.run(Job(), work)
        await self.desk.run(Job(), lambda it, job: begun.wait(30))
        self.desk.close()
        with self.assertRaises(CancelledError):
            await running
        self.assertTrue(all(each.closed for each in self.made))
        await self.desk.run(Job(), lambda it, job: None)


class JobTests(SynchronousTestCase):
    def test_tooLate(self) -> None:
        """What was given up doesn't begin; what has ended isn't harmed."""
        job, connection = Job(), FakeConnection()
        self.addCleanup(connection.close)
        job.begin(connection)
        job.end()
        job.giveUp()
        self.assertRaises(CancelledError, job.begin, connection)
        connection.socket.send(b"still open")

    def test_gone(self) -> None:
        """A connection that is gone already is no trouble."""
        job, connection = Job(), FakeConnection()
        connection.close()
        job.begin(connection)
        job.giveUp()
        self.assertTrue(job.isOver)

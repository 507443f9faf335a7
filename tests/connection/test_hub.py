"""Tests for reading from all connections in one step of the reactor."""

from __future__ import annotations

import errno
import select
import socket
import struct
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactor
from twisted.python import context, log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.connection import hub as module
from twisted_smtpserver.connection.hub import MOST_LOOKS, Hub, isPossible

reactor: Any = _reactor

NEEDS_EPOLL = unittest.skipUnless(isPossible(reactor), "this reactor has no epoll")


class Reactor:
    """
    A reactor that notes what it is asked for.

    :ivar readers: those that it watches.
    """

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.stoppedWriters: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        self.stoppedWriters.append(writer)

    def callLater(self, seconds: float) -> float:
        return seconds


class Reader:
    """
    One end of a pair of sockets.

    :ivar peer: the other one.
    :ivar came: what came, by reads.
    :ivar answer: what a read returns, or raises.
    :ivar lost: why it was lost.
    """

    def __init__(self, name: str = "reader") -> None:
        self.socket, self.peer = socket.socketpair()
        self.name = name
        self.came: list[bytes] = []
        self.systems: list[str] = []
        self.answer: Exception | None = None
        self.raised: Exception | None = None
        self.raisedLast: BaseException | None = None
        self.removes: list[Reader] = []
        self.hub: Any = None
        self.lost: list[Any] = []
        self.readLost: list[Any] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return self.name

    def doRead(self) -> Exception | None:
        for each in self.removes:
            self.hub.removeReader(each)
        self.came.append(self.socket.recv(1))
        self.systems.append(context.get(log.ILogContext)["system"])
        if self.raised is not None:
            raise self.raised
        return self.answer

    def connectionLost(self, reason: Failure) -> None:
        self.systems.append(context.get(log.ILogContext)["system"])
        self.lost.append(reason.type)
        if self.raisedLast is not None:
            raise self.raisedLast


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Reader):
    """One that may go on to write."""

    def readConnectionLost(self, reason: Failure) -> None:
        """Note it."""
        self.readLost.append(reason.type)

    def writeConnectionLost(self, reason: Failure) -> None:
        """Never called here."""


@unittest.skipUnless(hasattr(select, "epoll"), "there is no epoll here")
class HubTests(SynchronousTestCase):
    """The hub by itself."""

    def setUp(self) -> None:
        """A hub, and two readers on it."""
        self.reactor = Reactor()
        self.hub = Hub(self.reactor)
        self.one, self.two = self.add(Reader("one")), self.add(Reader("two"))

    def add(self, reader: Reader) -> Reader:
        """Put a reader on the hub."""
        reader.hub = self.hub
        self.hub.addReader(reader)
        self.addCleanup(reader.socket.close)
        self.addCleanup(reader.peer.close)
        return reader

    def test_read(self) -> None:
        """Who has something to read does, each with its own prefix in the log."""
        before = context.get(log.ILogContext)
        self.one.peer.send(b"a")
        self.two.peer.send(b"b")
        self.hub.doRead()
        self.assertEqual((self.one.came, self.two.came), ([b"a"], [b"b"]))
        self.assertEqual(self.one.systems + self.two.systems, ["one", "two"])
        self.assertIs(context.get(log.ILogContext), before)

    def test_single(self) -> None:
        """The reactor has one reader, as long as there are any."""
        self.assertEqual(self.reactor.readers, [self.hub])
        self.hub.addReader(self.one)  # again
        self.hub.removeReader(self.one)
        self.assertEqual(self.reactor.readers, [self.hub])
        self.hub.removeReader(self.two)
        self.assertEqual(self.reactor.readers, [])
        self.one.peer.send(b"a")
        self.hub.doRead()
        self.assertEqual(self.one.came, [])
        self.hub.addReader(self.one)
        self.assertEqual(self.reactor.readers, [self.hub])
        self.hub.doRead()
        self.assertEqual(self.one.came, [b"a"])

    def test_notOnIt(self) -> None:
        """A reader that isn't on the hub is the reactor's: the port that accepts the others."""
        port = self.add(Reader("port"))
        self.hub.removeReader(port)
        self.reactor.addReader(port)
        self.hub.removeReader(port)
        self.assertEqual(self.reactor.readers, [self.hub])

    def test_descriptor(self) -> None:
        """It is readable when one of its readers is."""
        poll = select.poll()
        poll.register(self.hub, select.POLLIN)
        self.assertEqual(poll.poll(0), [])
        self.one.peer.send(b"a")
        self.assertEqual(poll.poll(0), [(self.hub.fileno(), select.POLLIN)])

    def test_otherCalls(self) -> None:
        """All else is the reactor's."""
        self.assertEqual(self.hub.callLater(7), 7)
        self.assertEqual(self.hub.logPrefix(), "Hub")

    def test_shown(self) -> None:
        """It shows whose it is, in trial's complaint about connections that were left open."""
        self.assertEqual(repr(Hub(self.reactor)), "<Hub of no connections>")
        self.assertEqual(repr(self.hub), f"<Hub of {self.one!r}, {self.two!r}>")

    def test_removedMeanwhile(self) -> None:
        """A reader that another one's read has removed isn't read from."""
        readers = [self.one, self.two]
        for reader in readers:
            reader.peer.send(b"a")
            reader.removes = readers
        self.hub.doRead()
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(self.one.came + self.two.came, [b"a"])

    def test_again(self) -> None:
        """Where it is busy it looks again for what came meanwhile, so often at most."""
        self.patch(module, "MOST_SECONDS", 1e9)
        self.one.peer.send(b"x" * 100)
        self.hub.doRead()
        self.assertEqual(len(self.one.came), 1)
        self.two.peer.send(b"x" * 100)
        self.hub.doRead()
        self.assertEqual((len(self.one.came), len(self.two.came)), (1 + MOST_LOOKS, MOST_LOOKS))

    def test_notTooMany(self) -> None:
        """So many events are dealt with at most."""
        self.patch(module, "MOST_SECONDS", 1e9)
        self.patch(module, "MOST_EVENTS", 3)
        for reader in (self.one, self.two):
            reader.peer.send(b"x" * 100)
        self.hub.doRead()
        self.assertEqual(len(self.one.came + self.two.came), 3)

    def test_notTooLong(self) -> None:
        """After some time it doesn't look again."""
        self.patch(module, "MOST_SECONDS", -1.0)
        for reader in (self.one, self.two):
            reader.peer.send(b"x" * 100)
        self.hub.doRead()
        self.assertEqual(len(self.one.came + self.two.came), 2)

    def test_lost(self) -> None:
        """A read may say that the connection is lost, and why."""
        self.one.answer = ConnectionLost()
        self.one.peer.send(b"a")
        self.hub.doRead()
        self.assertEqual(self.one.lost, [ConnectionLost])
        self.assertEqual(self.reactor.stoppedWriters, [self.one])
        self.assertEqual(repr(self.hub), f"<Hub of {self.two!r}>")

    def test_halfClosed(self) -> None:
        """One that may write when the peer says no more isn't lost then."""
        reader = self.add(HalfCloseable())
        reader.answer = ConnectionDone()
        reader.peer.send(b"a")
        self.hub.doRead()
        self.assertEqual((reader.readLost, reader.lost), ([ConnectionDone], []))
        self.assertEqual(self.reactor.stoppedWriters, [])
        reader.answer = ConnectionLost()
        self.hub.addReader(reader)
        reader.peer.send(b"a")
        self.hub.doRead()
        self.assertEqual(reader.lost, [ConnectionLost])

    def test_raised(self) -> None:
        """A mistake is logged, and ends its connection; not the others'."""
        for reader in (self.one, self.two):
            reader.peer.send(b"a")
        self.one.raised = ValueError("oops")
        self.hub.doRead()
        self.assertEqual(self.one.lost, [ValueError])
        self.assertEqual((self.two.came, self.two.lost), ([b"a"], []))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_raisedLast(self) -> None:
        """A mistake at the end of a connection is logged as its own; the others go on."""
        errors: list[Any] = []
        log.addObserver(errors.append)
        self.addCleanup(log.removeObserver, errors.append)
        for error in (ValueError("oops"), KeyboardInterrupt()):
            reader = self.add(Reader("three"))
            reader.answer, reader.raisedLast = ConnectionLost(), error
            reader.peer.send(b"a")
            self.one.peer.send(b"a")
            self.hub.doRead()
            self.assertEqual(reader.lost, [ConnectionLost])
        self.assertEqual((self.one.came, self.one.lost), ([b"a"] * 2, []))
        self.assertEqual([each["system"] for each in errors], ["three"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError, KeyboardInterrupt)), 2)

    def test_closedElsewhere(self) -> None:
        """One whose socket was closed by somebody else is forgotten when it is removed."""
        number = self.one.fileno()
        self.one.socket.close()
        other = self.add(Reader("other"))
        self.assertEqual(other.fileno(), number)
        self.hub.removeReader(other)
        self.two.socket.close()
        self.hub.removeReader(self.two)
        self.assertEqual((repr(self.hub), self.reactor.readers), ("<Hub of no connections>", []))

    def test_notWatchable(self) -> None:
        """What the epoll doesn't take is for the reactor to deal with, from beginning to end."""
        with Path(__file__).open() as file:
            self.hub.addReader(file)
            self.assertEqual(self.reactor.readers, [self.hub, file])
            self.hub.removeReader(file)
        self.assertEqual(self.reactor.readers, [self.hub])

    def test_takenAway(self) -> None:
        """The next connection is read from after trial has cleaned the reactor up."""
        self.reactor.readers.clear()
        self.add(Reader())
        self.assertEqual(self.reactor.readers, [self.hub])

    def test_hangUp(self) -> None:
        """An event that isn't about reading means that there is nothing more to be read."""
        reader = Reader()
        reader.socket.close()
        reader.socket = socket.socket()  # not connected: the system calls that hung up
        self.add(reader)
        self.hub.doRead()
        self.assertEqual((reader.came, reader.lost), ([], [ConnectionDone]))

    def test_stopped(self) -> None:
        """When the reactor stops all of them are lost, each with its own prefix in the log."""
        self.hub.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.one.lost + self.two.lost, [ConnectionLost] * 2)
        self.assertEqual(self.one.systems + self.two.systems, ["one", "two"])


class PossibleTests(SynchronousTestCase):
    """Which reactors it is for."""

    def test_others(self) -> None:
        """Not others than Twisted's for epoll, of which isn't known what they do."""
        self.assertFalse(isPossible(MemoryReactor()))

    def test_factory(self) -> None:
        """With these nothing changes."""

        class Transport:
            reactor = MemoryReactor()

        SMTPServerFactory(reactor=MemoryReactor()).watch(Transport())
        self.assertIsInstance(Transport.reactor, MemoryReactor)

    @NEEDS_EPOLL
    def test_noDescriptor(self) -> None:
        """Nor if there is no descriptor left for a hub; the next connection may have one."""

        class Transport:
            def __init__(self) -> None:
                self.reactor: Any = reactor
                self.server = None

            def stopReading(self) -> None:
                pass

            startReading = stopReading

        def fails() -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        factory, first, second = SMTPServerFactory(logger=False), Transport(), Transport()
        with patch.object(select, "epoll", fails):
            factory.watch(first)
        factory.watch(second)
        self.assertIs(first.reactor, reactor)
        self.assertIsInstance(second.reactor, Hub)


class Talkative:
    """Logs in the old way, and says so."""

    def __init__(self) -> None:
        self.called: Deferred[str] = Deferred()

    def onMailFrom(self, address: object, session: object) -> None:
        """Note the log's context."""
        self.called.callback(context.get(log.ILogContext)["system"])


@NEEDS_EPOLL
class ServerTests(TestCase):
    """A server whose connections are on it."""

    timeout = 60

    def begin(self, handler: object = None, **options: Any) -> socket.socket:
        """Start a server; a client of it."""
        self.factory = SMTPServerFactory(handler, logger=False, **options)
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        client.setblocking(False)
        return client

    async def connected(self, *arguments: Any, **options: Any) -> tuple[Any, socket.socket]:
        """The server's transport, and a client."""
        client = self.begin(*arguments, **options)
        while not self.factory.connections:
            await deferLater(reactor, 0)
        (protocol,) = self.factory.connections
        return protocol.transport, client

    async def gone(self) -> None:
        """Wait until the server has no connection."""
        while self.factory.connections:
            await deferLater(reactor, 0)

    async def test_joint(self) -> None:
        """The reactor reads from the hub, and no more when the connection is gone."""
        transport, client = await self.connected()
        hub = transport.reactor
        self.assertIsInstance(hub, Hub)
        self.assertIn(hub, reactor.getReaders())
        self.assertNotIn(transport, reactor.getReaders())
        client.send(b"QUIT\r\n")
        await self.gone()
        self.assertNotIn(hub, reactor.getReaders())

    async def test_next(self) -> None:
        """The next connection of a port is there at once; the port stays with the reactor."""
        transport, client = await self.connected()
        port = transport.server
        self.assertIs(port.reactor, transport.reactor)
        self.assertIn(port, reactor.getReaders())
        client.send(b"QUIT\r\n")
        await self.gone()
        again = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(again.close)
        while not self.factory.connections:
            await deferLater(reactor, 0)
        (protocol,) = self.factory.connections
        self.assertIs(protocol.transport.reactor, transport.reactor)
        self.assertNotIn(protocol.transport, reactor.getReaders())
        # The option may change while the server runs.
        again.close()
        await self.gone()
        self.factory.adopt(SMTPServerFactory(logger=False, jointReads=False))
        last = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(last.close)
        while not self.factory.connections:
            await deferLater(reactor, 0)
        (protocol,) = self.factory.connections
        self.assertEqual((protocol.transport.reactor, port.reactor), (reactor, reactor))
        last.close()
        await self.gone()

    async def test_portGoesOn(self) -> None:
        """A port that pauses goes on with the reactor, which lets it accept so many in a turn."""
        transport, client = await self.connected()
        port = transport.server
        port.pauseProducing()
        port.resumeProducing()
        self.assertIn(port, reactor.getReaders())
        client.close()
        await self.gone()
        self.assertEqual(repr(transport.reactor), "<Hub of no connections>")

    async def test_handedOver(self) -> None:
        """A connection that another process accepted has no port."""
        await self.connected()
        client = socket.socket()
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        client.connect(listener.getsockname())
        self.addCleanup(client.close)
        accepted, _ = listener.accept()
        before = set(self.factory.connections)
        with accepted:
            reactor.adoptStreamConnection(accepted.fileno(), socket.AF_INET, self.factory)
        (protocol,) = self.factory.connections - before
        self.assertIsInstance(protocol.transport.reactor, Hub)
        for each in list(self.factory.connections):
            each.transport.abortConnection()
        await self.gone()

    async def test_off(self) -> None:
        """It can be turned off."""
        transport, client = await self.connected(jointReads=False)
        self.assertIs(transport.reactor, reactor)
        self.assertIn(transport, reactor.getReaders())
        client.close()
        await self.gone()

    async def test_context(self) -> None:
        """What a hook logs in the old way is about the connection, with the hub and without."""
        systems = []
        for jointReads in (True, False):
            handler = Talkative()
            _, client = await self.connected(handler, jointReads=jointReads)
            client.send(b"EHLO a.example\r\nMAIL FROM:<>\r\n")
            systems.append((await handler.called).partition(",")[::2])
            client.close()
            await self.gone()
        self.assertEqual(systems[0][0], systems[1][0])
        self.assertEqual([each[1][-9:] for each in systems], ["127.0.0.1"] * 2)

    async def test_reset(self) -> None:
        """A connection that the peer resets is lost."""
        _, client = await self.connected()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await self.gone()

    async def test_aborted(self) -> None:
        """A handler may end the connection: that is the reactor's to do."""
        transport, _ = await self.connected()
        transport.abortConnection()
        await self.gone()
        self.assertEqual(transport.disconnected, 1)

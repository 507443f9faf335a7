"""Tests for :mod:`twisted_smtpserver.filters.milter.client` and the pool of connections."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any, cast

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.filters.milter.test_filter import MilterCase
from tests.filters.test_filtered import MESSAGE
from tests.support.milters import CONTINUE, FakeMilter, FakeTCPTransport, reply
from tests.support.talk import HELLO, MAIL, RCPT, brief
from twisted_smtpserver.filters import Message, Spool
from twisted_smtpserver.filters.milter import client as module
from twisted_smtpserver.filters.milter import conversation
from twisted_smtpserver.filters.milter.client import MilterConnection
from twisted_smtpserver.filters.milter.conversation import MAX_AT_ONCE
from twisted_smtpserver.filters.milter.macros import macrosFor
from twisted_smtpserver.filters.milter.pool import MAX_IDLE, Pool
from twisted_smtpserver.filters.milter.symbols import Action, Agreement, Command, Step, Verdict
from twisted_smtpserver.session import Session
from twisted_smtpserver.testing import connect


def connected(fake: Any) -> MilterConnection:
    """A connection that has agreed."""
    found: list[Any] = []
    pool = Pool(fake, 10, Clock())
    Deferred.fromCoroutine(pool.take()).addCallback(found.append)
    connection: MilterConnection = found[0]
    return connection


class ConnectionTests(SynchronousTestCase):
    """One connection."""

    def test_TCP(self) -> None:
        """Over TCP nothing waits for more, in neither direction."""
        connection = MilterConnection()
        transport = FakeTCPTransport(FakeMilter(), connection)
        connection.makeConnection(transport)
        self.assertEqual(transport.options, [("nodelay", True)])
        Deferred.fromCoroutine(connection.negotiate())
        if hasattr(socket, "TCP_QUICKACK"):
            quick = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self.assertEqual(transport.options[1:], [quick])
        before = list(transport.options)
        self.patch(module, "_QUICKACK", None)  # other systems have no such option
        connection.dataReceived(CONTINUE)
        self.assertEqual(transport.options, before)

    def test_room(self) -> None:
        """Who writes faster than the milter reads waits; until the milter is gone at most."""
        connection = connected(FakeMilter())
        self.successResultOf(Deferred.fromCoroutine(connection.room()))
        connection.pauseProducing()
        waiting = Deferred.fromCoroutine(connection.room())
        self.assertNoResult(waiting)
        connection.resumeProducing()
        self.successResultOf(waiting)
        connection.pauseProducing()
        waiting = Deferred.fromCoroutine(connection.room())
        connection.drop()
        self.successResultOf(waiting)
        connection.drop()
        connection.close()

    def test_resumed(self) -> None:
        """A milter that was paused is read again when what it said was."""
        fake = FakeMilter()
        connection = connected(fake)
        transport = fake.transports[0]
        flood = reply(b"c", b"x" * 100_000)
        connection.dataReceived(flood * 3)
        self.assertTrue(transport.isPaused)
        for _ in range(3):
            answer = self.successResultOf(Deferred.fromCoroutine(connection.receive()))
            self.assertEqual(answer, Verdict.CONTINUE)
        self.assertTrue(transport.isPaused)
        waiting = Deferred.fromCoroutine(connection.receive())
        self.assertFalse(transport.isPaused)
        connection.dataReceived(CONTINUE)
        self.assertEqual(self.successResultOf(waiting), Verdict.CONTINUE)
        connection.close()
        self.assertTrue(transport.isClosed)


class ReuseTests(MilterCase):
    """Connections are used again."""

    def reusing(self, fake: FakeMilter) -> Any:
        """A handler that asks for it."""
        return self.client(fake, reuse=True).factory.handler

    def test_reused(self) -> None:
        """The next client's session goes over the same connection, where that is asked for."""
        fake = FakeMilter()
        handler = self.reusing(fake)
        for _ in range(3):
            client = self.connectTo(handler)
            client.deliver(MESSAGE)
            client.say("QUIT")
        self.assertEqual(len(fake.transports), 2)  # the first client is still there
        self.assertEqual(fake.said, "C" + "CHMRTLLNBEK" * 3)

    def test_old(self) -> None:
        """A milter of an older version can't do that, and isn't asked to."""
        fake = FakeMilter(version=5, actions=0x3F)
        self.connectTo(self.reusing(fake)).say("QUIT")
        self.assertEqual(fake.said, "CCQ")

    def connectTo(self, handler: Any) -> Any:
        """Another client of the same server."""
        return connect(handler, reactor=self.clock)

    def test_closedMeanwhile(self) -> None:
        """One that was closed while nobody needed it isn't noticed, whenever that shows."""
        fake = FakeMilter()
        handler = self.reusing(fake)
        first = self.connectTo(handler)
        first.say("QUIT")
        fake.transports[1].lose()
        self.assertEqual(self.connectTo(handler).deliver(MESSAGE).code, 250)
        self.assertEqual(len(fake.transports), 3)
        second = self.connectTo(handler)
        second.say("QUIT")
        dying = fake.transports[-1]

        def die(data: bytes) -> bytes:
            if not dying.isClosed:
                dying.lose()
                return b""
            return CONTINUE

        fake.answers["C"] = die
        third = self.connectTo(handler)
        assert third.greeting is not None
        self.assertEqual(third.greeting.code, 220)
        self.assertEqual(self.lines, [])
        self.assertEqual(third.deliver(MESSAGE).code, 250)

    def test_freshOneFails(self) -> None:
        """A new connection that fails isn't tried twice."""
        fake = FakeMilter({"C": reply(b"?")})
        self.client(fake)
        self.assertEqual((len(fake.transports), len(self.lines)), (1, 1))

    def test_bounded(self) -> None:
        """So many are kept; close() closes those that nobody uses."""
        fake = FakeMilter()
        milter = self.milter(fake, reuse=True)
        handler = self.serve(milter).factory.handler
        clients = [self.connectTo(handler) for _ in range(MAX_IDLE + 2)]
        for client in clients:
            client.say("QUIT")
        closed = [transport.isClosed for transport in fake.transports]
        self.assertEqual(closed.count(True), 2)
        last = self.connectTo(handler)
        closing = milter.close()
        closed = [transport.isClosed for transport in fake.transports]
        self.assertEqual(closed.count(False), 2)  # those of two clients that are still there
        last.say("QUIT")
        self.assertNoResult(closing)
        for transport in fake.transports:
            transport.lose()
        self.successResultOf(closing)

    def test_diskFull(self) -> None:
        """If the new body can't be put aside the client gets 452, whatever onFailure says."""

        async def full(spool: Spool, octets: bytes) -> None:
            raise OSError(28, "No space left on device")

        self.patch(Spool, "write", full)
        client = self.client(FakeMilter({"E": reply(b"b", b"x") + CONTINUE}), onFailure="accept")
        self.assertEqual(brief(client.deliver(MESSAGE)), (452, "4.3.1"))
        self.assertIn("No space left", self.lines[0])


class MacroTests(SynchronousTestCase):
    """Values that the tests in memory don't have."""

    def test_certificate(self) -> None:
        """The names in a verified certificate."""

        class Certificate:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "joe")])
            issuer = x509.Name([])

        class TLS:
            version, cipher, cipherBits = "TLSv1.3", "AES", 256
            authorized = True
            peerCertificate = Certificate

        session = Session()
        session.tls = cast("Any", TLS)
        agreement = Agreement(6, Action(0), Step(0), {})
        self.assertEqual(
            macrosFor(Command.HELLO, session, agreement, "mx.test"),
            {
                "tls_version": "TLSv1.3",
                "cipher": "AES",
                "cipher_bits": "256",
                "cert_subject": "joe",
            },
        )

    def test_addressless(self) -> None:
        """Commands that name no address have no such macros."""
        macros = {Command.DATA: frozenset({"rcpt_addr", "mail_addr", "auth_authen", "j"})}
        agreement = Agreement(6, Action(0), Step(0), macros)
        session = Session()
        session.user = b"joe"
        found = macrosFor(Command.DATA, session, agreement, "mx.test")
        self.assertEqual(found, {"j": "mx.test", "auth_authen": "joe"})


class EchoMilter(Protocol):
    """A milter on a real socket."""

    def connectionMade(self) -> None:
        """Make one in memory, and let that answer."""
        self.fake = FakeMilter()
        self.octets = b""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        self.octets += data
        while len(self.octets) >= 4:
            end = 4 + int.from_bytes(self.octets[:4], "big")
            if len(self.octets) < end:
                return
            packet, self.octets = self.octets[4:end], self.octets[end:]
            assert self.transport is not None
            self.transport.write(self.fake.take(chr(packet[0]), packet[1:]))


class SocketTests(TestCase):
    """Real sockets of both kinds."""

    timeout = 30

    @inlineCallbacks
    def check(self, port: Any, description: str) -> Any:
        """Connect, and agree."""
        self.addCleanup(port.stopListening)
        pool = Pool(description, 10)
        connection = yield Deferred.fromCoroutine(pool.take())
        self.assertEqual(connection.agreement.version, 6)
        self.assertEqual(repr(pool), description)
        pool.giveBack(connection)
        yield Deferred.fromCoroutine(pool.close())
        self.assertTrue(connection.lost.called)

    def test_TCP(self) -> Any:
        """TCP."""
        factory: Any = Factory.forProtocol(EchoMilter)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self.check(port, f"tcp:127.0.0.1:{port.getHost().port}")

    def test_unix(self) -> Any:
        """A unix socket."""
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "s")
        self.addCleanup(os.rmdir, folder)
        unix: Any = reactor
        port = unix.listenUNIX(path, Factory.forProtocol(EchoMilter))
        return self.check(port, f"unix:{path}")


class SliceTests(MilterCase):
    """How much is done at a time."""

    def test_work(self) -> None:
        """However large the message is: between two answers of the milter, one packet is sent."""
        sent: list[int] = []
        fake = FakeMilter()
        fake.answers["B"] = b""  # the test answers
        content = MESSAGE + b"".join([b"x" * 998 + b"\r\n"] * 3000)
        client = self.client(fake)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(content + b".\r\n")
        for _ in range(1000):
            body = fake.data("B")
            if sum(map(len, body)) >= len(content) - len(MESSAGE):
                break
            sent.append(len(body))
            fake.transports[0].protocol.dataReceived(CONTINUE)
        self.assertEqual(sent, list(range(1, len(sent) + 1)))
        self.assertLessEqual(max(map(len, fake.data("B"))), 2**16)
        fake.transports[0].protocol.dataReceived(CONTINUE)
        self.assertEqual(client.answers()[0].code, 250)

    def test_unanswered(self) -> None:
        """Where the milter answers nothing the transport says when to go on."""
        fake = FakeMilter({"B": b""}, steps=0x80000)
        content = MESSAGE + b"".join([b"x" * 998 + b"\r\n"] * 3000)
        client = self.client(fake)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        connection = fake.transports[0].protocol
        connection.pauseProducing()
        client.send(content + b".\r\n")
        self.assertEqual(len(fake.data("B")), 1)
        for _ in range(1000):
            if fake.said.endswith("E"):
                break
            connection.resumeProducing()
            connection.pauseProducing()
        self.assertEqual(client.answers()[0].code, 250)

    def test_fields(self) -> None:
        """Of a great many fields, so many are sent at once, also if the milter answers none."""
        turns: list[Deferred[None]] = []

        def turn(clock: Any, seconds: float) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        self.patch(conversation, "deferLater", turn)
        fake = FakeMilter({"L": b""}, steps=0x80)
        content = b"X-Field: value\r\n" * (5 * MAX_AT_ONCE) + b"\r\n"
        client = self.client(fake)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(content + b".\r\n")
        for number in range(1, 6):
            self.assertEqual(len(fake.data("L")), number * MAX_AT_ONCE - 1)
            turns[-1].callback(None)
        self.assertEqual(len(fake.data("L")), 5 * MAX_AT_ONCE)
        self.assertEqual(client.answers()[0].code, 250)

    def test_messageOnce(self) -> None:
        """A message isn't copied for each filter: all read the one that was put aside."""
        spools: set[int] = set()

        def look(message: Message) -> None:
            spools.add(id(message._spool))

        self.serve(look, look).deliver(MESSAGE)
        self.assertEqual(len(spools), 1)

"""The stage that asks Dovecot, against one in memory that says what it is told to."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Chain, ConfigurationError, Discard
from twisted_smtpserver.stores.base import BackOff, Unavailable
from twisted_smtpserver.testing import Client, connect
from twisted_smtpserver.users import DovecotAuth
from twisted_smtpserver.users.dovecot import handler as module
from twisted_smtpserver.users.dovecot.handler import DEADLINE
from twisted_smtpserver.users.dovecot.link import MAX_HANDSHAKE, MAX_LINE, MAX_PENDING

HANDSHAKE = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t2\n"
    b"COOKIE\tabc\nDONE\n"
)


class Socket(StringTransport):
    """A connection that can be aborted."""

    protocol: Any

    def abortConnection(self) -> None:
        if not self.disconnecting:
            super().abortConnection()
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Endpoint:
    """Dovecot's socket in memory."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.handshake = HANDSHAKE
        self.error: Exception | None = None
        self.isSlow = False

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.isSlow:
            return Deferred()
        if self.error is not None:
            return fail(self.error)
        socket = Socket()
        socket.protocol = factory.buildProtocol(None)
        self.sockets.append(socket)
        socket.protocol.makeConnection(socket)
        if self.handshake:
            socket.protocol.dataReceived(self.handshake)
        return succeed(socket.protocol)

    @property
    def said(self) -> list[list[str]]:
        """The words of the lines that the last connection was sent since the last look."""
        socket = self.sockets[-1]
        lines = socket.value().decode().splitlines()
        socket.clear()
        return [line.split("\t") for line in lines]

    def answer(self, line: str) -> None:
        self.sockets[-1].protocol.dataReceived(line.encode() + b"\n")

    def lose(self) -> None:
        self.sockets[-1].protocol.connectionLost(Failure(ConnectionDone()))


class DovecotTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.patch(module, "clientFromString", self.makeEndpoint)
        self.descriptions: list[str] = []
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        backOff = BackOff(self.clock, first=1, draw=lambda: 1.0)
        self.stage = DovecotAuth("/run/auth", reactor=self.clock, backOff=backOff)

    def makeEndpoint(self, reactor: object, description: str) -> Endpoint:
        self.descriptions.append(description)
        return self.endpoint

    def client(self, **options: Any) -> Client:
        client = connect(
            Chain(self.stage, Discard()),
            allowInsecureAuth=True,
            authFailureDelay=0,
            reactor=self.clock,
            **options,
        )
        client.say("EHLO client.example")
        return client

    def begin(self, client: Client, name: str = "joe", password: str = "sesame") -> None:
        response = base64.b64encode(f"\0{name}\0{password}".encode())
        client.send(b"AUTH PLAIN " + response + b"\r\n")

    def logIn(self, *answers: str) -> tuple[int, str | None]:
        """The reply to a login, where Dovecot answers so; ``{n}`` is the request's number."""
        client = self.client()
        self.begin(client)
        number = self.endpoint.said[-1][1]
        for answer in answers:
            self.endpoint.answer(answer.format(n=number))
        return self.reply(client)

    def reply(self, client: Client) -> tuple[int, str | None]:
        [answer] = client.answers()
        return answer.code, answer.enhanced

    @property
    def log(self) -> list[str]:
        return [formatEvent(event) for event in self.events if "dovecot" in event]


class VerdictTests(DovecotTestCase):
    def test_right(self) -> None:
        """The name that Dovecot answers is the user."""
        client = self.client()
        self.begin(client, "JOE", "sesame")
        self.assertEqual(self.endpoint.said[0][:2], ["VERSION", "1"])
        self.endpoint.answer("OK\t1\tuser=joe@example.com\tx=y")
        self.assertEqual(self.reply(client), (235, "2.7.0"))
        self.assertEqual(client.session.user, "joe@example.com")

    def test_asked(self) -> None:
        """What Dovecot is told."""
        client = self.client(secured=True)
        self.begin(client)
        words = self.endpoint.said[-1]
        session = client.session
        self.assertEqual(
            words[:-1],
            [
                *("AUTH", "1", "PLAIN", "service=smtp", "secured", "nologin"),
                *(f"lip={session.localAddress}", "rip=192.0.2.1", f"lport={session.localPort}"),
                *("rport=40000", f"session={session.id}"),
            ],
        )
        response = base64.b64decode(words[-1].removeprefix("resp="))
        self.assertEqual(response, b"\0joe\0sesame")

    def test_inClear(self) -> None:
        """Dovecot isn't told of TLS where there is none."""
        self.begin(self.client())
        self.assertNotIn("secured", self.endpoint.said[-1])

    def test_wrong(self) -> None:
        """A wrong password is that, whatever the reason."""
        for answer in ("FAIL\t{n}\tuser=joe", "FAIL\t{n}\tcode=user_disabled", "CONT\t{n}\teA=="):
            self.assertEqual(self.logIn(answer), (535, "5.7.8"))

    def test_temporary(self) -> None:
        """That it can't tell isn't the client's fault, and is in the log."""
        for answer in (
            "FAIL\t{n}\ttemp",
            "FAIL\t{n}\tcode=temp_fail",
            "OK\t{n}",
            "OK\t{n}\tuser=a\x01nb",
        ):
            self.assertEqual(self.logIn(answer), (454, "4.7.0"))
        self.assertIn("it has a temporary failure; its own log says which", self.log[0])
        self.assertIn("a login can't be checked by <DovecotAuth '/run/auth'>", self.log[0])
        self.assertIn("it accepts a login without a user's name", self.log[-1])

    def test_others(self) -> None:
        """An answer that nobody waits for, or another line, is passed over."""
        answers = ("OK\t77\tuser=eve", "SPID\t9", "", "OK\t{n}\tuser=joe")
        self.assertEqual(self.logIn(*answers), (235, "2.7.0"))

    def test_token(self) -> None:
        """A token isn't put to Dovecot."""
        client = self.client(authMethods=["XOAUTH2"])
        response = base64.b64encode(b"user=joe\x01auth=Bearer x\x01\x01").decode()
        client.say(f"AUTH XOAUTH2 {response}")
        self.assertEqual(client.say("").code, 535)
        self.assertEqual(self.endpoint.sockets, [])

    def test_pipelined(self) -> None:
        """One connection serves all; answers come in any order."""
        clients = [self.client() for _ in range(3)]
        for number, client in enumerate(clients):
            self.begin(client, f"u{number}")
        for number in (3, 1, 2):
            self.endpoint.answer(f"OK\t{number}\tuser=u{number - 1}")
        for number, client in enumerate(clients):
            self.reply(client)
            self.assertEqual(client.session.user, f"u{number}")
        self.assertEqual(len(self.endpoint.sockets), 1)


class FailureTests(DovecotTestCase):
    def assertAgain(self) -> None:
        """The next login has a new connection."""
        before = len(self.endpoint.sockets)
        self.clock.advance(60)
        self.endpoint.handshake = HANDSHAKE
        self.assertEqual(self.logIn("OK\t{n}\tuser=joe"), (235, "2.7.0"))
        self.assertEqual(len(self.endpoint.sockets), before + 1)

    def test_lost(self) -> None:
        """A connection that is lost is no verdict for those who wait."""
        clients = [self.client(), self.client()]
        for client in clients:
            self.begin(client)
        self.endpoint.lose()
        for client in clients:
            self.assertEqual(self.reply(client), (454, "4.7.0"))
        self.assertIn("it closed the connection", self.log[-1])
        self.assertAgain()

    def test_refused(self) -> None:
        """While it can't be reached nobody waits for it, and it is left alone for a while."""
        self.endpoint.error = error.ConnectionRefusedError()
        for _ in range(3):
            client = self.client()
            self.begin(client)
            self.assertEqual(self.reply(client), (454, "4.7.0"))
        self.assertIn("ConnectionRefusedError", self.log[0])
        self.assertIn("it was away just now", self.log[2])
        self.endpoint.error = None
        self.assertAgain()

    def test_hangs(self) -> None:
        """No answer in time: 454, and a new connection next time."""
        client = self.client()
        self.begin(client)
        self.clock.advance(DEADLINE)
        self.assertEqual(self.reply(client), (454, "4.7.0"))
        self.assertEqual(self.endpoint.said[-1], ["CANCEL", "1"])
        self.assertIn("Dovecot didn't answer within 30 s", self.log[-1])
        self.assertTrue(self.endpoint.sockets[0].disconnecting)
        self.assertAgain()

    def test_slowForOne(self) -> None:
        """If others are answered meanwhile, the connection stays."""
        slow, other = self.client(), self.client()
        self.begin(slow)
        self.clock.advance(1)
        self.begin(other)
        self.endpoint.answer("OK\t2\tuser=joe")
        self.clock.advance(DEADLINE - 1)
        self.assertEqual(self.reply(slow), (454, "4.7.0"))
        self.assertFalse(self.endpoint.sockets[0].disconnecting)

    def test_neverConnects(self) -> None:
        """Nor does anybody wait longer for the connection; all wait for the same one."""
        self.endpoint.isSlow = True
        clients = [self.client(), self.client()]
        for client in clients:
            self.begin(client)
        self.clock.advance(DEADLINE)
        for client in clients:
            self.assertEqual(self.reply(client), (454, "4.7.0"))
        self.endpoint.isSlow = False
        self.assertAgain()

    def test_neverReady(self) -> None:
        """Nor for the end of the handshake; one who leaves meanwhile takes nothing along."""
        self.endpoint.handshake = b"VERSION\t1\t2\n"
        leaving, client = self.client(), self.client()
        self.begin(leaving)
        self.begin(client)
        leaving.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.endpoint.sockets), 1)
        self.clock.advance(DEADLINE)
        self.assertEqual(self.reply(client), (454, "4.7.0"))
        self.assertAgain()

    def test_left(self) -> None:
        """Dovecot is told that a client has left."""
        client = self.client()
        self.begin(client)
        client.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.endpoint.said[-1], ["CANCEL", "1"])
        self.endpoint.answer("OK\t1\tuser=joe")

    def test_badHandshakes(self) -> None:
        """What isn't Dovecot's socket for clients, or can't check passwords, is said to be so."""
        for handshake, reason in (
            (b"VERSION\t2\t0\n", "it speaks another version of the protocol"),
            (b"VERSION\n" + HANDSHAKE, "it speaks another version of the protocol"),
            (b"DONE\n", "it isn't Dovecot's socket for authentication clients"),
            (b"VERSION\t1\t2\nMECH\tCRAM-MD5\nMECH\nDONE\n", "auth_mechanisms don't have PLAIN"),
            (b"MECH\tX\n" * (MAX_HANDSHAKE + 1), "its handshake has no end"),
            (b"x" * (MAX_LINE + 1), f"it sent a line of more than {MAX_LINE} octets"),
            (b"\t\xff\n", "a line isn't UTF-8"),
        ):
            self.clock.advance(60)
            self.endpoint.handshake = handshake
            client = self.client()
            self.begin(client)
            self.assertEqual(self.reply(client), (454, "4.7.0"), handshake[:20])
            self.assertIn(reason, self.log[-1])
            self.assertTrue(self.endpoint.sockets[-1].disconnecting)
        self.assertAgain()

    def test_badAnswers(self) -> None:
        """An answer that makes no sense ends the connection, and is no verdict."""
        for answer in ("OK", "OK\tx", "OK\t{n}\t" + "x" * MAX_LINE):
            self.assertEqual(self.logIn(answer), (454, "4.7.0"))
            self.assertTrue(self.endpoint.sockets[-1].disconnecting)

    def test_afterAbort(self) -> None:
        """What comes behind is passed over."""
        client = self.client()
        self.begin(client)
        link = self.endpoint.sockets[-1].protocol
        self.patch(self.endpoint.sockets[-1], "abortConnection", lambda: None)
        self.endpoint.answer("OK\nOK\t1\tuser=joe")
        self.assertEqual(client.answers(), [])
        self.assertFalse(link.isUsable)
        link.connectionLost()
        self.assertEqual(self.reply(client), (454, "4.7.0"))

    def test_tooMany(self) -> None:
        """What it may owe an answer to is bounded; so are its numbers."""
        client = self.client()
        self.begin(client)
        link = self.endpoint.sockets[-1].protocol
        for _ in range(MAX_PENDING - 1):
            link.ask("x", "y", {}).addErrback(lambda _: None)
        other = self.client()
        self.begin(other)
        self.assertEqual(self.reply(other), (454, "4.7.0"))
        self.assertIn(f"{MAX_PENDING} requests wait for an answer", self.log[-1])
        self.endpoint.answer(f"OK\t{MAX_PENDING}\tuser=x")
        self.patch(link, "_number", 2**31)
        self.endpoint.answer("FAIL\t1")
        link.ask("x", "y", {})
        self.assertEqual(self.endpoint.said[-1][1], "1")

    def test_lostBetween(self) -> None:
        """A connection that is gone when it is needed isn't written to."""
        self.logIn("OK\t{n}\tuser=joe")
        link = self.endpoint.sockets[-1].protocol
        self.endpoint.lose()
        self.assertRaises(Unavailable, link.ask, "x", "y", {})
        self.assertAgain()


class ServiceTests(DovecotTestCase):
    def test_check(self) -> None:
        """At the start it is tried, and the log says how that went."""
        self.stage.check()
        self.assertEqual(self.log, ["<DovecotAuth '/run/auth'> can be reached"])
        self.endpoint.lose()
        self.endpoint.error = error.ConnectionRefusedError()
        self.stage.check()
        self.assertIn("can't be reached: ConnectionRefusedError", self.log[-1])
        self.assertIn("logins get 454 until it can", self.log[-1])

    def test_ready(self) -> None:
        """It is ready if Dovecot can be asked."""
        self.successResultOf(Deferred.fromCoroutine(self.stage.ready()))
        self.endpoint.lose()
        self.endpoint.error = error.ConnectionRefusedError()
        waiting = Deferred.fromCoroutine(self.stage.ready())
        self.failureResultOf(waiting, error.ConnectionRefusedError)

    def test_close(self) -> None:
        """At the end the connection is closed."""
        self.stage.close()
        self.stage.check()
        self.stage.close()
        self.assertTrue(self.endpoint.sockets[0].disconnecting)
        self.stage.close()

    def test_endpoints(self) -> None:
        """A path, whatever is in it, or one of Twisted's endpoints."""
        self.assertEqual(self.descriptions, ["unix:/run/auth"])
        DovecotAuth("/run/a:b", reactor=self.clock)
        DovecotAuth("tcp:192.0.2.1:12345", reactor=self.clock)
        self.assertEqual(self.descriptions[1:], ["unix:/run/a\\:b", "tcp:192.0.2.1:12345"])


class MistakeTests(SynchronousTestCase):
    def test_endpoint(self) -> None:
        """What is no endpoint is refused in a line."""
        for where in ("run/auth", "tcp:x", "nothing:x", ""):
            error = self.assertRaises(ConfigurationError, DovecotAuth, where, reactor=Clock())
            self.assertIn("is neither a socket's path nor a client endpoint", str(error))

    def test_theReactor(self) -> None:
        """It needs no reactor of one's own."""
        DovecotAuth("/run/auth")

"""Tests for the life of a connection: how it comes about, and how it ends."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import handlerOf, refusing
from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk
from twisted_smtpserver import Rejection
from twisted_smtpserver.connection.channel import UNWELCOME_TIME
from twisted_smtpserver.connection.opening import PROXY_TIME
from twisted_smtpserver.connection.timeouts import CLOSING_TIME
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)


class GreetingTests(SynchronousTestCase):
    """From the connection to the greeting."""

    def test_greeting(self) -> None:
        """It is 220, our name, what we speak, and the banner if there is one."""
        for banner, text in (("", "mx.test ESMTP"), ("ready", "mx.test ESMTP ready")):
            greeting = connect(banner=banner).greeting
            assert greeting is not None
            self.assertEqual((*brief(greeting), greeting.lines), (220, None, (text,)))

    def test_onConnect(self) -> None:
        """The handler is asked before it, and may take its time."""
        later = Later()
        client = connect(onConnect=later)
        self.assertIsNone(client.greeting)
        self.assertEqual(later.calls, [(client.session,)])
        later.answer()
        self.assertEqual(codes(client.answers()), [220])
        self.assertEqual(client.say(HELLO).code, 250)

    def test_refused(self) -> None:
        """Its refusal is the greeting: 554, or what it says; a bug is 451."""
        table: list[tuple[Exception, int]] = [
            (Rejection("no"), 554),
            (Rejection("no", 450), 450),
            (ZeroDivisionError("secret"), 451),
        ]
        for error, code in table:
            for later in (False, True):
                hook = Later() if later else refusing(error)
                client = connect(onConnect=hook)
                if isinstance(hook, Later):
                    hook.fail(error)
                answer = client.greeting or client.answer()
                assert answer is not None
                self.assertEqual(brief(answer), (code, None))
                self.assertNotIn("secret", answer.text)
                self.assertEqual(codes(client.pipeline(HELLO, MAIL, "QUIT")), [503, 503, 221])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_timeout(self) -> None:
        """One that never decides is refused: 451, and then 503, until it is cut off."""
        gate: Deferred[None] = Deferred()

        async def deaf(session: Session) -> None:
            try:
                await Deferred()
            finally:
                await gate

        def canceller(_: object) -> None:
            raise ZeroDivisionError

        hook: Any
        for hook in (Later(), deaf, lambda session: Deferred(canceller)):
            client = connect(onConnect=hook, handlerTimeout=60)
            client.wait(60)
            self.assertEqual([brief(answer) for answer in client.answers()], [(451, None)])
            self.assertEqual(codes(client.pipeline(HELLO, MAIL)), [503, 503])
            client.wait(UNWELCOME_TIME)
            self.assertEqual(codes(client.answers()), [421])
            self.assertTrue(client.isClosed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_leaves(self) -> None:
        """A client that leaves meanwhile cancels it; onClose is called all the same."""
        handler: Any = RecordingHandler()
        handler.onConnect = later = Later()
        client = connect(handler)
        client.lose()
        self.assertEqual(later.canceled, 1)
        self.assertEqual(handler.calls, ["onClose"])
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_earlyTalker(self) -> None:
        """Who speaks before the greeting is cut off, and nothing of it is run."""
        later = Later()
        client = connect(onConnect=later)
        client.send(b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\n")
        self.assertEqual([brief(answer) for answer in client.answers()], [(421, None)])
        self.assertTrue(client.isClosed)
        self.assertEqual(later.canceled, 1)

    def test_lateDecision(self) -> None:
        """What the handler says about it then isn't told to anybody."""
        later = Later()
        transport = MemoryTransport()
        transport.abortConnection = lambda: None  # type: ignore[method-assign]
        factory = makeFactory(onConnect=later)
        protocol: Any = factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived(b"EHLO a.example\r\n")
        later.answer()
        protocol.dataReceived(b"EHLO a.example\r\n")
        self.assertEqual(transport.output[:4], b"421 ")
        self.assertNotIn(b"220", transport.output)

    def test_greetingDelay(self) -> None:
        """The greeting may be put off, to catch those who don't wait for it."""
        client = connect(greetingDelay=5)
        client.wait(4)
        self.assertIsNone(client.answer())
        client.wait(1)
        self.assertEqual(codes(client.answers()), [220])
        client = connect(greetingDelay=5)
        client.send(b"\r\n")
        self.assertEqual(codes(client.answers()), [421])
        client = connect(greetingDelay=5)
        client.lose()
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_lineReceived(self) -> None:
        """A line may be given by itself, as Twisted's LineReceiver gives it."""
        client = connect()
        client.transport.output.clear()
        client.protocol.lineReceived(b"NOOP")
        self.assertEqual(client.transport.output, b"250 2.0.0 OK\r\n")

    def test_noDelay(self) -> None:
        """TCP_NODELAY is set, if it is wanted, and there is such a thing."""
        self.assertTrue(connect().transport.getTcpNoDelay())
        self.assertFalse(connect(noDelay=False).transport.getTcpNoDelay())
        transport = MemoryTransport()
        transport.setTcpNoDelay = None  # type: ignore[method-assign,assignment]
        self.assertIsNotNone(connect(transport=transport).greeting)


class LookUpTests(SynchronousTestCase):
    """The client's name."""

    def looking(self, **options: Any) -> tuple[Client, Deferred[Any]]:
        """A client whose name is being looked up."""
        found: Deferred[Any] = Deferred()
        factory = makeFactory(RecordingHandler(), **options)
        factory.lookUp = lambda address: found
        return connect(factory), found

    def test_found(self) -> None:
        """The greeting waits for it; the handler sees it."""
        client, found = self.looking()
        self.assertIsNone(client.greeting)
        self.assertEqual(handlerOf(client).calls, [])
        found.callback("client.example")
        self.assertEqual(codes(client.answers()), [220])
        self.assertEqual(client.session.clientHostname, "client.example")

    def test_leaves(self) -> None:
        """A client that leaves cancels it; onConnect and onClose never hear of it."""
        client, found = self.looking()
        client.lose()
        self.assertTrue(found.called)
        self.assertEqual(handlerOf(client).calls, [])

    def test_earlyTalker(self) -> None:
        """An early talker doesn't get as far as onConnect."""
        client, found = self.looking()
        client.send(b"EHLO a.example\r\n")
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(found.called)
        self.assertEqual(handlerOf(client).calls, [])

    def test_late(self) -> None:
        """A name that comes when the connection is being closed doesn't matter any more."""
        found: Deferred[Any] = Deferred()
        factory = makeFactory(RecordingHandler())
        factory.lookUp = lambda address: found
        transport = MemoryTransport()
        protocol: Any = factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived(b"EHLO a.example\r\n")
        found.callback("client.example")
        self.assertEqual(factory.handler.calls, [])  # type: ignore[attr-defined]
        self.assertEqual(transport.output[:4], b"421 ")
        self.assertEqual(transport.output.count(b"\r\n"), 1)
        factory.clock.advance(CLOSING_TIME)  # type: ignore[attr-defined]
        self.assertTrue(transport.isAborted)

    def test_mistakes(self) -> None:
        """A lookUp of the user's that fails is reported; the client is greeted without a name."""

        def raises(address: str | None) -> str:
            raise ValueError("oops")

        async def coroutine() -> str:
            return "client.example"

        running: Any = coroutine()
        self.addCleanup(running.close)
        lookups: dict[str, Any] = {
            "raises": raises,
            "fails": lambda address: fail(ValueError("oops")),
            "returns None": lambda address: None,
            "gives octets": lambda address: succeed(b"client.example"),
            "returns a coroutine": lambda address: running,
        }
        for name, lookUp in lookups.items():
            factory = makeFactory(RecordingHandler())
            factory.lookUp = lookUp
            client = connect(factory)
            self.assertIsNotNone(client.greeting, name)
            self.assertEqual(client.session.clientHostname, "[192.0.2.1]", name)
            client.send(b"NOOP\r\n")
            self.assertEqual(codes(client.answers()), [250], name)
            client.lose()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        kinds = [str(each.value).split()[-1] for each in self.flushLoggedErrors(TypeError)]
        self.assertEqual(kinds, ["NoneType", "bytes", "coroutine"])

    def test_literals(self) -> None:
        """Without a name it is the address, in brackets; on a unix socket it is localhost."""
        table: dict[Any, tuple[str | None, str]] = {
            IPv4Address("TCP", "192.0.2.9", 5): ("192.0.2.9", "[192.0.2.9]"),
            IPv6Address("TCP", "2001:db8::1", 5): ("2001:db8::1", "[IPv6:2001:db8::1]"),
            # as a listener for both families shows an IPv4 client
            IPv6Address("TCP", "::ffff:192.0.2.9", 5): ("192.0.2.9", "[192.0.2.9]"),
            UNIXAddress("/run/socket"): (None, "localhost"),
        }
        for peer, expected in table.items():
            for disabled in (False, True):
                session = connect(peer=peer, disableReverseLookup=disabled).session
                self.assertEqual((session.remoteAddress, session.clientHostname), expected)


class Prefixed:
    """Puts octets before the first segment, and steps aside."""

    def __init__(self, client: Client, octets: bytes) -> None:
        self.client = client
        self.octets = octets

    def dataReceived(self, data: bytes) -> None:
        """The first one."""
        self.client.transport.protocol = self.client.protocol
        self.client.protocol.dataReceived(self.octets + data)


class ProxyTests(SynchronousTestCase):
    """The PROXY protocol, before TLS and greeting."""

    HEADER = b"PROXY TCP4 198.51.100.1 198.51.100.25 5000 25\r\n"
    LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"

    def test_header(self) -> None:
        """The session has the addresses of the header, and the socket's beside."""
        for step in (len(self.HEADER), 1):
            client = connect(useProxy=True)
            self.assertIsNone(client.greeting)
            for start in range(0, len(self.HEADER), step):
                client.send(self.HEADER[start : start + step])
            self.assertEqual(codes(client.answers()), [220])
            session = client.session
            self.assertEqual((session.remoteAddress, session.remotePort), ("198.51.100.1", 5000))
            self.assertEqual((session.localAddress, session.localPort), ("198.51.100.25", 25))
            self.assertEqual((session.peerAddress, session.peerPort), ("192.0.2.1", 40000))
            self.assertEqual(session.clientHostname, "[198.51.100.1]")
            self.assertEqual(client.say(HELLO).code, 250)

    def test_binary(self) -> None:
        """Version 2 has fields beside the addresses."""
        fields = b"\x05\x00\x03abc"
        addresses = bytes([198, 51, 100, 1, 198, 51, 100, 25]) + struct.pack("!HH", 5000, 25)
        block = addresses + fields
        client = connect(useProxy=True)
        client.send(self.LOCAL[:12] + b"\x21\x11" + struct.pack("!H", len(block)) + block)
        self.assertEqual(codes(client.answers()), [220])
        self.assertEqual(client.session.remoteAddress, "198.51.100.1")
        self.assertEqual(client.session.proxyTLVs, ((5, b"abc"),))

    def test_local(self) -> None:
        """A proxy that speaks for itself has its own address."""
        client = connect(useProxy=True)
        client.send(self.LOCAL)
        self.assertEqual(codes(client.answers()), [220])
        self.assertEqual(client.session.remoteAddress, "192.0.2.1")

    def test_bad(self) -> None:
        """Anything else is dropped without a word, and a line in the log."""
        for octets in (b"EHLO a.example\r\n", b"PROXY nonsense\r\n", b"PROXY " + b"x" * 200):
            log = Log()
            client = connect(useProxy=True, logger=log.logger)
            client.send(octets)
            self.assertEqual(client.answers(), [])
            self.assertTrue(client.transport.isAborted)
            self.assertIn("PROXY", log.of("session")[0]["why"])
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """It has to come soon; a part of it doesn't count."""
        client = connect(useProxy=True)
        client.wait(PROXY_TIME - 1)
        client.send(b"PROXY ")
        client.wait(1)
        self.assertTrue(client.transport.isAborted)

    def test_trust(self) -> None:
        """Only those may send one that the option names; others can't connect."""
        self.assertTrue(connect(useProxy=["192.0.2.2"]).transport.isAborted)
        client = connect(useProxy=["192.0.2.0/24"])
        client.send(self.HEADER)
        self.assertEqual(codes(client.answers()), [220])

    def test_earlyTalker(self) -> None:
        """Octets behind it came before the greeting."""
        client = connect(RecordingHandler(), useProxy=True)
        client.send(self.HEADER + b"EHLO a.example\r\n")
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)
        self.assertEqual(handlerOf(client).calls, [])

    def test_implicitTLS(self) -> None:
        """TLS begins behind it, in the same segment or the next."""
        for together in (False, True):
            client = connect(useProxy=True, secure=True, selfSigned=True)
            if together:
                client.transport.protocol = Prefixed(client, self.HEADER)
            else:
                client.send(self.HEADER)
            client.startTLS()
            self.assertEqual(codes(client.answers()), [220])
            self.assertEqual(client.session.remoteAddress, "198.51.100.1")
            self.assertTrue(client.session.secure)
            self.assertEqual(client.say(HELLO).code, 250)

    def test_shutDown(self) -> None:
        """A server that stops drops those whose header hasn't come."""
        client = connect(useProxy=True)
        stopped = client.factory.shutdown()
        client.settle()
        self.assertTrue(client.transport.isAborted)
        self.successResultOf(stopped)


class EndTests(SynchronousTestCase):
    """How a connection ends."""

    def test_onClose(self) -> None:
        """onClose is called once for each connection that reached onConnect."""
        for end in ("QUIT", "lose", "idle", "refused"):
            handler = RecordingHandler()
            if end == "refused":
                handler.onConnect = refusing(Rejection("no", 421))  # type: ignore[method-assign]
            client = connect(handler)
            if end == "QUIT":
                client.say("QUIT")
            elif end == "idle":
                client.wait(300)
            client.lose()
            client.lose()
            self.assertEqual(handler.calls.count("onClose"), 1, end)

    def test_reasons(self) -> None:
        """The summary says why it ended."""

        def stop(client: Client) -> None:
            client.factory.shutdown()
            client.settle()

        table: dict[str, Callable[[Client], object]] = {
            "quit": lambda client: client.say("QUIT"),
            "client left": lambda client: client.lose(ConnectionDone()),
            "connection lost: ConnectionLost": lambda client: client.lose(),
            "Idle for too long, closing connection": lambda client: client.wait(300),
            "spoke HTTP": lambda client: client.say("GET / HTTP/1.1"),
            "bare newline in a command": lambda client: client.send(b"\n"),
            "server shut down": stop,
        }
        for reason, end in table.items():
            log = Log()
            end(connect(logger=log.logger))
            (event,) = log.of("session")
            self.assertEqual(event["why"], reason)

    def test_badHandshake(self) -> None:
        """What isn't TLS where it has to be is named, and not after OpenSSL's exception."""
        log = Log()
        client = connect(logger=log.logger, selfSigned=True)
        client.pipeline(HELLO)
        self.assertEqual(client.say("STARTTLS").code, 220)
        client.send(b"EHLO a.example\r\n" * 10)
        client.lose()
        # Each OpenSSL has its own words.
        self.assertRegex(log.of("session")[0]["why"], "^TLS handshake failed: [a-z][a-z, ]+$")

    def test_unknownReason(self) -> None:
        """A failure without a type doesn't break the summary."""
        log = Log()
        client = connect(logger=log.logger)
        failure = Failure(ZeroDivisionError())
        failure.type = None
        client.protocol.connectionLost(failure)
        self.assertEqual(log.of("session")[0]["why"], "connection lost: unknown")

    def test_closingTakesTooLong(self) -> None:
        """A peer that doesn't take its last answer is cut off."""
        transport = MemoryTransport()
        factory = makeFactory()
        protocol: Any = factory.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"QUIT\r\n")
        self.assertFalse(transport.isAborted)
        factory.clock.advance(CLOSING_TIME)  # type: ignore[attr-defined]
        self.assertTrue(transport.isAborted)

    def test_halfClose(self) -> None:
        """A client that closes its side still gets its answers, and then the end."""
        client = talk(Phase.READY)
        client.send(b"NOOP\r\nVRFY a\r\nNO")
        client.finish()
        self.assertEqual(codes(client.answers()), [250, 252])
        self.assertTrue(client.isClosed)

    def test_halfCloseWhileHeld(self) -> None:
        """What waits for a handler is answered, too: it isn't canceled."""
        later = Later()
        client = talk(Phase.MAIL, onRcptTo=later)
        client.send(RCPT.encode() + b"\r\nNOOP\r\n")
        client.finish()
        self.assertEqual((client.answers(), client.isClosed, later.canceled), ([], False, 0))
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 250])
        self.assertTrue(client.isClosed)

    def test_halfCloseAfterMessage(self) -> None:
        """A message that is there in whole is processed, and its reply delivered."""
        later = Later()
        client = talk(Phase.RCPT, onData=later)
        client.send(b"DATA\r\n")
        later.calls[0][0].read()
        client.send(b"x\r\n.\r\nQUIT\r\n")
        client.finish()
        later.answer()
        self.assertEqual(codes(client.answers()), [354, 250, 221])

    def test_halfCloseInMessage(self) -> None:
        """Half a message will never be whole: the transaction is lost."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        client.say("DATA")
        client.send(b"x\r\n")
        client.finish()
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.outcomes, ["lost"])
        self.assertEqual(handler.messages, [])

    def test_halfCloseBeforeGreeting(self) -> None:
        """Even before the greeting: it is greeted, and that's it."""
        later = Later()
        client = connect(onConnect=later)
        client.finish()
        later.answer()
        self.assertEqual(codes(client.answers()), [220])
        self.assertTrue(client.isClosed)

    def test_halfCloseTwice(self) -> None:
        """When it is closed already there is nothing to do."""
        client = talk(Phase.READY)
        client.say("QUIT")
        client.protocol.readConnectionLost()
        client.protocol.writeConnectionLost()
        self.assertEqual(client.answers(), [])

    def test_octetsAfterwards(self) -> None:
        """Octets after the end are ignored."""
        client = talk(Phase.READY)
        client.lose()
        client.protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(client.transport.output, b"")

    def test_exit(self) -> None:
        """A hook that wants to end the process is a bug like any other; nothing is left behind."""

        def onTransactionEnd(*arguments: object) -> None:
            raise SystemExit

        client = talk(Phase.MAIL, onTransactionEnd=onTransactionEnd, maxClientsPerAddress=1)
        factory = client.protocol.factory
        client.lose()
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
        self.assertEqual(factory.connections, set())
        self.assertEqual(factory.counts._counts, {})

    def test_closedByHook(self) -> None:
        """If a hook closes the transport, no command behind that is run."""
        handler = RecordingHandler()
        client = connect(handler)

        def onMailFrom(*arguments: object) -> None:
            client.transport.loseConnection()

        handler.onMailFrom = onMailFrom  # type: ignore[assignment,method-assign]
        client.pipeline(HELLO, MAIL, RCPT, "DATA")
        self.assertNotIn("onRcptTo", handler.calls)

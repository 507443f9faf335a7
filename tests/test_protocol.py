"""Tests for the life of a connection."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import alsoProvides

from tests.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk
from tests.test_transfer import refusing
from twisted_smtpserver import Rejection, SMTPServerFactory
from twisted_smtpserver.asking import UNWELCOME_TIME
from twisted_smtpserver.framing import CLOSING_TIME, REPLIES_UNREAD
from twisted_smtpserver.gates import MAX_UNWELCOME
from twisted_smtpserver.protocol import PROXY_TIME
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)

reactor: Any = _reactor


def secured(handler: object = None, **options: Any) -> Client:
    """A client that has said hello and STARTTLS, and shaken hands."""
    client = talk(Phase.READY, handler, selfSigned=True, **options)
    assert client.say("STARTTLS").code == 220
    client.startTLS()
    return client


def handlerOf(client: Client) -> Any:
    """The server's handler."""
    return client.factory.handler


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
        factory.lookUp = lambda address: found  # type: ignore[method-assign]
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
        factory.lookUp = lambda address: found  # type: ignore[method-assign]
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

    def test_literals(self) -> None:
        """Without a name it is the address, in brackets; on a unix socket it is localhost."""
        table: dict[Any, tuple[str | None, str]] = {
            IPv4Address("TCP", "192.0.2.9", 5): ("192.0.2.9", "[192.0.2.9]"),
            IPv6Address("TCP", "2001:db8::1", 5): ("2001:db8::1", "[IPv6:2001:db8::1]"),
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


class ImplicitTLSTests(SynchronousTestCase):
    """TLS from the first octet (RFC 8314 section 3)."""

    def test_secure(self) -> None:
        """The greeting comes after the handshake; onSecure after onConnect."""
        handler = RecordingHandler()
        client = connect(handler, secure=True, selfSigned=True)
        self.assertIsNone(client.greeting)
        self.assertEqual(handler.calls, [])
        client.startTLS()
        self.assertEqual(codes(client.answers()), [220])
        self.assertEqual(handler.calls, ["onConnect", "onSecure"])
        self.assertTrue(client.session.secure)
        self.assertNotIn("STARTTLS", client.say(HELLO).lines)
        self.assertEqual(brief(client.say("STARTTLS")), (503, "5.5.1"))
        self.assertEqual(client.session.transmissionType, "ESMTPS")

    def test_endpoint(self) -> None:
        """An endpoint's TLS is recognized; its transport is TLS from the beginning."""
        factory = makeFactory(RecordingHandler(), selfSigned=True)

        class Secure(MemoryTransport):
            """TLS that Twisted put in between."""

        transport = Secure()
        alsoProvides(transport, ISSLTransport)
        client = connect(factory, transport=transport)
        self.assertIsNone(client.greeting)
        client.protocol.handshakeCompleted()
        self.assertEqual(codes(client.answers()), [220])
        self.assertTrue(client.session.secure)

    def test_wrapped(self) -> None:
        """So is real TLS around the protocol, as ssl: and tls: endpoints put it there."""
        factory = makeFactory(RecordingHandler(), selfSigned=True)
        tls = TLSMemoryBIOFactory(factory.contextFactory, False, factory, factory.clock)  # type: ignore[arg-type]
        wrapper: Any = tls.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
        transport = MemoryTransport()
        self.assertIsInstance(wrapper, ProtocolWrapper)
        wrapper.makeConnection(transport)
        client = Client.__new__(Client)
        client.factory, client.clock, client.transport = factory, factory.clock, transport
        client.protocol, transport.protocol = wrapper.wrappedProtocol, wrapper
        client._received, client._tls, client._isLost = b"", None, False
        client.startTLS()
        self.assertEqual(codes(client.answers()), [220])
        self.assertTrue(client.session.secure)
        self.assertEqual(handlerOf(client).calls, ["onConnect", "onSecure"])

    def test_timeout(self) -> None:
        """A handshake that doesn't come is dropped."""
        client = connect(secure=True, selfSigned=True, handshakeTimeout=10)
        client.wait(9)
        self.assertFalse(client.isClosed)
        client.wait(1)
        self.assertTrue(client.transport.isAborted)

    def test_clear(self) -> None:
        """Who speaks in clear gets no handshake, and nothing is run."""
        handler = RecordingHandler()
        client = connect(handler, secure=True, selfSigned=True)
        client.send(b"EHLO a.example\r\n")
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.calls, [])

    def test_upstream(self) -> None:
        """Where TLS ended upstream the session is secure, but there was no handshake here."""
        handler = RecordingHandler()
        client = connect(handler, secured=True)
        self.assertTrue(client.session.secure)
        self.assertIsNone(client.session.tls)
        self.assertEqual(handler.calls, ["onConnect"])
        self.assertEqual(brief(client.say("STARTTLS")), (503, "5.5.1"))

    def test_refused(self) -> None:
        """onSecure's refusal is the greeting, and then the answer to all but QUIT."""
        for hook in (refusing(Rejection("no")), Later()):
            client = connect(secure=True, selfSigned=True, onSecure=hook)
            client.startTLS()
            if isinstance(hook, Later):
                self.assertEqual(client.answers(), [])
                hook.fail(Rejection("no"))
            self.assertEqual([brief(answer) for answer in client.answers()], [(554, None)])
            self.assertEqual(brief(client.say(MAIL)), (554, "5.7.0"))
            self.assertEqual(client.say("QUIT").code, 221)

    def test_lookUp(self) -> None:
        """The handshake's time doesn't run any more while the name is looked up."""
        found: Deferred[Any] = Deferred()
        factory = makeFactory(secure=True, selfSigned=True, handshakeTimeout=5)
        factory.lookUp = lambda address: found  # type: ignore[method-assign]
        client = connect(factory)
        client.startTLS()
        client.wait(5)
        self.assertFalse(client.isClosed)
        found.callback("a.example")
        self.assertEqual(codes(client.answers()), [220])


class StartTLSTests(SynchronousTestCase):
    """STARTTLS (RFC 3207)."""

    def test_offer(self) -> None:
        """It is offered with a certificate, and not when TLS is there."""
        self.assertNotIn("STARTTLS", connect().say(HELLO).lines)
        self.assertEqual(brief(talk(Phase.READY).say("STARTTLS")), (502, "5.5.1"))
        client = connect(selfSigned=True)
        self.assertIn("STARTTLS", client.say(HELLO).lines)
        self.assertEqual(brief(client.say("STARTTLS now")), (501, "5.5.4"))
        answer = client.say("STARTTLS")
        self.assertEqual(brief(answer), (220, "2.0.0"))
        client.startTLS()
        self.assertNotIn("STARTTLS", client.say(HELLO).lines)
        self.assertEqual(brief(client.say("STARTTLS")), (503, "5.5.1"))

    def test_facts(self) -> None:
        """onSecure sees version, cipher, server name and the like."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler, selfSigned=True)
        client.say("STARTTLS")
        client.startTLS(serverName="mx.example.com")
        tls = client.session.tls
        self.assertRegex(tls.version, r"\ATLSv1\.[23]\Z")
        self.assertTrue(tls.cipher)
        self.assertEqual(tls.serverName, "mx.example.com")
        self.assertIsNone(tls.peerCertificate)
        self.assertEqual(handler.calls, ["onConnect", "onHello", "onSecure"])
        self.assertTrue(client.session.secure)

    def test_message(self) -> None:
        """A message through TLS."""
        handler = RecordingHandler()
        client = secured(handler)
        content = (b"x" * 78 + b"\r\n") * 2000
        self.assertEqual(client.deliver(content).code, 250)
        self.assertEqual(handler.messages[0].content, content)
        self.assertEqual(client.say("QUIT").code, 221)
        self.assertTrue(client.isClosed)

    def test_injection(self) -> None:
        """Octets behind it came in clear, from anybody: no handshake, closed, nothing is run."""
        for behind in (b"EHLO evil.example\r\n", b"MAIL FROM:<a@b.example>\r\n", b"\n", b"x"):
            for prefix in (b"", b"NOOP\r\n"):
                handler = RecordingHandler()
                client = talk(Phase.READY, handler, selfSigned=True)
                client.send(prefix + b"STARTTLS\r\n" + behind)
                answers = client.answers()
                self.assertEqual(brief(answers[-1]), (503, "5.5.1"))
                self.assertEqual(len(answers), 2 if prefix else 1)
                self.assertTrue(client.isClosed)
                self.assertFalse(client.session.secure)
                self.assertEqual(handler.calls, ["onConnect", "onHello", "onClose"])

    def test_injectionWhileHeld(self) -> None:
        """The same holds where it waited for a handler."""
        later = Later()
        client = talk(Phase.GREETED, onHello=later, selfSigned=True)
        client.send(b"EHLO a.example\r\nSTARTTLS\r\n")
        client.send(b"EHLO evil.example\r\n")
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 503])
        self.assertTrue(client.isClosed)

    def test_injectionAfterwards(self) -> None:
        """What comes in clear after the 220 is no handshake, and is never run."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler, selfSigned=True)
        client.say("STARTTLS")
        client.transport.protocol.dataReceived(b"EHLO evil.example\r\n")
        client.transport.output.clear()  # an alert
        client.settle()
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.calls, ["onConnect", "onHello", "onClose"])

    def test_forgotten(self) -> None:
        """The hello, the login, XFORWARD: what was said in clear counts no more (section 4.2)."""
        client = talk(
            Phase.READY,
            onAuth=lambda *_: "joe",
            allowInsecureAuth=True,
            selfSigned=True,
            useXForward=True,
        )
        session = client.session
        self.assertEqual(client.say("AUTH PLAIN AGpvZQBqb2U=").code, 235)
        self.assertEqual(client.say("XFORWARD NAME=a.example").code, 250)
        self.assertTrue(session.user and session.xForward)
        client.say("STARTTLS")
        client.startTLS()
        self.assertEqual((session.openingCommand, session.hostNameAppearsAs), (None, None))
        self.assertEqual((session.user, session.xForward), (None, {}))
        for line in (MAIL, RCPT, "DATA", "AUTH PLAIN"):
            self.assertEqual(client.say(line).code, 503)
        client.say(HELLO)
        self.assertEqual(client.say(MAIL).code, 530)

    def test_kept(self) -> None:
        """What is known otherwise stays: id, addresses, data, disabled commands, counters."""
        client = talk(Phase.READY, RecordingHandler(), selfSigned=True)
        session = client.session
        client.deliver(b"x\r\n", hello=None)
        client.say("FOO")
        session.data["key"] = "value"
        session.disabledCommands = frozenset({"VRFY"})
        before = {
            name: getattr(session, name)
            for name in (
                *("id", "remoteAddress", "remotePort", "peerAddress", "localAddress"),
                *("clientHostname", "data", "disabledCommands", "messages", "octets", "errors"),
                *("transaction", "error"),
            )
        }
        client.say("STARTTLS")
        client.startTLS()
        self.assertIs(client.session, session)
        self.assertEqual({name: getattr(session, name) for name in before}, before)
        self.assertEqual(client.protocol.unrecognizedCommands, 1)
        self.assertEqual(client.say("VRFY a").code, 502)

    def test_inTransaction(self) -> None:
        """Not in a transaction (section 4.1.4 of RFC 5321)."""
        client = talk(Phase.MAIL, selfSigned=True)
        self.assertEqual(brief(client.say("STARTTLS")), (503, "5.5.1"))

    def test_timeout(self) -> None:
        """A handshake that doesn't come is dropped; the client's time starts anew after one."""
        client = talk(Phase.READY, selfSigned=True, handshakeTimeout=10, socketTimeout=60)
        client.say("STARTTLS")
        client.wait(10)
        self.assertTrue(client.transport.isAborted)
        client = secured(handshakeTimeout=10, socketTimeout=60)
        client.wait(59)
        self.assertEqual(client.say("NOOP").code, 250)
        client.wait(60)
        self.assertEqual(codes(client.answers()), [421])

    def test_refused(self) -> None:
        """onSecure's refusal answers every command but QUIT; nothing is said before."""
        for hook in (refusing(Rejection("no")), Later()):
            client = secured(onSecure=hook)
            if isinstance(hook, Later):
                client.send(b"EHLO a.example\r\n")
                self.assertEqual(client.answers(), [])
                hook.fail(Rejection("no"))
            else:
                self.assertEqual(client.answers(), [])
                client.send(b"EHLO a.example\r\n")
            self.assertEqual([brief(answer) for answer in client.answers()], [(554, None)])
            self.assertEqual(brief(client.say("NOOP")), (554, "5.7.0"))
            answers = client.pipeline(*["NOOP"] * MAX_UNWELCOME)
            self.assertEqual(codes(answers), [554] * (MAX_UNWELCOME - 3) + [421])

    def test_refusedTooLong(self) -> None:
        """Such a client has to leave soon, too."""
        client = secured(onSecure=refusing(Rejection("no")))
        client.wait(UNWELCOME_TIME - 1)
        client.say("NOOP")
        client.wait(1)
        self.assertEqual(codes(client.answers()), [421])

    def test_closing(self) -> None:
        """421 from onSecure closes at once."""
        for hook in (refusing(Rejection("no", 421)), Later()):
            client = secured(onSecure=hook)
            if isinstance(hook, Later):
                hook.fail(Rejection("no", 421))
            self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.3.2")])
            self.assertTrue(client.isClosed)

    def test_accepted(self) -> None:
        """While onSecure takes its time, commands wait."""
        later = Later()
        client = secured(onSecure=later)
        client.send(b"EHLO a.example\r\n")
        self.assertEqual(client.answers(), [])
        later.answer()
        self.assertEqual(codes(client.answers()), [250])

    def test_onSecureTimeout(self) -> None:
        """It may take as long as any hook; then nobody is served."""
        client = secured(onSecure=Later(), handlerTimeout=60)
        client.wait(60)
        self.assertEqual(client.answers(), [])
        self.assertEqual(brief(client.say("NOOP")), (451, "4.3.0"))

    def test_ownContext(self) -> None:
        """The certificate may be given as a context factory of Twisted's."""
        made = makeFactory(selfSigned=True).contextFactory
        client = talk(Phase.READY, tls=made)
        client.say("STARTTLS")
        client.startTLS()
        self.assertTrue(client.session.secure)
        self.assertIsNotNone(CertificateOptions)

    def test_handshakeOfOthers(self) -> None:
        """A handshake that nobody asked for changes nothing."""
        client = talk(Phase.READY, selfSigned=True)
        client.protocol.handshakeCompleted()
        self.assertFalse(client.session.secure)


class TLSInClearTests(SynchronousTestCase):
    """A TLS handshake where none is due."""

    HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(14, 200))

    def test_hello(self) -> None:
        """It is told so, and closed: 554; whatever octets are in it, however it is cut."""
        for octets in (
            *(self.HELLO, self.HELLO[:7] + b"\r\n" + self.HELLO[7:], self.HELLO + b"\n"),
            self.HELLO + b"x" * 20000,
        ):
            for step in (len(octets), 1):
                client = talk(Phase.READY)
                for start in range(0, len(octets), step):
                    client.send(octets[start : start + step])
                self.assertEqual([brief(a) for a in client.answers()], [(554, "5.7.0")])
                self.assertTrue(client.isClosed)


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


class SocketClient(Protocol):
    """
    A client on a real socket.

    :ivar heard: what the server said.
    :ivar closed: fires when the connection is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.made: Deferred[SocketClient] = Deferred()
        self.closed: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def readConnectionLost(self) -> None:
        """Never called: it isn't half-closeable."""

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(self.heard)


class SocketTests(TestCase):
    """What a transport in memory can't show."""

    async def connected(self, handler: object = None, **options: Any) -> tuple[Any, SocketClient]:
        """A server on loopback, and a client; the server's protocol, and the client's."""
        factory = SMTPServerFactory(handler, logger=False, **options)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = SocketClient()
        clientFactory = ClientFactory.forProtocol(lambda: client)
        clientFactory.noisy = False
        reactor.connectTCP("127.0.0.1", port.getHost().port, clientFactory)
        await client.made
        while not factory.connections:
            await deferLater(reactor, 0)
        (server,) = factory.connections
        return server, client

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the reactor run until something is so."""
        while not condition():
            await deferLater(reactor, 0)

    async def test_halfClose(self) -> None:
        """A client that closes its side (FIN) gets all its answers, the slow ones, too."""
        handler: Any = RecordingHandler()
        handler.onMailFrom = later = Later()
        _, client = await self.connected(handler)
        client.transport.write(f"{HELLO}\r\n{MAIL}\r\nNOOP\r\n".encode())
        client.transport.loseWriteConnection()
        await self.until(lambda: later.calls)
        await deferLater(reactor, 0)
        later.answer()
        heard = await client.closed
        self.assertIn(b"250 2.1.0 Sender OK\r\n250 2.0.0 OK\r\n", heard)

    async def test_leaving(self) -> None:
        """A client that is gone is noticed while a hook is pending, and the hook canceled."""
        handler: Any = RecordingHandler()
        handler.onMailFrom = later = Later()
        _, client = await self.connected(handler)
        client.transport.write(f"{HELLO}\r\n{MAIL}\r\n".encode())
        await self.until(lambda: later.calls)
        client.transport.abortConnection()
        await self.until(lambda: later.canceled)
        self.assertIn("onClose", handler.calls)

    async def flood(self, server: Any, client: SocketClient) -> None:
        """Say much, and don't listen; then do."""
        lines = 100_000
        client.transport.pauseProducing()
        client.transport.write(b"HELP\r\n" * lines)
        await self.until(lambda: server._stopped & REPLIES_UNREAD)
        raw = server.transport
        self.assertLess(len(raw.dataBuffer) + raw._tempDataLen, 2**18)
        self.assertLess(len(server._buffer), 2**18)
        client.transport.resumeProducing()
        await self.until(lambda: client.heard.count(b"\r\n214 ") == lines)
        self.assertFalse(server._stopped)
        client.transport.write(b"QUIT\r\n")

    async def test_unread(self) -> None:
        """A client that doesn't read what it is told doesn't fill our memory."""
        server, client = await self.connected()
        await self.flood(server, client)
        await client.closed

    async def test_unreadTLS(self) -> None:
        """Nor does one behind TLS, which was started when there was a producer already."""
        server, client = await self.connected(selfSigned=True)
        client.transport.write(f"{HELLO}\r\nSTARTTLS\r\n".encode())
        await self.until(lambda: client.heard.endswith(b"start TLS\r\n"))
        client.transport.startTLS(CertificateOptions())
        await self.until(lambda: server.session.secure)
        client.heard = b"\r\n"
        await self.flood(server, client)
        self.assertTrue((await client.closed).endswith(b"221 2.0.0 Bye\r\n"))

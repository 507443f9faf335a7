"""Tests for TLS: from the first octet, and by STARTTLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.support.messages import handlerOf, refusing
from tests.support.talk import HELLO, MAIL, RCPT, Later, brief, codes, talk
from twisted_smtpserver import Rejection
from twisted_smtpserver.connection.channel import UNWELCOME_TIME
from twisted_smtpserver.dialogue.conduct import MAX_UNWELCOME
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)


def secured(handler: object = None, **options: Any) -> Client:
    """A client that has said hello and STARTTLS, and shaken hands."""
    client = talk(Phase.READY, handler, selfSigned=True, **options)
    assert client.say("STARTTLS").code == 220
    client.startTLS()
    return client


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
        factory.lookUp = lambda address: found
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

    def test_required(self) -> None:
        """Where TLS is required, what was 530 before the handshake is served after it."""
        client = connect(selfSigned=True, tlsRequired=True)
        lines = (HELLO, MAIL, "RSET", "VRFY joe", "HELP")
        self.assertEqual(codes(client.pipeline(*lines)), [250, 530, 530, 530, 530])
        client.say("STARTTLS")
        client.startTLS()
        self.assertEqual(client.say(MAIL).code, 503)
        self.assertEqual(codes(client.pipeline(*lines)), [250, 250, 250, 252, 214])

    def test_facts(self) -> None:
        """onSecure sees version, cipher, server name and the like."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler, selfSigned=True)
        client.say("STARTTLS")
        client.startTLS(serverName="mx.example.com")
        tls = client.session.tls
        assert tls is not None
        self.assertRegex(str(tls.version), r"\ATLSv1\.[23]\Z")
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
        self.assertEqual((session.user, session.authMethod, session.xForward), (None, None, {}))
        for line in (MAIL, RCPT, "DATA", "AUTH PLAIN"):
            self.assertEqual(client.say(line).code, 503)
        client.say(HELLO)
        self.assertEqual(client.say(MAIL).code, 530)

    def test_claimedLogin(self) -> None:
        """A LOGIN that XCLIENT named in clear logs nobody in later; addresses stay."""
        handler = RecordingHandler()
        handler.onAuth = lambda credentials, session: credentials.username  # type: ignore[attr-defined]
        client = connect(handler, selfSigned=True, useXClient=True)
        client.say(HELLO)
        self.assertEqual(client.say("XCLIENT LOGIN=admin ADDR=198.51.100.7").code, 220)
        self.assertEqual((client.session.user, client.session.authMethod), ("admin", "XCLIENT"))
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        client.say(HELLO)
        self.assertEqual(client.say("XCLIENT PORT=99").code, 220)
        session = client.session
        self.assertEqual((session.user, session.xClient.get("LOGIN")), (None, None))
        self.assertEqual((session.remoteAddress, session.remotePort), ("198.51.100.7", 99))

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
        self.assertEqual(client.protocol.dialogue.conduct._unrecognized, 1)
        self.assertEqual(client.say("VRFY a").code, 502)

    def test_inTransaction(self) -> None:
        """A transaction that was begun in clear is forgotten; but BDAT comes to its end first."""
        for phase in (Phase.MAIL, Phase.RCPT):
            client = talk(phase, selfSigned=True)
            self.assertEqual(client.say("STARTTLS").code, 220)
            client.startTLS()
            self.assertIsNone(client.session.envelope.mailFrom)
            self.assertEqual(brief(client.say(RCPT)), (503, "5.5.1"))
            self.assertEqual(client.say(HELLO).code, 250)
            self.assertEqual(brief(client.say(RCPT)), (503, "5.5.1"))
            self.assertEqual(client.say(MAIL).code, 250)
        client = talk(Phase.CHUNKS, selfSigned=True)
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

"""The fakes that users test their handlers with."""

from __future__ import annotations

import re
import textwrap
import unittest
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import reactor, task
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import providedBy
from zope.interface.verify import verifyObject

from tests.support.certificates import makeCA, makeCertificate
from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, codes, talk, walk
from twisted_smtpserver import Chain, Options, Rejection, SMTPHandler, SMTPServerFactory, testing
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Answer,
    Client,
    Clock,
    MemoryTransport,
    ReceivedMessage,
    RecordingHandler,
    connect,
    makeFactory,
    runInline,
)

CONTENT = b"Subject: test\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"


AUTHORITY = makeCA()
SERVED = makeCertificate(AUTHORITY, ["mx.test"])


class NamesTests(SynchronousTestCase):
    def test_public(self):
        """Every public name is there, and says what it is; nothing else is public."""
        for name in testing.__all__:
            self.assertTrue(getattr(testing, name).__doc__, name)
        public = {name for name in vars(testing) if not name.startswith("_")}
        self.assertEqual(set(testing.__all__), public)

    def test_clock(self):
        """The clock is Twisted's."""
        self.assertIs(Clock, task.Clock)

    def test_example(self) -> None:
        """The example in the module's docstring runs."""
        example = re.search(r"::\n\n((?:    .*\n|\n)+)", testing.__doc__)
        assert example is not None

        class Inbox(SMTPHandler):
            def onRcptTo(self, address, session):
                raise Rejection("Relay not permitted", code=550, enhanced="5.7.1")

        names: dict[str, Any] = {**globals(), "Inbox": Inbox}
        exec(textwrap.dedent(example[1]), names)
        result = unittest.TestResult()
        names["InboxTests"]("test_strangersAreRefused").run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (1, [], []))


class FactoryTests(SynchronousTestCase):
    """makeFactory and runInline."""

    def test_makeFactory(self):
        """Time is a Clock's, threads are none, the name doesn't depend on the machine."""
        factory = makeFactory()
        self.assertIsInstance(factory.clock, Clock)
        self.assertIs(factory.runInThread, runInline)
        self.assertEqual(factory.options.name, "mx.test")

    def test_given(self):
        """What is given counts."""
        clock = Clock()
        factory = makeFactory(RecordingHandler(), reactor=clock, name="mx.example.com", size=5)
        self.assertIs(factory.clock, clock)
        self.assertEqual((factory.options.name, factory.options.size), ("mx.example.com", 5))
        options = Options(name="other.example")
        self.assertIs(makeFactory(options=options).options, options)

    def test_runInline(self):
        """A thread's work is done at once, whether it succeeds or not."""
        self.assertEqual(self.successResultOf(runInline(divmod, 7, 2)), (3, 1))
        self.assertEqual(self.successResultOf(runInline(int, "7", base=8)), 7)
        self.failureResultOf(runInline(divmod, 7, 0), ZeroDivisionError)


class ConnectTests(SynchronousTestCase):
    """How a client comes to its server."""

    def test_handler(self):
        """With a handler and options."""
        client = connect(RecordingHandler(), name="mx.example.com")
        self.assertEqual(client.greeting, Answer(220, None, ("mx.example.com ESMTP",)))

    def test_factory(self):
        """With a factory, several clients of one server."""
        factory = makeFactory()
        clients = [connect(factory), connect(factory)]
        self.assertEqual({client.factory for client in clients}, {factory})
        self.assertEqual(len(factory.connections), 2)

    def test_factoryHasOptions(self):
        """Options can't be given to a factory that has been made."""
        with self.assertRaisesRegex(TypeError, "has its options already: size, name"):
            connect(makeFactory(), size=5, name="mx.example.com")

    def test_peer(self):
        """From an address of one's choice."""
        self.assertEqual(connect().session.remoteAddress, "192.0.2.1")
        client = connect(peer=IPv4Address("TCP", "127.0.0.1", 7))
        self.assertEqual((client.session.peerAddress, client.session.peerPort), ("127.0.0.1", 7))
        self.assertIsNone(connect(peer=UNIXAddress(None)).session.remoteAddress)

    def test_transport(self):
        """Over a transport of one's own, to an address of one's choice."""
        transport = MemoryTransport(host=IPv4Address("TCP", "192.0.2.3", 587))
        client = connect(transport=transport)
        self.assertIs(client.transport, transport)
        self.assertEqual(client.session.localPort, 587)

    def test_noGreeting(self):
        """The greeting may have to be waited for."""
        later = Later()
        client = connect(onConnect=later)
        self.assertIsNone(client.greeting)
        later.answer()
        self.assertEqual(client.answer().code, 220)


class TalkingTests(SynchronousTestCase):
    """Saying, and being answered."""

    def test_say(self):
        """A line, as text or octets, and its one answer, whole."""
        client = connect()
        for line in (HELLO, HELLO.encode()):
            answer = client.say(line)
            self.assertEqual((answer.code, answer.enhanced), (250, None))
            self.assertIn("PIPELINING", answer.lines)
            self.assertEqual(answer.text, " ".join(answer.lines))
        self.assertEqual(client.say("NOOP"), Answer(250, "2.0.0", ("OK",)))

    def test_sayWithoutAnswer(self):
        """Where there isn't exactly one, the test has it wrong."""
        client = talk(Phase.READY, onMailFrom=Later())
        with self.assertRaisesRegex(AssertionError, "^no answer to 'MAIL"):
            client.say(MAIL)
        with self.assertRaisesRegex(AssertionError, "^2 answers to 'NOOP.*code=250.*code=221"):
            connect().say("NOOP\r\nQUIT")

    def test_pipeline(self):
        """Several lines in one segment; the answers leave in one write."""
        client = connect()
        before = client.transport.writes
        self.assertEqual(codes(client.pipeline(HELLO, b"NOOP", MAIL)), [250, 250, 250])
        self.assertEqual(client.transport.writes, before + 1)

    def test_send(self):
        """Octets as they are; the answers may be taken one by one."""
        client = connect()
        client.send(b"NO")
        self.assertIsNone(client.answer())
        client.send(b"OP\r\nHELP\r\n")
        self.assertEqual(client.answer().code, 250)
        self.assertEqual(client.answer().code, 214)
        self.assertIsNone(client.answer())

    def test_deliver(self):
        """A message, with its dots stuffed, to whoever it is for."""
        handler = RecordingHandler()
        client = connect(handler)
        self.assertEqual(client.deliver(CONTENT).code, 250)
        answer = client.deliver(b"", "", "a@example.com", "b@example.com", hello=None)
        self.assertEqual(answer.enhanced, "2.6.0")
        first, second = handler.messages
        self.assertEqual(first.content, CONTENT)
        self.assertEqual(str(first.envelope.mailFrom), "joe@example.org")
        self.assertEqual([str(to) for to in first.envelope.rcptTo], ["jane@example.com"])
        self.assertEqual((second.content, str(second.envelope.mailFrom)), (b"", ""))
        self.assertEqual(len(second.envelope.rcptTo), 2)

    def test_deliverRefused(self):
        """The first refusal is the answer."""

        def refuse(address, session):
            raise Rejection("no", code=553)

        self.assertEqual(connect(onRcptTo=refuse).deliver(CONTENT).code, 553)
        self.assertEqual(connect().deliver(CONTENT, hello="EHLO a b").code, 501)

    def test_deliverEmail(self) -> None:
        """An EmailMessage goes as smtplib would send it: to all that it names, without Bcc."""
        message = EmailMessage()
        message["From"] = "Joe <joe@example.net>"
        message["To"] = "Ann <ann@example.com>, bob@example.com"
        message["Bcc"] = "eve@example.com"
        message["Subject"] = "gr\u00fc\u00dfe"
        message.set_content(".\n..dots\nand \u00e9nough")
        handler = RecordingHandler()
        client = connect(handler)
        self.assertEqual(client.deliver(message).code, 250)
        self.assertEqual(client.deliver(message, "", "x@example.com", hello=None).code, 250)
        first, second = handler.messages
        self.assertEqual(str(first.envelope.mailFrom), "joe@example.net")
        to = ["ann@example.com", "bob@example.com", "eve@example.com"]
        self.assertEqual([str(each) for each in first.envelope.rcptTo], to)
        self.assertEqual(str(second.envelope.mailFrom), "")
        self.assertEqual([str(each) for each in second.envelope.rcptTo], ["x@example.com"])
        parsed = message_from_bytes(first.content, policy=SMTP)
        self.assertEqual(parsed["Subject"], "gr\u00fc\u00dfe")
        self.assertNotIn("Bcc", parsed)
        self.assertEqual(parsed.get_content(), ".\r\n..dots\r\nand \u00e9nough\r\n")
        self.assertEqual(message["Bcc"], "eve@example.com")

    def test_deliverBareEmail(self) -> None:
        """One that names nobody goes where bytes go; a last line without its end gets one."""
        message = Message()
        message.set_payload("no newline")
        handler = RecordingHandler()
        self.assertEqual(connect(handler).deliver(message).code, 250)
        (received,) = handler.messages
        self.assertEqual(str(received.envelope.mailFrom), "joe@example.org")
        self.assertEqual(received.content, b"\r\nno newline\r\n")

    def test_deliverNoLines(self) -> None:
        """Content whose end nobody would see is refused, with what is wrong about it."""
        for content in (b"no end", b"LF only\n", b"CR only\r"):
            with self.assertRaises(ValueError) as caught:
                connect().deliver(content)
            self.assertIn(f"doesn't end in CRLF but in {content[-10:]!r}", str(caught.exception))
        text: Any = "Subject: text\r\n"
        with self.assertRaisesRegex(TypeError, "give bytes"):
            connect().deliver(text)

    def test_deliverPending(self) -> None:
        """A hook that never answers is named, whichever it is."""

        async def hang(*arguments: object) -> None:
            await Deferred()

        for hook, what in (
            ("onData", "the message"),
            ("onRcptTo", "'RCPT TO:<jane@example.com>'"),
            ("onMailFrom", "'MAIL FROM:<joe@example.org>'"),
            ("onHello", "'EHLO client.example'"),
        ):

            async def onData(stream: Any, session: Any) -> None:
                await stream.read()
                await hang()

            with self.assertRaises(AssertionError) as caught:
                hooks: Any = {hook: onData if hook == "onData" else hang}
                connect(**hooks).deliver(CONTENT)
            expected = f"no answer to {what}: {hook} hasn't answered; if it waits for time"
            self.assertTrue(str(caught.exception).startswith(expected), caught.exception)

    def test_deliverInThread(self) -> None:
        """A thread that wasn't patched away is the cause, and the text has the cure."""
        waiting: list[Any] = []
        pool = SimpleNamespace(q=SimpleNamespace(qsize=lambda: len(waiting)), working=[])
        self.patch(reactor, "threadpool", pool)

        async def onData(stream: Any, session: Any) -> None:
            await stream.read()
            waiting.append("work")
            await Deferred()

        with self.assertRaisesRegex(AssertionError, "onData waits for a thread.*runInline"):
            connect(onData=onData).deliver(CONTENT)

    def test_deliverNoAnswer(self) -> None:
        """Nor is there an answer where the server has closed, or waits for the client."""

        async def onData(stream: Any, session: Any) -> None:
            await stream.read()
            client.lose()

        client = connect(onData=onData)
        with self.assertRaisesRegex(AssertionError, "the server has closed the connection$"):
            client.deliver(CONTENT)
        with self.assertRaisesRegex(AssertionError, "no answer to 'text': the server waits$"):
            talk(Phase.DATA).say("text")

    def test_deliverSeveral(self) -> None:
        """LMTP has an answer for each recipient: that is for answers()."""
        client = connect(lmtp=True)
        with self.assertRaisesRegex(AssertionError, "^2 answers to the message: "):
            client.deliver(CONTENT, "", "a@b.example", "c@d.example", hello="LHLO x.example")

    def test_malformed(self):
        """A server that says what is no reply fails the test."""
        for wrong in (b"Hello\r\n", b"99 x\r\n", b"600 x\r\n", b"250\r\n", b"250 a\rb\r\n"):
            client = connect()
            client.transport.write(wrong)
            with self.assertRaises(AssertionError):
                client.answers()

    def test_tooLong(self):
        """So does a reply line that is longer than 512 octets."""
        for length in (512, 513):
            client = connect()
            client.transport.write(b"250 " + b"x" * (length - 6) + b"\r\n")
            if length == 512:
                self.assertEqual(codes(client.answers()), [250])
            else:
                self.assertRaises(AssertionError, client.answers)

    def test_severalCodes(self):
        """So does one whose lines don't agree on its codes."""
        for wrong in (b"250-2.0.0 a\r\n251 2.0.0 b\r\n", b"250-2.0.0 a\r\n250 b\r\n"):
            client = connect()
            client.transport.write(wrong)
            with self.assertRaisesRegex(AssertionError, "several codes"):
                client.answers()

    def test_halfAnswer(self):
        """Half an answer is none yet."""
        client = connect()
        for part in (b"250-2.0.0 one\r\n", b"250 2.0.0 t"):
            client.transport.write(part)
            self.assertEqual(client.answers(), [])
        client.transport.write(b"wo\r\n")
        self.assertEqual(client.answers(), [Answer(250, "2.0.0", ("one", "two"))])


class EndingTests(SynchronousTestCase):
    """Time passes, and connections end."""

    def test_wait(self):
        """Time stands still until it is told to pass."""
        client = connect(socketTimeout=60)
        client.wait(59)
        self.assertFalse(client.isClosed)
        client.wait(1)
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)

    def test_afterTheEnd(self):
        """Who speaks on after the end isn't heard."""
        client = connect(handler := RecordingHandler())
        client.say("QUIT")
        client.send(HELLO.encode() + b"\r\n")
        self.assertEqual(client.answers(), [])
        client.transport.write(b"250 late\r\n")
        self.assertEqual(client.answers(), [])
        self.assertEqual(handler.calls, ["onConnect", "onClose"])

    def test_finish(self):
        """A client that closes its sending side gets all answers that are due."""
        client = talk(Phase.READY, onMailFrom=(later := Later()))
        client.send(f"{MAIL}\r\nNOOP\r\n".encode())
        client.finish()
        self.assertFalse(client.isClosed)
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 250])
        self.assertTrue(client.isClosed)

    def test_lose(self):
        """A client may leave at any time; it can't do so twice."""
        log = Log()
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler, logger=log.logger)
        client.lose()
        client.lose(ConnectionResetError())
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.calls[-2:], ["onTransactionEnd", "onClose"])
        self.assertEqual(log.of("session")[0]["why"], "connection lost: ConnectionLost")

    def test_loseWhy(self):
        """The reason may be given."""
        log = Log()
        connect(logger=log.logger).lose(ConnectionResetError())
        self.assertEqual(log.of("session")[0]["why"], "connection lost: ConnectionResetError")


class TLSTests(SynchronousTestCase):
    """The handshake is a real one."""

    options: dict[str, Any] = {"key": SERVED.keyPEM, "cert": SERVED.certPEM}

    def begun(self, handler: object = None, **keywords: Any) -> Client:
        """A client that may begin its handshake."""
        client = walk(connect(handler, **{**self.options, **keywords}), Phase.READY)
        self.assertEqual(client.say("STARTTLS").code, 220)
        return client

    def test_startTLS(self):
        """After STARTTLS all goes on as before, only safer."""
        client = self.begun(handler := RecordingHandler())
        client.startTLS("mx.test")
        self.assertEqual(client.session.tls.serverName, "mx.test")
        self.assertEqual(client.deliver(CONTENT).code, 250)
        self.assertEqual(handler.messages[0].content, CONTENT)
        self.assertEqual(client.say("QUIT").code, 221)
        self.assertTrue(client.isClosed)

    def test_implicit(self):
        """On a secure port the greeting comes after the handshake."""
        client = connect(secure=True, **self.options)
        self.assertIsNone(client.greeting)
        client.startTLS()
        self.assertEqual(client.answer().code, 220)

    def test_large(self):
        """However much is sent in one segment, it arrives, and so do the answers."""
        client = self.begun(handler := RecordingHandler())
        client.startTLS()
        content = (b"x" * 998 + b"\r\n") * 3000
        self.assertEqual(client.deliver(content).code, 250)
        self.assertEqual(len(handler.messages[0].content), len(content))
        self.assertEqual(len(client.pipeline(*["HELP"] * 2000)), 2000)

    def test_verified(self) -> None:
        """With a context of one's own the server's certificate can be verified."""
        for trusted, raised in ((AUTHORITY, None), (makeCA(), SSL.Error)):
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_verify(SSL.VERIFY_PEER)
            store: Any = context.get_cert_store()
            store.add_cert(crypto.X509.from_cryptography(trusted.certificate))
            client = self.begun()
            if raised is None:
                client.startTLS("mx.test", context)
                self.assertEqual(client.say(HELLO).code, 250)
            else:
                self.assertRaises(raised, client.startTLS, "mx.test", context)

    def test_notBegun(self):
        """A handshake that the server didn't ask for fails."""
        client = connect(**self.options)
        self.assertRaises(SSL.Error, client.startTLS)
        self.assertTrue(client.isClosed)

    def test_noAnswer(self):
        """A handshake that comes too late is none."""
        client = self.begun(handshakeTimeout=30)
        client.wait(30)
        self.assertTrue(client.isClosed)
        with self.assertRaisesRegex(AssertionError, "didn't do its half"):
            client.startTLS()

    def test_closedByServer(self):
        """What the server says before it closes still arrives."""
        client = self.begun(socketTimeout=60)
        client.startTLS()
        client.wait(60)
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)

    def test_finish(self):
        """TLS has no way to close one side only."""
        client = self.begun(handler := RecordingHandler())
        client.startTLS()
        client.finish()
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.calls[-1], "onClose")

    def test_lose(self):
        """The connection may be lost under TLS, too."""
        client = self.begun(handler := RecordingHandler())
        client.startTLS()
        client.lose()
        self.assertEqual(handler.calls[-1], "onClose")
        self.assertEqual(client.clock.getDelayedCalls(), [])


class TransportTests(SynchronousTestCase):
    """The transport is what the protocol takes it for."""

    def test_interfaces(self):
        """It provides the interfaces of a socket's, with TLS that of a secure one, too."""
        transport = MemoryTransport()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, transport))
        self.assertFalse(ISSLTransport.providedBy(transport))
        client = connect(secure=True, selfSigned=True)
        self.assertTrue(verifyObject(ISSLTransport, client.transport))
        client.startTLS()
        self.assertIsNone(client.transport.getPeerCertificate())
        self.assertFalse(ISSLTransport.providedBy(MemoryTransport()))

    def test_writing(self):
        """What is written is kept until somebody takes it; after the end nothing is."""
        transport = MemoryTransport()
        transport.write(b"a")
        transport.writeSequence([b"b", b"c"])
        self.assertEqual((bytes(transport.output), transport.writes), (b"abc", 2))
        transport.loseWriteConnection()
        transport.stopProducing()
        transport.write(b"d")
        self.assertEqual(bytes(transport.output), b"abc")
        self.assertEqual((transport.isClosed, transport.isAborted), (True, False))

    def test_abort(self):
        """An abort can be told from a close."""
        transport = MemoryTransport()
        transport.abortConnection()
        self.assertEqual((transport.isClosed, transport.isAborted), (True, True))

    def test_pause(self):
        """Whether the server reads can be seen."""
        transport = MemoryTransport()
        transport.pauseProducing()
        self.assertTrue(transport.isPaused)
        transport.resumeProducing()
        self.assertFalse(transport.isPaused)

    def test_producer(self):
        """So can who wants to know that the client doesn't read."""
        client = connect()
        self.assertIs(client.transport.producer, client.protocol.channel)
        client.say("QUIT")
        self.assertIsNone(client.transport.producer)

    def test_socketOptions(self):
        """TCP_NODELAY is kept, keep-alive has no meaning."""
        transport = connect().transport
        self.assertTrue(transport.getTcpNoDelay())
        self.assertFalse(connect(noDelay=False).transport.getTcpNoDelay())
        transport.setTcpKeepAlive(True)
        self.assertFalse(transport.getTcpKeepAlive())


class RecordingHandlerTests(SynchronousTestCase):
    """The handler that keeps all."""

    def test_interfaces(self):
        """It is what each interface says whose hooks it has."""
        handler = RecordingHandler()
        for interface in set(HOOKS.values()) & set(providedBy(handler)):
            self.assertTrue(verifyObject(interface, handler))

    def test_keeps(self):
        """Messages, calls and outcomes, in order."""
        handler = RecordingHandler()
        client = connect(handler, selfSigned=True)
        client.pipeline(HELLO, "STARTTLS")
        client.startTLS()
        client.deliver(CONTENT)
        client.pipeline(MAIL, RCPT, "RSET", "QUIT")
        self.assertEqual(
            handler.calls,
            [
                *("onConnect", "onHello", "onSecure", "onHello"),
                *("onMailFrom", "onRcptTo", "onData", "onTransactionEnd"),
                *("onMailFrom", "onRcptTo", "onTransactionEnd", "onClose"),
            ],
        )
        self.assertEqual(handler.outcomes, ["accepted", "reset"])
        (message,) = handler.messages
        self.assertIsInstance(message, ReceivedMessage)
        self.assertEqual(message.content, CONTENT)

    def test_incomplete(self):
        """A message that isn't whole isn't kept."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler)
        client.send(b"half")
        client.lose()
        self.assertEqual((handler.messages, handler.outcomes), ([], ["lost"]))

    def test_errors(self):
        """Bugs are kept, too: here that of a stage before it."""

        class Broken(SMTPHandler):
            def onMailFrom(self, address, session):
                raise KeyError("kaput")

        handler = RecordingHandler()
        client = connect(Chain(Broken(), handler), logger=False)
        self.assertEqual(codes(client.pipeline(HELLO, MAIL)), [250, 451])
        (failure,) = handler.errors
        self.assertIsInstance(failure, Failure)
        self.assertIsInstance(failure.value, KeyError)
        self.assertEqual(handler.calls[-1], "onError")

    def test_subclass(self):
        """A subclass may refuse what it likes."""

        class Picky(RecordingHandler):
            def onRcptTo(self, address, session):
                super().onRcptTo(address, session)
                raise Rejection("no")

        handler = Picky()
        self.assertEqual(connect(handler).deliver(CONTENT).code, 550)
        self.assertEqual(handler.calls[-1], "onRcptTo")

    def test_own(self):
        """Each has lists of its own."""
        first, second = RecordingHandler(), RecordingHandler()
        connect(first)
        self.assertEqual(second.calls, [])

    def test_realFactory(self):
        """It goes with any factory."""
        factory = SMTPServerFactory(RecordingHandler(), reactor=Clock(), name="x.example")
        self.assertEqual(connect(factory).say(HELLO).code, 250)

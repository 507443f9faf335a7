"""Forwarding, command by command, with a next hop in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.forward.scripted import FakeHost, Hop
from tests.support.certificates import makeCA
from twisted_smtpserver import Chain, Rejection, SMTPHandler
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.stores.base import BackOff, Unavailable
from twisted_smtpserver.stores.forward import Forward, handler
from twisted_smtpserver.testing import Client, connect, makeFactory

CONTENT = b"Subject: hello\r\n\r\n.dot\r\n"


class Bench(SynchronousTestCase):
    """A client, our server, and a next hop."""

    url = "smtp://next.example"
    options: dict[str, Any] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.host = FakeHost(self.url)
        self.patch(handler, "parseURL", lambda url: self.host)
        self.forward = Forward(
            self.url,
            hostName="us.example",
            deadline=10,
            reactor=self.clock,
            backOff=lambda: BackOff(self.clock, draw=lambda: 1.0),
        )
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def connect(self, store: object = None) -> Client:
        """A client that has said hello."""
        factory = makeFactory(store or self.forward, reactor=self.clock, **self.options)
        client = connect(factory)
        self.addCleanup(client.lose)
        client.say(("LHLO" if self.options.get("lmtp") else "EHLO") + " client.example")
        return client

    def send(self, client: Client, line: str) -> None:
        """Send a line, whose answer takes a while."""
        client.send(line.encode() + b"\r\n")

    def answers(self, client: Client) -> list[str]:
        """The answers that came, as codes and texts."""
        return [f"{each.code} {each.enhanced} {each.text}" for each in client.answers()]

    def assertAnswers(self, client: Client, *starts: str) -> None:
        answers = self.answers(client)
        self.assertEqual(len(answers), len(starts), answers)
        for answer, start in zip(answers, starts, strict=True):
            self.assertTrue(answer.startswith(start), answer)

    @property
    def hop(self) -> Hop:
        """The last connection."""
        return self.host.hops[-1]

    @property
    def producer(self) -> Any:
        """What the last connection's transport pauses and resumes."""
        return self.hop.transport.producer

    def logged(self) -> str:
        """The lines of our log."""
        formats = (event for event in self.events if "log_format" in event)
        return "\n".join(str(event["log_format"]).format(**event) for event in formats)

    def mail(self, client: Client, *offers: str) -> None:
        """MAIL, accepted."""
        self.send(client, "MAIL FROM:<joe@client.example>")
        hello = b"LHLO us.example" if self.host.isLmtp else b"EHLO us.example"
        self.hop.open(*offers, hello=hello)
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<joe@client.example>"])
        self.hop.say("250 2.1.0 fine")
        self.assertAnswers(client, "250 2.1.0")

    def rcpt(self, client: Client, *names: str) -> None:
        """RCPT, accepted."""
        for name in names:
            self.send(client, f"RCPT TO:<{name}@x.example>")
            self.assertEqual(self.hop.heard(), [f"RCPT TO:<{name}@x.example>".encode()])
            self.hop.say("250 2.1.5 fine")
            self.assertAnswers(client, "250 2.1.5")

    def data(self, client: Client) -> None:
        """DATA, accepted."""
        self.send(client, "DATA")
        self.assertEqual(self.hop.heard(), [b"DATA"])
        self.hop.say("354 go ahead")
        self.assertAnswers(client, "354")

    def transaction(self, client: Client) -> None:
        """MAIL, RCPT and DATA, accepted."""
        self.mail(client)
        self.rcpt(client, "ann")
        self.data(client)

    def message(self, client: Client) -> None:
        """The message, all of it."""
        client.send(b"Subject: hello\r\n\r\n..dot\r\n.\r\n")
        heard = b"\r\n".join(self.hop.heard())
        self.assertTrue(heard.startswith(b"Received: from client.example ([192.0.2.1])"), heard)
        self.assertTrue(heard.endswith(b"\r\nSubject: hello\r\n\r\n..dot\r\n."), heard)


class CutThroughTests(Bench):
    def test_message(self) -> None:
        """Each command is asked there; the answer at the end is the next hop's."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.data(client)
        self.message(client)
        self.assertAnswers(client)
        self.hop.say("250 2.6.0 queued as 4711")
        self.assertAnswers(client, "250 2.6.0 Forwarded: queued as 4711")
        said = "forwarded to smtp://next.example:25: 250 2.6.0 queued as 4711"
        self.assertEqual(self.logged().count(said), 1)

    def test_reused(self) -> None:
        """The next message goes over the same connection."""
        self.test_message()
        client = self.connect()
        self.send(client, "MAIL FROM:<joe@client.example>")
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<joe@client.example>"])
        self.assertEqual(len(self.host.hops), 1)

    def test_senderRefused(self) -> None:
        """Whom the next hop refuses at MAIL is refused at MAIL, in its words."""
        client = self.connect()
        self.send(client, "MAIL FROM:<joe@client.example>")
        self.hop.open()
        self.hop.heard()
        self.hop.say("550 5.7.1 not you")
        self.assertAnswers(client, "550 5.7.1 not you")
        self.mail2(client)

    def mail2(self, client: Client) -> None:
        """The connection is as good as before."""
        self.send(client, "MAIL FROM:<ann@client.example>")
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<ann@client.example>"])

    def test_recipientRefused(self) -> None:
        """Whom it refuses at RCPT is refused at RCPT, and the others get the message."""
        client = self.connect()
        self.mail(client)
        self.send(client, "RCPT TO:<nobody@x.example>")
        self.hop.heard()
        self.hop.say("550-5.1.1 no such", "550 5.1.1 user")
        self.assertAnswers(client, "550 5.1.1 no such user")
        self.send(client, "RCPT TO:<later@x.example>")
        self.hop.heard()
        self.hop.say("450 4.2.1 busy")
        self.assertAnswers(client, "450 4.2.1 busy")
        self.rcpt(client, "ann")
        self.data(client)
        self.message(client)
        self.hop.say("250 ok")
        self.assertAnswers(client, "250 2.6.0 Forwarded: ok")

    def test_moved(self) -> None:
        """251 is handed on."""
        client = self.connect()
        self.mail(client)
        self.send(client, "RCPT TO:<moved@x.example>")
        self.hop.say("251 2.1.5 will forward")
        self.assertAnswers(client, "251 2.1.5 will forward")

    def test_dataRefused(self) -> None:
        """What it refuses at DATA is refused at DATA, before the client sends anything."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann")
        self.send(client, "DATA")
        self.hop.heard()
        self.hop.say("554 5.7.1 not today")
        self.assertAnswers(client, "554 5.7.1 not today")
        self.assertEqual(self.hop.heard(), [b"RSET"])
        self.hop.say("250 ok")
        self.mail2(client)

    def test_messageRefused(self) -> None:
        """What it refuses at the end is refused at the end."""
        client = self.connect()
        self.transaction(client)
        self.message(client)
        self.hop.say("552 5.3.4 too large")
        self.assertAnswers(client, "552 5.3.4 too large")
        self.mail2(client)

    def test_full(self) -> None:
        """A temporary refusal is one."""
        client = self.connect()
        self.transaction(client)
        self.message(client)
        self.hop.say("452 4.3.1 disk full")
        self.assertAnswers(client, "452 4.3.1 disk full")

    def test_refusedEarly(self) -> None:
        """A refusal in the middle of the message ends it: the next hop gets no end of it."""
        client = self.connect()
        self.transaction(client)
        client.send(b"Subject: hello\r\n")
        self.hop.heard()
        self.hop.say("552 5.3.4 too large")
        client.send(b"\r\nmore\r\n")
        self.assertTrue(self.hop.isClosed)
        client.send(b".\r\n")
        self.assertAnswers(client, "552 5.3.4 too large")

    def test_acceptedEarly(self) -> None:
        """An acceptance in the middle of the message is none."""
        client = self.connect()
        self.transaction(client)
        client.send(b"Subject: hello\r\n")
        self.hop.say("250 ok")
        client.send(b"\r\nmore\r\n.\r\n")
        self.assertAnswers(client, "451 4.3.0")
        self.assertTrue(self.hop.isClosed)

    def test_reset(self) -> None:
        """RSET is one there, too, and the connection goes on."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann")
        client.say("RSET")
        self.assertEqual(self.hop.heard(), [b"RSET"])
        self.hop.say("250 ok")
        self.mail2(client)
        self.assertEqual(len(self.host.hops), 1)

    def test_resetRefused(self) -> None:
        """If it refuses that, the connection is closed."""
        client = self.connect()
        self.mail(client)
        client.say("RSET")
        self.hop.say("421 no")
        self.assertTrue(self.hop.isClosed)

    def test_resetUnanswered(self) -> None:
        """Likewise if it doesn't answer."""
        client = self.connect()
        self.mail(client)
        client.say("RSET")
        self.clock.advance(10)
        self.assertTrue(self.hop.isClosed)

    def test_clientLost(self) -> None:
        """A client that leaves between two commands is a RSET."""
        client = self.connect()
        self.mail(client)
        client.lose()
        self.assertEqual(self.hop.heard(), [b"RSET"])

    def test_clientLostInMessage(self) -> None:
        """A client that leaves in the middle of the message: its end isn't sent."""
        client = self.connect()
        self.transaction(client)
        client.send(b"Subject: hello\r\n")
        self.assertFalse(self.hop.isClosed)
        client.lose()
        self.assertTrue(self.hop.isClosed)
        self.assertNotIn(b".", self.hop.heard())

    def test_clientLostInCommand(self) -> None:
        """A client that leaves while the next hop is asked: nobody knows what it will answer."""
        client = self.connect()
        self.mail(client)
        self.send(client, "RCPT TO:<ann@x.example>")
        client.lose()
        self.assertTrue(self.hop.isClosed)

    def test_loop(self) -> None:
        """A message that goes in circles is refused for good, and isn't delivered."""
        client = self.connect()
        self.transaction(client)
        client.send(b"Received: from a by b\r\n" * 51 + b"\r\ntext\r\n.\r\n")
        self.assertAnswers(client, "554 5.4.6 Too many hops")
        self.assertTrue(self.hop.isClosed)
        self.assertNotIn(b".", self.hop.heard())

    def test_eightBit(self) -> None:
        """8-bit content is refused if the next hop can't have it."""
        client = self.connect()
        self.mail(client, "PIPELINING")
        self.rcpt(client, "ann")
        self.data(client)
        client.send("Subject: hello\r\n\r\nü\r\n.\r\n".encode())
        self.assertAnswers(client, "554 5.6.3")
        self.assertTrue(self.hop.isClosed)

    def test_backPressure(self) -> None:
        """While the next hop doesn't read, the client isn't read; that has a deadline."""
        for isSlow in (False, True):
            client = self.connect()
            self.mail(client)
            self.rcpt(client, "ann")
            self.data(client)
            client.send(b"Subject: hello\r\n\r\n")
            self.producer.pauseProducing()
            for _ in range(3):
                client.send((b"x" * 998 + b"\r\n") * 100)
            self.assertTrue(client.transport.isPaused)
            if isSlow:
                self.clock.advance(9.9)
                self.producer.resumeProducing()
                self.assertFalse(client.transport.isPaused)
                client.send(b".\r\n")
                self.hop.say("250 ok")
                self.assertAnswers(client, "250")
            else:
                self.clock.advance(10)
                self.assertTrue(self.hop.isClosed)
                client.send(b".\r\n")
                self.assertAnswers(client, "451")

    def test_badSender(self) -> None:
        """What can't be handed on is refused before the next hop hears of it."""
        client = self.connect()
        self.send(client, "MAIL FROM:<joe@client.example> SMTPUTF8")
        self.hop.open()
        self.assertAnswers(client, "550 5.6.7")
        self.assertEqual(self.hop.heard(), [])
        self.mail2(client)


class CheckTests(Bench):
    def test_reached(self) -> None:
        """At the start it is looked whether a next hop is there; the connection is kept."""
        checking = self.forward.check()
        self.hop.open()
        self.successResultOf(checking)
        self.assertIn("next.example:25>: reached smtp://next.example:25", self.logged())
        self.successResultOf(self.forward.check())
        self.successResultOf(Deferred.fromCoroutine(self.forward.ready()))
        self.assertEqual(len(self.host.hops), 1)
        self.forward.close()
        self.hop.lose()

    def test_away(self) -> None:
        """If not, the log says why, and what that means; and it isn't ready."""
        self.host.set(isAway=True)
        self.successResultOf(self.forward.check())
        self.assertIn("can't be reached: smtp://next.example:25: Connection", self.logged())
        self.assertIn("clients get 451 until it can", self.logged())
        self.failureResultOf(Deferred.fromCoroutine(self.forward.ready()), Unavailable)


class FailureTests(Bench):
    def test_away(self) -> None:
        """No next hop: 451 at MAIL, and a line in the log with who, where and why."""
        self.host.set(isAway=True)
        client = self.connect()
        answer = client.say("MAIL FROM:<joe@client.example>")
        self.assertEqual((answer.code, answer.enhanced), (451, "4.3.0"))
        identifier = (
            "-1 from joe@client.example isn't stored by <Forward to smtp://next.example:25>"
        )
        self.assertIn(identifier, self.logged())
        self.assertIn("Connection was refused by other side", self.logged())

    def test_lostAtRecipient(self) -> None:
        """A connection that is lost in the transaction: 451, and so is DATA."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann")
        self.send(client, "RCPT TO:<ben@x.example>")
        self.hop.lose()
        self.assertAnswers(client, "451 4.3.0")
        self.send(client, "DATA")
        self.assertAnswers(client, "451 4.3.0")

    def test_lostAtTheEnd(self) -> None:
        """Lost before the confirmation: 451, since nobody knows."""
        client = self.connect()
        self.transaction(client)
        self.message(client)
        self.hop.lose()
        self.assertAnswers(client, "451 4.3.0")
        self.assertIn("it closed the connection", self.logged())

    def test_silentAtTheEnd(self) -> None:
        """The confirmation has four times the deadline."""
        client = self.connect()
        self.transaction(client)
        self.message(client)
        self.clock.advance(39)
        self.assertAnswers(client)
        self.clock.advance(1)
        self.assertAnswers(client, "451 4.3.0")
        self.assertIn("smtp://next.example:25 didn't answer within 40 s", self.logged())

    def test_keptConnectionIsDead(self) -> None:
        """If a connection that was kept turns out dead, MAIL is said over a new one."""
        for death in ("lost", "421"):
            client = self.connect()
            self.mail(client)
            self.send(client, "RSET")
            self.hop.heard()
            self.hop.say("250 ok")
            self.answers(client)
            self.send(client, "MAIL FROM:<joe@client.example>")
            if death == "lost":
                self.hop.lose()
            else:
                self.hop.say("421 4.3.2 restarting")
            self.hop.open()
            self.hop.say("250 fine")
            self.assertAnswers(client, "250")
            client.lose()
            self.hop.lose()

    def test_newConnectionIsDead(self) -> None:
        """A new one isn't tried again."""
        for death in ("lost", "421"):
            client = self.connect()
            self.send(client, "MAIL FROM:<joe@client.example>")
            self.hop.open()
            if death == "lost":
                self.hop.lose()
            else:
                self.hop.say("421 4.3.2 restarting")
            self.assertAnswers(client, "451 4.3")
            self.assertTrue(self.hop.isClosed)

    def test_allKeptAreDead(self) -> None:
        """Many dead ones end in 451, not in an endless search."""
        client = self.connect()
        self.mail(client)
        client.say("RSET")
        self.hop.say("250 ok")
        original = self.forward._pool.acquire

        async def used() -> Any:
            waiting = original()
            connection = await waiting
            connection.messages = 1
            return connection

        self.patch(self.forward._pool, "acquire", used)
        self.send(client, "MAIL FROM:<joe@client.example>")
        for number in range(21):
            if number:
                self.hop.open()
            self.hop.say("421 4.3.2 restarting")
        self.assertAnswers(client, "451 4.3.0")
        self.assertIn("it closed each connection that was kept open", self.logged())

    def test_aboutUs(self) -> None:
        """A refusal that is about us is 451 for the client, and told in the log."""
        client = self.connect()
        self.send(client, "MAIL FROM:<joe@client.example>")
        self.hop.open()
        self.hop.say("530 5.7.0 Authentication required")
        self.assertAnswers(client, "451 4.3.0")
        self.assertIn("it said: 530 5.7.0 Authentication required", self.logged())
        self.assertTrue(self.hop.isClosed)

    def test_421AtRecipient(self) -> None:
        """421 at RCPT doesn't close our client's connection, but ends that one."""
        client = self.connect()
        self.mail(client)
        self.send(client, "RCPT TO:<ann@x.example>")
        self.hop.say("421 4.3.2 restarting")
        self.assertAnswers(client, "451 4.3.2 restarting")
        self.assertTrue(self.hop.isClosed)
        self.assertFalse(client.isClosed)

    def test_421AtTheEnd(self) -> None:
        """Likewise at the end."""
        client = self.connect()
        self.transaction(client)
        self.message(client)
        self.hop.say("421 4.3.2 restarting")
        self.assertAnswers(client, "451 4.3.2 restarting")
        self.assertTrue(self.hop.isClosed)


class LMTPHopTests(Bench):
    """The next hop speaks LMTP: it has an answer for each recipient."""

    url = "lmtp://next.example"

    def finish(self, client: Client, *replies: str) -> None:
        self.data(client)
        self.message(client)
        for reply in replies:
            self.hop.say(reply)

    def test_all(self) -> None:
        """Stored for all: 250."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it", "250 2.0.0 ben has it")
        self.assertAnswers(client, "250 2.6.0 Forwarded: ann has it")

    def test_waitsForAll(self) -> None:
        """There is no 250 before all have been confirmed."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it")
        self.assertAnswers(client)
        self.hop.lose()
        self.assertAnswers(client, "451 4.3.0")

    def test_oneRefused(self) -> None:
        """One refused for good: SMTP's one reply is that refusal, and the log has the truth."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it", "552 5.2.2 ben is full")
        self.assertAnswers(client, "552 5.2.2 ben is full")
        self.assertIn("for ['ann@x.example'], but not for ['ben@x.example']", self.logged())

    def test_oneLater(self) -> None:
        """One refused for a while: the client is to come again."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben", "cid")
        self.finish(client, "552 5.2.2 full", "250 2.0.0 ben has it", "450 4.2.1 later")
        self.assertAnswers(client, "450 4.2.1 later")


class LMTPBothTests(LMTPHopTests):
    """The client speaks LMTP, too, and gets the truth for each."""

    options = {"lmtp": True}

    def test_all(self) -> None:
        """Each gets an answer."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it", "250 2.0.0 ben has it")
        self.assertAnswers(client, "250 2.6.0 Forwarded: ann", "250 2.6.0 Forwarded: ben")

    def test_waitsForAll(self) -> None:
        """Lost between two confirmations: the first stays true."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it")
        self.hop.lose()
        self.assertAnswers(client, "250", "451 4.3.0")

    def test_oneRefused(self) -> None:
        """One refused: only that one is."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "250 2.0.0 ann has it", "552 5.2.2 ben is full")
        self.assertAnswers(client, "250", "552 5.2.2 ben is full")

    def test_oneLater(self) -> None:
        """Likewise for a while."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.finish(client, "450 4.2.1 later", "250 2.0.0 ben has it")
        self.assertAnswers(client, "450 4.2.1 later", "250")


class SMTPHopLMTPClientTests(Bench):
    """The client speaks LMTP, the next hop doesn't."""

    options = {"lmtp": True}

    def test_one(self) -> None:
        """Its one answer is that for each."""
        client = self.connect()
        self.mail(client)
        self.rcpt(client, "ann", "ben")
        self.data(client)
        self.message(client)
        self.hop.say("250 2.6.0 queued")
        self.assertAnswers(client, *["250 2.6.0 Forwarded: queued"] * 2)


class BinaryTests(Bench):
    """BINARYMIME goes by BDAT (RFC 3030)."""

    options = {"extensions": ["BINARYMIME"]}

    def begin(self) -> Client:
        client = self.connect()
        self.send(client, "MAIL FROM:<joe@client.example> BODY=BINARYMIME")
        self.hop.open("BINARYMIME", "CHUNKING")
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<joe@client.example> BODY=BINARYMIME"])
        self.hop.say("250 fine")
        self.rcpt2(client)
        return client

    def rcpt2(self, client: Client) -> None:
        self.answers(client)
        self.rcpt(client, "ann")

    def test_chunks(self) -> None:
        """The octets are sent as they are, chunk by chunk."""
        client = self.begin()
        client.send(b"BDAT 10 LAST\r\n\x00\n.\r\n.\xff\r\n.")
        heard = b"\r\n".join(self.hop.heard())
        size = len(heard.partition(b"\r\n")[2])
        self.assertTrue(heard.startswith(b"BDAT %d\r\nReceived: " % size), heard)
        self.assertTrue(heard.endswith(b"\r\n\x00\n.\r\n.\xff\r\n."), heard)
        self.hop.say("250 2.0.0 some octets")
        self.assertEqual(self.hop.heard(), [b"BDAT 0 LAST"])
        self.assertAnswers(client)
        self.hop.say("250 2.6.0 queued")
        self.assertAnswers(client, "250 2.6.0 Forwarded: queued")

    def test_refused(self) -> None:
        """A chunk that is refused ends it."""
        client = self.begin()
        client.send(b"BDAT 3 LAST\r\nabc")
        self.hop.heard()
        self.hop.say("552 5.3.4 too large")
        self.assertAnswers(client, "552 5.3.4 too large")
        self.assertEqual(self.hop.heard(), [b"RSET"])


class OtherEnvelopeTests(Bench):
    """The next hop wasn't asked command by command, or was asked about others."""

    class Later(SMTPHandler):
        """A filter that hands on the message only."""

        def __init__(self, store: Forward) -> None:
            self.store = store

        def onData(self, stream: Any, session: Any) -> Any:
            """Hand it on."""
            return self.store.onData(stream, session)

    #: What the next hop hears before it has answered any RCPT.
    asked = [b"RCPT TO:<ann@x.example>", b"RCPT TO:<ben@x.example>"]
    offers: tuple[str, ...] = ("PIPELINING", "8BITMIME")

    def begin(self, **options: Any) -> Client:
        self.options = options
        client = self.connect(self.Later(self.forward))
        client.say("MAIL FROM:<joe@client.example>")
        client.say("RCPT TO:<ann@x.example>")
        client.say("RCPT TO:<ben@x.example>")
        self.send(client, "DATA")
        self.hop.open(*self.offers)
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<joe@client.example>"])
        self.hop.say("250 fine")
        self.assertEqual(self.hop.heard(), self.asked)
        return client

    def test_askedLate(self) -> None:
        """All is asked when the message comes."""
        client = self.begin()
        self.hop.say("250 fine")
        self.hop.heard()
        self.hop.say("250 fine")
        self.assertEqual(self.hop.heard(), [b"DATA"])
        self.hop.say("354 go ahead")
        self.answers(client)
        self.message(client)
        self.hop.say("250 queued")
        self.assertAnswers(client, "250 2.6.0 Forwarded: queued")

    def test_recipientsAskedLate(self) -> None:
        """Without MAIL, RCPT isn't asked either, before the message comes."""

        class WithRecipients(self.Later):  # type: ignore[name-defined]
            def onRcptTo(self, address: Any, session: Any) -> Any:
                """Hand it on."""
                return self.store.onRcptTo(address, session)

        client = self.connect(WithRecipients(self.forward))
        client.say("MAIL FROM:<joe@client.example>")
        self.assertEqual(client.say("RCPT TO:<ann@x.example>").code, 250)
        self.assertEqual(self.host.hops, [])

    def test_refusedLate(self) -> None:
        """If one is refused then, the client of SMTP is refused, and nobody gets it."""
        client = self.begin()
        self.hop.say("250 fine")
        self.hop.say("550 5.1.1 no ben")
        self.assertAnswers(client, "550 5.1.1 no ben")
        self.assertEqual(self.hop.heard()[-1], b"RSET")

    def test_refusedLateInLMTP(self) -> None:
        """In LMTP the others get it."""
        client = self.begin(lmtp=True)
        self.hop.say("550 5.1.1 no ann")
        self.hop.heard()
        self.hop.say("250 fine")
        self.assertEqual(self.hop.heard(), [b"DATA"])
        self.hop.say("354 go ahead")
        self.answers(client)
        self.message(client)
        self.hop.say("250 queued")
        self.assertAnswers(client, "550 5.1.1 no ann", "250 2.6.0 Forwarded: queued")

    def test_allRefusedLateInLMTP(self) -> None:
        """If all are refused, nothing is sent."""
        client = self.begin(lmtp=True)
        self.hop.say("550 5.1.1 no ann")
        self.hop.heard()
        self.hop.say("450 4.2.1 ben is busy")
        self.assertEqual(self.hop.heard()[-1], b"RSET")
        self.assertAnswers(client, "354")
        client.send(b"text\r\n.\r\n")
        self.assertAnswers(client, "550 5.1.1 no ann", "450 4.2.1 ben is busy")

    def test_lostLate(self) -> None:
        """If the connection is lost between two replies, nobody gets it: 451."""
        client = self.begin()
        self.hop.say("250 fine")
        self.hop.lose()
        self.assertAnswers(client, "451 4.3.0")

    def test_aboutUsLate(self) -> None:
        """Likewise if a reply is about us; those still to come are nobody's any more."""
        client = self.begin()
        self.hop.say("503 5.5.1 MAIL first")
        self.assertAnswers(client, "451 4.3.0")
        self.assertTrue(self.hop.isClosed)

    def test_silentLate(self) -> None:
        """Likewise if there is no further reply."""
        client = self.begin()
        self.hop.say("250 fine")
        self.clock.advance(10)
        self.assertAnswers(client, "451 4.3.0")
        self.assertTrue(self.hop.isClosed)

    def test_badLate(self) -> None:
        """Whom the next hop can't have isn't asked about."""
        client = self.connect(self.Later(self.forward))
        client.say("MAIL FROM:<joe@client.example>")
        client.say("RCPT TO:<ann@x.example>")
        client.session.envelope.rcptTo[0].args["X-OWN"] = "x"
        self.send(client, "DATA")
        self.hop.open()
        self.hop.say("250 fine")
        self.assertAnswers(client, "550 5.3.3")
        self.assertEqual(self.hop.heard(), [b"MAIL FROM:<joe@client.example>", b"RSET"])

    def test_othersAccepted(self) -> None:
        """
        A recipient that the next hop accepted, and a later stage refused, doesn't get it: the
        transaction is begun anew.
        """

        class Picky(SMTPHandler):
            def onRcptTo(self, address: Any, session: Any) -> None:
                if address.local == "ben":
                    raise Rejection("not ben")

        client = self.connect(Chain(self.forward, Picky()))
        self.mail(client)
        self.rcpt(client, "ann")
        self.send(client, "RCPT TO:<ben@x.example>")
        self.hop.say("250 fine")
        self.assertAnswers(client, "550 5.1.1 not ben")
        self.hop.heard()
        self.send(client, "DATA")
        first, second = self.host.hops
        self.assertEqual(first.heard(), [b"RSET"])
        second.open()
        second.say("250 fine")
        self.assertEqual(
            second.heard(), [b"MAIL FROM:<joe@client.example>", b"RCPT TO:<ann@x.example>"]
        )
        second.say("250 fine")
        self.assertEqual(second.heard(), [b"DATA"])

    def test_mailRefusedLater(self) -> None:
        """A sender that the next hop accepted, and a later stage refused, leaves nothing behind."""

        class Picky(SMTPHandler):
            def onMailFrom(self, address: Any, session: Any) -> None:
                raise Rejection("not joe")

        client = self.connect(Chain(self.forward, Picky()))
        self.send(client, "MAIL FROM:<joe@client.example>")
        self.hop.open()
        self.hop.say("250 fine")
        self.assertAnswers(client, "550 5.7.1 not joe")
        self.hop.heard()
        self.send(client, "MAIL FROM:<joe@client.example>")
        self.assertEqual(self.host.hops[0].heard(), [b"RSET"])


class NotPipelinedTests(OtherEnvelopeTests):
    """The same where the next hop has no PIPELINING: one after the other."""

    asked = [b"RCPT TO:<ann@x.example>"]
    offers = ("8BITMIME",)


class OptionsTests(SynchronousTestCase):
    """What users give."""

    def forward(self, *urls: str, **options: Any) -> Forward:
        return Forward(*urls, reactor=Clock(), **options)

    def assertWrong(self, text: str, *urls: str, **options: Any) -> None:
        error = self.assertRaises(ConfigurationError, self.forward, *urls, **options)
        self.assertIn(text, str(error))

    def test_repr(self) -> None:
        """It shows the hosts, and no password."""
        forward = self.forward("smtps://joe@a.example", "lmtp:unix:/run/lmtp", password="s3cret")
        self.assertEqual(repr(forward), "<Forward to smtps://a.example:465, lmtp:unix:/run/lmtp>")

    def test_hosts(self) -> None:
        """There must be one."""
        self.assertWrong("name a host")

    def test_login(self) -> None:
        """A login needs a password, and TLS, except on this machine."""
        self.assertWrong("needs a password", "smtps://joe@a.example")
        for url in ("smtp://joe@a.example", "lmtp://joe@a.example"):
            self.assertWrong("a login needs smtps://", url, password="x")
        self.forward("smtp://joe@localhost", password="x")

    def test_authorities(self) -> None:
        """The file with the certificates must have some."""
        path = self.mktemp()
        self.assertWrong("can't be read", "smtps://a.example", ca=path)
        with open(path, "w") as file:
            file.write("hello")
        self.assertWrong("has no certificate", "smtps://a.example", ca=path)
        with open(path, "a") as file:
            file.write("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
        self.assertWrong("can't be read", "smtps://a.example", ca=path)
        authority = makeCA()
        with open(path, "wb") as binary:
            binary.write(authority.certPEM * 2)
        self.forward("smtps://a.example", ca=path)

    def test_close(self) -> None:
        """With nothing open, to close takes no time."""
        self.successResultOf(self.forward("smtp://a.example").close())

    def test_reactor(self) -> None:
        """The reactor is Twisted's unless said otherwise."""
        self.successResultOf(Forward("smtp://a.example").close())

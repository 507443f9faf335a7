"""XCLIENT over the wire, as Postfix's XCLIENT_README has it."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import AuthenticationFailed, Rejection
from twisted_smtpserver.sasl import Credentials
from twisted_smtpserver.testing import Client, MemoryTransport, RecordingHandler, connect

KEYWORD = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
PEER = "192.0.2.1"
ADDR = "XCLIENT ADDR=198.51.100.7"


def proxy(handler: object = None, hello: str = "EHLO proxy.example", **options) -> Client:
    """A proxy that is trusted, and has said hello."""
    options.setdefault("useXClient", [PEER])
    client = connect(handler, **options)
    client.say(hello)
    return client


class OfferTests(SynchronousTestCase):
    """Who may use it."""

    def test_offByDefault(self):
        """Without the option it isn't offered, and 502."""
        client = connect()
        self.assertNotIn(KEYWORD, client.say("EHLO proxy.example").lines)
        answer = client.say(ADDR)
        self.assertEqual((answer.code, answer.enhanced), (502, "5.5.1"))

    def test_trusted(self):
        """It is offered to those whom the option names, with its attributes."""
        for networks in (True, [PEER], ["192.0.2.0/24"]):
            client = connect(useXClient=networks)
            self.assertIn(KEYWORD, client.say("EHLO proxy.example").lines)
            self.assertEqual(client.say(ADDR).code, 220)

    def test_notTrusted(self):
        """It isn't to others, and 550."""
        client = connect(useXClient=["203.0.113.0/24"])
        self.assertNotIn(KEYWORD, client.say("EHLO proxy.example").lines)
        answer = client.say(ADDR)
        self.assertEqual((answer.code, answer.enhanced), (550, "5.7.0"))
        self.assertEqual(client.session.remoteAddress, PEER)

    def test_claimedAddress(self):
        """Trust goes with the socket's address, never with a claimed one."""
        client = proxy()
        client.say(ADDR)
        self.assertIn(KEYWORD, client.say("EHLO proxy.example").lines)
        self.assertEqual(client.say("XCLIENT ADDR=198.51.100.8").code, 220)
        self.assertEqual(client.session.remoteAddress, "198.51.100.8")
        self.assertEqual(client.session.peerAddress, PEER)

    def test_claimedTrust(self):
        """Nobody becomes trusted with something else by claiming an address."""
        client = proxy(useXForward=["198.51.100.7"])
        client.say(ADDR)
        hello = client.say("EHLO proxy.example")
        self.assertFalse([line for line in hello.lines if "XFORWARD" in line])
        self.assertEqual(client.say("XFORWARD NAME=x.example").code, 550)

    def test_proxyHeader(self):
        """Behind a PROXY header trust goes with the address in the header."""
        for source, expected in (("203.0.113.9", 220), ("203.0.113.10", 550)):
            client = connect(useProxy=[PEER], useXClient=["203.0.113.9"])
            client.send(f"PROXY TCP4 {source} 192.0.2.25 1024 25\r\n".encode("ascii"))
            client.answers()
            self.assertEqual(client.say(ADDR).code, expected)

    def test_unixSocket(self):
        """A unix socket has no address that a network could have; True trusts it."""
        for networks, expected in (([PEER], 550), (True, 220)):
            transport = MemoryTransport(UNIXAddress("client"), UNIXAddress("server"))
            client = connect(transport=transport, useXClient=networks)
            self.assertEqual(client.say(ADDR).code, expected)

    def test_disabled(self):
        """It can be disabled like any command."""
        client = connect(useXClient=True, disabledCommands=["XCLIENT"])
        self.assertNotIn(KEYWORD, client.say("EHLO proxy.example").lines)
        self.assertEqual(client.say(ADDR).code, 502)


class SyntaxTests(SynchronousTestCase):
    """Refusals."""

    def test_malformed(self):
        """What can't be understood is 501, and changes nothing."""
        client = proxy()
        for argument in (
            "",
            " ADDR",
            " ADDR=",
            " ADDR=x",
            " ADDR=198.51.100.7 ADDR=198.51.100.8",
            " ADDR=198.51.100.7  PORT=1",
            " COLOR=red",
            " PORT=70000",
            " PROTO=HTTP",
            " NAME=a+0D+0Ab",
        ):
            answer = client.say("XCLIENT" + argument)
            self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"), argument)
        self.assertEqual(client.session.remoteAddress, PEER)
        self.assertEqual(client.session.hostNameAppearsAs, "proxy.example")

    def test_inTransaction(self):
        """In the middle of a transaction it is 503."""
        client = proxy()
        client.say("MAIL FROM:<joe@example.org>")
        for _ in range(2):
            answer = client.say(ADDR)
            self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))
            client.say("RCPT TO:<jane@example.com>")
        self.assertEqual(len(client.session.envelope.rcptTo), 2)


class StartOverTests(SynchronousTestCase):
    """What it does."""

    def test_attributes(self):
        """All that is said is in the session, and in xClient."""
        client = proxy()
        answer = client.say(
            "xclient name=mail.example.net addr=IPV6:2001:DB8::0:7 port=4711 proto=esmtp"
            " helo=client+2Eexample destaddr=192.0.2.99 destport=587 login=j+2Bd"
        )
        self.assertEqual(answer.code, 220)
        session = client.session
        self.assertEqual(
            session.xClient,
            {
                "NAME": "mail.example.net",
                "ADDR": "2001:db8::7",
                "PORT": 4711,
                "PROTO": "ESMTP",
                "HELO": "client.example",
                "LOGIN": "j+d",
                "DESTADDR": "192.0.2.99",
                "DESTPORT": 587,
            },
        )
        self.assertEqual((session.remoteAddress, session.remotePort), ("2001:db8::7", 4711))
        self.assertEqual((session.localAddress, session.localPort), ("192.0.2.99", 587))
        self.assertEqual((session.peerAddress, session.peerPort), (PEER, 40000))
        self.assertEqual(session.clientHostname, "mail.example.net")
        self.assertEqual(session.hostNameAppearsAs, "client.example")
        self.assertEqual(session.openingCommand, "EHLO")

    def test_protocols(self):
        """PROTO says which hello it was."""
        for protocol, command in (("SMTP", "HELO"), ("ESMTP", "EHLO"), ("LMTP", "LHLO")):
            client = proxy()
            client.say(f"XCLIENT PROTO={protocol}")
            self.assertEqual(client.session.openingCommand, command)

    def test_greeting(self):
        """The answer is a greeting, without enhanced status code."""
        client = connect(useXClient=True, banner="at your service")
        answer = client.say(ADDR)
        self.assertEqual(answer, client.greeting)
        self.assertEqual((answer.code, answer.enhanced), (220, None))

    def test_beforeHello(self):
        """It may come before the hello; in one write with what follows, too."""
        client = connect(useXClient=True)
        answers = client.pipeline(ADDR, "EHLO client.example", "MAIL FROM:<joe@example.org>")
        self.assertEqual([answer.code for answer in answers], [220, 250, 250])

    def test_forgotten(self):
        """The hello and the login count no more."""
        client = proxy(
            onAuth=lambda credentials, session: "joe", allowInsecureAuth=True, authOptional=True
        )
        client.say("AUTH PLAIN AGpvZQBzZXNhbWU=")
        self.assertEqual(client.session.user, "joe")
        client.say(ADDR)
        self.assertIsNone(client.session.user)
        self.assertIsNone(client.session.openingCommand)
        self.assertIsNone(client.session.hostNameAppearsAs)
        answer = client.say("MAIL FROM:<joe@example.org>")
        self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))

    def test_kept(self):
        """The id, the application's data and the counters stay."""
        client = proxy()
        identifier = client.session.id
        client.session.data["key"] = "value"
        client.deliver(b"Hello\r\n", hello=None)
        client.say(ADDR)
        self.assertEqual(client.session.id, identifier)
        self.assertEqual(client.session.data, {"key": "value"})
        self.assertEqual(client.session.messages, 1)

    def test_severalCommands(self):
        """What was said stays until it is said anew, since it may not fit on one line."""
        client = proxy()
        client.say("XCLIENT HELO=client.example PROTO=SMTP PORT=99")
        client.say(ADDR + " NAME=mail.example.net")
        session = client.session
        self.assertEqual((session.remoteAddress, session.remotePort), ("198.51.100.7", 99))
        self.assertEqual(
            (session.openingCommand, session.hostNameAppearsAs), ("HELO", "client.example")
        )
        client.say("XCLIENT PORT=[UNAVAILABLE] HELO=[unavailable] PROTO=[UNAVAILABLE]")
        self.assertEqual((session.remoteAddress, session.remotePort), ("198.51.100.7", None))
        self.assertEqual((session.openingCommand, session.hostNameAppearsAs), (None, None))
        self.assertEqual(session.clientHostname, "mail.example.net")

    def test_unnamed(self):
        """A client without a name is called by its address; the proxy's name isn't its."""
        client = proxy()
        for argument, expected in (
            ("ADDR=198.51.100.7", "[198.51.100.7]"),
            ("ADDR=2001:db8::7", "[IPv6:2001:db8::7]"),
            ("NAME=mail.example.net", "mail.example.net"),
            ("NAME=[TEMPUNAVAIL]", "[IPv6:2001:db8::7]"),
            ("NAME=[UNAVAILABLE] ADDR=198.51.100.8", "[198.51.100.8]"),
            ("ADDR=[UNAVAILABLE]", "unknown"),
        ):
            self.assertEqual(client.say(f"XCLIENT {argument}").code, 220)
            self.assertEqual(client.session.clientHostname, expected)
        self.assertIsNone(client.session.remoteAddress)
        self.assertEqual(client.session.xClient, {"ADDR": None, "NAME": None})

    def test_nameOnly(self):
        """A name alone leaves the address as it is; without one it is as good as unknown."""
        client = proxy()
        client.say("XCLIENT NAME=[UNAVAILABLE]")
        self.assertEqual(client.session.clientHostname, f"[{PEER}]")
        self.assertEqual(client.session.remoteAddress, PEER)
        client = proxy()
        client.session.clientHostname = "proxy.example"
        client.say("XCLIENT DESTADDR=192.0.2.7")
        self.assertEqual(client.session.clientHostname, "proxy.example")
        self.assertEqual(
            (client.session.localAddress, client.session.localPort), ("192.0.2.7", None)
        )


class HandlerTests(SynchronousTestCase):
    """What the handler notices."""

    def test_onConnect(self):
        """onConnect runs again, with the claimed address; onClose still runs once."""
        seen = []

        class Handler(RecordingHandler):
            def onConnect(self, session):
                seen.append((session.remoteAddress, session.hostNameAppearsAs))
                super().onConnect(session)

        handler = Handler()
        client = proxy(handler)
        client.say(ADDR + " HELO=client.example")
        self.assertEqual(seen, [(PEER, None), ("198.51.100.7", "client.example")])
        client.say("QUIT")
        self.assertEqual(handler.calls, ["onConnect", "onHello", "onConnect", "onClose"])

    def refusing(self, **rejection) -> Client:
        def onConnect(session):
            if session.remoteAddress != PEER:
                raise Rejection("We don't know you", **rejection)

        return proxy(onConnect=onConnect)

    def test_refused(self):
        """If onConnect refuses, the client can only leave, as after a greeting that refuses."""
        client = self.refusing()
        answer = client.say(ADDR)
        self.assertEqual(
            (answer.code, answer.enhanced, answer.text), (554, "5.0.0", "We don't know you")
        )
        for command in ("EHLO client.example", "NOOP", ADDR):
            self.assertEqual(client.say(command).code, 503)
        client.wait(11)
        self.assertTrue(client.isClosed)

    def test_refusedWithCode(self):
        """The refusal may have a code of its own; 421 closes."""
        answer = self.refusing(code=550, enhanced="5.7.1").say(ADDR)
        self.assertEqual((answer.code, answer.enhanced), (550, "5.7.1"))
        client = self.refusing(code=421)
        answer = client.say(ADDR)
        self.assertEqual((answer.code, answer.enhanced), (421, "4.3.2"))
        self.assertTrue(client.isClosed)

    def test_slow(self):
        """While onConnect takes its time the next commands wait."""
        verdicts: list[Deferred[None]] = []

        def onConnect(session):
            if session.remoteAddress != PEER:
                verdicts.append(Deferred())
                return verdicts[-1]
            return None

        client = proxy(onConnect=onConnect)
        self.assertEqual(client.pipeline(ADDR, "EHLO client.example"), [])
        verdicts[0].callback(None)
        client.settle()
        self.assertEqual([answer.code for answer in client.answers()], [220, 250])

    def test_noSecondOnSecure(self):
        """There is no second handshake, so onSecure isn't called again."""
        handler = RecordingHandler()
        client = connect(handler, useXClient=True, selfSigned=True)
        client.say("EHLO proxy.example")
        client.say("STARTTLS")
        client.startTLS()
        self.assertEqual(client.say(ADDR).code, 220)
        self.assertEqual(handler.calls.count("onSecure"), 1)
        self.assertTrue(client.session.secure)


class LoginTests(SynchronousTestCase):
    """LOGIN, which goes through onAuth."""

    def logIn(self, onAuth, command: str = ADDR + " LOGIN=joe") -> Client:
        self.asked: list[tuple[Credentials, str | None]] = []

        def ask(credentials, session):
            self.asked.append((credentials, session.remoteAddress))
            return onAuth(credentials, session)

        client = proxy(onAuth=ask)
        self.answer = client.say(command)
        return client

    def test_accepted(self):
        """The user is who onAuth says; it is asked after onConnect, with the claimed address."""
        client = self.logIn(lambda credentials, session: credentials.username)
        self.assertEqual((self.answer.code, self.answer.enhanced), (220, None))
        self.assertEqual(client.session.user, "joe")
        [(credentials, address)] = self.asked
        self.assertEqual(address, "198.51.100.7")
        self.assertEqual(
            (credentials.method, credentials.authcid, credentials.verified, credentials.password),
            ("XCLIENT", "joe", True, None),
        )
        client.say("EHLO client.example")
        self.assertEqual(client.say("MAIL FROM:<joe@example.org>").code, 250)
        self.assertEqual(client.session.transmissionType, "ESMTPA")

    def test_refused(self):
        """A refusal answers the command; nobody is logged in then."""
        for verdict in (None, AuthenticationFailed("Joe has left")):

            def onAuth(credentials, session, verdict=verdict):
                if verdict is not None:
                    raise verdict

            client = self.logIn(onAuth)
            self.assertEqual((self.answer.code, self.answer.enhanced), (535, "5.7.8"))
            self.assertIsNone(client.session.user)
            client.say("EHLO client.example")
            self.assertEqual(client.say("MAIL FROM:<joe@example.org>").code, 530)

    def test_logged(self):
        """A refusal is in the log."""
        events = []
        client = proxy(
            onAuth=lambda credentials, session: None, logger=Logger(observer=events.append)
        )
        client.say(ADDR + " LOGIN=joe")
        [event] = [event for event in events if event["event"] == "loginFailed"]
        self.assertEqual((event["username"], event["method"]), ("joe", "XCLIENT"))

    def test_bug(self):
        """A bug is 454 with an incident."""
        self.logIn(lambda credentials, session: {"user": None})
        self.assertEqual((self.answer.code, self.answer.enhanced), (454, "4.7.0"))
        self.flushLoggedErrors(TypeError)

    def test_unavailable(self):
        """[UNAVAILABLE] is nobody, and logs out who was there."""
        client = self.logIn(lambda credentials, session: credentials.username)
        client.say("XCLIENT LOGIN=[UNAVAILABLE]")
        self.assertIsNone(client.session.user)
        self.assertEqual(len(self.asked), 1)

    def test_severalCommands(self):
        """The login stays with the next XCLIENT, and onAuth is asked again."""
        client = self.logIn(lambda credentials, session: credentials.username, "XCLIENT LOGIN=joe")
        self.assertEqual(client.say(ADDR).code, 220)
        self.assertEqual(client.session.user, "joe")
        self.assertEqual([address for _, address in self.asked], [PEER, "198.51.100.7"])

    def test_nobodyToAsk(self):
        """Without onAuth nobody is logged in, but the name is there to see."""
        client = proxy()
        self.assertEqual(client.say("XCLIENT LOGIN=joe").code, 220)
        self.assertIsNone(client.session.user)
        self.assertEqual(client.session.xClient, {"LOGIN": "joe"})

    def test_connectRefuses(self):
        """Who is turned away isn't asked for a login."""

        def onConnect(session):
            if session.xClient:
                raise Rejection("no")

        def onAuth(credentials, session):
            self.fail("asked")

        client = proxy(onConnect=onConnect, onAuth=onAuth)
        self.assertEqual(client.say(ADDR + " LOGIN=joe").code, 554)


class PeerTests(SynchronousTestCase):
    """The address of the transport."""

    def test_otherPeer(self):
        """A peer with another address than the trusted one isn't trusted."""
        client = connect(peer=IPv4Address("TCP", "192.0.2.2", 1), useXClient=[PEER])
        self.assertEqual(client.say(ADDR).code, 550)

"""What the log is told, and what it isn't."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.logins import PASSWORD, TOKEN, Logins
from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, codes, walk
from twisted_smtpserver import (
    Accepted,
    Authenticated,
    ConfigurationError,
    Rejection,
    SMTPHandler,
    SMTPServerFactory,
)
from twisted_smtpserver.extensions.base import Extension
from twisted_smtpserver.log.serverlog import MAX_LOGGED_REFUSALS, ServerLog
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.replies import MESSAGE_ACCEPTED
from twisted_smtpserver.session import Envelope, Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect
from twisted_smtpserver.wire.ip import Networks

CONTENT = b"Subject: test\r\n\r\nHello\r\n"


def b64(text: str) -> str:
    """As AUTH has it."""
    return base64.b64encode(text.encode()).decode()


def plain(user: str, password: str) -> str:
    """A login in one line."""
    return "AUTH PLAIN " + b64(f"\0{user}\0{password}")


class EventsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        """A log."""
        self.log = Log()

    def connect(self, handler: object = None, **keywords: Any) -> Client:
        """Connect to a server that has it."""
        return connect(handler, logger=self.log.logger, **keywords)

    def only(self, name: str) -> dict[str, Any]:
        """The only event of a kind."""
        (event,) = self.log.of(name)
        return event

    def line(self, name: str) -> str:
        """The only event of a kind as observers write it."""
        line = formatEvent(self.only(name))
        self.assertTrue(line.isprintable(), line)
        return line


class MessageTests(EventsTestCase):
    """One line for each message that came in whole."""

    def test_line(self):
        """It has all that an operator asks for."""
        client = self.connect()
        client.deliver(CONTENT)
        session = client.session.id
        self.assertEqual(
            self.line("message"),
            f"{session}: message {session}-1 from <joe@example.org> to <jane@example.com>"
            ", client [192.0.2.1] [192.0.2.1]:40000 (ESMTP), 24 octets: 250 Message accepted",
        )

    def test_values(self):
        """Whoever reads the events by machine finds the values under their names."""
        self.connect(lmtp=True).deliver(CONTENT, hello="LHLO client.example")
        event = self.only("message")
        self.assertEqual(event["log_level"], LogLevel.info)
        self.assertEqual((event["sender"], event["octets"]), ("joe@example.org", len(CONTENT)))
        self.assertEqual(event["transmissionType"], "LMTP")

    def test_each(self):
        """Each has its own, refused ones as well; those that didn't come whole have none."""

        async def onData(stream, session):
            await stream.read()
            if session.transaction == 2:
                raise Rejection("Too spicy", code=554)

        client = self.connect(onData=onData, size=100)
        client.deliver(CONTENT)
        client.deliver(CONTENT, hello=None)
        client.deliver(bytes(99) + b"\r\n", hello=None)
        client.pipeline(MAIL, RCPT, "RSET", MAIL, RCPT, "DATA", "half")
        client.lose()
        replies = [event["reply"] for event in self.log.of("message")]
        self.assertEqual(
            replies,
            [
                "250 Message accepted",
                "554 Too spicy",
                "552 Message exceeds the fixed maximum message size",
            ],
        )

    def test_bareNewline(self):
        """A message with bare newlines says what would take it."""
        client = self.connect()
        client.deliver(b"Subject: x\n\nText\r\n")
        self.assertRegex(
            self.line("message"), r": 550 .*send_message\(\).*--bare-newlines=normalize"
        )

    def test_recipients(self):
        """The first recipient is named, the others are counted."""
        client = self.connect()
        client.deliver(CONTENT, "", "a@example.com", "b@example.com", "c@example.com")
        self.assertIn("from <> to <a@example.com> and 2 more, client", self.line("message"))

    def test_noRecipients(self):
        """An envelope without any has words, too."""
        events = ServerLog(self.log.logger, Networks(False, "ignoredHosts"))
        session = Session()
        events.messageEnded(session, Envelope("1"), 0, [MESSAGE_ACCEPTED])
        self.assertIn("to nobody, client unix", self.line("message"))

    def test_perRecipient(self):
        """Different replies to the recipients are all there, equal ones once."""

        def onData(stream, session):
            return [None, Rejection("full", code=452), None, Accepted("fine")]

        client = self.connect(onData=onData, lmtp=True)
        client.pipeline("LHLO client.example", MAIL, *[RCPT] * 4)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        self.assertEqual(
            self.only("message")["reply"], "250 Message accepted / 452 full / 250 fine"
        )


class SummaryTests(EventsTestCase):
    """One line for each session, however it ended."""

    def test_line(self):
        """Who it was, what came of it, and why it is over."""
        client = self.connect()
        client.deliver(CONTENT)
        client.say("NONSENSE")
        client.wait(2.5)
        client.say("QUIT")
        self.assertEqual(
            self.line("session"),
            f"{client.session.id}: [192.0.2.1] [192.0.2.1]:40000 hello=client.example tls=no"
            ' user=- messages=1 octets=24 errors=1 last="Command not recognized" seconds=2.5: quit',
        )

    def test_endings(self) -> None:
        """Whoever ended it, and when: there is one line, which says so."""

        def refuse(session):
            raise Rejection("go away", code=421)

        table: list[tuple[str, dict[str, Any], Callable[[Client], object]]] = [
            ("client left", {}, lambda client: client.finish()),
            ("connection lost: ConnectionLost", {}, lambda client: client.lose()),
            ("quit", {}, lambda client: client.say("QUIT")),
            ("Idle for too long, closing connection", {}, lambda client: client.wait(300)),
            ("server shut down", {}, lambda client: client.factory.shutdown()),
            ("go away", {"onConnect": refuse}, lambda client: None),
            ("bare newline in a command", {}, lambda client: client.send(b"QUIT\n")),
            ("TLS handshake in clear", {}, lambda client: client.send(b"\x16\x03\x01")),
            ("spoke HTTP", {}, lambda client: client.say("GET / HTTP/1.1")),
            ("malformed BDAT", {}, lambda client: client.say("BDAT")),
            ("not in useProxy", {"useProxy": ["10.0.0.1"]}, lambda client: None),
            ("no PROXY header", {"useProxy": True}, lambda client: client.wait(10)),
            (
                "no TLS handshake in time",
                {"secure": True, "selfSigned": True},
                lambda client: client.wait(30),
            ),
        ]
        for why, options, end in table:
            self.log.events.clear()
            client = self.connect(**options)
            end(client)
            client.settle()
            client.lose()
            self.assertTrue(self.only("session")["why"].startswith(why), self.only("session"))
            self.assertEqual(len(self.log.events), 1)

    def test_tls(self):
        """TLS is named by its version; where it ended upstream nobody knows that."""
        client = self.connect(selfSigned=True)
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        client.lose()
        self.connect(secured=True).lose()
        tls = [event["tls"] for event in self.log.of("session")]
        self.assertEqual(tls, [client.session.tls.version, "yes"])

    def test_users(self):
        """A user is named if text stands for it; of other objects only the type is told."""

        class Account:
            def __repr__(self) -> str:
                return "a secret"

        for user, name in (
            *(("joe", "joe"), (b"joe", "joe"), ("joe\n{0}", "joe\\x0a{0}"), (b"\xff", "\\xff")),
            *((Account(), "Account"), (["a secret"], "list")),
        ):
            self.log.events.clear()
            handler = SMTPHandler()
            handler.onAuth = lambda credentials, session, user=user: Authenticated(user)
            client = walk(self.connect(handler, allowInsecureAuth=True), Phase.READY)
            self.assertEqual(client.say(plain("joe", "x")).code, 235)
            client.say("QUIT")
            self.assertEqual(self.only("session")["user"], name)
            self.assertIn(f"user={name} ", self.line("session"))

    def test_clients(self):
        """Clients by name, address and port; those of a unix socket have none."""
        for peer, text in (
            (IPv6Address("TCP", "2001:db8::1", 25), "[IPv6:2001:db8::1] [2001:db8::1]:25"),
            (IPv4Address("TCP", "127.0.0.1", 5), "[127.0.0.1] [127.0.0.1]:5"),
            (UNIXAddress("/run/client"), "unix"),
        ):
            self.log.events.clear()
            self.connect(peer=peer).say("QUIT")
            self.assertEqual(self.only("session")["client"], text)


class TroubleTests(EventsTestCase):
    """Failed logins, lost replies, refused connections, bugs."""

    def test_loginFailed(self):
        """Each failed login has a line, with the name that was tried."""
        client = walk(self.connect(Logins(), allowInsecureAuth=True), Phase.READY)
        client.pipeline(plain("ann", "guess"))
        client.wait(1)
        self.assertEqual(codes(client.answers()), [535])
        self.assertEqual(self.only("loginFailed")["log_level"], LogLevel.warn)
        self.assertEqual(
            self.line("loginFailed"),
            f"{client.session.id}: login as <ann> by PLAIN failed,"
            " client [192.0.2.1] [192.0.2.1]:40000",
        )

    def test_replyLost(self) -> None:
        """A message that was stored, and whose client will send it again."""
        result: Deferred[Any] = Deferred()
        client = walk(self.connect(onData=lambda *_: result), Phase.RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        client.lose()
        result.callback(None)
        self.assertEqual(self.only("replyLost")["log_level"], LogLevel.warn)
        self.assertEqual(
            self.line("replyLost"),
            f"{client.session.id}: message {client.session.id}-1: the client"
            " [192.0.2.1] [192.0.2.1]:40000 left before the reply 250",
        )

    def test_refusedConnection(self):
        """A connection that was one too many."""
        first = self.connect(maxClients=1)
        second = connect(first.factory)
        self.assertTrue(second.isClosed)
        self.assertEqual(
            self.line("refused"), "connection from 192.0.2.1 refused: maxClients reached (1)"
        )

    def test_incident(self):
        """A bug, with its traceback and the id that the client was told."""

        def onMailFrom(address, session):
            raise KeyError("kaput")

        client = self.connect(onMailFrom=onMailFrom)
        answer = client.pipeline(HELLO, MAIL)[-1]
        event = self.only("incident")
        self.assertEqual(event["log_level"], LogLevel.critical)
        self.assertIn(event["incident"], answer.text)
        self.assertIn(client.session.id, self.line("incident"))
        self.assertIn("kaput", event["log_failure"].getTraceback())

    def test_listener(self):
        """A failure of the listener belongs to no session."""
        factory = SMTPServerFactory(logger=self.log.logger)
        try:
            raise OSError("kaput")
        except OSError:
            incident = factory.reportError(Failure())
        self.assertEqual(
            self.line("incident"), f"-: incident {incident}: a handler failed (client -)"
        )


# Text that would end, repaint or reformat a line: controls, direction marks, format fields.
WILD = "{session}{0}%s$x\u202e\u200b"


class RejectedTests(EventsTestCase):
    """Senders and recipients that the handler refused."""

    def test_line(self):
        """Who it was, and why; later refusals, too."""
        answer = Later()

        def onMailFrom(address, session):
            if address.local == "joe":
                raise Rejection("Not today", 450)

        client = self.connect(onMailFrom=onMailFrom, onRcptTo=answer)
        self.assertEqual(client.say(HELLO).code, 250)
        self.assertEqual(client.say(MAIL).code, 450)
        client.say("MAIL FROM:<ann@example.org>")
        client.send(RCPT.encode() + b"\r\n")
        answer.fail(Rejection("Nobody\r\nhere"))
        self.assertEqual(client.answer().code, 550)
        start = f"{client.session.id}: "
        ann, whose = "sender <ann@example.org>", "refused, client [192.0.2.1] [192.0.2.1]:40000: "
        self.assertEqual(
            [formatEvent(event) for event in self.log.of("rejected")],
            [
                f"{start}MAIL <joe@example.org> {whose}450 Not today",
                f"{start}RCPT <jane@example.com>, {ann}, {whose}550 Nobody  here",
            ],
        )

    def test_bounded(self):
        """However often a client comes with one that is refused for now, the log doesn't fill."""

        def onRcptTo(address, session):
            raise Rejection("later", 450)

        client = self.connect(onRcptTo=onRcptTo)
        client.pipeline(HELLO, MAIL, *[RCPT] * (MAX_LOGGED_REFUSALS + 9))
        client.lose()
        self.assertEqual(len(self.log.of("rejected")), MAX_LOGGED_REFUSALS)
        self.assertEqual(self.only("session")["errors"], MAX_LOGGED_REFUSALS + 9)

    def test_others(self):
        """Other hooks' refusals are in the session's line, where they are not what ended it."""

        def refuse(*arguments):
            raise Rejection("go away")

        client = self.connect(onHello=refuse)
        client.say(HELLO)
        client.say("QUIT")
        self.assertIn(' errors=1 last="go away" seconds=0.0: quit', self.line("session"))
        self.assertEqual(self.log.of("rejected"), [])

    def test_quiet(self):
        """Not of those who aren't logged."""
        client = self.connect(onMailFrom=lambda *_: 1 // 0, ignoredHosts=["192.0.2.1"])
        client.pipeline(HELLO, MAIL)
        self.assertEqual(self.log.of("rejected"), [])


class TimeoutTests(EventsTestCase):
    """Hooks that take longer than ``handlerTimeout``."""

    def test_hooks(self):
        """Each of them is named once."""
        steps = [HELLO, "AUTH PLAIN AGpvZQBqb2U=", MAIL, RCPT, "DATA"]
        hooks = ("onHello", "onAuth", "onMailFrom", "onRcptTo", "onData")
        for number, hook in enumerate(hooks):
            self.log.events.clear()
            options = {"onAuth": lambda *_: "joe"} | {hook: Later()}
            client = self.connect(**options, handlerTimeout=2, allowInsecureAuth=True)
            for line in steps[: number + 1]:
                client.send(line.encode() + b"\r\n")
            client.wait(2)
            (event,) = self.log.of("hookTimedOut")
            self.assertEqual(event["hook"], hook)
            self.assertIn(f": {hook} took longer than handlerTimeout, cl", formatEvent(event))
            self.assertEqual(self.log.of("rejected"), [])

    def test_message(self):
        """At its end, and while it is left unread."""

        async def reading(stream, session):
            await stream.__anext__()
            await Deferred()

        for content in (b"x\r\n.\r\n", b"x" * (HIGH_WATER + 9)):
            self.log.events.clear()
            client = self.connect(onData=reading, handlerTimeout=2)
            for line in (HELLO, MAIL, RCPT, "DATA"):
                client.send(line.encode() + b"\r\n")
            client.send(content[:1])
            client.send(content[1:])
            client.wait(2)
            self.assertEqual([event["hook"] for event in self.log.of("hookTimedOut")], ["onData"])

    def test_verb(self):
        """A verb of an extension's that isn't a hook's."""

        class Slow(Extension):
            keyword = "SLOW"
            verbs = MappingProxyType({"SLOW": lambda dialogue, argument: Deferred()})

        client = self.connect(extensions=[Slow()], handlerTimeout=2)
        client.say(HELLO)
        client.send(b"SLOW\r\n")
        client.wait(2)
        self.assertEqual([event["hook"] for event in self.log.of("hookTimedOut")], ["a verb"])

    def test_left(self):
        """If the client has left, it wasn't the hook."""
        for hook, steps in (("onRcptTo", 3), ("onData", 4)):
            client = self.connect(**{hook: Later()}, handlerTimeout=2)
            for line in (HELLO, MAIL, RCPT, "DATA")[:steps]:
                client.send(line.encode() + b"\r\n")
            client.lose()
            client.wait(2)
        self.assertEqual(self.log.of("hookTimedOut"), [])

    def test_quiet(self):
        """Nor is it said of those who aren't logged."""
        client = self.connect(onHello=Later(), handlerTimeout=2, ignoredHosts=["192.0.2.1"])
        client.send(HELLO.encode() + b"\r\n")
        client.wait(2)
        self.assertEqual(self.log.of("hookTimedOut"), [])


class EscapingTests(EventsTestCase):
    """What the peer says stays text on one line, whatever it is."""

    def assertTame(self) -> None:
        """Assert that each event is one printable line, and that its values are, too."""
        self.assertTrue(self.log.events)
        for event in self.log.events:
            self.assertTrue(formatEvent(event).isprintable(), event)
            for name, value in event.items():
                if isinstance(value, str) and not name.startswith("log_"):
                    self.assertTrue(value.isprintable(), (name, value))

    def test_hello(self):
        """The hello."""
        client = self.connect()
        client.say("EHLO b\u00fccher.example")
        # What XCLIENT claims isn't parsed as strictly as what EHLO says.
        client.session.hostNameAppearsAs += WILD + "\r\n\x1b[2J"
        client.say("QUIT")
        self.assertTame()
        escaped = r"{session}{0}%s$x\u202e\u200b\x0d\x0a\x1b[2J"
        self.assertIn(f"hello=b\u00fccher.example{escaped} tls", self.line("session"))

    def test_addresses(self):
        """Senders and recipients."""
        client = self.connect()
        client.say(HELLO)
        wild = WILD.replace("\u202e\u200b", "\ue000")  # nobody has such an address
        client.pipeline(
            f'MAIL FROM:<"{wild}"@example.org> SMTPUTF8', f'RCPT TO:<"{wild}"@example.com>'
        )
        client.send(b"BDAT 2 LAST\r\n\r\n")
        self.assertTame()
        escaped = r"{session}{0}%s$x\ue000"
        self.assertIn(f"from <{escaped}@example.org>", self.line("message"))
        self.assertIn(f"to <{escaped}@example.com>", self.line("message"))

    def test_userNames(self):
        """The name of a login that failed, and of one that didn't."""
        handler = SMTPHandler()
        handler.onAuth = lambda credentials, session: (
            credentials.username if credentials.validatePassword("right") else None
        )
        client = walk(self.connect(handler, allowInsecureAuth=True), Phase.READY)
        for password in ("wrong", "right"):
            client.send(plain(WILD, password).encode() + b"\r\n")
            client.wait(1)
        self.assertEqual(codes(client.answers()), [535, 235])
        client.say("QUIT")
        self.assertTame()
        self.assertIn(r"login as <{session}{0}%s$x\u202e\u200b> by", self.line("loginFailed"))
        self.assertIn(r"user={session}{0}%s$x\u202e\u200b messages", self.line("session"))

    def test_handlersWords(self):
        """Even what the handler answers may be the peer's words."""

        def onData(stream, session):
            raise Rejection("no {session}\r\n250 OK\x1b\u202e", code=421)

        client = walk(self.connect(onData=onData), Phase.RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        self.assertTame()
        self.assertEqual(len(self.log.of("session")), 1)

    def test_clientNames(self):
        """The client's name, which PROXY, XCLIENT or DNS tell."""
        client = self.connect()
        client.session.clientHostname = f"evil\n{WILD}"
        client.deliver(CONTENT)
        client.say("QUIT")
        self.assertTame()

    def test_unixPaths(self):
        """Where a connection came from that got no session."""
        events = ServerLog(self.log.logger, Networks(False, "ignoredHosts"))
        events.refusedConnection("a\nb{0}", "maxClients reached")
        self.assertTame()

    def test_long(self):
        """However much the peer says, a line stays a line."""
        client = walk(self.connect(onData=lambda stream, session: "x" * 5000), Phase.RCPT)
        client.session.hostNameAppearsAs = client.session.clientHostname = "x" * 5000
        client.send(b"BDAT 2 LAST\r\n\r\nQUIT\r\n")
        self.assertEqual(len(self.log.events), 2)
        for event in self.log.events:
            self.assertLess(len(formatEvent(event)), 1000)


class SecretsTests(EventsTestCase):
    """No password, token or AUTH payload gets into any event, whatever goes wrong with it."""

    def exchange(self, handler: object, *lines: str) -> None:
        """Say the lines of a login, and see what the log has of them."""
        self.log.events.clear()
        client = walk(self.connect(handler, allowInsecureAuth=True, **self.options), Phase.READY)
        for line in lines:
            client.send(line.encode() + b"\r\n")
            client.wait(1)
        client.pipeline(MAIL, RCPT, "QUIT")
        client.lose()
        payloads = [word for line in lines for word in line.split() if len(word) > 9]
        self.assertEqual(len(self.log.of("session")), 1)
        for event in self.log.events:
            text = [formatEvent(event), *(f"{value} {value!r}" for value in event.values())]
            if "log_failure" in event:
                text.append(event["log_failure"].getTraceback())
            for secret in (PASSWORD, TOKEN, *payloads):
                self.assertNotIn(secret, "\n".join(text))

    @property
    def options(self) -> dict[str, Any]:
        return {"authMethods": ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "CRAM-MD5"]}

    def test_exchanges(self):
        """Good, bad and broken logins."""
        good = b64(f"\0joe\0{PASSWORD}")
        token = b64(f"user=joe\x01auth=Bearer {TOKEN}\x01\x01")
        exchanges = (
            [plain("joe", PASSWORD)],
            [plain("ann", PASSWORD)],
            ["AUTH PLAIN", good],
            ["AUTH PLAIN", f"{good}!"],
            ["AUTH PLAIN", good[:-3]],
            [f"AUTH PLAIN {good} {good}"],
            [f"AUTH NONSENSE {good}"],
            [f"AUTH PLAIN {good * 500}"],
            ["AUTH PLAIN", good * 500],
            ["AUTH PLAIN", f"{good}\n"],
            [good],
            ["AUTH LOGIN", b64("joe"), b64(PASSWORD)],
            ["AUTH LOGIN", b64("ann"), b64(PASSWORD)],
            [f"AUTH LOGIN {b64('joe')}", b64(PASSWORD) + "!"],
            [f"AUTH XOAUTH2 {token}"],
            [f"AUTH XOAUTH2 {b64(f'user=ann{TOKEN}')}"],
            ["AUTH CRAM-MD5", b64(f"joe {'0' * 32}")],
            ["AUTH", good],
        )
        for lines in exchanges:
            self.exchange(Logins(), *lines)

    def test_bugs(self):
        """Nor if the handler fails with the credentials in its hands."""

        class Broken(SMTPHandler):
            def onAuth(self, credentials, session):
                return {"user": None, "error": credentials}

        class Raising(SMTPHandler):
            def onAuth(self, credentials, session):
                raise ValueError(credentials)

        for handler in (Broken(), Raising()):
            self.exchange(handler, plain("joe", PASSWORD))
            self.assertEqual(len(self.log.of("incident")), 1)


class IgnoredTests(EventsTestCase):
    """Hosts that nobody wants to read of."""

    def test_quiet(self):
        """Of a monitor's sessions nothing is logged, whatever they do."""
        client = self.connect(Logins(), ignoredHosts=["192.0.2.0/28"], maxClients=1)
        connect(client.factory)
        client.say(HELLO)
        client.session.user = "joe"
        client.deliver(CONTENT, hello=None)
        client.say("QUIT")
        self.assertEqual(self.log.events, [])

    def test_trouble(self) -> None:
        """Nor are its failed logins and lost replies."""
        result: Deferred[Any] = Deferred()
        handler: Any = Logins()
        handler.onData = lambda stream, session: result
        client = self.connect(
            handler, ignoredHosts=["192.0.2.1"], allowInsecureAuth=True, authOptional=True
        )
        walk(client, Phase.RCPT).say("RSET")
        client.pipeline(plain("ann", "guess"))
        client.wait(1)
        self.assertEqual(codes(client.answers()), [535])
        client.pipeline(MAIL, RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        client.lose()
        result.callback(None)
        self.assertEqual(self.log.events, [])

    def test_bugs(self):
        """But bugs are ours, not theirs."""

        def onMailFrom(address, session):
            raise KeyError("kaput")

        self.connect(onMailFrom=onMailFrom, ignoredHosts=["192.0.2.1"]).pipeline(HELLO, MAIL)
        self.only("incident")

    def test_others(self):
        """Other hosts are logged as ever."""
        self.connect(ignoredHosts=["192.0.2.2"]).say("QUIT")
        self.only("session")

    def test_claimed(self):
        """What counts is the client's address; the proxy's own is its health checks'."""
        header = b"PROXY TCP4 198.51.100.1 198.51.100.2 1 25\r\n"
        for ignored, count in (("198.51.100.1", 0), ("192.0.2.1", 1), ("198.51.100.2", 1)):
            self.log.events.clear()
            client = self.connect(RecordingHandler(), useProxy=True, ignoredHosts=[ignored])
            client.send(header)
            client.lose()
            self.assertEqual(len(self.log.events), count)


class LoggerTests(SynchronousTestCase):
    """The option ``logger``."""

    def setUp(self) -> None:
        """All that goes to the process' log."""
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def talk(self, logger: Any) -> None:
        """Have something of every kind happen."""

        def onMailFrom(address, session):
            if session.messages:
                raise KeyError("kaput")

        client = connect(onMailFrom=onMailFrom, logger=logger, maxClients=1)
        client.deliver(CONTENT)
        client.say(MAIL)
        connect(client.factory)
        client.factory.log.loginFailed(client.session, "PLAIN", "joe")
        client.factory.log.replyLost(client.session, Envelope(), [MESSAGE_ACCEPTED])
        client.say("QUIT")

    def test_default(self):
        """By default it is Twisted's log, under the library's name."""
        for logger in (None, True):
            self.talk(logger)
            kinds = [event["event"] for event in self.events]
            self.assertEqual(
                kinds,
                [
                    *("message", "incident", "rejected", "refused"),
                    *("loginFailed", "replyLost", "session"),
                ],
            )
            namespaces = {event["log_namespace"] for event in self.events}
            self.assertEqual(namespaces, {"twisted_smtpserver"})
            self.events.clear()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_off(self):
        """False is silence; a client learns of an incident all the same."""
        self.talk(False)
        self.assertEqual(self.events, [])

    def test_other(self):
        """One's own logger gets all of it, and Twisted's log nothing."""
        log = Log()
        self.talk(log.logger)
        self.assertEqual(self.events, [])
        self.assertEqual(len(log.events), 7)

    def test_subclass(self):
        """Any object will do that is one of Twisted's loggers, or like one."""
        log = Log()

        class Other(Logger):
            def info(self, *arguments: Any, **event: Any) -> None:
                super().info(*arguments, isOther=True, **event)

        self.talk(Other("other", observer=log.logger.observer))
        self.assertEqual(len(log.events), 7)
        self.assertEqual(len([event for event in log.events if "isOther" in event]), 4)

    def test_wrong(self):
        """What is none is refused at once, not at the first event."""
        for wrong in (logging.getLogger("x"), "syslog", 5, print):
            with self.assertRaisesRegex(ConfigurationError, "^logger: .* is not a twisted.logger"):
                SMTPServerFactory(logger=wrong)

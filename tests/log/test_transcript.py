"""The transcript of some clients."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.log.test_serverlog import WILD, plain
from tests.support.examples import EXAMPLES
from tests.support.logins import PASSWORD, TOKEN, Logins
from tests.support.talk import HELLO, MAIL, RCPT
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.log import transcript
from twisted_smtpserver.log.redacted import MAX_LINE, shownCommand, shownReply
from twisted_smtpserver.log.transcript import (
    DEFAULT_MINUTES,
    MAX_MINUTES,
    MAX_RULES,
    Rule,
    Transcriber,
    parseRules,
)
from twisted_smtpserver.testing import Client, connect, makeFactory


class RuleTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """In each line who, where, and maybe for how long."""
        text = "# comment\n\n192.0.2.7 /a.log  # Joe\n2001:db8::/32 /b.log 5\n"
        rules = parseRules(text, 1000)
        self.assertEqual(
            [(rule.who, rule.path, rule.until) for rule in rules],
            [
                ("192.0.2.7", "/a.log", 1000 + 60 * DEFAULT_MINUTES),
                ("2001:db8::/32", "/b.log", 1300),
            ],
        )
        self.assertIn("2001:db8::5", rules[1].networks)

    def test_example(self) -> None:
        """The page's file has two: transcripts."""
        text = (EXAMPLES / "logging" / "transcripts").read_text()
        self.assertEqual([rule.until for rule in parseRules(text, 0)], [1800, 7200])

    def test_wrong(self) -> None:
        """What makes no sense is told with its line, and what it should be."""
        for line in ("192.0.2.7", "a b c d", "192.0.2.7 a.log", "192.0.2.7 /a 0", "192.0.2.7 /a x"):
            with self.assertRaisesRegex(ConfigurationError, "^line 2: write an address or a netw"):
                parseRules(f"\n{line}", 0)
        self.assertRaises(ConfigurationError, parseRules, f"192.0.2.7 /a {MAX_MINUTES + 1}", 0)
        self.assertRaises(ConfigurationError, parseRules, f"192.0.2.7 /a {'9' * 9999}", 0)
        with self.assertRaisesRegex(ConfigurationError, "^transcript: 'joe' is neither an address"):
            parseRules("joe /a", 0)
        with self.assertRaisesRegex(ConfigurationError, "17 transcripts, more than 16"):
            parseRules("192.0.2.7 /a\n" * (MAX_RULES + 1), 0)


class RedactedTests(SynchronousTestCase):
    def test_commands(self) -> None:
        """Of what could be a secret nothing is shown."""
        for line, shown in (
            (b"MAIL FROM:<joe@x.test> SIZE=5", "MAIL FROM:<joe@x.test> SIZE=5"),
            (b"ehlo \x1b[2J\xff", r"ehlo \x1b[2J\xff"),
            (b"AUTH PLAIN AGpvZQBzZXNhbWU=", "AUTH PLAIN ***"),
            (b"auth login", "AUTH LOGIN"),
            (b"AUTH sesame", "AUTH ***"),
            (b"AUTH", "AUTH"),
            (b"NOOP sesame", "NOOP ***"),
            (b"QUIT", "QUIT"),
            (b"c2VzYW1l", "(no command that is known, 8 octets)"),
            (b"PASS sesame", "(no command that is known, 11 octets)"),
            (b"", "(no command that is known, 0 octets)"),
            (b"XCLIENT ADDR=192.0.2.1 LOGIN=joe", "XCLIENT ADDR=192.0.2.1 LOGIN=***"),
            (b"XCLIENT login=joe NAME=x", "XCLIENT login=*** NAME=x"),
        ):
            self.assertEqual(shownCommand(line, False), shown)
        self.assertEqual(shownCommand(b"MAIL FROM:<>", True), "***")
        self.assertLessEqual(len(shownCommand(b"EHLO " + b"x" * 9999, False)), MAX_LINE)

    def test_replies(self) -> None:
        """A challenge isn't shown, either."""
        self.assertEqual(shownReply(b"334 VXNlcm5hbWU6"), "334 ***")
        self.assertEqual(shownReply(b"250 2.1.0 OK\xff"), r"250 2.1.0 OK\xff")


class Reactor(Clock):
    """Lines are written at once."""

    running = False


class TranscriptCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.path = Path(self.mktemp()).absolute()
        self.transcriber = Transcriber(self.reactor, self.reactor.seconds)
        self.addCleanup(self.transcriber.stop)

    def rule(self, who: str = "192.0.2.1", minutes: float = 30) -> Rule:
        return Rule(who, str(self.path), self.reactor.seconds() + 60 * minutes)

    def connect(self, handler: object = None, **options: Any) -> Client:
        """A connection of a server that listens."""
        factory = makeFactory(handler, logger=False, **options)
        factory.listener = self.transcriber.attach
        return connect(factory)

    def said(self, client: Client) -> list[str]:
        """What is in the file of a client, without time and session."""
        begin = f"1970-01-01T00:00:00Z {client.session.id} "
        lines = self.path.read_text().splitlines()
        self.assertTrue(all(line.isprintable() for line in lines))
        return [line.removeprefix(begin) for line in lines if client.session.id in line]


class TranscriptTests(TranscriptCase):
    def test_whole(self) -> None:
        """From the first reply to the end; of a message there is its length."""
        self.transcriber.use([self.rule()], [])
        client = self.connect()
        client.deliver(b"Subject: secret\r\n\r\nHello\r\n")
        client.say("QUIT")
        said = self.said(client)
        self.assertEqual(said[0], "-- connected: [192.0.2.1] [192.0.2.1]:40000")
        self.assertRegex(said[1], "^S: 220 .* ESMTP$")
        self.assertEqual(said[2], "C: EHLO client.example")
        start = said.index("C: MAIL FROM:<joe@example.org>")
        self.assertEqual(
            [line[:6] for line in said[start:]],
            [
                *("C: MAI", "S: 250", "C: RCP", "S: 250", "C: DAT", "S: 354", "-- a m", "S: 250"),
                *("C: QUI", "S: 221", "-- clo"),
            ],
        )
        self.assertIn("-- a message of 26 octets", said)
        self.assertEqual(said[-1], "-- closed: quit")
        self.assertNotIn("secret", self.path.read_text())
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_open(self) -> None:
        """A connection that is open already is listened to from there on, until it is over."""
        client = self.connect()
        client.say(HELLO)
        self.transcriber.use([self.rule()], [client.protocol])
        client.say(MAIL)
        self.transcriber.use([self.rule()], [client.protocol])
        client.say(RCPT)
        with capturedLogs() as events:
            self.transcriber.use([], [client.protocol])
        client.say("RSET")
        self.assertEqual([event["what"] for event in events], ["ends: it isn't asked for any more"])
        said = self.said(client)
        self.assertEqual(said[0], "-- already connected: [192.0.2.1] [192.0.2.1]:40000")
        self.assertEqual(
            [line[:7] for line in said[1:]], ["C: MAIL", "S: 250 ", "C: RCPT", "S: 250 "]
        )
        self.assertEqual(vars(client.protocol).get("lineReceived"), None)

    def test_others(self) -> None:
        """Others' conversations aren't in it; a claimed address counts."""
        self.transcriber.use([self.rule("198.51.100.0/24")], [])
        client = self.connect()
        client.say(HELLO)
        self.assertEqual(self.path.read_text(), "")
        client = self.connect(useProxy=True)
        client.send(b"PROXY TCP4 198.51.100.1 198.51.100.2 1 25\r\n")
        client.send(HELLO.encode() + b"\r\n")
        self.assertIn("C: EHLO client.example", self.said(client))

    def test_secrets(self) -> None:
        """No login of any kind gives anything away, not even one that went wrong."""
        self.transcriber.use([self.rule()], [])
        user, password = (base64.b64encode(each.encode()).decode() for each in ("joe", PASSWORD))
        token = base64.b64encode(f"user=joe\x01auth=Bearer {TOKEN}\x01\x01".encode()).decode()
        for lines in (
            [plain("joe", PASSWORD)],
            ["AUTH PLAIN", plain("joe", PASSWORD).split()[2]],
            ["AUTH LOGIN", user, password],
            [f"AUTH LOGIN {user}", password],
            [f"AUTH XOAUTH2 {token}"],
            ["AUTH XOAUTH2", token],
            ["AUTH NONSENSE", user, password],
            [f"AUTH {password}"],
            ["AUTH LOGIN", user, password, user, password],
            [f"auth  plain {password}", password],
        ):
            client = self.connect(
                Logins(), allowInsecureAuth=True, authMethods=["PLAIN", "LOGIN", "XOAUTH2"]
            )
            for line in (HELLO, *lines, "QUIT"):
                client.send(line.encode() + b"\r\n")
                client.wait(1)
            client.lose()
            said = "\n".join(self.said(client))
            self.assertIn("C: AUTH", said)
            for secret in (PASSWORD, TOKEN, user, password, token, plain("joe", PASSWORD)[11:]):
                self.assertNotIn(secret, said)

    def test_tls(self) -> None:
        """What comes under TLS is in it as well, and that it does."""
        self.transcriber.use([self.rule()], [])
        client = self.connect(selfSigned=True)
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        client.say(HELLO)
        said = self.said(client)
        self.assertEqual(said.count("C: EHLO client.example"), 2)
        self.assertIn("-- TLSv1.3", said)

    def test_wild(self) -> None:
        """What a client says is escaped; a line that is too long is told as one."""
        self.transcriber.use([self.rule()], [])
        client = self.connect()
        client.send(f"EHLO {WILD}\x85\u2028\r\n".encode() + b"NOOP " + b"x" * 20000 + b"\r\n")
        said = self.said(client)
        self.assertIn("C: (a line that is too long)", said)
        client.lose()
        self.assertEqual(self.said(client)[-1], "-- closed: connection lost, or the client left")


class BoundTests(TranscriptCase):
    def test_time(self) -> None:
        """It ends when its time is over; each has its own."""
        other = Rule("192.0.2.1", f"{self.path}.2", 120)
        with capturedLogs() as events:
            self.transcriber.use([self.rule(minutes=1), other], [])
            client = self.connect()
            self.reactor.advance(60)
            before = self.path.read_text()
            client.say(HELLO)
            self.assertEqual(self.path.read_text(), before)
            self.assertIn("EHLO", Path(other.path).read_text())
            self.assertTrue(self.transcriber.isOn)
            self.reactor.advance(60)
        self.assertFalse(self.transcriber.isOn)
        self.assertNotIn("flush", vars(client.protocol))
        self.assertEqual(client.say("NOOP").code, 250)
        self.assertEqual(
            [event["what"] for event in events],
            ["begins, for 1 minutes", "begins, for 2 minutes", *["ends: its time is over"] * 2],
        )
        self.transcriber.use([other], [])
        self.assertFalse(self.transcriber.isOn)

    def test_size(self) -> None:
        """It ends when it has so many lines, or octets; the connection goes on."""
        for name in ("MAX_LINES", "MAX_OCTETS"):
            self.patch(transcript, name, 5)
            with capturedLogs() as events:
                self.transcriber.use([self.rule()], [])
                client = self.connect()
                for _ in range(3):
                    self.assertEqual(client.say(HELLO).code, 250)
                client.say("QUIT")
            self.assertEqual(events[-1]["what"], "ends: it is full")
            self.assertFalse(self.transcriber.isOn)
            self.patch(transcript, name, 10**6)

    def test_fullAtTheEnd(self) -> None:
        """So it does if the last line fills it."""
        self.transcriber.use([self.rule()], [])
        client = self.connect()
        self.patch(transcript, "MAX_LINES", 1)
        client.lose()
        self.assertIn("-- closed", self.path.read_text())
        self.assertFalse(self.transcriber.isOn)

    def test_unwritable(self) -> None:
        """A file that can't be written is told, and the others are."""
        self.path.mkdir()
        with capturedLogs() as events:
            self.transcriber.use([self.rule()], [])
        self.assertEqual(events[0]["what"], "can't be written: Is a directory")
        self.assertFalse(self.transcriber.isOn)
        client = self.connect()
        self.assertNotIn("flush", vars(client.protocol))

    def test_link(self) -> None:
        """No link is followed: it may be somebody else's."""
        target = self.path.with_suffix(".target")
        self.path.symlink_to(target)
        with capturedLogs() as events:
            self.transcriber.use([self.rule()], [])
        self.assertIn("can't be written", events[0]["what"])
        self.assertFalse(target.exists())

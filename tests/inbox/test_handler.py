"""The inbox as a handler."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, brief
from tests.support.webtalk import deliver, openInbox, rawOf
from twisted_smtpserver import Chain, Rejection
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.inbox.handler import SPOOLED, InboxCopy, envelopeOf
from twisted_smtpserver.session import Session
from twisted_smtpserver.testing import Clock, RecordingHandler, connect, runInline

LOGIN = "AUTH PLAIN AGpvZQBzZWNyZXQ="


class InboxHandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inbox = openInbox(maxOctets=2**23)
        self.store = self.inbox.desk.store

    def test_anybody(self) -> None:
        """Mail for anybody is stored, octet for octet; the envelope is kept."""
        content = b"Subject: a\n\n.dot\n" + b"x" * 2 * SPOOLED + b"\n"
        identifier = deliver(self.inbox, content, "x@anywhere.example", "y@else.example")
        self.assertEqual(rawOf(self.inbox, identifier), content.replace(b"\n", b"\r\n"))
        found, wasUnread = self.store.message(identifier) or ({}, False)
        self.assertTrue(wasUnread)
        self.assertEqual(
            found["Envelope"],
            {
                "From": "ann@example.org",
                "To": ["x@anywhere.example", "y@else.example"],
                "RemoteAddress": "192.0.2.1",
                "Hello": "client.example",
                "TLS": "",
            },
        )

    def test_anything(self) -> None:
        """What is no message at all is stored, too."""
        for content in (
            b"\n",
            b"\xff\x00\xfe\n",
            b"Content-Type: multipart/mixed; boundary=\n\n--\n",
        ):
            self.assertEqual(len(deliver(self.inbox, content)), 22)

    def test_tooLarge(self) -> None:
        """A message that can never fit is refused for good."""
        inbox = openInbox(maxOctets=1000)
        answer = connect(inbox.handler).deliver(b"x\r\n" * 1000)
        self.assertEqual(brief(answer), (552, "5.3.4"))
        self.assertEqual(inbox.desk.rejected, 1)

    def test_broken(self) -> None:
        """When the database can't store it, the client comes again; the log says why."""
        for error, code, enhanced in (
            (sqlite3.OperationalError("database or disk is full"), 452, "4.3.1"),
            (sqlite3.OperationalError("disk I/O error"), 451, "4.3.0"),
            (OSError(errno.ENOSPC, "no disk"), 452, "4.3.1"),
        ):

            def broken(*arguments: Any, error: Exception = error) -> None:
                raise error

            self.patch(self.store, "add", broken)
            with capturedLogs() as events:
                answer = connect(self.inbox.handler).deliver(b"x\r\n")
            self.assertEqual(brief(answer), (code, enhanced))
            self.assertNotIn("disk", answer.text)
            self.assertIn("can't be stored in the inbox", formatEvent(events[0]))
        self.assertEqual((self.inbox.desk.accepted, self.inbox.desk.rejected), (0, 3))

    def test_user(self) -> None:
        """Who was logged in is kept, if it is a name."""
        session = Session()
        for user, name in (("joe", "joe"), (b"j\xff", "j\ufffd"), (object(), ""), (None, "")):
            session.user = user
            self.assertEqual(envelopeOf(session).user, name)


class CopyTests(SynchronousTestCase):
    """The inbox beside another store."""

    def setUp(self) -> None:
        self.inbox = openInbox(maxOctets=100_000)
        self.store = RecordingHandler()

    def deliver(self, content: bytes) -> int:
        handler: Any = Filtered(
            self.store, InboxCopy(self.inbox.desk), runInThread=runInline, reactor=Clock()
        )
        return connect(handler).deliver(content).code

    def test_both(self) -> None:
        """A message is in both, and is the same."""
        self.assertEqual(self.deliver(b"Subject: a\r\n\r\nText\r\n"), 250)
        [received] = self.store.messages
        self.assertEqual(rawOf(self.inbox), received.content)

    def test_tooLarge(self) -> None:
        """What the inbox can't keep goes its way, and the log says so."""
        with capturedLogs() as events:
            self.assertEqual(self.deliver(b"Subject: a\r\n\r\n" + b"x\r\n" * 100_000), 250)
        self.assertEqual(len(self.store.messages), 1)
        self.assertEqual(self.inbox.desk.accepted, 0)
        [text] = [formatEvent(e) for e in events if e["log_level"] is LogLevel.warn]
        self.assertIn("can't be copied to the inbox: it is larger than --inbox-size", text)

    def test_chaos(self) -> None:
        """Chaos strikes here, too."""
        self.inbox.desk.chaos.set({"Sender": {"Probability": 100}})
        self.assertEqual(self.deliver(b"x\r\n"), 451)
        self.inbox.desk.chaos.set({"Recipient": {"Probability": 100, "ErrorCode": 550}})
        self.assertEqual(self.deliver(b"x\r\n"), 550)

    def test_besides(self) -> None:
        """A handler that stores nothing has its say, and the inbox stores."""
        picky = self.inbox.besides(Picky())
        self.assertEqual(connect(picky).deliver(b"x\r\n").code, 250)
        self.assertEqual(connect(picky).deliver(b"x\r\n", "a@x.test", "no@x.test").code, 550)
        self.assertEqual(self.inbox.desk.accepted, 1)
        self.assertIsInstance(self.inbox.besides(self.store), Filtered)


class Picky:
    def onRcptTo(self, address: Any, session: Session) -> None:
        if address.local == "no":
            raise Rejection("No such user")


class LoginTests(SynchronousTestCase):
    def test_any(self) -> None:
        """With acceptLogins every login is right; without it AUTH isn't offered."""
        client = connect(openInbox(acceptLogins=True).handler, allowInsecureAuth=True)
        client.say(HELLO)
        self.assertEqual(client.say(LOGIN).code, 235)
        self.assertEqual(client.session.user, "joe")
        client = connect(openInbox().handler, allowInsecureAuth=True)
        client.say(HELLO)
        self.assertEqual(client.say(LOGIN).code, 502)


class ChaosTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inbox = openInbox(acceptLogins=True)
        self.draws = [49]
        self.inbox.desk.chaos._draw = lambda: self.draws[0]

    def answers(self, handler: object, **triggers: tuple[int, int]) -> list[int]:
        """The answers to a login, MAIL and RCPT."""
        self.inbox.desk.chaos.set(
            {name: {"ErrorCode": c, "Probability": p} for name, (c, p) in triggers.items()}
        )
        client = connect(handler, allowInsecureAuth=True, authOptional=True)
        client.say(HELLO)
        return [client.say(line).code for line in (LOGIN, MAIL, RCPT)]

    def test_calm(self) -> None:
        """Without triggers nothing happens."""
        self.draws = [0]
        self.assertEqual(self.answers(self.inbox.handler), [235, 250, 250])

    def test_strikes(self) -> None:
        """Each trigger refuses its command, with its code."""
        handler = self.inbox.handler
        self.assertEqual(self.answers(handler, Recipient=(550, 100)), [235, 250, 550])
        self.assertEqual(self.answers(handler, Sender=(452, 100)), [235, 452, 503])

    def test_login(self) -> None:
        """A login fails by chance, whoever knows the users."""
        chaos = {"Authentication": (535, 100)}
        self.inbox.desk.chaos.set({"Authentication": {"Probability": 100}})
        for handler in (
            self.inbox.handler,
            Chain(self.inbox.chaosLogin, Users(), openInbox().handler),
        ):
            client = connect(handler, allowInsecureAuth=True, authOptional=True)
            client.say(HELLO)
            client.send(LOGIN.encode() + b"\r\n")
            client.clock.advance(1)
            self.assertEqual([a.code for a in client.answers()], [535], chaos)
        self.inbox.desk.chaos.set({})
        client.say(LOGIN)
        self.assertEqual(client.session.user, "joe")

    def test_chance(self) -> None:
        """The probability is in percent."""
        self.assertEqual(self.answers(self.inbox.handler, Recipient=(451, 49)), [235, 250, 250])
        self.assertEqual(self.answers(self.inbox.handler, Recipient=(451, 50)), [235, 250, 451])

    def test_wrong(self) -> None:
        """What makes no trigger is refused, and says what would."""
        wrong: list[Any] = [
            [],
            {"Sender": 5},
            {"Sender": {"ErrorCode": 250}},
            {"Sender": {"ErrorCode": 560}},
            {"Sender": {"ErrorCode": "451"}},
            {"Sender": {"Probability": 101}},
            {"Sender": {"Probability": -1}},
            {"Sender": {"Probability": True}},
        ]
        for wanted in wrong:
            with self.assertRaises(ValueError):
                self.inbox.desk.chaos.set(wanted)


class Users:
    def onAuth(self, credentials: Any, session: Session) -> str:
        return str(credentials.username)

"""Waiting for mail, and what is said if it doesn't come."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Envelope, SMTPHandler
from twisted_smtpserver.testing import CapturedMessage, NoSuchMail, connect
from twisted_smtpserver.testing._mailbox import Mailbox

WELCOME = b"Subject: Welcome, Ann\r\n\r\nhello\r\n"
ALTERNATIVES = (
    b"Subject: both\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhell\xc3\xb6\r\n"
    b"--x\r\nContent-Type: text/html\r\n\r\n<b>hello</b>\r\n--x--\r\n"
)


def receive(mailbox: Mailbox, content: bytes, *recipients: str) -> None:
    """Put a message into a mailbox, by way of a server in memory."""

    class Handler(SMTPHandler):
        async def onData(self, stream: Any, session: Any) -> None:
            mailbox.add(await stream.read(), session.envelope, session)

    connect(Handler()).deliver(content, "joe@example.org", *(recipients or ("ann@example.com",)))


class MessageTests(SynchronousTestCase):
    """A message that arrived."""

    def receive(self, content: bytes) -> CapturedMessage:
        mailbox = Mailbox()
        receive(mailbox, content, "ann@example.com", "Bob@EXAMPLE.com")
        return mailbox.messages[0]

    def test_envelope(self) -> None:
        """It has its envelope, its session and its octets."""
        message = self.receive(WELCOME)
        self.assertIsInstance(message.envelope, Envelope)
        self.assertEqual(message.sender, "joe@example.org")
        self.assertEqual(message.recipients, ["ann@example.com", "Bob@example.com"])
        self.assertEqual(message.session.hostNameAppearsAs, "client.example")
        self.assertEqual(message.content, WELCOME)
        self.assertEqual(message["Subject"], "Welcome, Ann")

    def test_bodies(self) -> None:
        """Its text and its HTML are decoded; what it doesn't have is empty."""
        message = self.receive(ALTERNATIVES)
        self.assertEqual((message.text, message.html), ("hellö", "<b>hello</b>"))
        message = self.receive(WELCOME)
        self.assertEqual((message.text, message.html), ("hello\n", ""))

    def test_bounce(self) -> None:
        """A bounce has an empty sender."""
        message = CapturedMessage()
        message.envelope = Envelope.__new__(Envelope)
        message.envelope.mailFrom = None
        self.assertEqual(message.sender, "")

    def test_describe(self) -> None:
        """Its description shows no controls; a malformed subject is none."""
        message = self.receive(b"Subject: \x1b[2Jx\r\n\r\n")
        self.assertNotIn("\x1b", message.describe())
        self.assertIn("from <joe@example.org> to ann@example.com, Bob@", message.describe())

        class Stumbling(CapturedMessage):
            def __getitem__(self, name: str) -> Any:
                raise IndexError

        stumbling = Stumbling()
        stumbling.envelope = message.envelope
        self.assertEqual(stumbling.describe()[:3], "'' ")


class WaitTests(SynchronousTestCase):
    """Waiting."""

    def setUp(self) -> None:
        self.mailbox = Mailbox()

    def test_isThere(self) -> None:
        """What has come before needs no time, whatever it is looked for by."""
        receive(self.mailbox, b"Subject: other\r\n\r\n", "bob@example.com")
        receive(self.mailbox, WELCOME)
        found = [
            self.mailbox.waitFor("Welcome", timeout=0),
            self.mailbox.waitFor(subject=re.compile("^welcome.*ann$", re.IGNORECASE), timeout=0),
            self.mailbox.waitFor(to="ann@EXAMPLE.com", timeout=0),
            self.mailbox.waitFor("W", "ann@example.com", sender="joe@example.org", timeout=0),
            self.mailbox.waitFor(where=lambda mail: "hello" in mail.text, timeout=0),
        ]
        self.assertEqual({id(each) for each in found}, {id(self.mailbox.messages[1])})

    def test_comesLater(self) -> None:
        """What comes meanwhile from another thread is found."""
        thread = threading.Thread(target=receive, args=(self.mailbox, WELCOME))
        thread.start()
        self.assertEqual(self.mailbox.waitFor("Welcome", timeout=30)["Subject"], "Welcome, Ann")
        self.assertEqual(len(self.mailbox.waitForCount(1, timeout=30)), 1)
        thread.join()

    def test_localPart(self) -> None:
        """The case of a local part makes a difference (RFC 5321 §2.4)."""
        receive(self.mailbox, WELCOME)
        self.assertRaises(NoSuchMail, self.mailbox.waitFor, to="Ann@example.com", timeout=0)

    def test_inVain(self) -> None:
        """Who waits in vain is told what came, and what happened besides."""
        receive(self.mailbox, WELCOME)
        self.mailbox.remark("192.0.2.1:40000: refused")
        error = self.assertRaises(NoSuchMail, self.mailbox.waitFor, "Bye", "a@b.c", timeout=0)
        self.assertEqual(
            str(error).splitlines(),
            [
                "no mail with subject='Bye', to='a@b.c' within 0 s.",
                "What did arrive (1):",
                "  'Welcome, Ann' from <joe@example.org> to ann@example.com",
                "What happened besides:",
                "  192.0.2.1:40000: refused",
            ],
        )

    def test_nobodyCame(self) -> None:
        """If nobody even connected, that is said."""
        error = self.assertRaises(NoSuchMail, self.mailbox.waitFor, timeout=0)
        self.assertIn("any subject", str(error))
        self.assertIn("None has arrived at all.\nNo client has even connected", str(error))

    def test_connectedOnly(self) -> None:
        """If somebody did, but sent nothing, what they did is said."""
        self.mailbox.remark("192.0.2.1:40000: connected")
        error = self.assertRaises(NoSuchMail, self.mailbox.waitForCount, 2, timeout=0)
        self.assertIn("no mail with count=2 within 0 s.\nNone has arrived at all.\n", str(error))
        self.assertIn(": connected", str(error))
        self.assertNotIn("even", str(error))

    def test_clear(self) -> None:
        """What is cleared has never been there; a list taken before stays."""
        receive(self.mailbox, WELCOME)
        before = self.mailbox.messages
        self.mailbox.clear()
        self.assertEqual((len(before), self.mailbox.messages), (1, []))

    def test_asyncio(self) -> None:
        """An asyncio program can wait without stopping its loop."""

        async def program() -> CapturedMessage:
            waiting = asyncio.ensure_future(self.mailbox.waitForAsync("Welcome", timeout=30))
            await asyncio.sleep(0)  # it is waiting now, and the loop goes on
            await asyncio.to_thread(receive, self.mailbox, WELCOME)
            return await waiting

        self.assertEqual(asyncio.run(program())["Subject"], "Welcome, Ann")

"""The inbox of ``twistd smtpserver``: its flags, and what comes of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import inlineCallbacks
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.talk import HELLO
from tests.support.webtalk import deliver
from twisted_smtpserver import Chain, tap
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.inbox import Inbox
from twisted_smtpserver.inbox.handler import ChaosLogin, InboxHandler
from twisted_smtpserver.stores.forward import Forward
from twisted_smtpserver.testing import connect


def parse(*arguments: str) -> tap.Options:
    parsed = tap.Options()
    parsed.parseOptions(arguments)
    return parsed


def make(*arguments: str) -> tuple[MultiService, Inbox, Any]:
    """The service, the inbox in it, and the SMTP server's handler."""
    service = tap.makeService(parse(*arguments))
    assert isinstance(service, MultiService)
    inbox = service.getServiceNamed("inbox")
    assert isinstance(inbox, Inbox)
    server: Any = service.services[-1]
    return service, inbox, server.factories()[0].handler


class Picky:
    """A handler that stores nothing."""

    def onRcptTo(self, address: object, session: object) -> None: ...


class FlagTests(SynchronousTestCase):
    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(usage.UsageError, parse, *arguments)
        self.assertEqual(str(error), reason)

    def test_address(self) -> None:
        """An address with a port, or a port."""
        for text, address in {
            "8025": ("127.0.0.1", 8025),
            "localhost:8025": ("127.0.0.1", 8025),
            "0.0.0.0:80": ("0.0.0.0", 80),
            "[::1]:8025": ("::1", 8025),
        }.items():
            self.assertEqual(parse(f"--inbox={text}")["inbox"], address, text)
        for text in ("inbox.example:8025", "::1:8025", "[::1]", "127.0.0.1:http", "1.2.3:1", "x"):
            self.assertRaises(usage.UsageError, parse, f"--inbox={text}")
        self.assertRefused(
            "--inbox: 'inbox.example:8025' is not an address such as 127.0.0.1:8025 or [::1]:8025",
            "--inbox=inbox.example:8025",
        )

    def test_values(self) -> None:
        """The other flags say what the inbox keeps, and who may see it."""
        password = Path(self.mktemp())
        password.write_text("joe:secret\n")
        parsed = parse(
            *("--inbox=0", "--inbox-max=5", "--inbox-size=1M", "--inbox-db=mail.db"),
            *("--inbox-host=a.example,b.example", "--inbox-password-file", str(password)),
        )
        self.assertEqual(
            [parsed[f"inbox-{name}"] for name in ("max", "size", "db", "host", "password-file")],
            [5, 2**20, "mail.db", ["a.example", "b.example"], "joe:secret"],
        )

    def test_wrong(self) -> None:
        """What makes no sense is refused."""
        self.assertRefused("--inbox-max: 0 would keep no messages", "--inbox=0", "--inbox-max=0")
        for text in ("", "joe:\n"):
            path = Path(self.mktemp())
            path.write_text(text)
            reason = "its first line is empty, or has no password after the name"
            self.assertRefused(
                f"--inbox-password-file: {reason}", "--inbox=0", f"--inbox-password-file={path}"
            )

    def test_alone(self) -> None:
        """They are nothing without --inbox, and that is in one process."""
        self.assertRefused("--inbox-db: needs --inbox", "--inbox-db=mail.db")
        self.assertRefused(
            "--workers: can't be combined with --inbox",
            "--inbox=0",
            "--workers=2",
        )


class LazyTests(SynchronousTestCase):
    def test_import(self) -> None:
        """Who doesn't ask for an inbox doesn't pay for a web server."""
        code = (
            "import sys, twisted_smtpserver.tap as tap; tap.Options().parseOptions(['--discard']);"
            "print([n for n in sys.modules if n.startswith(('twisted.web',"
            " 'twisted_smtpserver.inbox'))])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")


class ReleaseTests(SynchronousTestCase):
    def test_release(self) -> None:
        """The URL of another server, and the password of its user."""
        path = Path(self.mktemp())
        path.write_text("sesame\n")
        _, inbox, _ = make(
            "--inbox=0",
            "--inbox-release=smtp+starttls://joe@smtp.example.org",
            f"--inbox-release-password-file={path}",
        )
        self.assertIsInstance(inbox.desk.relay, Forward)
        self.assertNotIn("sesame", repr(inbox.desk.relay))

    def test_wrong(self) -> None:
        """A password without a URL, and a URL that is none."""
        path = Path(self.mktemp())
        path.write_text("sesame\n")
        flag = f"--inbox-release-password-file={path}"
        error = self.assertRaises(usage.UsageError, parse, "--inbox=0", flag)
        self.assertEqual(str(error), "--inbox-release-password-file: needs --inbox-release")
        self.assertRaises(usage.UsageError, parse, "--inbox-release=smtp://x.example")
        reason = self.assertRaises(SystemExit, make, "--inbox=0", "--inbox-release=gopher://x")
        self.assertIn("gopher", str(reason))


class InboxServiceTests(TestCase):
    @inlineCallbacks
    def test_stored(self) -> Any:
        """Mail goes into it, until the server has stopped."""
        service, inbox, handler = make("--inbox=0", "--listen=tcp:0:interface=127.0.0.1")
        self.assertIsInstance(handler, InboxHandler)
        inbox.desk._runInThread = lambda function, *rest: function(*rest)
        service.startService()
        deliver(inbox, b"Subject: a\n\n\n")
        self.assertEqual(inbox.desk.store.counts()["Total"], 1)
        yield service.stopService()
        with self.assertRaises(sqlite3.ProgrammingError):
            inbox.desk.store.counts()

    def test_besides(self) -> None:
        """With another store it gets a copy; with a handler that stores nothing it is the store."""
        for flag in ("--maildir=mail", "--discard"):
            service, _, handler = make("--inbox=0", flag)
            self.assertIsInstance(handler, Filtered)
            kinds = {type(each).__name__ for each in service}
            self.assertEqual("MaildirService" in kinds, flag == "--maildir=mail", kinds)
        service, inbox, handler = make("--inbox=0", f"--handler={__name__}.Picky")
        self.assertEqual(inbox.desk.servers, [service.services[-1]])
        self.assertIs(handler.stages[-1], inbox.handler)

    def test_login(self) -> None:
        """With --auth its chaos comes before the users."""
        _, inbox, handler = make("--inbox=0", "--auth=memory:joe:secret", "--allow-insecure-auth")
        assert isinstance(handler, Chain)
        self.assertIsInstance(handler.stages[0], ChaosLogin)
        client = connect(handler, allowInsecureAuth=True)
        client.say(HELLO)
        inbox.desk.chaos.set({"Authentication": {"Probability": 100}})
        client.send(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n")
        client.clock.advance(1)
        self.assertEqual([answer.code for answer in client.answers()], [535])

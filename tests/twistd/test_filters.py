"""The filters of ``twistd smtpserver``: each flag, and what it does to a message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.task import Clock
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.milters import CONTINUE, FakeMilter, field, reply
from tests.support.talk import brief
from twisted_smtpserver import Maildir, tap
from twisted_smtpserver.filters import Filtered, Milter
from twisted_smtpserver.filters.milter import pool
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.testing import connect, runInline
from twisted_smtpserver.twistd.filters import makeFilters

WHOLE = b"From: a@b.c\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <a@b>\r\n\r\nhi\r\n"


class FilterTests(SynchronousTestCase):
    """Each flag."""

    def make(self, *arguments: str) -> Any:
        """The handler of such a server."""
        parsed = tap.Options()
        parsed.parseOptions(arguments)
        service = tap.makeService(parsed)
        assert isinstance(service, MultiService)
        self.services = service.services
        server = service.services[-1]
        assert isinstance(server, SMTPService)
        return server.factories()[0].handler

    def deliver(self, handler: Any, content: bytes = WHOLE) -> tuple[int, str | None]:
        """The answer to a message."""
        return brief(connect(handler, reactor=Clock()).deliver(content))

    def fake(self, fake: FakeMilter) -> None:
        """Whatever endpoint is named, this milter is behind it."""
        self.patch(pool, "clientFromString", lambda reactor, text: fake)

    def assertRefused(self, reason: str, *arguments: str) -> None:
        """The command line is refused so."""
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, arguments)
        self.assertIn(reason, str(error))

    def test_none(self) -> None:
        """Without flags nothing is put aside."""
        self.assertNotIsInstance(self.make("--discard"), Filtered)

    def test_requireFields(self) -> None:
        """What isn't a message is refused."""
        handler = self.make("--discard", "--require-fields")
        self.assertEqual(self.deliver(handler)[0], 250)
        self.assertEqual(self.deliver(handler, b"hi\r\n"), (550, "5.6.0"))

    def test_blockAttachments(self) -> None:
        """So are attachments of a kind."""
        content = (
            b'Content-Type: application/zip; name="a.zip"\r\n'
            b"Content-Disposition: attachment\r\n\r\nPK\r\n"
        )
        for kinds, code in [(".zip,video/*", 550), ("programs", 250), ("application/*", 550)]:
            handler = self.make("--discard", f"--block-attachments={kinds}")
            self.assertEqual(self.deliver(handler, content)[0], code)
        self.assertRefused("--block-attachments: ", "--block-attachments=exe")

    def test_milter(self) -> None:
        """Milters are asked, in the order given; they and Filtered know our name."""
        fake = FakeMilter({"E": field(b"h", b"X", b"1") + CONTINUE})
        self.fake(fake)
        handler = self.make(
            "--discard",
            "--name=mx.test",
            "--milter=unix:/run/a.sock",
            "--milter=tcp:127.0.0.1:1,onFailure=accept,messageTimeout=9,connectTimeout=1.5,reuse=yes",
        )
        self.assertEqual(self.deliver(handler)[0], 250)
        self.assertEqual(len(fake.transports), 2)
        self.assertEqual(fake.macros["C"]["j"], "mx.test")
        first, second = handler._filters
        self.assertEqual((first._onFailure, second._onFailure), ("tempfail", "accept"))
        self.assertEqual((first._messageTimeout, second._messageTimeout), (240, 9))
        self.assertEqual((first._reuse, second._reuse), (False, True))
        self.assertEqual(second._pool._timeout, 1.5)
        self.assertEqual(repr(second), "<Milter tcp:127.0.0.1:1>")
        self.assertEqual(handler._trust.authservId, "mx.test")

    def test_milterTimeout(self) -> None:
        """A milter has less time than the hooks have, or its onFailure would never count."""
        handler = self.make("--discard", "--milter=unix:/a", "--handler-timeout=100")
        self.assertEqual(handler._filters[0]._messageTimeout, 80)
        given = {"milter": [{"endpoint": "unix:/a", "messageTimeout": 81.0}]}
        error = self.assertRaises(ValueError, makeFilters, given, handler, 100.0)
        self.assertIn("at most 80% of --handler-timeout, which is 100", str(error))

    def test_wrong(self) -> None:
        """What is wrong is said, with the cure."""
        for text, reason in [
            ("inet:11332@localhost", "--milter: 'inet:11332@localhost' isn't one of Twisted's"),
            ("/run/a.sock", "--milter: '/run/a.sock' isn't an endpoint such as unix:"),
            ("unix:/a,onFailure=ignore", "--milter: onFailure: 'ignore' isn't tempfail, reject"),
            ("unix:/a,on-failure=accept", "--milter: 'on-failure=accept' isn't one of onFailure="),
            ("unix:/a,messageTimeout=1m", "--milter: 'messageTimeout=1m' isn't one of onFailure="),
        ]:
            self.assertRefused(reason, f"--milter={text}")
        self.assertRefused("--quarantine: needs --milter", "--quarantine=a")
        self.assertRefused(
            "--require-authentication: needs --milter", "--require-authentication=dmarc"
        )
        self.assertRefused(
            "--require-authentication: 'dmark' isn't dmarc, dkim, spf or arc",
            "--milter=unix:/a",
            "--require-authentication=dmark",
        )

    def test_requireAuthentication(self) -> None:
        """Who sent a message must be known, as the milter reports."""
        report = field(b"i", b"Authentication-Results", b"mx.test; dmarc=fail; spf=pass", 0)
        self.fake(FakeMilter({"E": report + CONTINUE}))
        for methods, code in [("dmarc", (550, "5.7.26")), ("DMARC,spf", (250, "2.6.0"))]:
            handler = self.make(
                *("--discard", "--name=mx.test", "--milter=unix:/a"),
                f"--require-authentication={methods}",
            )
            self.assertEqual(self.deliver(handler), code)

    def test_quarantine(self) -> None:
        """What a milter wants apart goes into a Maildir of its own."""
        self.fake(FakeMilter({"E": reply(b"q", b"odd\0") + CONTINUE}))
        folder = self.mktemp()
        handler = self.make("--discard", "--milter=unix:/a", f"--quarantine={folder}")
        maildir: Any = self.services[0]
        maildir.startService()
        maildir._maildir = Maildir(folder, runInThread=runInline)
        self.assertEqual(self.deliver(handler)[0], 250)
        (name,) = os.listdir(os.path.join(folder, "new"))
        self.assertIn(b"X-Quarantine: odd\r\n", Path(folder, "new", name).read_bytes())

    def test_noFolder(self) -> None:
        """If that can't be one the flag is named."""
        path = self.mktemp()
        Path(path).write_text("")
        self.make("--discard", "--milter=unix:/a", f"--quarantine={path}")
        error = self.assertRaises(ValueError, self.services[0].startService)
        self.assertIn("--quarantine: ", str(error))

    def test_cheap(self) -> None:
        """A milter isn't looked for before it is needed."""
        (milter,) = self.make("--discard", "--milter=unix:/nowhere")._filters
        self.assertIsInstance(milter, Milter)
        self.assertIsNone(milter._pool._reactor)

"""The how-tos' samples: users, senders and recipients by files."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES, load
from tests.support.folders import enterFolder
from tests.users.test_table import BCRYPT
from twisted_smtpserver import Session
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.tables import Senders
from twisted_smtpserver.tables.recipients import Recipients
from twisted_smtpserver.testing import connect, runInline
from twisted_smtpserver.users import htpasswd


class MailHostTests(SynchronousTestCase):
    """``mailhost.py``, with the files of :file:`docs/examples/config`."""

    def setUp(self) -> None:
        enterFolder(self)
        for name in ("recipients", "senders"):
            shutil.copy(EXAMPLES / "config" / name, name)
        Path("users").write_text(f"joe@example.com:{BCRYPT}\n")

    def test_recipients(self) -> None:
        """What the how-to says of the file of recipients."""
        handler = load("mailhost").makeHandler()
        client = connect(handler, authOptional=True)
        client.say("EHLO client.example")
        client.say("MAIL FROM:<sue@x.example>")
        answers = {
            "Joe+news@example.com": 250,
            "eve@example.com": 550,
            "team@example.com": 250,
            "any@lists.example.com": 250,
            "any@example.net": 250,
            "postmaster": 250,
        }
        for address, code in answers.items():
            self.assertEqual(client.say(f"RCPT TO:<{address}>").code, code, address)
        client.say("DATA")
        recipients = handler.stages[-1]
        assert isinstance(recipients, Recipients)
        targets = {
            str(each)
            for address in client.session.envelope.rcptTo
            for each in self.successResultOf(
                Deferred.fromCoroutine(recipients.find(address, client.session))
            )
        }
        self.assertEqual(targets, {"joe@example.com", "ann@example.com", "any@lists.example.com"})

    def test_senders(self) -> None:
        """What the how-to says of the file of senders; the user logs in first."""
        handler = load("mailhost").makeHandler()
        users = handler.stages[0]
        assert isinstance(users, htpasswd.Htpasswd)
        self.patch(users._checks, "_runInThread", runInline)
        client = connect(handler, allowInsecureAuth=True)
        client.say("EHLO client.example")
        self.assertEqual(client.say("AUTH PLAIN AGpvZUBleGFtcGxlLmNvbQBzZXNhbWU=").code, 235)
        for sender, code in (
            ("ann@example.com", 553),
            ("joe@example.net", 250),
        ):
            self.assertEqual(client.say(f"MAIL FROM:<{sender}>").code, code)
        self.assertEqual(
            Senders("senders")._file.latest._users.keys(), {"joe@example.com", "ann@example.com"}
        )

    def test_rates(self) -> None:
        """A user's messages are counted from whatever addresses they come."""
        handler = load("mailhost").makeHandler()
        users = handler.stages[0]
        assert isinstance(users, htpasswd.Htpasswd)
        credentials = Credentials("PLAIN", "joe@example.com", verified=True)
        codes = set()
        for number in range(201):
            session = Session()
            session.remoteAddress = f"192.0.2.{number}"
            user = Deferred.fromCoroutine(users.onAuth(credentials, session))
            session.user = self.successResultOf(user)
            try:
                handler.stages[1].onMailFrom(None, session)
            except Exception as error:
                codes.add((number, getattr(error, "code", None)))
        self.assertEqual(codes, {(200, 450)})

"""Mailpit's own clients against the inbox, as ``twistd`` serves it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import TestCase

from tests.interop.test_clients import FOLDER, need, run
from tests.support.liveserver import PATIENCE, LiveServer

#: What somebody who uses pytest-mailpit writes.
TESTS = '''
import smtplib
import pytest

MESSAGE = """From: Shop <shop@example.org>
To: {0}
Subject: Welcome
Content-Type: text/html

<p>Your code is <b>123456</b>. <a href="https://shop.test/confirm?x=1">Confirm</a>
"""


def send(smtp, recipient):
    with smtplib.SMTP(smtp.host, smtp.port, timeout=30) as client:
        client.sendmail("shop@example.org", [recipient], MESSAGE.format(recipient))


def test_arrives(mailpit_inbox, mailpit_smtp):
    send(mailpit_smtp, mailpit_inbox.address)
    message = mailpit_inbox.wait_for_message(subject="Welcome")
    assert message.code() == "123456"
    assert message.link("confirm") == "https://shop.test/confirm?x=1"
    assert message.sender.name == "Shop"


def test_addressesAreApart(mailpit_inbox, mailpit_smtp):
    mailpit_inbox.assert_no_message(within=0)
    send(mailpit_smtp, mailpit_inbox.address)
    assert len(mailpit_inbox.messages()) == 1
    mailpit_inbox.clear()
    assert mailpit_inbox.messages() == []


def test_chaos(mailpit_inbox, mailpit_smtp, mailpit_chaos):
    mailpit_chaos.reject_recipients(code=550)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(mailpit_smtp, mailpit_inbox.address)
    mailpit_chaos.reset()
    send(mailpit_smtp, mailpit_inbox.address)


def test_tags(mailpit, mailpit_inbox, mailpit_smtp):
    send(mailpit_smtp, mailpit_inbox.address)
    [found] = mailpit_inbox.messages()
    mailpit.set_tags([found.id], ["seen"])
    assert mailpit.wait_for_message(tag="seen").id == found.id
    assert mailpit.get_raw(found.id).startswith(b"From: Shop")
    assert mailpit.is_ready() and mailpit.info().messages >= 1
'''


class MailpitTests(TestCase):
    server: LiveServer

    def setUp(self) -> None:
        """One server for each test: its folder is the test's."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        password = self.folder / "password"
        password.write_text("joe:secret\n")
        self.server = LiveServer(
            self.folder / "server",
            *("--inbox", "127.0.0.1:0", "--inbox-password-file", str(password)),
            listeners=2,
        )
        self.addCleanup(self.server.__exit__)
        self.web, self.smtp = self.server.ports

    def test_npm(self) -> None:
        """mailpit-api, from npm: every call that needs no other host."""
        node = need("node")
        if not (FOLDER / "node_modules" / "mailpit-api").is_dir():
            if os.environ.get("CI"):
                self.fail("mailpit-api isn't installed, and CI needs it")
            raise SkipTest("mailpit-api isn't installed: run npm install in tests/clients")
        output = run(node, str(FOLDER / "mailpit.mjs"), f"http://127.0.0.1:{self.web}")
        self.assertIn("as Mailpit answers it", output)

    def test_pytest(self) -> None:
        """pytest-mailpit, from PyPI: its fixtures wait for mail, read it, and cause chaos."""
        if find_spec("pytest_mailpit") is None:
            if sys.version_info < (3, 11):
                raise SkipTest("pytest-mailpit needs Python 3.11")
            self.fail("pytest-mailpit isn't installed: it is in the extra 'test'")
        (self.folder / "test_shop.py").write_text(TESTS)
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
            cwd=self.folder,
            env={
                **os.environ,
                "MAILPIT_URL": f"http://127.0.0.1:{self.web}",
                "MAILPIT_USERNAME": "joe",
                "MAILPIT_PASSWORD": "secret",
                "MAILPIT_SMTP": f"127.0.0.1:{self.smtp}",
            },
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )
        self.assertIn("4 passed", done.stdout, done.stdout + done.stderr)

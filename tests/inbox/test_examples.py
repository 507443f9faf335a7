"""The samples of the inbox's page in the documentation."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.application.service import IServiceCollection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop.test_clients import run
from tests.support.examples import EXAMPLES, load
from tests.support.liveserver import LiveServer


class ServiceExampleTests(SynchronousTestCase):
    def test_services(self) -> None:
        """The application has the inbox first, and a server that fills it."""
        page = load("inbox_service")
        inbox, server = IServiceCollection(page.application)
        self.assertIs(inbox, page.inbox)
        self.assertIs(server.factories()[0].handler, inbox.handler)
        self.assertEqual(inbox._address, ("127.0.0.1", 8025))


class APIExampleTests(TestCase):
    def test_found(self) -> None:
        """What was sent is found by the API, and is in the Maildir, if there is one."""
        folder = Path(self.mktemp()).absolute()
        flags = ("--inbox", "127.0.0.1:0", "--maildir", str(folder / "Maildir"))
        with LiveServer(folder, *flags, listeners=2) as server:
            web, smtp = map(str, server.ports)
            output = run(sys.executable, str(EXAMPLES / "inbox_api.py"), smtp, web)
            [message] = server.messages()
        self.assertIn(b"Subject: Welcome\r\n", message)
        self.assertEqual(output, "Welcome - Your code: 1234\n")

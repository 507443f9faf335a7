"""The README's examples do what it says."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.testing import connect, runInline

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
HANDLER, PROGRAM = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONTENT = b"Subject: Hello\r\n\r\nThis is my first mail.\r\n"


def load(name: str, code: str) -> ModuleType:
    """Make a module of an example, as if it had been imported."""
    module = ModuleType(name)
    exec(compile(code, f"README.md, {name}.py", "exec"), vars(module))
    return module


class ReadmeTests(SynchronousTestCase):
    def assertServes(self, handler: object) -> None:
        """Assert that it prints the subject, says thank you, and doesn't relay."""
        factory = SMTPServerFactory(handler, reactor=task.Clock())
        factory.runInThread = runInline
        client = connect(factory)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            answer = client.deliver(CONTENT, "me@example.com", "you@example.com")
        self.assertEqual((answer.code, answer.text), (250, "Thank you"))
        self.assertEqual(printed.getvalue(), "me@example.com writes: Hello\n")
        answer = client.deliver(CONTENT, "me@example.com", "you@example.net", hello=None)
        self.assertEqual((answer.code, answer.enhanced), (550, "5.7.1"))

    def test_handler(self) -> None:
        """The first handler."""
        self.assertServes(load("inbox", HANDLER).Inbox())

    def test_program(self) -> None:
        """The program listens with it where it says, and ends after an hour."""
        reactor: Any = MemoryReactorClock()
        with mock.patch.dict(sys.modules, inbox=load("inbox", HANDLER)):
            program = load("program", PROGRAM)
        finished = Deferred.fromCoroutine(program.main(reactor))
        ((port, factory, _, host),) = reactor.tcpServers
        self.assertEqual((port, host), (2525, "127.0.0.1"))
        self.assertEqual(factory.options.size, 10 * 2**20)
        self.assertServes(factory.handler)
        reactor.advance(3600)
        self.successResultOf(finished)

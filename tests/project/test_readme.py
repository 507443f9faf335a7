"""The README's examples do what it says."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.internet import task
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.__main__ import DEFAULTS
from twisted_smtpserver.testing import connect, runInline

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
HANDLER, FIXTURE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
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

    def test_fixture(self) -> None:
        """The test passes, with nothing but pytest and this package."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "test_welcome.py").write_text(FIXTURE)
        plugins = ["-p", "no:cacheprovider", "-p", "twisted_smtpserver_pytest"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins],
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertIn("1 passed", done.stdout)

    def test_catcher(self) -> None:
        """The catcher's command is one, and its page is where it says."""
        self.assertIn("/bin/python -m twisted_smtpserver\n", README)
        self.assertIn(f"http://{DEFAULTS['inbox']}/", README)

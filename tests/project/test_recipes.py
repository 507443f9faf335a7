"""The recipes of the documentation: each works as its page shows it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import signal
import smtplib
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from twisted.internet import threads
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.examples import EXAMPLES, load
from tests.support.processes import startProgram
from twisted_smtpserver.testing import connect, runInline

SECONDS = 120
MAIL = "Subject: Hello\r\n\r\nHello Ann\r\n"


def require(*modules: str) -> None:
    """Skip the test where a package is missing; in CI, where all are installed, let it fail."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        raise SkipTest(f"needs {', '.join(missing)}")


def send(port: int, subject: str) -> None:
    """Send a mail to a program, which may end when it has it."""
    mail = f"Subject: {subject}\r\n\r\n"
    client = smtplib.SMTP("127.0.0.1", port, timeout=SECONDS)
    try:
        client.sendmail("ann@example.org", ["board@example.com"], mail)
    finally:
        client.close()


class ProjectTests(SynchronousTestCase):
    """Whole projects, each run in a folder of its own, as whoever copies it does."""

    def copy(self, name: str) -> None:
        """Copy a folder of examples."""
        self.folder = Path(self.mktemp()).absolute()
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start Python in that folder."""
        return startProgram(self, sys.executable, *words, cwd=self.folder, **environment)

    def run_(self, *words: str, **environment: str) -> str:
        """Run Python in that folder until it ends; what it prints."""
        output, _ = self.start(*words, **environment).communicate(timeout=SECONDS)
        return output

    def read(self, process: subprocess.Popen[str], pattern: str) -> int:
        """Read a program's output until there is a number after a text."""
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(pattern, line):
                return int(found[1])
        raise AssertionError(said)

    def pytest(self, *plugins: str, **environment: str) -> str:
        """Run the folder's tests."""
        words = [word for plugin in plugins for word in ("-p", plugin)]
        return self.run_(
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", *words),
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            **environment,
        )

    def test_django(self) -> None:
        """Django's mail is tested with the fixture; mail is received into a model."""
        require("django", "pytest_django")
        self.copy("django")
        plugins = ("twisted_smtpserver_pytest", "pytest_django.plugin")
        output = self.pytest(*plugins, DJANGO_SETTINGS_MODULE="shop.settings")
        self.assertRegex(output, "(?m)^4 passed")
        self.assertIn("\nOK\n", self.run_("manage.py", "test"))

    def test_djangoCommand(self) -> None:
        """The management command receives mail until it is told to end."""
        require("django")
        self.copy("django")
        self.run_("manage.py", "migrate", "--run-syncdb")
        command = self.start("manage.py", "receivemail", "--port=0")
        port = self.read(command, r"Receiving mail on 127\.0\.0\.1, port (\d+)")
        with smtplib.SMTP("127.0.0.1", port, timeout=SECONDS) as client:
            client.sendmail("ann@example.org", ["orders@shop.example"], MAIL)
        command.terminate()
        self.assertEqual((command.communicate(timeout=SECONDS)[0], command.returncode), ("", 0))
        database = sqlite3.connect(self.folder / "shop.sqlite3")
        self.addCleanup(database.close)
        rows = database.execute("SELECT sender, subject FROM shop_mail").fetchall()
        self.assertEqual(rows, [("ann@example.org", "Hello")])

    def test_flask(self) -> None:
        """Flask shows what a server in a thread has received."""
        require("flask")
        self.copy("flask")
        self.assertRegex(self.pytest(), "(?m)^1 passed")

    def test_fastapi(self) -> None:
        """FastAPI and the mail server share an event loop in a test …"""
        require("fastapi", "httpx2")
        self.copy("fastapi")
        self.assertRegex(self.pytest(SMTP_PORT="0"), "(?m)^1 passed")

    def test_uvicorn(self) -> None:
        """… and in uvicorn, which ends when it is told to."""
        require("fastapi", "uvicorn")
        self.copy("fastapi")
        code = (
            "import uvicorn; from notices import app\n"
            "@app.get('/port')\n"
            "def port(): return app.state.mail.port\n"
            "uvicorn.run(app, port=0)"
        )
        server = self.start("-u", "-c", code, SMTP_PORT="0")
        page = f"http://127.0.0.1:{self.read(server, r'running on http://127.0.0.1:([0-9]+)')}"

        def get(path: str) -> str:
            with urllib.request.urlopen(page + path, timeout=SECONDS) as answer:
                text: str = answer.read().decode()
                return text

        send(int(get("/port")), "Tea at four")
        self.assertIn('"what":"Tea at four"', get("/"))
        server.terminate()
        self.assertIn("Finished server process", server.communicate(timeout=SECONDS)[0])

    def test_celery(self) -> None:
        """Celery's broker has the message when the client has its 250."""
        require("celery")
        self.copy("celery")
        self.assertRegex(self.pytest(), "(?m)^2 passed")

    def test_collect(self) -> None:
        """A script collects so many mails, and ends."""
        self.copy("recipes")
        script = self.start("collect.py", "0", "2")
        port = self.read(script, r"port (\d+)")
        for subject in ("one", "two"):
            send(port, subject)
        self.assertEqual(script.communicate(timeout=SECONDS)[0], "one\ntwo\n")
        self.assertEqual(script.returncode, 0)

    def test_asyncioProgram(self) -> None:
        """An asyncio program receives mail in its own loop, and ends."""
        self.copy("recipes")
        program = self.start("-W", "error", "asyncio_program.py", "0")
        port = self.read(program, r"port (\d+)")
        for subject in ("one", "stop"):
            send(port, subject)
        self.assertEqual(program.communicate(timeout=SECONDS)[0], "one\n")
        self.assertEqual(program.returncode, 0)

    def test_log(self) -> None:
        """Python's logging gets the server's log: with_log."""
        self.copy("recipes")
        program = self.start("-W", "error", "with_log.py", "0")
        send(self.read(program, r"port=(\d+)"), "one")
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=SECONDS)
        self.assertRegex(output, "(?m)^INFO .*from <ann@example.org> to <board@example.com>")
        self.assertEqual(program.returncode, 0, output)

    def test_trial(self) -> None:
        """A test for trial has the server on the program's own reactor: test_notify."""
        self.copy("recipes")
        self.assertIn("PASSED (successes=1)", self.run_("-m", "twisted.trial", "test_notify"))


class StoreTests(SynchronousTestCase):
    """Mail in SQLite."""

    def setUp(self) -> None:
        self.patch(threads, "deferToThread", runInline)
        module = load("recipes/sqlite_store")
        self.patch(module, "blocking", lambda function: function)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(module, "SQLiteStore", self.inFolder(module.SQLiteStore, folder))
        self.store = module.makeStore()
        self.addCleanup(self.store.database.close)

    @staticmethod
    def inFolder(made: Any, folder: Path) -> Any:
        return lambda name: made(str(folder / name))

    def test_stored(self) -> None:
        """A message is stored once, with each of its recipients."""

        async def store(*arguments: Any) -> None:
            type(self.store).store(self.store, *arguments)

        self.store.store = store
        answer = connect(self.store).deliver(MAIL.encode(), "joe@example.org", "a@b.c", "d@e.f")
        self.assertEqual(answer.code, 250)
        rows = self.store.database.execute("SELECT sender, content, id FROM mail").fetchall()
        self.assertEqual([row[:2] for row in rows], [("joe@example.org", MAIL.encode())])
        recipients = self.store.database.execute("SELECT mail, address FROM recipient").fetchall()
        self.assertEqual(recipients, [(rows[0][2], "a@b.c"), (rows[0][2], "d@e.f")])

    def test_notStored(self) -> None:
        """What isn't stored gets no 250, and leaves nothing behind."""

        async def store(*arguments: Any) -> None:
            key, sender, _, content = arguments
            type(self.store).store(self.store, key, sender, [object()], content)

        self.store.store = store
        self.assertEqual(connect(self.store).deliver(MAIL.encode()).code, 451)
        self.assertEqual(self.store.database.execute("SELECT * FROM mail").fetchall(), [])
        self.flushLoggedErrors()


class CharsetTests(SynchronousTestCase):
    """Mail in a charset that nobody knows."""

    def test_printed(self) -> None:
        """It is taken, and printed as well as can be; so is what can't be taken apart."""
        content = (
            b"Subject: =?x-gbk-2?q?H=e9?=\r\nContent-Type: text/plain; charset=x-gbk-2\r\n"
            b"\r\nHello \xe9\r\n"
        )
        nested = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 100
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for each in (content, nested):
                client = connect(load("recipes/charsets").Printer())
                client.deliver(each)
                self.assertEqual(client.session.messages, 1)
        self.assertIn("Hé\n\nHello é\n", printed.getvalue())
        self.assertIn("(more than 30 parts within each other)", printed.getvalue())


class ReplyTests(SynchronousTestCase):
    """Answers by mail."""

    def setUp(self) -> None:
        self.module = load("recipes/replies")
        self.comments: list[tuple[str, str, str]] = []
        self.handler = self.module.Replies(lambda *comment: self.comments.append(comment))

    def deliver(self, content: bytes, address: str | None = None) -> int:
        address = address or self.module.replyTo("topic7", "ann")
        return connect(self.handler).deliver(content, "ann@example.org", address).code

    def test_comment(self) -> None:
        """An answer becomes a comment, without what it quotes."""
        for rest in (
            "On Monday, Joe wrote:\r\n> old\r\n",
            "Am Montag schrieb Joe:\r\nold\r\n",
            "> old\r\n",
            "-----Original Message-----\r\nold\r\n",
            "-- \r\nAnn\r\n",
            "",
        ):
            code = self.deliver(f"Subject: Re: x\r\n\r\nYes.  \r\n\r\nAnn\r\n\r\n{rest}".encode())
            self.assertEqual(code, 250)
            self.assertEqual(self.comments.pop(), ("topic7", "ann", "Yes.\n\nAnn"))

    def test_forged(self) -> None:
        """An address that we didn't give out is refused before anything is transferred."""
        good = self.module.replyTo("topic7", "ann")
        for bad in (
            good.replace("topic7", "topic8"),
            good.replace("+ann", "+joe"),
            "topic7@reply.example.com",
            good.replace("@reply", "@other"),
        ):
            self.assertEqual(self.deliver(b"\r\nYes.\r\n", bad), 550)
        self.assertEqual(self.comments, [])

    def test_useless(self) -> None:
        """Automatic answers are thrown away; those without text are refused."""
        self.assertEqual(self.deliver(b"Auto-Submitted: auto-replied\r\n\r\nI am away.\r\n"), 250)
        self.assertEqual(self.deliver(b"Content-Type: text/html\r\n\r\n<p>Yes.\r\n"), 550)
        self.assertEqual(self.deliver(b"Subject: Re: x\r\n\r\n> old\r\n"), 550)
        self.assertEqual(self.comments, [])

    def test_command(self) -> None:
        """The command line's handler prints the comments."""
        self.handler = self.module.makeReplies()
        self.assertEqual(self.deliver(b"\r\nYes.\r\n"), 250)

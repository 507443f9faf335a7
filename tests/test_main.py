"""The catcher: ``python -m twisted_smtpserver``."""

from __future__ import annotations

import io
import json
import re
import runpy
import signal
import smtplib
import sys
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.application.service import MultiService, Service
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import startProgram
from twisted_smtpserver import (
    ConfigurationError,
    SMTPServerFactory,
    SMTPService,
    __main__,
    __version__,
)

SECONDS = 60


class CommandTests(SynchronousTestCase):
    """The command line."""

    def test_implied(self) -> None:
        """What goes without saying is there, unless a file or a flag says otherwise."""
        path = Path(self.mktemp())
        path.write_text('[messages]\nbare-newlines = "reject"\n')
        for flags, inbox, newlines in (
            ([], 8025, "accept"),
            (["--inbox", "127.0.0.1:1", "--bare-newlines=normalize"], 1, "normalize"),
            ([f"--config={path}"], 8025, "reject"),
        ):
            with mock.patch.object(__main__, "makeService") as make:
                make.return_value = MultiService()
                __main__.prepare(flags, io.StringIO())
            ((options,), _) = make.call_args
            self.assertEqual(options["inbox"], ("127.0.0.1", inbox))
            self.assertEqual(options["bare-newlines"], newlines)

    def end(self, *arguments: str) -> tuple[object, str]:
        """What it ends with, and what it has printed."""
        output = io.StringIO()
        ended = self.assertRaises(SystemExit, __main__.prepare, arguments, output)
        return ended.code, output.getvalue()

    def test_help(self) -> None:
        """The help has the flags of twistd smtpserver, and says what is different."""
        code, text = self.end("--help")
        self.assertEqual(code, 0)
        self.assertIn("--inbox 127.0.0.1:8025 and --bare-newlines accept.", text)
        self.assertIn("--max-recipients", text)

    def test_version(self) -> None:
        """The versions are told."""
        code, text = self.end("--version")
        self.assertEqual(code, 0)
        self.assertTrue(text.startswith(f"twisted_smtpserver {__version__} ("))

    def test_wrong(self) -> None:
        """What is wrong is said in a line."""
        code, text = self.end("--port", "many")
        self.assertRegex(str(code), r"\A--port: .* \(see --help\)\Z")
        self.assertEqual(text, "")
        code, _ = self.end(
            "--inbox-any-login", "--auth", "memory:joe:secret", "--allow-insecure-auth"
        )
        self.assertIn("--inbox-any-login and --auth contradict each other", str(code))


class RunTests(SynchronousTestCase):
    """How it runs, with a reactor in memory."""

    def setUp(self) -> None:
        self.observers: list[Any] = []
        self.patch(
            globalLogBeginner,
            "beginLoggingTo",
            lambda observers, redirectStandardIO: self.observers.extend(observers),
        )
        self.output = io.StringIO()

    def start(self, error: Exception | None = None) -> MemoryReactorClock:
        """Run with a service that starts, or fails to."""

        class Starting(MultiService):
            def startService(self) -> None:
                if error is not None:
                    raise error
                super().startService()

        reactor = MemoryReactorClock()
        service = Starting()
        self.patch(__main__, "makeService", lambda options: service)
        __main__.main(["--port=0"], self.output, reactor)
        self.assertTrue(service.running)
        return reactor

    def test_starts(self) -> None:
        """It says where it listens, and runs the reactor until that stops it."""
        reactor = self.start()
        self.assertTrue(reactor.hasRun)
        self.assertIn("Ctrl-C ends it.", self.output.getvalue())
        [(stop, _, _)] = reactor.triggers["before"]["shutdown"]
        self.assertEqual(stop.__name__, "stopService")
        self.assertEqual(len(self.observers), 1)

    def test_portTaken(self) -> None:
        """A port that is taken is said in a line that names the cure."""
        for error, text in {
            CannotListenError(
                "127.0.0.1", 2525, OSError("taken")
            ): "(choose another one with --port)",
            ConfigurationError("the page: taken; choose another port"): "choose another port",
        }.items():
            ended = self.assertRaises(SystemExit, self.start, error)
            self.assertIn(text, str(ended.code))

    def test_log(self) -> None:
        """Of the log it shows mail and warnings."""
        [observer] = [__main__.makeObserver(self.output)]
        for namespace, level in {
            "twisted_smtpserver": LogLevel.info,
            "twisted_smtpserver.inbox.service": LogLevel.info,
            "twisted_smtpserver.service": LogLevel.info,
            "twisted.internet": LogLevel.warn,
        }.items():
            observer({"log_namespace": namespace, "log_level": level, "log_format": namespace})
        self.assertEqual(
            re.findall(r"\] (.*)$", self.output.getvalue(), re.MULTILINE),
            ["twisted_smtpserver", "twisted.internet"],
        )

    def test_describe(self) -> None:
        """Wherever it listens is said; so is where the page is."""

        class Port:
            def __init__(self, host: object) -> None:
                self.getHost = lambda: host

        server = SMTPService([("tcp:0", SMTPServerFactory(onData=lambda stream, session: None))])
        server.ports = [
            Port(IPv4Address("TCP", "127.0.0.1", 2525)),  # type: ignore[list-item]
            Port(UNIXAddress("/run/lmtp.sock")),  # type: ignore[list-item]
        ]
        page = Service()
        page.url = "http://127.0.0.1:8025/"  # type: ignore[attr-defined]
        service = MultiService()
        for part in (page, server, Service()):
            part.setServiceParent(service)
        self.assertEqual(
            __main__.describe(service).splitlines()[1:],
            [
                "  Read it at  http://127.0.0.1:8025/",
                "  Send it to  127.0.0.1, port 2525",
                "  Send it to  UNIXAddress('/run/lmtp.sock')",
                "Ctrl-C ends it.",
            ],
        )

    def test_run(self) -> None:
        """The command line and the reactor are the process's."""
        calls: list[tuple[object, ...]] = []
        self.patch(__main__, "main", lambda *arguments: calls.append(arguments))
        self.patch(sys, "argv", ["smtpserver", "--port=0"])
        from twisted.internet import reactor

        __main__.run()
        self.assertEqual(calls, [(["--port=0"], sys.stdout, reactor)])

    def test_command(self) -> None:
        """A command gets what stands behind its name, and the catcher doesn't run."""
        calls: list[list[str]] = []
        self.patch(__main__, "findCommand", lambda arguments: calls.append)
        self.patch(sys, "argv", ["smtpserver", "passwd", "users", "joe"])
        __main__.run()
        self.assertEqual(calls, [["users", "joe"]])

    def test_module(self) -> None:
        """It is what the package does when it is run."""
        self.patch(sys, "argv", ["smtpserver", "--version"])
        self.patch(sys, "stdout", self.output)
        self.assertRaises(SystemExit, runpy.run_path, __main__.__file__, run_name="__main__")
        self.assertIn(__version__, self.output.getvalue())


class RealTests(SynchronousTestCase):
    """The whole, in a process of its own."""

    def test_catches(self) -> None:
        """Mail for anybody, from any login, with bare newlines, is on the page; Ctrl-C ends it."""
        flags = ["--port=0", "--inbox=0", "--inbox-any-login"]
        server = startProgram(self, sys.executable, "-m", "twisted_smtpserver", *flags)
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        page = re.search(r"Read it at  (http://127\.0\.0\.1:\d+/)", said)
        port = re.search(r"Send it to  127\.0\.0\.1, port (\d+)", said)
        assert page is not None and port is not None, said
        with smtplib.SMTP("127.0.0.1", int(port[1]), timeout=SECONDS) as client:
            client.login("anybody", "anything")
            client.mail("joe@example.org")
            client.rcpt("whoever@wherever.example")
            client.docmd("DATA")
            client.send(b"Subject: caught\n\nThis line ends in LF only.\n\r\n.\r\n")
            self.assertEqual(client.getreply()[0], 250)
        with urllib.request.urlopen(f"{page[1]}api/v1/messages", timeout=SECONDS) as answer:
            [message] = json.load(answer)["messages"]
        self.assertEqual(message["Subject"], "caught")
        self.assertEqual(message["Bcc"][0]["Address"], "whoever@wherever.example")
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=SECONDS)
        self.assertEqual(server.returncode, 0, said + rest)
        self.assertIn("whoever@wherever.example", rest)
        self.assertNotIn("Traceback", said + rest)

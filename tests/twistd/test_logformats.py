"""--log-format and --log-size: the flags, real servers, and logrotate."""

from __future__ import annotations

import io
import json
import os
import re
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES, load
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import need, until
from tests.twistd.test_workers_live import Server
from twisted_smtpserver import tap
from twisted_smtpserver.log import batches
from twisted_smtpserver.log.files import ROTATE_SIZE
from twisted_smtpserver.log.formats import JSONText, SystemdText

LOGROTATE = EXAMPLES / "logging" / "logrotate.conf"


class FlagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(batches, "_chosen", {})

    def parse(self, *arguments: str, handover: Any = None, **twistd: Any) -> None:
        parsed = tap.Options()
        parsed.parent = {"logger": None, "syslog": None, **twistd}  # type: ignore[assignment]
        parsed.parseOptions(["--discard", *arguments])

    def test_chosen(self) -> None:
        """The flags say how the lines are made, and how large a file gets."""
        for arguments, kind, size in (
            (("--log-format=json", "--log-size=5M"), JSONText, 5 * 2**20),
            (("--log-format=systemd", "--log-size=0"), SystemdText, 0),
            ((), batches.ClassicText, ROTATE_SIZE),
        ):
            self.parse(*arguments)
            self.assertEqual((batches._chosen["makeFormat"], batches._chosen["size"]), (kind, size))

    def test_wrong(self) -> None:
        """A format that there isn't; a log that twistd writes in its own way."""
        for arguments, twistd, text in (
            ("--log-format=xml", {}, "--log-format: 'xml' isn't text, json, systemd"),
            ("--log-format=json", {"syslog": True}, "--log-format: twistd's --logger or --syslog"),
            ("--log-size=1", {"logger": "a.b"}, "--log-size: twistd's --logger or --syslog"),
        ):
            error = self.assertRaises(SystemExit, self.parse, arguments, **twistd)
            self.assertIn(f"twistd smtpserver: {text}", str(error))
        self.assertRaises(usage.UsageError, tap.Options().parseOptions, ["--log-format=xml"])
        self.parse(syslog=True)

    def test_worker(self) -> None:
        """A worker writes for its supervisor, whatever the flags say."""
        parsed = tap.Options()
        parsed.handover = object()  # type: ignore[assignment]
        parsed.parent = {"logger": "a.b"}  # type: ignore[assignment]
        with patch.object(parsed, "_parse"):
            parsed["log-format"] = "json"
            parsed.parseOptions(["--log-format=json"])
        self.assertEqual(batches._chosen, {})


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def send(self, port: int, count: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            for _ in range(count):
                client.sendmail("joe@x.test", ["ann@y.test", "bob@y.test"], "Subject: x\r\n\r\n")

    def test_workers(self) -> None:
        """With workers every line is an object, too, with the fields and the worker's number."""
        server = Server(self.folder, "--discard", "--log-format=systemd")
        self.addCleanup(server.kill)
        self.send(server.port, 1)
        said = server.stop()
        [line] = [each for each in said.splitlines() if ": message " in each]
        self.assertRegex(line, r"^<6>\[twisted_smtpserver#info, worker \d\] ")

    def test_json(self) -> None:
        """All lines of a supervisor are JSON; a worker's recipients are a list still."""
        # Its port is in a text, where LiveServer looks for it.
        server = LiveServer(self.folder, "--discard", "--log-format=json", "--workers=2")
        self.addCleanup(server.kill)
        self.send(server.port, 3)
        lines = [json.loads(line) for line in server.stop().splitlines()]
        messages = [line for line in lines if line["event"] == "message"]
        self.assertEqual(len(messages), 3)
        for each in messages:
            self.assertEqual(each["recipients"], ["ann@y.test", "bob@y.test"])
            self.assertIn(each["worker"], (1, 2))
            self.assertEqual((each["level"], each["namespace"]), ("info", "twisted_smtpserver"))

    def test_logrotate(self) -> None:
        """The page's settings: logrotate moves the file, the server goes on in the new one."""
        path, pidfile = self.folder / "twistd.log", self.folder / "twistd.pid"
        (self.folder / "conf").write_text(
            re.sub(
                r"su mail mail|0640 mail mail",
                "",
                (EXAMPLES / "logging/logrotate.conf").read_text(),
            )
            .replace("/var/log/smtpserver/twistd.log", str(path))
            .replace("/var/lib/smtpserver/twistd.pid", str(pidfile))
        )
        self.folder.chmod(0o755)
        (self.folder / "conf").chmod(0o644)
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n"]
        command += [f"--logfile={path}", f"--pidfile={pidfile}", "smtpserver", "--discard"]
        process = subprocess.Popen(
            [*command, "--port=0", "--log-format=json", "--log-size=0"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent.parent)},
            stdin=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        listening = re.compile(r"Listening for SMTP on .*port=(\d+)")
        until(lambda: path.exists() and listening.search(path.read_text()), "it listens")
        found = listening.search(path.read_text())
        assert found is not None
        self.send(int(found[1]), 20)
        words = ["--force", "--state", str(self.folder / "state"), str(self.folder / "conf")]
        done = subprocess.run([need("logrotate"), *words], capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        until(lambda: self.moved(process.pid, path), "it has the new file")
        self.send(int(found[1]), 20)
        process.terminate()
        process.wait(PATIENCE)
        texts = [each.read_text() for each in (path, self.folder / "twistd.log.1")]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        self.assertEqual(sum(line["event"] == "message" for line in lines), 40)
        self.assertIn("Server Shut Down.", texts[0])

    def moved(self, pid: int, path: Path) -> bool:
        """Whether a process has the file at a path open."""
        links = [each for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists()]
        return any(each.samefile(path) for each in links)


class ExampleTests(SynchronousTestCase):
    def test_query(self) -> None:
        """The example reads the lines: query."""
        made = JSONText()
        event = {"log_format": "{text}", "text": "x", "event": "message", "recipientCount": 3}
        lines = [made({**event, "code": code, "sender": "joe@x.test"}) for code in (250, 550, 450)]
        output = io.StringIO()
        self.patch(sys, "stdin", lines)
        with patch.object(sys, "stdout", output):
            load("logging/query")
        self.assertEqual(output.getvalue(), "6 joe@x.test\n")

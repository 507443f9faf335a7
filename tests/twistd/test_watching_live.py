"""What watches a server, over real servers: figures, log formats, logrotate, transcripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES
from tests.support.figures import sample
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import need, until
from tests.twistd import test_workers_live as live

LOGROTATE = EXAMPLES / "logging" / "logrotate.conf"


class MetricsTests(SynchronousTestCase):
    def test_killed(self) -> None:
        """The sums are right when a worker was killed and replaced; nothing goes down."""
        folder = Path(self.mktemp()).absolute()
        # Elsewhere: the path of a unix socket has to be short.
        self.path = tempfile.mkdtemp() + "/metrics"
        self.addCleanup(shutil.rmtree, os.path.dirname(self.path))
        server = live.Server(folder, "--discard", f"--metrics=unix:{self.path}")
        self.addCleanup(server.kill)
        self.send(server.port, 5)
        self.assertMessages(5)
        held = live.connect(server.port)
        self.addCleanup(held.close)
        self.assertFigure("smtp_connections", 1)
        for name in (1, 2):
            server.killWorker(name)
        self.assertMessages(5)
        self.send(server.port, 5)
        self.assertMessages(10)
        self.assertFigure("smtp_worker_exits_total", 2)
        self.assertFigure("smtp_connections", 0)
        self.assertFigure("smtp_workers", 2)
        until(lambda: "200 OK" in self.get("/readyz"), "ready")
        server.stop()

    def send(self, port: int, count: int) -> None:
        for _ in range(count):
            with live.connect(port) as client:
                client.sendmail("a@client.example", "b@server.example", "Subject: x\r\n\r\n")

    def assertMessages(self, count: int) -> None:
        self.assertFigure('smtp_messages_total{outcome="accepted"}', count)

    def assertFigure(self, name: str, value: float) -> None:
        """A figure gets to a value, sooner or later: the page is as old as a second."""
        until(lambda: sample(self.get("/metrics"), name) == value, f"{name} {value}")

    def get(self, path: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.path)
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while octets := client.recv(65536):
                answer += octets
        return answer.decode()


class FormatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def send(self, port: int, count: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            for _ in range(count):
                client.sendmail("joe@x.test", ["ann@y.test", "bob@y.test"], "Subject: x\r\n\r\n")

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


class TranscriptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.rules, self.log = self.folder / "rules", self.folder / "log"

    def talk(self, client: smtplib.SMTP) -> None:
        """Say something until it is in the transcript."""

        def heard() -> bool:
            client.noop()
            return self.log.exists() and "C: NOOP" in self.log.read_text()

        until(heard, "it is written down")

    def test_oneProcess(self) -> None:
        """A connection that is open already is in it, from the signal on; its login isn't."""
        (self.folder / "passwd").write_text("joe:open sesame\n")
        server = LiveServer(
            self.folder,
            *("--transcript=rules", "--auth=file:passwd", "--allow-insecure-auth", "--discard"),
        )
        self.addCleanup(server.kill)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            self.rules.write_text(f"127.0.0.0/8 {self.log}\n")
            server.process.send_signal(signal.SIGUSR2)
            server.awaitLog("begins, for 30 minutes")
            self.talk(client)
            client.login("joe", "open sesame")
            client.sendmail("joe@x.test", ["ann@y.test"], "Subject: no\r\n\r\n")
        until(lambda: "-- closed: quit" in self.log.read_text(), "the end is written down")
        said = server.stop()
        self.assertIn("ends: it isn't asked for any more", said)
        text = self.log.read_text()
        self.assertIn("C: AUTH PLAIN ***", text)
        self.assertIn("C: mail FROM:<joe@x.test>", text)
        self.assertNotIn("Subject", text)
        self.assertEqual(said.count("Traceback"), 0)

    def test_workers(self) -> None:
        """All workers write it, those that start later, too."""
        server = live.Server(self.folder, "--discard", "--transcript=rules")
        self.addCleanup(server.kill)
        self.rules.write_text(f"127.0.0.1 {self.log}\n")
        server.process.send_signal(signal.SIGUSR2)
        server.awaitCount("begins, for 30 minutes", 2)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            self.talk(client)
        server.killWorker(1)
        server.awaitCount("begins, for ", 3)
        os.kill(server.pids()[2], signal.SIGUSR2)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            client.ehlo("again.example")
        until(lambda: "C: ehlo again.example" in self.log.read_text(), "it is written down")
        said = server.stop()
        self.assertNotIn("killed by SIGUSR2", said)

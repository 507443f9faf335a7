"""``--config`` with real processes: checked, read again, shared with workers."""

from __future__ import annotations

import os
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from tests.support.liveserver import PATIENCE, LiveServer
from tests.twistd.test_twistd import ROOT, TWISTD

TWO = """
[messages]
maildir = "Maildir"
size = 1000000

[[listener]]
listen = "tcp:0:interface=127.0.0.1"

[[listener]]
listen = "tcp:0:interface=127.0.0.1"
auth = "file:passwd"
allow-insecure-auth = true
"""


class ConfigTests(SynchronousTestCase):
    """Each test has a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "smtpserver.toml"
        self.path.write_text(TWO)
        (self.folder / "passwd").write_text("joe:sesame\n")

    def connect(self, port: int) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def sizes(self, ports: list[int]) -> list[str]:
        """What new connections are told."""
        return [self.connect(port).esmtp_features["size"] for port in ports]

    def check(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", TWISTD, "smtpserver", *flags],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def test_check(self) -> None:
        """--check-config has status 0 and leaves nothing behind, or status 1 and one line."""
        before = sorted(os.listdir(self.folder))
        done = self.check("--config=smtpserver.toml", "--check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("checked by file:passwd", done.stdout)
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        self.path.write_text("sise = 5\n")
        done = self.check("--config=smtpserver.toml", "--check-config")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        reason = "line 1: there is no key 'sise'; did you mean 'size'?"
        self.assertEqual(done.stderr, f"twistd smtpserver: {self.path}, {reason}\n")

    def test_hangUp(self) -> None:
        """New connections have what is new; open ones go on; a broken file changes nothing."""
        with LiveServer(self.folder, "--config=smtpserver.toml", listeners=2) as server:
            open_, user = self.connect(server.ports[0]), self.connect(server.ports[1])
            self.assertEqual(open_.esmtp_features["size"], "1000000")
            self.assertNotIn("auth", open_.esmtp_features)
            self.assertEqual(user.login("joe", "sesame")[0], 235)
            self.path.write_text(TWO.replace("1000000", "2000000"))
            server.process.send_signal(signal.SIGHUP)
            server.awaitLog("new connections have another [messages] size")
            self.assertEqual(self.sizes(server.ports), ["2000000"] * 2)
            self.path.write_text("[tls")
            server.process.send_signal(signal.SIGHUP)
            server.awaitLog(f"Keeping the old configuration: {self.path}, ")
            self.assertEqual(self.sizes(server.ports), ["2000000"] * 2)
            open_.sendmail("a@client.example", "b@server.example", b"Subject: x\r\n\r\n")
            log = server.stop()
        self.assertNotIn("Traceback", log)
        self.assertEqual(len(server.messages()), 1)

    def test_workers(self) -> None:
        """With workers, too; and no process shows a secret in its command or environment."""
        made = makeCertificate(None, ["localhost"])
        (self.folder / "cert.pem").write_bytes(made.certPEM)
        (self.folder / "key.pem").write_bytes(made.keyPEM)
        (self.folder / "phrase").write_text("swordfish\n")
        tls = 'cert = "cert.pem"\nkey = "key.pem"\npassphrase-file = "phrase"\n'
        self.path.write_text(TWO + tls)
        flags = ("--config=smtpserver.toml", "--workers=2")
        with LiveServer(self.folder, *flags, listeners=2) as server:
            for name in (1, 2):
                server.awaitLog(f"service#info, worker {name}] Listening for")
            self.assertEqual(self.sizes(server.ports), ["1000000"] * 2)
            tree = [server.process.pid, *children(server.process.pid)]
            self.assertEqual(len(tree), 3)
            for pid in tree:
                for what in ("cmdline", "environ"):
                    content = Path(f"/proc/{pid}/{what}").read_bytes()
                    self.assertNotIn(b"swordfish", content)
                    self.assertNotIn(b"PRIVATE KEY", content)
            self.path.write_text((TWO + tls).replace("1000000", "2000000"))
            server.process.send_signal(signal.SIGHUP)
            for name in (1, 2):
                server.awaitLog(f"worker {name}] The supervisor's new configuration is in use")
            self.assertEqual(self.sizes(server.ports * 2), ["2000000"] * 4)
            log = server.stop()
        self.assertNotIn("Traceback", log)
        self.assertNotIn("swordfish", log)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

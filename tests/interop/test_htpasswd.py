"""A file of users, as the how-to has it, with real clients."""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.test_clients import need
from tests.support.certificates import makeCA, makeCertificate
from tests.support.examples import DOCS, EXAMPLES
from tests.support.liveserver import PATIENCE, LiveServer

PAGE = (DOCS / "howto" / "users.rst").read_text(encoding="utf-8")


class HtpasswdTests(SynchronousTestCase):
    """One server; its users come and go."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        ca = makeCA()
        server = makeCertificate(ca, ["localhost"])
        for name, content in (("ca", ca.certPEM), ("cert", server.certPEM), ("key", server.keyPEM)):
            (self.folder / name).write_bytes(content)

    def passwd(self, password: str, *arguments: str) -> str:
        """Run the command."""
        done = subprocess.run(
            [sys.executable, "-m", "twisted_smtpserver", "passwd", "--stdin", *arguments],
            cwd=self.folder,
            env={"PYTHONPATH": str(DOCS.parent), "PATH": "/usr/bin"},
            input=f"{password}\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.stdout + done.stderr

    def logIn(self, port: int, name: str, password: str) -> int:
        """The answer to a login by smtplib."""
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.starttls()
            client.ehlo()
            client.user, client.password = name, password
            try:
                code, _ = client.auth("plain", client.auth_plain)
            except smtplib.SMTPAuthenticationError as error:
                return int(error.smtp_code)
            return int(code)

    def gsasl(self, port: int, password: str) -> tuple[int, str]:
        """Log in with GNU SASL, by SCRAM bound to TLS."""
        done = subprocess.run(
            [
                *(need("gsasl"), "--smtp", f"--connect=localhost:{port}", "--hostname=localhost"),
                *("-a", "joe@example.com", "-p", password, "-m", "SCRAM-SHA-256-PLUS"),
                *("--x509-ca-file", str(self.folder / "ca")),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_page(self) -> None:
        """The page's commands, word for word but for the password; then a server and clients."""
        commands = re.findall(r"\$ python -m twisted_smtpserver passwd (.*)", PAGE)
        self.assertEqual(commands, ["users joe@example.com", "--scram users ann@example.com"])
        for command in commands:
            self.assertEqual(self.passwd("sesame", *command.split()), "The user was added.\n")
        flags = ("--cert", "cert", "--key", "key", "--auth=htpasswd:users")
        senders = str(EXAMPLES / "config" / "senders")
        # GNU SASL sees STARTTLS only if another line follows it in the answer to EHLO.
        failures = (
            "--allow-insecure-auth",
            "--auth-failure-delay=0",
            "--login-delay=0",
            f"--senders={senders}",
        )
        with LiveServer(self.folder, *flags, *failures) as server:
            self.assertEqual(self.logIn(server.port, "joe@example.com", "sesame"), 235)
            self.assertEqual(self.logIn(server.port, "joe@example.com", "wrong"), 535)
            self.assertEqual(self.logIn(server.port, "eve@example.com", "sesame"), 535)
            # Not each has a SCRAM secret yet.
            self.assertNotIn("235 2.7.0", self.gsasl(server.port, "sesame")[1])
            self.passwd("new", "--scram", "users", "joe@example.com")
            for _ in range(500):
                if self.logIn(server.port, "joe@example.com", "new") == 235:
                    break
            code, said = self.gsasl(server.port, "new")
            self.assertEqual(code, 0, said)
            self.assertIn("235 2.7.0", said)
            self.assertNotIn("235 2.7.0", self.gsasl(server.port, "sesame")[1])
            self.passwd("", "--delete", "users", "joe@example.com")
            server.awaitLog("users was read again: 2 users")
            for _ in range(500):
                if self.logIn(server.port, "joe@example.com", "new") == 535:
                    break
            log = server.stop()
        self.assertIn("users was read again: 1 users", log)
        self.assertNotIn("sesame", log)

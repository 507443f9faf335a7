"""Real SASL clients: GNU SASL, curl, openssl."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.certificates import makeCA, makeCertificate
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.logins import PASSWORD, TOKEN

METHODS = "SCRAM-SHA-256-PLUS,SCRAM-SHA-256,OAUTHBEARER,XOAUTH2,CRAM-MD5,EXTERNAL,PLAIN,LOGIN"


class SaslClientTests(TestCase):
    """Each mechanism is spoken by a program that isn't ours."""

    def setUp(self) -> None:
        """A server that offers all mechanisms, and asks for a client certificate."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        ca = makeCA()
        server = makeCertificate(ca, ["localhost"])
        joe = makeCertificate(ca, [], clientName="joe")
        files = {
            "ca": ca.certPEM,
            "cert": server.certPEM,
            "key": server.keyPEM,
            "joe": joe.certPEM + joe.keyPEM,
            "message": b"Subject: token\r\n\r\nhello\r\n",
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self.folder = folder
        self.server = self.serve(METHODS)

    def serve(self, methods: str) -> LiveServer:
        """A server that offers these mechanisms."""
        folder = self.folder
        server = LiveServer(
            folder / methods,
            *("--handler", "tests.support.logins.Logins", "--allow-insecure-auth"),
            *("--auth-methods", methods, "--auth-failure-delay", "0"),
            *("--cert", str(folder / "cert"), "--key", str(folder / "key")),
            *("--ca", str(folder / "ca"), "--request-cert", "--reject-unauthorized", "no"),
        )
        self.addCleanup(server.__exit__)
        return server

    def run_(self, *command: str, stdin: str = "") -> tuple[int, str]:
        """Run a client: its exit code, and what it printed."""
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def gsasl(self, mechanism: str, password: str, *flags: str) -> tuple[int, str]:
        """Log in with GNU SASL."""
        return self.run_(
            *(need("gsasl"), "--smtp", f"--connect=localhost:{self.server.port}"),
            *("-a", "joe", "-p", password, "-m", mechanism, "--hostname", "localhost", *flags),
        )

    def test_passwords(self) -> None:
        """GNU SASL: PLAIN, LOGIN, CRAM-MD5 and SCRAM-SHA-256, with the right password only."""
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            code, output = self.gsasl(mechanism, PASSWORD, "--no-starttls", "--no-cb")
            self.assertEqual(code, 0, output)
            self.assertIn("235 2.7.0", output)
            code, output = self.gsasl(mechanism, "wrong", "--no-starttls", "--no-cb")
            self.assertNotEqual(code, 0, output)
            self.assertIn("535 5.7.8", output)

    def test_channelBinding(self) -> None:
        """GNU SASL: SCRAM-SHA-256-PLUS over TLS 1.3, bound by tls-exporter."""
        ca = str(self.folder / "ca")
        code, output = self.gsasl("SCRAM-SHA-256-PLUS", PASSWORD, "--x509-ca-file", ca)
        self.assertEqual(code, 0, output)
        self.assertIn("235 2.7.0", output)

    def test_tokens(self) -> None:
        """curl: OAUTHBEARER and XOAUTH2; a bad token is explained before it is refused."""
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            server = self.serve(mechanism)  # by itself: curl has its own mind what to prefer
            for token, expected in [(TOKEN, 0), ("bad", 67)]:  # 67: login denied
                code, output = self.run_(
                    *(need("curl"), "-sSv", f"smtp://127.0.0.1:{server.port}"),
                    *("--oauth2-bearer", token, "--user", "joe:", "--mail-from", "joe@x.example"),
                    *("--mail-rcpt", "jane@y.example", "-T", str(self.folder / "message")),
                )
                self.assertEqual(code, expected, output)
                self.assertIn(f"> AUTH {mechanism}", output)
                self.assertEqual("eyJzdGF0dXMi" in output, token == "bad", output)

    def test_external(self) -> None:
        """openssl: a client certificate, and EXTERNAL."""
        _, output = self.run_(
            *(need("openssl"), "s_client", "-quiet", "-starttls", "smtp"),
            *("-connect", f"127.0.0.1:{self.server.port}", "-cert", str(self.folder / "joe")),
            *("-CAfile", str(self.folder / "ca"), "-ign_eof"),
            stdin="EHLO client.example\r\nAUTH EXTERNAL =\r\nQUIT\r\n",
        )
        self.assertEqual(re.findall(r"^(235|221) ", output, re.MULTILINE), ["235", "221"], output)

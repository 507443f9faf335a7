"""What an operator publishes in DNS: made by the page's commands, judged by openssl."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.project.test_docs import blocks
from tests.support.certificates import makeCA, makeCertificate
from tests.support.examples import DOCS, EXAMPLES
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import need

PAGE = DOCS / "howto" / "publish.rst"
NAME = "mail.example.org"


class DaneTests(SynchronousTestCase):
    """TLSA records."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        authority = makeCA()
        made = makeCertificate(authority, [NAME])
        self.cert = self.folder / "fullchain.pem"
        self.cert.write_bytes(made.certPEM + authority.certPEM)
        (self.folder / "privkey.pem").write_bytes(made.keyPEM)
        key = made.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.digest = hashlib.sha256(key).hexdigest()

    def run_(self, command: str, **environment: str) -> str:
        """Run a command of the page."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=EXAMPLES / "deploy",
            env={"PATH": "/usr/bin:/bin", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        return done.stdout.decode(errors="replace")

    def test_record(self) -> None:
        """The script's record has the digest of the key, and openssl finds the server by it."""
        need("openssl")
        record, verify = (code.strip() for _, code in blocks(PAGE, "bash"))
        self.assertTrue((EXAMPLES / "deploy/tlsa").exists())
        self.assertIn("/etc/smtpserver/fullchain.pem", record)
        said = self.run_(record.replace("/etc/smtpserver/fullchain.pem", str(self.cert)))
        self.assertEqual(said, f"_25._tcp.{NAME}. IN TLSA 3 1 1 {self.digest}\n")
        files = (f"--cert={self.cert}", f"--key={self.folder}/privkey.pem")
        with LiveServer(self.folder / "server", "--discard", *files) as server:
            command = verify.replace(f"-connect {NAME}:25", f"-connect 127.0.0.1:{server.port}")
            self.assertNotEqual(command, verify)
            said = self.run_(command, digest=self.digest)
            self.assertIn("Verification: OK", said)
            self.assertIn("DANE TLSA 3 1 1", said)
            said = self.run_(command, digest=hashlib.sha256(b"another").hexdigest())
            self.assertNotIn("Verification: OK", said)
            self.assertIn("Verification error", said)


class PolicyTests(SynchronousTestCase):
    """MTA-STS and TLSRPT."""

    def test_policy(self) -> None:
        """The policy is one by RFC 8461's grammar (section 3.2)."""
        lines = (EXAMPLES / "deploy/mta-sts.txt").read_text().splitlines()
        fields = [line.split(": ") for line in lines]
        self.assertEqual([name for name, _ in fields], ["version", "mode", "mx", "max_age"])
        values = dict(fields)
        self.assertEqual((values["version"], values["mx"]), ("STSv1", NAME))
        self.assertIn(values["mode"], ("testing", "enforce", "none"))
        self.assertLessEqual(int(values["max_age"]), 31557600)

    def test_records(self) -> None:
        """The records are those of RFC 8461 section 3.1 and RFC 8460 section 3."""
        page = PAGE.read_text()
        (sts,) = re.findall(r'^   _mta-sts\.example\.org\. IN TXT "(.*)"$', page, re.MULTILINE)
        self.assertRegex(sts, r"\Av=STSv1; id=[A-Za-z0-9]{1,32}\Z")
        (report,) = re.findall(
            r'^   _smtp\._tls\.example\.org\. IN TXT "(.*)"$', page, re.MULTILINE
        )
        self.assertRegex(report, r"\Av=TLSRPTv1; rua=mailto:[^,;!\s]+\Z")

"""The documentation's configuration files, checked by the programs that they are for."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.test_clients import need
from tests.project.test_examples import unusedPort
from tests.support.certificates import makeCertificate
from tests.support.examples import DOCS, EXAMPLES
from tests.support.liveserver import PATIENCE
from tests.support.processes import startProgram

CONFIG = EXAMPLES / "config"

TWISTD = """\
#!{python}
from twisted.scripts.twistd import run
run()
"""


class ConfigurationTests(SynchronousTestCase):
    """Each in a folder of its own."""

    def setUp(self) -> None:
        # Not below trial's own folder: Postfix and systemd want folders that others may enter.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, *command: str | Path) -> str:
        """Run a program that checks a file; it must be content. What it says is returned."""
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        return said

    def twistd(self) -> Path:
        """A ``twistd`` that works without anything being installed."""
        path = self.folder / "twistd"
        path.write_text(TWISTD.format(python=sys.executable))
        path.chmod(0o755)
        return path

    def test_haproxy(self) -> None:
        """HAProxy takes the file."""
        self.check(need("haproxy"), "-c", "-f", CONFIG / "haproxy.cfg")

    def test_haproxyWithTLS(self) -> None:
        """So it does the one for TLS that ends there, with a certificate."""
        program = need("haproxy")
        made = makeCertificate(None, ["mx.example.com"])
        (self.folder / "mx.pem").write_bytes(made.certPEM + made.keyPEM)
        text = (CONFIG / "haproxy-tls.cfg").read_text()
        self.assertIn("/etc/haproxy/certs/", text)
        path = self.folder / "haproxy-tls.cfg"
        path.write_text(text.replace("/etc/haproxy/certs/", f"{self.folder}/mx.pem"))
        self.check(program, "-c", "-f", path)

    def test_postfix(self) -> None:
        """Postfix takes both files, and knows every parameter in them."""
        program, postconf = need("postfix"), need("postconf")
        if os.getuid() != 0:
            self.skipTest("Postfix checks its files for root only")
        for name in ("config", "queue", "data"):
            (self.folder / name).mkdir()
        main = (CONFIG / "postfix-main.cf").read_text()
        (self.folder / "config/main.cf").write_text(
            f"compatibility_level = 3.6\nconfig_directory = {self.folder}/config\n"
            f"queue_directory = {self.folder}/queue\ndata_directory = {self.folder}/data\n{main}"
        )
        master = (CONFIG / "postfix-master.cf").read_text()
        (self.folder / "config/master.cf").write_text(master)
        config = self.folder / "config"
        self.assertEqual(self.check(program, "-c", config, "check").replace("\n", ""), "")
        used = self.check(postconf, "-c", config, "-n")
        self.assertNotIn("warning", used)
        self.assertIn("virtual_transport = inbox:inet:127.0.0.1:2424", used)
        service = self.check(postconf, "-c", config, "-P", "inbox/unix")
        self.assertEqual(service.strip(), "inbox/unix/lmtp_send_xforward_command = yes")

    def test_systemd(self) -> None:
        """systemd has nothing to say against the units."""
        program = need("systemd-analyze")
        names = ("smtpserver.service", "submission.socket", "submissions.socket")
        for name in names:
            text = (
                (EXAMPLES / "deploy" / name)
                .read_text()
                .replace("/opt/smtpserver/bin/", f"{self.folder}/")
            )
            (self.folder / name).write_text(text)
        self.twistd()
        said = self.check(program, "verify", "--man=no", *(self.folder / name for name in names))
        about = [line for line in said.splitlines() if any(name in line for name in names)]
        self.assertEqual(about, [])

    def test_fail2ban(self) -> None:
        """fail2ban takes the jail, together with its filter."""
        program = need("fail2ban-client")
        config = self.folder / "fail2ban"
        shutil.copytree("/etc/fail2ban", config)
        for path in (config / "jail.d").iterdir():
            path.unlink()
        for name in ("fail2ban-jail.conf", "fail2ban-filter.conf"):
            text = (CONFIG / name).read_text()
            target = text.split()[1]
            self.assertTrue(target.startswith("/etc/fail2ban/"), text)
            (config / Path(target).relative_to("/etc/fail2ban")).write_text(text)
        self.assertIn("successful", self.check(program, "-c", config, "-t"))

    def test_socketActivation(self) -> None:
        """A socket that systemd holds is served, as the how-to says."""
        program = need("systemd-socket-activate")
        page = (DOCS / "howto" / "deploy.rst").read_text()
        self.assertIn("-l 127.0.0.1:2525 --fdname=smtp", page)
        self.assertIn("--listen systemd:domain=INET:name=smtp", page)
        port = unusedPort()
        process = startProgram(
            self,
            *(program, "-l", f"127.0.0.1:{port}", "--fdname=smtp", "-E", "PYTHONPATH"),
            *(str(self.twistd()), "-n", "--pidfile=", "smtpserver"),
            *("--listen", "systemd:domain=INET:name=smtp"),
            cwd=self.folder,
            PYTHONPATH=str(DOCS.parent),
        )
        assert process.stdout is not None
        self.assertIn("Listening on", process.stdout.readline())
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("joe@example.org", ["ann@example.com"], "Subject: hi\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        self.assertEqual(len(list((self.folder / "Maildir/new").iterdir())), 1)

"""``twistd smtpserver`` as a process of its own, over real sockets."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from tests.support.processes import startProgram

ROOT = Path(__file__).parent.parent.parent
TWISTD = "from twisted.scripts.twistd import run; run()"

#: More than enough for anything here, in seconds; then the test fails.
LIMIT = 60

MESSAGE = b"Subject: dots\r\n\r\n.\r\n..two\r\nand \xc3\xa9nough\r\n"


class TwistdTests(SynchronousTestCase):
    """Each test has a folder of its own, in which its servers run."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.output: list[str] = []

    def start(self, *arguments: str, twistd: tuple[str, ...] = ()) -> None:
        """Start a server."""
        command = [sys.executable, "-c", TWISTD, "--nodaemon", *twistd, "smtpserver", *arguments]
        self.process = startProgram(self, *command, cwd=self.folder, PYTHONPATH=str(ROOT))

    def waitFor(self, pattern: str) -> re.Match[str]:
        """Wait until the server says something."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} is not in {''.join(self.output)}")

    def waitForPort(self) -> int:
        """Wait until the server listens, and has started whatever else it starts."""
        return int(self.waitFor(r"Listening for .*port=(\d+)")[1])

    def connect(self, port: int) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", port, timeout=LIMIT)
        self.addCleanup(client.close)
        return client

    def stop(self) -> str:
        """End the server as systemd does; all that it said."""
        self.process.terminate()
        self.output.append(self.process.communicate(timeout=LIMIT)[0])
        return "".join(self.output)

    def stored(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.folder / "Maildir" / "new").iterdir()]

    def test_maildir(self) -> None:
        """A message is stored as it was sent, in ./Maildir, with one line in the log."""
        self.start("--port=0")
        client = self.connect(self.waitForPort())
        client.sendmail("joe@example.com", ["ann@example.com"], MESSAGE)
        client.quit()
        said = self.stop()
        (content,) = self.stored()
        self.assertTrue(content.endswith(b"\r\n" + MESSAGE), content)
        self.assertEqual(said.count("from <joe@example.com>"), 1)

    def test_privileges(self) -> None:
        """With --uid the port is root's, and everything after that is the user's."""
        nobody, self.folder = nobodysFolder(self)
        port = unusedPort(range(600, 1024))
        self.start(f"--port={port}", twistd=("--uid", "nobody"))
        self.assertEqual(self.waitForPort(), port)
        client = self.connect(port)
        client.sendmail("joe@example.com", ["ann@example.com"], MESSAGE)
        owners = {path.stat().st_uid for path in (self.folder / "Maildir").rglob("*")}
        self.assertEqual(owners, {nobody.pw_uid})
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.assertIn(f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}", status)

    def test_passwords(self) -> None:
        """--auth's file must be the user's to read that --uid names, at the start already."""
        _, self.folder = nobodysFolder(self)
        passwords = self.folder / "passwd"
        passwords.write_text("joe:sesame\n")
        passwords.chmod(0o600)
        flags = ("--discard", "--port=0", "--auth=file:passwd", "--allow-insecure-auth")
        self.start(*flags, twistd=("--uid", "nobody"))
        said = self.process.communicate(timeout=LIMIT)[0]
        line = f"twistd smtpserver: --auth: '{passwords}' can't be read: Permission denied\n"
        self.assertIn(line, said)
        self.assertNotIn("Traceback", said)
        self.assertEqual(self.process.returncode, 1)

    def test_passwordsElsewhere(self) -> None:
        """They stay where they were when --rundir is another folder."""
        (self.folder / "passwd").write_text("joe:sesame\n")
        (self.folder / "run").mkdir()
        flags = ("--port=0", "--auth=file:passwd", "--allow-insecure-auth")
        self.start(*flags, twistd=("--rundir", "run"))
        client = self.connect(self.waitForPort())
        self.assertEqual(client.login("joe", "sesame")[0], 235)
        self.assertTrue((self.folder / "run" / "Maildir").exists())

    def test_portTaken(self) -> None:
        """A port that somebody else has is named in one line, and nothing is left behind."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.start(f"--port={taken.getsockname()[1]}")
            said = self.process.communicate(timeout=LIMIT)[0]
        self.assertIn("twistd smtpserver: Couldn't listen on 127.0.0.1:", said)
        self.assertNotIn("Traceback", said)
        self.assertEqual(self.process.returncode, 1)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_wrongFlag(self) -> None:
        """So is a flag that doesn't exist."""
        self.start("--prot=25")
        said = self.process.communicate(timeout=LIMIT)[0]
        reason = "option --prot not recognized; did you mean --port? (see --help)"
        self.assertEqual(said, f"twistd smtpserver: {reason}\n")
        self.assertEqual(self.process.returncode, 1)

    def test_policies(self) -> None:
        """Policies are asked before the handler; a greylist is closed when the server stops."""
        self.start("--port=0", "--greylist=grey.db", "--greylist-delay=0", "--rate-messages=2/h")
        client = self.connect(self.waitForPort())
        client.ehlo("client.example")
        for expected in ((250, 450), (250, 250), (450, 503)):
            got = client.mail("joe@example.com")[0], client.rcpt("ann@example.com")[0]
            self.assertEqual(got, expected)
            client.rset()
        self.assertTrue((self.folder / "grey.db-wal").exists())
        self.assertNotIn("Traceback", self.stop())
        self.assertEqual(sorted(self.folder.glob("grey.db*")), [self.folder / "grey.db"])

    def test_hangUp(self) -> None:
        """SIGHUP makes the server read its certificate again, and closes no connection."""
        first = self.writeCertificate()
        self.start("--listen-tls=0", "--cert=cert.pem", "--key=key.pem", "--discard")
        port = self.waitForPort()
        self.assertEqual(peerCertificate(port), first)
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        with smtplib.SMTP_SSL("localhost", port, timeout=LIMIT, context=context) as client:
            second = self.writeCertificate()
            self.process.send_signal(signal.SIGHUP)
            self.waitFor("certificates were read again")
            self.assertEqual(peerCertificate(port), second)
            self.assertEqual(client.noop()[0], 250)

    def writeCertificate(self) -> str:
        made = makeCertificate(None, ["localhost"])
        (self.folder / "key.pem").write_bytes(made.keyPEM)
        (self.folder / "cert.pem").write_bytes(made.certPEM)
        return made.certPEM.decode()


def nobodysFolder(case: SynchronousTestCase) -> tuple[pwd.struct_passwd, Path]:
    """
    The user nobody, and a folder of theirs; the test is skipped if others than root run it.

    The usual folder may be inside of one that only root may enter.
    """
    if os.getuid() != 0:
        case.skipTest("only root can drop root's privileges")
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp())
    case.addCleanup(shutil.rmtree, folder)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return nobody, folder


def peerCertificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=LIMIT)


def unusedPort(candidates: range) -> int:
    """A port that nobody listens on at the moment."""
    for port in candidates:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")

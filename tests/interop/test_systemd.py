"""The unit under what systemd does: judged, notified, restarted without a connection lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from tests.support.examples import DOCS, EXAMPLES
from tests.support.liveserver import PATIENCE, START
from tests.support.sender import Sender
from tests.support.services import ask, need
from tests.support.systemd import Unit
from twisted_smtpserver.users import passwd

UNIT = EXAMPLES / "deploy/smtpserver.service"
TWISTD = (sys.executable, "-c", START, "--nodaemon", "--pidfile=", "smtpserver")
ENVIRONMENT = {"PYTHONPATH": str(DOCS.parent)}

_IDENTIFIER = re.compile(rb"^message (\S+)\r?$", re.MULTILINE)


class UnitTests(SynchronousTestCase):
    """What the unit forbids, and what the server needs."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_security(self) -> None:
        """systemd rates its exposure at 2.0 or less, of 10."""
        said = ask("systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT))
        found = re.search(r"Overall exposure level for smtpserver.service: ([\d.]+)", said)
        assert found is not None
        self.assertLessEqual(float(found[1]), 2.0)

    def systemCalls(self, *sets: str) -> set[str]:
        """The system calls of sets as systemd has them, those in other sets included."""
        found: set[str] = set()
        for name in sets:
            said = ask("systemd-analyze", "syscall-filter", name)
            for word in re.findall(r"^    ([@\w-]+)$", said, re.MULTILINE):
                found |= self.systemCalls(word) if word.startswith("@") else {word}
        return found

    def test_systemCalls(self) -> None:
        """
        Whatever the server does, it asks the kernel for nothing that the unit forbids: TLS, a
        login, a message that is stored, new certificates, a stop.
        """
        filters = re.findall(r"^SystemCallFilter=(~?)(.*)$", UNIT.read_text(), re.MULTILINE)
        ((_, allowed), (_, denied)) = filters
        self.assertEqual([mark for mark, _ in filters], ["", "~"])
        calls = self.systemCalls(*allowed.split()) - self.systemCalls(*denied.split())
        self.assertGreater(len(calls), 100)
        made = makeCertificate(None, ["localhost"])
        for name, content in (("cert", made.certPEM), ("key", made.keyPEM)):
            (self.folder / name).write_bytes(content)
        passwd.main([str(self.folder / "users"), "ann@example.com"], ask=lambda _: "sesame")
        trace = self.folder / "trace"
        unit = Unit(
            [
                *(need("strace"), "-D", "-f", "-o", str(trace), *TWISTD),
                *("--listen-tls", "systemd:domain=INET:name=submissions", "--submission"),
                *("--auth=htpasswd:users", "--sender-matches-login", "--maildir=Maildir"),
                *("--cert=cert", "--key=key"),
            ],
            self.folder,
            ["submissions"],
            environment=ENVIRONMENT,
        )
        self.addCleanup(unit.close)
        unit.start()
        context = ssl.create_default_context(cadata=made.certPEM.decode())
        port = unit.ports["submissions"]
        with smtplib.SMTP_SSL("localhost", port, timeout=PATIENCE, context=context) as client:
            client.login("ann@example.com", "sesame")
            client.sendmail("ann@example.com", "joe@example.org", b"Subject: hi\r\n\r\nhi\r\n")
        unit.reload()
        unit.stop()
        self.assertEqual(len(list((self.folder / "Maildir/new").iterdir())), 1)
        lines = trace.read_text(errors="replace")
        used = set(re.findall(r"^\d+ +(\w+)\(", lines, re.MULTILINE))
        self.assertLessEqual({"accept4", "fsync", "sendto"}, used)
        self.assertEqual(used - calls, set())


class Watchful(Sender):
    """
    Sends each message over a new connection, and some over an older one.

    :ivar trouble: what may not happen: a connection that is refused, reset, or not greeted by 220.
    """

    def __init__(self, port: int, name: str, progress: threading.Semaphore) -> None:
        super().__init__(port, name, progress)
        self.trouble: list[str] = []

    def run(self) -> None:
        """Send."""
        while not self.isDone.is_set() and not self.trouble:
            try:
                client = smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE)
            except (OSError, smtplib.SMTPException) as error:
                self.trouble.append(f"no greeting: {error!r}")
                return
            try:
                with client:
                    for _ in range(3):
                        self.send(client, _makeMessage)
            except smtplib.SMTPException as error:
                # Told 421 after the last message: come again.
                isGone = isinstance(error, smtplib.SMTPServerDisconnected)
                if not isGone and getattr(error, "smtp_code", 0) != 421:
                    self.trouble.append(repr(error))
            except OSError as error:
                self.trouble.append(repr(error))


def _makeMessage(identifier: str) -> bytes:
    return f"Subject: x\r\n\r\nmessage {identifier}\r\n".encode()


class RestartTests(SynchronousTestCase):
    """Socket activation, as systemd does it."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, *flags: str) -> Unit:
        command = [*TWISTD, "--listen", "systemd:domain=INET:name=submission", *flags]
        unit = Unit(command, self.folder, ["submission"], environment=ENVIRONMENT, watchdog=2)
        self.addCleanup(unit.close)
        unit.start()
        return unit

    def check(self, restarts: int, *flags: str) -> None:
        """Restart the server under load: nobody is refused, nothing is lost or comes twice."""
        unit = self.start(*flags)
        progress = threading.Semaphore(0)
        senders = [Watchful(unit.ports["submission"], str(name), progress) for name in range(4)]
        for sender in senders:
            sender.start()
        for _ in range(restarts):
            for _ in range(20):
                self.assertTrue(progress.acquire(timeout=PATIENCE), "the senders are stuck")
            unit.restart()
        for _ in range(20):
            self.assertTrue(progress.acquire(timeout=PATIENCE), "the senders are stuck")
        for sender in senders:
            sender.isDone.set()
        for sender in senders:
            sender.join(PATIENCE)
        unit.stop()
        self.assertEqual([sender.trouble for sender in senders], [[] for _ in senders])
        accepted = sorted(each for sender in senders for each in sender.accepted)
        stored = []
        for path in (self.folder / "Maildir/new").iterdir():
            (identifier,) = _IDENTIFIER.findall(path.read_bytes())
            stored.append(identifier.decode())
        self.assertEqual(sorted(stored), accepted)

    def test_nobodyIsRefused(self) -> None:
        """Whoever comes while the server is away waits for the next one."""
        self.check(3)

    def test_workers(self) -> None:
        """So it is with workers."""
        self.check(1, "--workers=2")

    def test_told(self) -> None:
        """Signs of life come; a SIGHUP and the stop are told."""
        unit = self.start()
        self.assertEqual(unit.told[:1], ["STATUS=0 connections"])
        unit.awaitTold("WATCHDOG=1", "WATCHDOG=1")
        unit.reload()
        unit.process.terminate()
        unit.awaitTold("STOPPING=1")

    def test_toldOfWorkers(self) -> None:
        """It is ready when all workers are; the status tells of one that has died."""
        unit = self.start("--workers=2")
        found = re.findall(r"Worker \d has pid (\d+)", unit.log)

        os.kill(int(found[0]), signal.SIGKILL)
        unit.awaitTold("STATUS=1 of 2 workers serve", "STATUS=2 of 2 workers serve")
        details: Any = Path(f"/proc/{found[1]}/environ").read_bytes().split(b"\0")
        self.assertEqual([each for each in details if b"NOTIFY" in each or b"WATCH" in each], [])

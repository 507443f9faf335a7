"""
A message answered 250 is safe: with kill -9 at any moment, and with a server told to stop.
"""

from __future__ import annotations

import os
import random
import re
import signal
import smtplib
import subprocess
import sys
import threading
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.support.liveserver import PATIENCE, LiveServer

ROUNDS = 30
CLIENTS = 4

_ID = re.compile(rb"^X-Id: (\S+)\r$", re.MULTILINE)


def makeMessage(identifier: str, size: int) -> bytes:
    """A message that says at its end which one it was: a half one can be told."""
    filler = (b"x" * 70 + b"\r\n") * (size // 72)
    return b"X-Id: %b\r\n\r\n%b.end %b\r\n" % (identifier.encode(), filler, identifier.encode())


class Sender(threading.Thread):
    """Sends messages until the server is gone; remembers those that were answered 250."""

    def __init__(self, port: int, name: str, progress: threading.Semaphore) -> None:
        super().__init__()
        self.accepted: list[str] = []
        self._port = port
        self._prefix = name
        self._progress = progress

    def run(self) -> None:
        """Send up to a thousand."""
        try:
            with smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE) as client:
                for number in range(1000):
                    identifier = f"{self._prefix}-{number}"
                    content = makeMessage(identifier, random.choice((100, 100, 300_000)))
                    client.sendmail("a@client.example", "b@server.example", content)
                    self.accepted.append(identifier)
                    self._progress.release()
        except (smtplib.SMTPException, OSError):
            pass  # it was killed, as it should be


class KillTests(TestCase):
    """kill -9."""

    def test_nothingIsLost(self) -> None:
        """Killed some dozen times under load, the server has lost nothing that it accepted."""
        maildir = Path(self.mktemp()).absolute()
        root = Path(__file__).parent.parent.parent
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killedserver", str(maildir)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(server.communicate, timeout=PATIENCE)
        accepted: list[str] = []
        for number in range(ROUNDS):
            accepted += self.round(server, number)
        self.assertGreaterEqual(len(accepted), ROUNDS)
        stored: dict[str, bytes] = {}
        for path in (maildir / "new").iterdir():
            content = path.read_bytes()
            found = _ID.search(content)
            assert found is not None, content[:200]
            identifier = found[1].decode()
            self.assertTrue(content.endswith(b".end %b\r\n" % found[1]), "half a message")
            self.assertNotIn(identifier, stored)
            stored[identifier] = content
        self.assertEqual(set(accepted) - set(stored), set())

    def round(self, server: subprocess.Popen[str], number: int) -> list[str]:
        """One life of the server, ended after a random number of messages."""
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write("go\n")
        server.stdin.flush()
        pid, port = map(int, server.stdout.readline().split())
        progress = threading.Semaphore(0)
        senders = [Sender(port, f"{number}-{name}", progress) for name in range(CLIENTS)]
        for sender in senders:
            sender.start()
        for _ in range(random.randint(1, 25)):
            self.assertTrue(progress.acquire(timeout=PATIENCE), "the senders are stuck")
        os.kill(pid, signal.SIGKILL)
        for sender in senders:
            sender.join(PATIENCE)
            self.assertFalse(sender.is_alive())
        self.assertEqual(server.stdout.readline(), "gone\n")
        return [identifier for sender in senders for identifier in sender.accepted]


class StopTests(TestCase):
    """SIGTERM."""

    def test_messageInFlight(self) -> None:
        """A message in flight is finished; an idle client is told 421; then the server ends."""
        with LiveServer(Path(self.mktemp()).absolute()) as server:
            idle = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
            busy = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
            busy.ehlo()
            busy.mail("a@client.example")
            busy.rcpt("b@server.example")
            self.assertEqual(busy.docmd("DATA")[0], 354)
            busy.send(b"X-Id: one\r\n\r\n")
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(idle.getreply()[0], 421)
            busy.send(b".end one\r\n.\r\n")
            self.assertEqual(busy.getreply()[0], 250)
            self.assertEqual(busy.getreply()[0], 421)
            idle.close()
            busy.close()
            log = server.stop()
            self.assertIn("Server Shut Down", log)
            self.assertEqual(len(server.messages()), 1)
            self.assertNotIn("Traceback", log)

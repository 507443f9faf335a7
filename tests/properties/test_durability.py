"""
A message answered 250 is safe: with kill -9 at any moment, and with a server told to stop.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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


#: A handler that stores in threads of its own, slowly, and leaves files that tell how far it got.
HANDLER = """
import os
import time
from concurrent.futures import ThreadPoolExecutor

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from twisted_smtpserver import SMTPHandler


class Handler(SMTPHandler):
    pool = ThreadPoolExecutor(8)

    async def onData(self, stream, session):
        content = await stream.read()
        stored = Deferred()
        self.pool.submit(self.store, content, session.envelope, stored)
        await stored
        return "stored"

    def store(self, content, envelope, stored):
        name = content.split()[1].decode()
        open(f"came-{name}", "w").close()
        if name == "before":
            wait("stopped")
        try:
            envelope.beginCommit()
        except CancelledError:
            open(f"late-{name}", "w").close()
            return
        open(f"begun-{name}", "w").close()
        wait("late-before")  # the server may end right after this one
        open(f"stored-{name}", "w").close()
        reactor.callFromThread(stored.callback, None)


def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
"""


class StopTests(TestCase):
    """SIGTERM."""

    def begin(self, server: LiveServer, identifier: str) -> smtplib.SMTP:
        """A client that has sent all of a message but its final dot."""
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.ehlo()
        client.mail("a@client.example")
        client.rcpt("b@server.example")
        self.assertEqual(client.docmd("DATA")[0], 354)
        client.send(b"X-Id: %b\r\n\r\n" % identifier.encode())
        return client

    def test_atTheFinalDot(self) -> None:
        """With final dots and SIGTERM in one moment: what is stored is what was answered 250."""
        server = LiveServer(Path(self.mktemp()).absolute(), "--close-timeout=0.02")
        self.addCleanup(server.__exit__)
        clients = [self.begin(server, f"id-{number}") for number in range(40)]
        for number, client in enumerate(clients):
            if number == 20:
                server.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(OSError):
                client.send(b".\r\n")
        answers = [_replyTo(client) for client in clients]
        log = server.stop()
        stored = {found[1].decode() for each in server.messages() if (found := _ID.search(each))}
        accepted = {f"id-{number}" for number, code in enumerate(answers) if code == 250}
        self.assertEqual(stored, accepted)
        self.assertLessEqual(set(answers), {250, 421}, answers)
        self.assertNotIn("Traceback", log)

    def test_ownThreads(self) -> None:
        """
        A handler with threads of its own: what it can't take back is waited for, and answered 250;
        what it would store after the 421 isn't.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "slow.py").write_text(HANDLER)
        server = LiveServer(folder, "--handler", "slow.Handler", "--close-timeout=0.1")
        self.addCleanup(server.__exit__)
        before, committing = (self.begin(server, name) for name in ("before", "committing"))
        for client in (before, committing):
            client.send(b".\r\n")
        for name in ("came-before", "begun-committing"):
            _until((folder / name).exists)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(_replyTo(before), 421)
        (folder / "stopped").touch()
        self.assertEqual([_replyTo(committing) for _ in range(2)], [250, 421])
        log = server.stop()
        self.assertTrue((folder / "late-before").exists())
        self.assertTrue((folder / "stored-committing").exists())
        self.assertFalse((folder / "stored-before").exists())
        self.assertNotIn("Traceback", log)

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


def _replyTo(client: smtplib.SMTP) -> int:
    """The next reply's code; 421 if the connection is gone."""
    try:
        return client.getreply()[0]
    except (smtplib.SMTPException, OSError):
        return 421


def _until(isTrue: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not isTrue():
        assert time.monotonic() < deadline
        time.sleep(0.01)

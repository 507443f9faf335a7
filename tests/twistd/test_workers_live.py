"""``twistd smtpserver --workers`` with real processes: killed, stopped, sharing all they have."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import shutil
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.properties.test_durability import _ID, makeMessage
from tests.support.certificates import makeCertificate
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.sender import Sender
from tests.twistd.test_twistd import TWISTD, nobodysFolder, peerCertificate, unusedPort

WORKERS = 2
KILLS = 4
_STARTED = re.compile(r"Worker (\d) has pid (\d+)")


def passable(scratch: Path) -> tuple[str, ...]:
    """
    A command under which others than root can run this Python, also if it lies in root's home.

    It sees the same files at the same paths, in a mount namespace of its own, where the folder that
    keeps others out is another one.

    :param scratch: a folder that can be made.
    """
    needed = [sys.base_prefix, sys.prefix, str(Path(__file__).parent.parent.parent)]
    shut = [p for path in needed for p in Path(path).parents if not p.stat().st_mode & stat.S_IXOTH]
    if not shut:
        return ()
    outside = min(shut, key=lambda path: len(path.parts))
    script = ""
    inside = [path for path in needed if outside in Path(path).parents]
    for number, path in enumerate(inside):
        script += f"mkdir -p '{scratch}/{number}'; mount --bind '{path}' '{scratch}/{number}'\n"
    script += f"mount -t tmpfs -o mode=755 none '{outside}'\n"
    for number, path in enumerate(inside):
        script += f"mkdir -p '{path}'; mount --bind '{scratch}/{number}' '{path}'\n"
    return ("unshare", "--mount", "sh", "-ec", script + 'exec "$@"', "sh")


class Server(LiveServer):
    """Several workers; it is up when all of them serve."""

    def __init__(self, folder: Path, *flags: str, **more: Any) -> None:
        super().__init__(folder, *flags, f"--workers={WORKERS}", **more)
        try:
            for name in range(1, WORKERS + 1):
                self.awaitServing(name)
        except BaseException:
            self.kill()
            raise

    def awaitCount(self, text: str, count: int = 1) -> None:
        """Wait until it has logged something so many times."""
        deadline = time.monotonic() + PATIENCE
        while self.log.count(text) < count:
            assert self._readLog(deadline - time.monotonic()), f"no {text!r} in\n{self.log}"

    def awaitServing(self, name: int, count: int = 1) -> None:
        """Wait until a worker serves, for the so manieth time, with one listener."""
        self.awaitCount(f"[twisted_smtpserver.service#info, worker {name}] Listening for", count)

    def hangUp(self) -> None:
        """Make it read certificates, and wait until all workers have them."""
        self.process.send_signal(signal.SIGHUP)
        for name in range(1, WORKERS + 1):
            self.awaitLog(f"worker {name}] New certificates from the supervisor are in use")

    def pids(self) -> dict[int, int]:
        """The process ids of the workers that were started last, as far as the log was read."""
        return {int(name): int(pid) for name, pid in _STARTED.findall(self.log)}

    def killWorker(self, name: int) -> None:
        """Kill -9 a worker, and wait until there is a new one."""
        pid = self.pids()[name]
        text = f"[twisted_smtpserver.service#info, worker {name}] Listening for"
        before = self.log.count(text)
        os.kill(pid, signal.SIGKILL)
        self.awaitLog(f"Worker {name} (pid {pid}) was killed by SIGKILL; starting it again in")
        self.awaitCount(text, before + 1)


def awaitEnd(pids: list[int]) -> None:
    """Wait until processes that aren't ours are gone; without a pause, but not for ever."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        os.close(descriptor)
        assert ready, f"{pid} doesn't end"


def endAnyway(pid: int) -> None:
    """Leave no daemon behind when a test has failed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def connect(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE)


class Stubborn(Sender):
    """Comes again when a connection is lost."""

    def run(self) -> None:
        """Send."""
        while not self.isDone.is_set():
            try:
                with connect(self.port) as client:
                    for _ in range(10):
                        self.send(client, self._make)
            except (smtplib.SMTPException, OSError):
                pass  # that worker was killed

    @staticmethod
    def _make(identifier: str) -> bytes:
        return makeMessage(identifier, random.choice((100, 100, 300_000)))


class WorkersTests(SynchronousTestCase):
    """Each test has a folder of its own, in which its servers run."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def connect(self, port: int) -> smtplib.SMTP:
        client = connect(port)
        self.addCleanup(client.close)
        return client

    def writeCertificate(self) -> str:
        made = makeCertificate(None, ["localhost"])
        (self.folder / "key.pem").write_bytes(made.keyPEM)
        (self.folder / "key.pem").chmod(0o600)
        (self.folder / "cert.pem").write_bytes(made.certPEM)
        return made.certPEM.decode()


class KillTests(WorkersTests):
    """kill -9."""

    def test_nothingIsLost(self) -> None:
        """Workers are killed under load and started again; nothing answered 250 is lost."""
        with Server(self.folder) as server:
            progress = threading.Semaphore(0)
            senders = [Stubborn(server.port, str(name), progress) for name in range(3)]
            for sender in senders:
                sender.start()
            for number in range(KILLS):
                for _ in range(20):
                    self.assertTrue(progress.acquire(timeout=PATIENCE), "the senders are stuck")
                server.killWorker(number % WORKERS + 1)
            for sender in senders:
                sender.isDone.set()
            for sender in senders:
                sender.join(PATIENCE)
                self.assertFalse(sender.is_alive())
            server.stop()
            accepted = {identifier for sender in senders for identifier in sender.accepted}
            self.assertGreaterEqual(len(accepted), KILLS * 20)
            stored: list[str] = []
            for content in server.messages():
                found = _ID.search(content)
                assert found is not None
                self.assertTrue(content.endswith(b".end %b\r\n" % found[1]), "half a message")
                stored.append(found[1].decode())
            self.assertEqual(len(stored), len(set(stored)))
            self.assertEqual(accepted - set(stored), set())

    def test_supervisor(self) -> None:
        """When the supervisor is killed, its workers say goodbye to their clients and end."""
        server = Server(self.folder)
        pids = list(server.pids().values())
        with connect(server.port) as idle:
            server.kill()
            self.assertEqual(idle.getreply()[0], 421)
        awaitEnd(pids)
        with self.assertRaises(ConnectionRefusedError):
            connect(server.port)


class StartTests(WorkersTests):
    """What keeps all workers from starting is the end, as it is without them."""

    def test_failure(self) -> None:
        """The reason is in the log, the status is 1, and nobody listens anymore."""
        (self.folder / "Maildir").touch()
        server = LiveServer(self.folder, "--workers=2")
        self.addCleanup(server.__exit__)
        server.process.wait(PATIENCE)
        log = server.kill()
        self.assertIn(f"smtpserver: --maildir: '{self.folder}/Maildir' is not a folder\n", log)
        self.assertIn("No worker could start, so twistd stops", log)
        self.assertNotIn("Traceback", log)
        self.assertEqual(server.process.returncode, 1, log)
        with self.assertRaises(ConnectionRefusedError):
            connect(server.port)

    def test_daemon(self) -> None:
        """A daemon has the reason in its log, and leaves no pid file."""
        (self.folder / "Maildir").touch()
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        subprocess.run(
            [sys.executable, "-c", TWISTD, "smtpserver", "--workers=2", "--port=0"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
            pass_fds=[write],
            check=True,
            timeout=PATIENCE,
        )
        os.close(write)
        ready, _, _ = select.select([read], [], [], PATIENCE)  # the daemon had it open to its end
        if not ready:
            endAnyway(int((self.folder / "twistd.pid").read_text()))
        self.assertTrue(ready)
        log = (self.folder / "twistd.log").read_text()
        self.assertIn("/Maildir' is not a folder\n", log)
        self.assertIn("No worker could start, so twistd stops", log)
        self.assertIn("Server Shut Down.", log)
        self.assertEqual(sorted(os.listdir(self.folder)), ["Maildir", "twistd.log"])

    def test_passwords(self) -> None:
        """A worker finds --auth's file outside of --rundir, and must be able to read it."""
        _, self.folder = nobodysFolder(self)
        passwords, rundir = self.folder / "passwd", self.folder / "run"
        passwords.write_text("joe:sesame\n")
        rundir.mkdir()
        flags = ("--auth=file:passwd", "--allow-insecure-auth", "--workers=2")
        more: Any = {
            "twistd": ("--uid", "nobody", "--rundir", "run"),
            "prefix": passable(self.folder / "shown"),
        }
        with Server(self.folder, *flags, **more) as server, connect(server.port) as client:
            self.assertEqual(client.login("joe", "sesame")[0], 235)
        passwords.chmod(0o600)
        broken = LiveServer(self.folder, *flags, **more)
        self.addCleanup(broken.__exit__)
        broken.process.wait(PATIENCE)
        log = broken.kill()
        self.assertIn(f"--auth: '{passwords}' can't be read: Permission denied\n", log)
        self.assertEqual(broken.process.returncode, 1, log)


class StopTests(WorkersTests):
    """SIGTERM, to the supervisor only."""

    def test_messageInFlight(self) -> None:
        """A message in flight is finished; an idle client is told 421; then all are gone."""
        with Server(self.folder) as server:
            idle, busy = self.connect(server.port), self.connect(server.port)
            busy.ehlo()
            busy.mail("a@client.example")
            busy.rcpt("b@server.example")
            self.assertEqual(busy.docmd("DATA")[0], 354)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(idle.getreply()[0], 421)
            idle.close()
            busy.send(b".end one\r\n.\r\n")
            self.assertEqual(busy.getreply()[0], 250)
            self.assertEqual(busy.getreply()[0], 421)
            busy.close()
            pids = server.pids().values()
            log = server._end()
        self.assertEqual(len(server.messages()), 1)
        self.assertRegex(log, r"Worker 1 \(pid \d+\) ended\n")
        self.assertRegex(log, r"Worker 2 \(pid \d+\) ended\n")
        self.assertIn("UnixAppLogger#info] Server Shut Down.", log)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("again", log)
        for pid in pids:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_hangUpAtTheStart(self) -> None:
        """SIGHUP to all processes, as terminals send it, ends no worker that is just starting."""
        with LiveServer(self.folder, "--workers=2") as server:
            for name in (1, 2):
                server.awaitLog(f"Worker {name} has pid")
            for _ in range(20):
                for _, pid in _STARTED.findall(server.log):
                    os.kill(int(pid), signal.SIGHUP)
                server.process.send_signal(signal.SIGHUP)
            for name in (1, 2):
                server.awaitLog(f"worker {name}] Listening for")
            for _, pid in _STARTED.findall(server.log):
                os.kill(int(pid), signal.SIGHUP)
            connect(server.port).close()
            log = server.stop()
        self.assertNotIn("killed", log)

    def test_everybody(self) -> None:
        """Nothing is wrong with signals to all processes at once, as terminals send them."""
        self.writeCertificate()
        with Server(self.folder, "--cert=cert.pem", "--key=key.pem") as server:
            server.hangUp()  # since then they handle signals
            for pid in server.pids().values():
                os.kill(pid, signal.SIGINT)
            server.process.send_signal(signal.SIGINT)
            log = server._end()
        self.assertNotIn("Traceback", log, log)

    def test_daemon(self) -> None:
        """As a daemon with a pid file it is no different, and the workers are in its log."""
        command = [sys.executable, "-c", TWISTD, "smtpserver", "--workers=2"]
        port = unusedPort(range(20000, 30000))
        subprocess.run(
            [*command, f"--port={port}"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
            check=True,
            timeout=PATIENCE,
        )
        pid = int((self.folder / "twistd.pid").read_text())
        self.addCleanup(endAnyway, pid)
        with connect(port) as client:  # whoever comes before the workers are up waits for them
            client.sendmail("a@client.example", "b@server.example", b"\r\nx\r\n")
        os.kill(pid, signal.SIGTERM)
        awaitEnd([pid])
        self.assertFalse((self.folder / "twistd.pid").exists())
        log = (self.folder / "twistd.log").read_text()
        self.assertRegex(log, r"\[twisted_smtpserver#info, worker [12]\] \w+: message ")
        self.assertRegex(log, r"Worker 2 \(pid \d+\) ended\n")
        self.assertEqual(len(list((self.folder / "Maildir" / "new").iterdir())), 1)


class SharingTests(WorkersTests):
    """What all workers have in common."""

    def test_hangUp(self) -> None:
        """SIGHUP to the supervisor gives all workers the new certificate, also later ones."""
        first = self.writeCertificate()
        flags = ("--listen-tls=0", "--cert=cert.pem", "--key=key.pem", "--discard")
        with Server(self.folder, *flags) as server:
            self.assertEqual(peerCertificate(server.port), first)
            second = self.writeCertificate()
            server.hangUp()
            server.killWorker(1)
            # Whoever is there first serves; each of them is, sooner or later.
            self.assertEqual({peerCertificate(server.port) for _ in range(10)}, {second})

    def test_privileges(self) -> None:
        """With --uid ports and keys are root's; all else is the user's, after a death, too."""
        nobody, self.folder = nobodysFolder(self)
        first = self.writeCertificate()
        port = unusedPort(range(600, 1024))
        flags = (f"--listen-tls={port}", "--cert=cert.pem", "--key=key.pem")
        more: Any = {"twistd": ("--uid", "nobody"), "prefix": passable(self.folder / "shown")}
        with Server(self.folder, *flags, **more) as server:
            for name in (1, 2):
                server.killWorker(name)
            for pid in server.pids().values():
                status = Path(f"/proc/{pid}/status").read_text()
                self.assertIn(f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}", status)
            context = ssl.create_default_context(cadata=first)
            with smtplib.SMTP_SSL("localhost", port, timeout=PATIENCE, context=context) as client:
                client.sendmail("a@client.example", "b@server.example", b"\r\nx\r\n")
        (path,) = (server.maildir / "new").iterdir()
        self.assertEqual(path.stat().st_uid, nobody.pw_uid)

    def test_maxClients(self) -> None:
        """--max-clients counts the clients of all workers, and those of a dead one no more."""
        with Server(self.folder, "--max-clients=3") as server:
            clients = [self.connect(server.port) for _ in range(3)]
            for _ in range(5):
                with self.assertRaises(smtplib.SMTPConnectError) as caught:
                    connect(server.port)
                self.assertEqual(caught.exception.smtp_code, 421)
            clients.pop().quit()
            server.awaitLog(": quit\n")  # 221 comes before the connection is gone
            clients.append(self.connect(server.port))
            for name in (1, 2):
                server.killWorker(name)
            for client in clients:
                client.close()
            for client in [self.connect(server.port) for _ in range(3)]:
                client.quit()

    def test_listeners(self) -> None:
        """Several TCP ports and a unix socket are shared; its path outlives a worker, as it was."""
        self.folder = Path(tempfile.mkdtemp())  # a unix socket's path mustn't be long
        self.addCleanup(shutil.rmtree, self.folder)
        path = self.folder / "socket"
        with Server(
            self.folder,
            "--listen=tcp:0:interface=127.0.0.1",
            f"--listen=unix:{path}:mode=600",
            "--listen-lmtp=0",
            listeners=3,
        ) as server:
            server.awaitServing(1, 3)
            server.awaitServing(2, 3)
            server.killWorker(1)
            os.kill(server.pids()[2], signal.SIGTERM)  # it ends in order, and is started again
            server.awaitLog("was killed by SIGTERM; starting it again in 1 s")
            server.awaitServing(2, 6)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            server.awaitServing(1, 6)
            for _ in range(6):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(PATIENCE)
                    client.connect(str(path))
                    self.assertEqual(client.recv(4), b"220 ")
            for port in server.ports:
                if port:
                    connect(port).close()
        self.assertFalse(path.exists())

    def test_systemd(self) -> None:
        """A socket of systemd's is shared, too."""
        bash = shutil.which("bash")
        if bash is None:
            self.skipTest("bash isn't installed")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.set_inheritable(True)
            script = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a exec "$@" 3<&{listener.fileno()}'
            with Server(
                self.folder,
                "--listen=systemd:domain=INET:name=a",
                prefix=(bash, "-c", script, "bash"),
            ) as server:
                server.killWorker(1)
                port = listener.getsockname()[1]
                with connect(port) as client:
                    client.sendmail("a@client.example", "b@server.example", b"\r\nx\r\n")
            self.assertEqual(len(server.messages()), 1)

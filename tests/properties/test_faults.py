"""
What the machine does to a running server: full disks, wrong modes, lost folders, no descriptors.

In each case clients are told precisely what to do, and nothing of why; the server lives on, and
serves as before when the trouble is over; what it answered 250 is there, once; nothing else is.
``docs/topics/failures.rst`` lists all faults and their tests.
"""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import smtplib
import socket
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver.message.files import HOP_SIZE

IS_ROOT = os.geteuid() == 0

FULL = (452, b"4.3.1 Insufficient system storage")
TROUBLE = (451, b"4.3.0 Local error in processing, try again later")

_END = re.compile(rb"\.end (\d+)\r\n\Z")


class FaultCase(SynchronousTestCase):
    """What the tests here share: a server, a client, and the numbers of the accepted messages."""

    twistd: tuple[str, ...] = ()

    def setUp(self) -> None:
        # The usual folder may be inside of one that only root may enter.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.accepted: list[int] = []
        self.sent = 0

    def start(self, *flags: str) -> None:
        """Start the server, and connect a client that stays."""
        self.server = LiveServer(self.folder, *flags, twistd=self.twistd)
        self.addCleanup(self.server.__exit__)
        self.client = self.connect()

    def connect(self) -> smtplib.SMTP:
        """Another client."""
        client = smtplib.SMTP("127.0.0.1", self.server.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def send(self, size: int = 0, client: smtplib.SMTP | None = None) -> tuple[int, bytes]:
        """Send a message that says at its end which it was; the reply if that was a refusal."""
        self.sent += 1
        filler = (b"x" * 70 + b"\r\n") * (size // 72)
        content = b"X-Test: fault\r\n\r\n%b.end %d\r\n" % (filler, self.sent)
        try:
            (client or self.client).sendmail("a@client.example", "b@server.example", content)
        except smtplib.SMTPResponseException as error:
            return error.smtp_code, error.smtp_error  # type: ignore[return-value]
        self.accepted.append(self.sent)
        return 250, b""

    def assertWell(self) -> None:
        """The same connection is served, and all that was accepted is there, once and whole."""
        self.assertEqual(self.client.noop()[0], 250)
        self.assertEqual(self.send(), (250, b""))
        numbers = []
        for content in self.server.messages():
            found = _END.search(content)
            assert found is not None, f"half a message: {content[-80:]!r}"
            numbers.append(int(found[1]))
        self.assertEqual(sorted(numbers), self.accepted)
        self.assertEqual(os.listdir(self.server.maildir / "tmp"), [])


class DiskFullTests(FaultCase):
    """A file system without room; where none may be mounted, a limit for files stands in."""

    def mount(self) -> bool:
        """Mount a small file system on the folder, if that is allowed."""
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self.folder)]
        if not IS_ROOT or subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(self.folder)], check=True)
        return True

    def limit(self, octets: int) -> None:
        """Let no file of the server's get larger."""
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (octets, -1))

    def test_full(self) -> None:
        """452 4.3.1 while there is no room, even for what just began; then it goes on."""
        isMounted = self.mount()
        self.start()
        for _ in range(3):
            self.assertEqual(self.send(100_000)[0], 250)
        filling = self.folder / "filling"
        if isMounted:
            with filling.open("wb", buffering=0) as file:
                while file.tell() < 2**20 - 500_000:
                    file.write(bytes(10_000))
        else:
            self.limit(HOP_SIZE)
        for _ in range(3):
            self.assertEqual(self.send(2 * HOP_SIZE), FULL)
        self.assertEqual(os.listdir(self.server.maildir / "tmp"), [])
        if isMounted:
            filling.unlink()
        else:
            self.limit(-1)
        self.assertEqual(self.send(HOP_SIZE)[0], 250)
        self.assertWell()
        self.assertNotIn("Traceback", self.server.stop())

    def test_largestFile(self) -> None:
        """RLIMIT_FSIZE is a full disk, too, and not a signal that ends the server."""
        self.start()
        self.limit(1000)
        self.assertEqual(self.send(2000), FULL)
        self.assertEqual(self.send(2 * HOP_SIZE), FULL)
        self.assertWell()


class PermissionTests(FaultCase):
    """A Maildir that isn't ours to write. Root may write everywhere, and so becomes nobody."""

    def setUp(self) -> None:
        super().setUp()
        if IS_ROOT:
            self.twistd = ("--uid", "nobody")
            os.chown(self.folder, pwd.getpwnam("nobody").pw_uid, -1)

    def test_running(self) -> None:
        """451 4.3.0 while the server may not write, be it the one folder or the other."""
        self.start()
        self.assertEqual(self.send()[0], 250)
        for name in ("tmp", "new"):
            folder = self.server.maildir / name
            before = folder.stat()
            for size in (0, 2 * HOP_SIZE):
                folder.chmod(0o555)
                self.assertEqual(self.send(size), TROUBLE)
                folder.chmod(before.st_mode)
                self.assertWell()

    def test_starting(self) -> None:
        """A server that can't make its Maildir says so in a line, and doesn't begin to serve."""
        self.folder.chmod(0o555)
        server = LiveServer(self.folder, twistd=self.twistd)
        server.process.wait(PATIENCE)
        self.assertIn("twistd smtpserver: [Errno 13] Permission denied: ", server.kill())
        self.assertEqual(server.process.returncode, 1)
        self.assertEqual(os.listdir(self.folder), [])


class FolderGoneTests(FaultCase):
    """
    The Maildir is removed. It isn't made again: it may be a file system that isn't mounted, and
    what is stored in its place is lost to sight when it comes back.
    """

    def test_removed(self) -> None:
        """451 4.3.0 until somebody has made it again, also for a message that is under way."""
        self.start()
        self.client.ehlo()
        self.client.mail("a@client.example")
        self.client.rcpt("b@server.example")
        self.assertEqual(self.client.docmd("DATA")[0], 354)
        self.client.send(b"x" * 70 + b"\r\n")
        shutil.rmtree(self.server.maildir)
        self.client.send(b".\r\n")
        self.assertEqual(self.client.getreply(), TROUBLE)
        for size in (0, 2 * HOP_SIZE):
            self.assertEqual(self.send(size), TROUBLE)
        self.assertFalse(self.server.maildir.exists())
        for name in ("tmp", "new", "cur"):
            (self.server.maildir / name).mkdir(parents=True)
        self.assertWell()


class DescriptorTests(FaultCase):
    """
    EMFILE. Twisted keeps a descriptor in reserve: it gives that up to take whoever is next, and
    closes them. So nobody waits in vain, and the reactor doesn't spin on a port that stays ready.
    """

    def limit(self, descriptors: int) -> None:
        """How many the server may have."""
        pid = self.server.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))

    def isGreeted(self) -> bool:
        """Whether a new client is greeted; it stays. Otherwise it is sent away at once."""
        client = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        self.addCleanup(client.close)
        self.clients.append(client)
        try:
            return client.recv(3) == b"220"
        except ConnectionResetError:
            return False

    def test_exhausted(self) -> None:
        """Newcomers are closed, sessions go on, messages wait; later all is as it was."""
        self.clients: list[socket.socket] = []
        self.start("--max-clients=1000")
        self.assertEqual(self.send()[0], 250)
        before = resource.prlimit(self.server.process.pid, resource.RLIMIT_NOFILE)[0]
        used = max(map(int, os.listdir(f"/proc/{self.server.process.pid}/fd")))
        self.limit(used + 5)
        greeted = [self.isGreeted() for _ in range(20)]
        self.assertEqual(sorted(greeted, reverse=True), greeted)
        self.assertIn(True, greeted)
        self.assertEqual(greeted[-10:], [False] * 10)
        for size in (0, 2 * HOP_SIZE):
            self.assertEqual(self.send(size), TROUBLE)
        for _ in range(100):
            self.assertEqual(self.client.noop()[0], 250)
        for client in self.clients:
            client.close()
        self.limit(before)
        self.assertTrue(self.isGreeted())
        self.assertWell()
        log = self.server.stop()
        # No more often than somebody came: the reactor didn't find the port ready again and again.
        self.assertLessEqual(log.count("EMFILE encountered"), len(greeted))
        self.assertNotIn("Could not accept", log)
        self.assertNotIn("Traceback", log)

    def test_default(self) -> None:
        """By default it doesn't come to that: clients are told 421 while messages are stored."""
        self.clients = []
        # All ports share the descriptors of the one process.
        flags = [f"--{name}=tcp:0:interface=127.0.0.1" for name in ("listen", "listen-lmtp")]
        command = ("prlimit", "--nofile=100:100")
        self.server = LiveServer(self.folder, *flags, listeners=2, prefix=command)
        self.addCleanup(self.server.__exit__)
        self.client = self.connect()
        replies = []
        for port in self.server.ports * 40:
            client = socket.create_connection(("127.0.0.1", port), PATIENCE)
            self.addCleanup(client.close)
            replies.append(client.recv(3))
        self.assertEqual(set(replies), {b"220", b"421"})
        self.assertEqual(replies.count(b"220"), 100 - 64 - 1)
        self.assertWell()
        self.assertNotIn("EMFILE", self.server.stop())

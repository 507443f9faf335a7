"""The server under test, in a process of its own, watched from outside."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.certificates import makeFiles
from benchmarks.peers import ROOT

#: The largest message, in octets.
SIZE = 300_000


class Server:
    """
    ``twistd smtpserver`` on loopback, with a Maildir.

    :param folder: for all that it writes.
    :param patience: how long it waits for its handler, in seconds.
    :ivar port: where it listens.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder = folder
        self._patience = patience
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.renewCertificate()

    @property
    def maildir(self) -> Path:
        """Its Maildir."""
        return self.folder / "Maildir"

    def start(self) -> None:
        """Start it, and wait until it greets."""
        flags = ["--listen", f"tcp:{self.port}:interface=127.0.0.1"]
        flags += ["--handler", "tests.reliability.soak.handler.Soaked", "--size", str(SIZE)]
        flags += ["--cert", "certificate.pem", "--key", "key.pem", "--name", "mx.test"]
        flags += ["--max-errors", "30", "--handler-timeout", str(self._patience)]
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        command += ["-n", "--pidfile=", "smtpserver", *flags]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 30) as probe:
                    if probe.recv(4096).startswith(b"220"):
                        return
            except OSError:
                pass  # not yet
            time.sleep(0.05)
        raise SystemExit(f"the server doesn't start: see {self.folder / 'log'}")

    def end(self, how: int = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(90)

    def kill(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # -- What can be seen from outside -------------------------------------------------------------

    def memory(self) -> tuple[float, float]:
        """What it has in memory, and what of that is anonymous, in MiB."""
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii")
        sizes = {line.split()[0]: line.split()[1] for line in rollup.splitlines()[1:]}
        return int(sizes["Rss:"]) / 1024, int(sizes["Anonymous:"]) / 1024

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def seconds(self) -> float:
        """The processor time it has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def incidents(self) -> tuple[int, int]:
        """How many bugs it logged, and how many of them were ours."""
        logged = injected = 0
        with open(self.folder / "log", "rb") as log:
            for line in log:
                logged += b": incident " in line
                injected += b"tests.reliability.soak.handler.Injected" in line
        return logged, injected

    # -- SIGHUP ------------------------------------------------------------------------------------

    def renewCertificate(self) -> str:
        """Put another certificate in place; returns its fingerprint."""
        new = self.folder / "new"
        new.mkdir()
        files = makeFiles(new)
        der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text(encoding="ascii"))
        for path in (files.key, files.certificate):
            path.replace(self.folder / path.name)
        new.rmdir()
        return hashlib.sha256(der).hexdigest()

    def shownCertificate(self) -> str:
        """The fingerprint of the certificate that a client sees."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), 30) as plain:
            for line in (b"", b"EHLO client.example\r\n", b"STARTTLS\r\n"):
                plain.sendall(line)
                while plain.recv(4096)[-2:] != b"\r\n":
                    pass
            with context.wrap_socket(plain) as secured:
                return hashlib.sha256(secured.getpeercert(True) or b"").hexdigest()

    def hangUp(self) -> bool:
        """SIGHUP with a new certificate; returns whether new clients see it soon."""
        assert self.process is not None
        wanted = self.renewCertificate()
        self.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self.shownCertificate() == wanted:
                return True
            time.sleep(0.1)
        return False

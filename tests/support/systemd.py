"""What systemd does for a unit: it holds the sockets, starts the server, and listens to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.services import PATIENCE

# The sockets become descriptors 3, 4, …, and the process id is that of the server itself.
_LAUNCH = """
import fcntl, os, sys
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for place, number in enumerate(moved, 3):
    os.dup2(number, place)
    os.close(number)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Unit:
    """
    A service with sockets, a watchdog and ``Type=notify``.

    :param command: what starts the server.
    :param folder: its working directory, and where its log goes.
    :param names: the names of the sockets, which are made here, for TCP over IPv6 and IPv4.
    :param environment: further variables.
    :param user: whom it runs as, if we are root.
    :ivar ports: the sockets' ports by name.
    :ivar told: what the server has said, line by line.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        names: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        watchdog: float = 60,
    ) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in names]
        self.ports = {
            name: int(made.getsockname()[1])
            for name, made in zip(names, self._sockets, strict=True)
        }
        self._command = command
        self.folder = folder
        self.user = user
        self._notify = tempfile.TemporaryDirectory(prefix="notify-")
        Path(self._notify.name).chmod(0o755)
        address = f"{self._notify.name}/socket"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(address)
        Path(address).chmod(0o777)
        self.told: list[str] = []
        self._environment = {
            **os.environ,
            **(environment or {}),
            "NOTIFY_SOCKET": address,
            "WATCHDOG_USEC": str(int(watchdog * 1e6)),
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What it has printed, in all its lives."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it says that it is ready."""
        numbers = [made.fileno() for made in self._sockets]
        words = ",".join(map(str, numbers))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, words, *self._command],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=numbers,
                user=self.user,
            )
        self.told.clear()
        self.awaitTold("READY=1")

    def awaitTold(self, *lines: str) -> None:
        """Wait until the server has said some lines, in this order, since this was called last."""
        deadline = time.monotonic() + PATIENCE
        for line in lines:
            while line not in self.told:
                left = deadline - time.monotonic()
                assert left > 0 and self.process.poll() is None, f"no {line}:\n{self.log}"
                self._listener.settimeout(min(left, 1))
                try:
                    self.told += self._listener.recv(4096).decode().split("\n")
                except TimeoutError:
                    continue
            del self.told[: self.told.index(line) + 1]

    def reload(self) -> None:
        """As ``systemctl reload`` does."""
        self.process.send_signal(signal.SIGHUP)
        self.awaitTold("RELOADING=1", "READY=1")

    def stop(self) -> None:
        """As ``systemctl stop`` does, but that the sockets stay open."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)

    def restart(self) -> None:
        """As ``systemctl restart`` does."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it, and its sockets."""
        self.stop()
        for made in [*self._sockets, self._listener]:
            made.close()
        self._notify.cleanup()

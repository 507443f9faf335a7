"""The servers: how each is started, what it takes of the machine, and how it is stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent

#: How long a server may take to start or to stop, in seconds.
PATIENCE = 30.0

_TICKS = os.sysconf("SC_CLK_TCK")

# Where Debian puts the sources of Go's packages, and Postfix its tools.
_GOPATH = "/usr/share/gocode"
_SBIN = "/usr/sbin"


class Unavailable(Exception):
    """A peer isn't installed; the text says what is missing."""


@dataclass(frozen=True)
class Files:
    """
    What a run has on disk.

    :ivar folder: a temporary folder.
    :ivar certificate: a certificate for localhost, PEM; :attr:`key` its key.
    """

    folder: Path
    certificate: Path
    key: Path

    @property
    def flags(self) -> list[str]:
        """The flags that all our server programs have."""
        return ["--certificate", str(self.certificate), "--key", str(self.key)]


@dataclass(frozen=True)
class Peer:
    """
    A server that can be measured.

    :ivar name: for the command line; :attr:`title` for the tables.
    :ivar command: makes the command to run it.
    :ivar warmUp: seconds of load before it is measured, or less with ``--quick``.
    :ivar isReporting: whether it says at its end what it has received.
    :ivar only: the workloads that it is measured with, if not all.
    :ivar isCheckout: whether it is this checkout, or something else, and not what its Python has
        installed.
    """

    name: str
    title: str
    command: Callable[[Files], list[str]]
    warmUp: float = 1.0
    isReporting: bool = True
    only: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    isCheckout: bool = True


def _python(
    module: str, *flags: str, interpreter: str = sys.executable
) -> Callable[[Files], list[str]]:
    return lambda files: [
        *(interpreter, "-m", f"benchmarks.servers.{module}"),
        *files.flags,
        *(flag.format(folder=files.folder) for flag in flags),
    ]


def _aiosmtpd(files: Files) -> list[str]:
    if importlib.util.find_spec("aiosmtpd") is None:
        raise Unavailable("aiosmtpd isn't installed: pip install aiosmtpd")
    return _python("aiosmtpdserver")(files)


def _nodemailer(files: Files) -> list[str]:
    node = _program("node")
    if not (HERE / "node_modules" / "smtp-server").is_dir():
        raise Unavailable("smtp-server isn't installed: npm install --prefix benchmarks")
    return [node, str(HERE / "servers" / "nodemailer.mjs"), *files.flags]


def _gosmtp(files: Files) -> list[str]:
    go = _program("go")
    if not (Path(_GOPATH) / "src/github.com/emersion/go-smtp").is_dir():
        raise Unavailable("go-smtp isn't installed: Debian's golang-github-emersion-go-smtp-dev")
    binary = files.folder / "gosmtp"
    if not binary.exists():
        environment = {
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": _GOPATH,
            "GOCACHE": str(files.folder / "gocache"),
        }
        source = str(HERE / "servers" / "gosmtp.go")
        built = subprocess.run(
            [go, "build", "-o", str(binary), source],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if built.returncode:
            raise Unavailable(f"go-smtp doesn't build: {built.stderr.splitlines()[0]}")
    return [str(binary), *files.flags]


def _sink(files: Files) -> list[str]:
    # It can't choose a port by itself.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    return [_program("smtp-sink"), *user, "-m", "20000", f"127.0.0.1:{port}", "511"]


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), _SBIN)))
    if found is None:
        raise Unavailable(f"{name} isn't installed")
    return found


# What log events cost shows where messages are small.
_SHORT = ("sessions", "messages", "pipelined")
_FLOOR = (*_SHORT, "recipients", "bulk", "idle")

#: All of them, in the order of the tables.
PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "twisted_smtpserver", _python("ours")),
        Peer("ours-quiet", "… without log events", _python("ours", "--quiet"), only=_SHORT),
        Peer(
            "ours-log",
            "… writing a log file",
            _python("ours", "--log", "{folder}/log"),
            only=_SHORT,
        ),
        Peer(
            "ours-twistd",
            "… as the shipped command, twistd smtpserver",
            _python("shipped", "--log", "{folder}/twistd.log"),
            only=(*_SHORT, "recipients", "bulk"),
        ),
        Peer("floor", "(Twisted, doing nothing)", _python("floor"), only=_FLOOR),
        Peer(
            "floor-direct", "(the same, sending at once)", _python("floor", "--direct"), only=_FLOOR
        ),
        Peer("sink", "Postfix smtp-sink (C)", _sink, isReporting=False),
        Peer("go", "go-smtp, one core", _gosmtp, environment=(("GOMAXPROCS", "1"),)),
        # Its compiler needs seconds of load; measured before, it would look worse than it is.
        Peer("nodemailer", "nodemailer smtp-server", _nodemailer, warmUp=6.0),
        Peer("twisted.mail", "twisted.mail.smtp", _python("twistedmail")),
        Peer("aiosmtpd", "aiosmtpd", _aiosmtpd),
    )
}


def installed(name: str, interpreter: str) -> dict[str, Peer]:
    """
    The embedded factory and the shipped command as another Python has them installed: of another
    version, or in the compiled form.

    :param name: for the command line and the tables.
    :param interpreter: the path of that Python.
    """
    if not os.access(interpreter, os.X_OK):
        raise Unavailable(f"{interpreter} is no Python")
    shipped = _python("shipped", "--log", "{folder}/twistd.log", interpreter=interpreter)
    return {
        peer.name: peer
        for peer in (
            Peer(
                f"ours@{name}",
                f"twisted_smtpserver, {name}",
                _python("ours", interpreter=interpreter),
                isCheckout=False,
            ),
            Peer(
                f"ours-twistd@{name}",
                f"… as the shipped command, {name}",
                shipped,
                only=PEERS["ours-twistd"].only,
                isCheckout=False,
            ),
        )
    }


def _importable(folder: Path) -> Path:
    """A folder with this package, and without the one that is measured."""
    path = folder / "importable"
    path.mkdir(exist_ok=True)
    link = path / "benchmarks"
    if not link.exists():
        link.symlink_to(HERE)
    return path


class Server:
    """
    A running server. It is stopped when the ``with`` block ends.

    :param peer: which.
    :param files: what it may use.
    :ivar port: where it listens, on 127.0.0.1; :attr:`version` what it says it is.
    :ivar received: what it says it received, known after :meth:`stop`; ``None`` if it can't say.
    """

    def __init__(self, peer: Peer, files: Files, *flags: str) -> None:
        self.received: dict[str, int] | None = None
        self._peer = peer
        command = [*peer.command(files), *flags]
        path = str(ROOT if peer.isCheckout else _importable(files.folder))
        self._process = subprocess.Popen(
            command,
            cwd=files.folder,
            env={**os.environ, "PYTHONPATH": path, **dict(peer.environment)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            if peer.isReporting:
                said = self._read()
                self.port, self.version = said["port"], said["version"]
            else:
                self.port, self.version = int(command[-2].rpartition(":")[2]), peer.title
                self._awaitPort()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _read(self) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], PATIENCE)
        line = output.readline() if ready else b""
        if not line:
            raise RuntimeError(f"{self._peer.name} says nothing")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _awaitPort(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def cpu(self) -> float:
        """The processor time of all its threads so far, user and system, in seconds."""
        # In ticks of 10 ms, which the measured stretches must be long against. The name before the
        # fields may have anything in it, hence the search for its end.
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, field: str) -> int:
        """A field of ``/proc/PID/status``, ``VmHWM`` for example, in KiB."""
        for line in self._proc("status").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
        raise KeyError(field)

    def forgetPeak(self) -> None:
        """Let ``VmHWM`` start anew from what is used now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def stop(self) -> None:
        """Stop it, by its own process id."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            if self._peer.isReporting:
                self.received = self._read()
            self._process.wait(PATIENCE)
        except (RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

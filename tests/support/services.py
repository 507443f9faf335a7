"""Other people's servers, started for a test: on loopback, unprivileged, ended by their own pid."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from unittest import SkipTest

import psycopg

_S = TypeVar("_S", bound="Service")

#: How long a server may take to start or to end, in seconds.
PATIENCE = 60


def need(program: str, *folders: str) -> str:
    """
    The path of a program.

    :param folders: where to look, too.
    :raises SkipTest: where it isn't installed; in CI that is a failure.
    """
    path = shutil.which(program, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    if path is None:
        if os.environ.get("CI"):
            raise AssertionError(f"{program} isn't installed, and CI needs it")
        raise SkipTest(f"{program} isn't installed")
    return path


def ask(program: str, *words: str, cwd: Path | None = None) -> str:
    """
    Run a program that must succeed.

    :param cwd: the folder to run it in.
    :returns: what it printed.
    :raises SkipTest: as :func:`need` does.
    """
    done = subprocess.run(
        [need(program), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def freePort() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def isListening(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def until(isTrue: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """
    Wait until something is true.

    :raises AssertionError: if it isn't in time.
    """
    deadline = time.monotonic() + seconds
    while not isTrue():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def killGroup(group: int) -> None:
    """
    Kill -9 a group of processes, and wait until none is left. On a busy machine they take a moment,
    and hold on to their ports: whoever starts the server anew then finds the port taken, and takes
    the old processes for a server that is up.

    :param group: the number of the first process.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    until(lambda: group not in map(_groupOf, Path("/proc").glob("[0-9]*")), "they don't end")


def _groupOf(process: Path) -> int | None:
    """The group of a process that still runs."""
    try:
        state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it has just ended
        return None
    return None if state == "Z" else int(group)


class Service:
    """
    A server in a process of its own.

    :param command: what starts it, in the foreground.
    :param environment: variables in addition to ours.
    :param user: whom it runs as, where the tests are run by root.
    :ivar folder: a new folder that belongs to that user, for what it writes.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[Path], Sequence[str]],
        environment: Mapping[str, str] | None = None,
        user: str = "nobody",
    ) -> None:
        # Not below a test's own folder: the user has to be let in.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.user = user if os.geteuid() == 0 else None
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        self._command = [str(word) for word in command(self.folder)]
        self._environment = {**os.environ, "HOME": str(self.folder), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def isRunning(self) -> bool:
        """Whether it was started, and hasn't ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "output").read_text(errors="replace")

    def run(self, *command: str) -> str:
        """Run something else as the same user; it must succeed."""
        done = subprocess.run(
            command,
            capture_output=True,
            cwd=self.folder,
            env=self._environment,
            timeout=PATIENCE,
            user=self.user,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
        return done.stdout.decode(errors="replace")

    def start(self, isReady: Callable[[], object]) -> None:
        """
        Start it, maybe again.

        :param isReady: asked until it says so.
        """
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=self.user,
                start_new_session=True,
            )
        process = self._process

        def isUp() -> object:
            assert process.poll() is None, f"it ended:\n{self.log}"
            return isReady()

        try:
            until(isUp, "the server isn't ready")
        except BaseException:
            self.stop()
            raise

    def send(self, number: int) -> None:
        """Send a signal to its process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and remove what it wrote."""
        self._end(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)


def once(make: Callable[[], _S]) -> Callable[[], _S]:
    """
    For a server that several tests use: the first one starts it, and it ends with the process.
    (Trial doesn't know ``setUpClass``.)

    :param make: makes and starts it.
    """

    def made() -> _S:
        service = make()
        atexit.register(service.stop)
        return service

    return functools.cache(made)


class Redis(Service):
    """A Redis without persistence, on a port of its own."""

    def __init__(self, *flags: str) -> None:
        program = need("redis-server")
        self.port = freePort()
        super().__init__(
            "redis",
            lambda folder: [
                program,
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(folder), "--save", "", "--appendonly", "no"),
                *flags,
            ],
        )

    @property
    def url(self) -> str:
        """For ``--shared-state``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def begin(self) -> None:
        """Start it, maybe again."""
        self.start(lambda: isListening(self.port))


class Postgres(Service):
    """A PostgreSQL with one database, on a port of its own; everybody on loopback may use it."""

    def __init__(self, *settings: str) -> None:
        folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
        program = need("postgres", *folders)
        initdb = need("initdb", *folders)
        self.port = freePort()
        super().__init__(
            "postgres",
            lambda folder: [
                program,
                *("-D", str(folder / "data"), "-k", str(folder), "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"),
                *(word for setting in settings for word in ("-c", setting)),
            ],
        )
        data = str(self.folder / "data")
        self.run(initdb, "-D", data, "-U", "mail", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def dsn(self) -> str:
        """For ``--postgres``."""
        return self.dsnAt(self.port)

    def dsnAt(self, port: int) -> str:
        """The same, by way of a relay."""
        return f"postgresql://mail@127.0.0.1:{port}/postgres"

    def begin(self) -> None:
        """Start it, maybe again."""
        self.start(self._isReady)

    def _isReady(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill -9, and its children, which would hold on to the shared memory for a moment."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        children = path.read_text().split() if path.exists() else []
        super().kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        until(lambda: not any(map(_isAlive, children)), "PostgreSQL's children are there still")

    def stop(self, number: int = signal.SIGINT) -> None:
        """See Service; SIGINT is PostgreSQL's fast way."""
        super().stop(number)


def _isAlive(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

"""A server as an operator runs it: twistd in a process of its own, on loopback."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_LISTENING = re.compile(r"starting on (?:(?P<port>\d+)|'?(?P<path>/[^']+))")

#: How long anything may take, in seconds. It is a bound, not a pause: nobody sleeps so long.
PATIENCE = 30

# What is used instead of a Maildir.
_STORES = {"--handler", "--discard", "--inbox", "--postgres", "--amqp", "--forward", "--webhook"}

#: A shell has what it runs in the background ignore SIGINT, and whatever that starts, too.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from twisted.scripts.twistd import run
run()
"""


class LiveServer:
    """
    ``twistd -n smtpserver`` with a Maildir, unless there is a ``--config``.

    :param folder: a new folder for all that it writes.
    :param flags: further flags.
    :param listeners: how many ports are to be waited for.
    :param twistd: flags of twistd's own.
    :param prefix: a command that runs it.
    :param before: what its process does first, in Python.
    :param path: the folders where Python looks for modules first.
    :ivar ports: the ports it listens on, in the order of the flags.
    :ivar maildir: its Maildir.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        listeners: int = 1,
        twistd: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
        before: str = "",
        path: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.maildir = folder / "Maildir"
        self._log = b""
        command = [sys.executable, "-m", "twisted", "-n", "--pidfile=", "smtpserver"]
        command[1:3] = ["-c", before + START]
        command[4:4] = twistd
        hasFile = any(flag.startswith("--config") for flag in flags)
        if not (hasFile or _STORES & set(flags)):
            command += ["--maildir", str(self.maildir)]
        command += flags
        if not (hasFile or any(flag.startswith("--listen") for flag in flags)):
            command += ["--listen", "tcp:0:interface=127.0.0.1"]
        command = [*prefix, *command]
        modules = (*path, str(Path(__file__).parent.parent.parent))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(modules)}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=not prefix,
        )
        try:
            self.ports = [int(found["port"] or 0) for found in self._await(listeners)]
        except BaseException:
            self.kill()
            raise

    @property
    def port(self) -> int:
        """The first port."""
        return self.ports[0]

    @property
    def log(self) -> str:
        """What it has logged so far, as far as it was read."""
        return self._log.decode("utf-8", "replace")

    def _await(self, count: int) -> list[re.Match[str]]:
        deadline = time.monotonic() + PATIENCE
        while len(found := list(_LISTENING.finditer(self.log))) < count:
            if not self._readLog(deadline - time.monotonic()):
                raise AssertionError(f"the server didn't start:\n{self.log}")
        return found

    def _readLog(self, seconds: float) -> bool:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, seconds))
        octets = os.read(self.process.stdout.fileno(), 65536) if ready else b""
        self._log += octets
        return bool(octets)

    def awaitLog(self, text: str) -> None:
        """Wait until it has logged something."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.log:
            assert self._readLog(deadline - time.monotonic()), f"no {text!r} in\n{self.log}"

    def messages(self) -> list[bytes]:
        """The messages in the Maildir, in no order."""
        folder = self.maildir / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.is_dir() else []

    def stop(self) -> str:
        """
        Stop as an operator does, with SIGTERM.

        :returns: the whole log.
        """
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def kill(self) -> str:
        """Kill -9."""
        self.process.kill()
        return self._end()

    def _end(self) -> str:
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self._log += rest
        return self.log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self.process.poll() is None:
            self.stop()

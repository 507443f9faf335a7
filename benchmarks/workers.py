"""
What a second worker is worth: STARTTLS sessions, where the server's key is the most work.

The load comes from the same machine. Where that has two cores, one worker has one for itself and
the client the other; two workers share both with the client, and can't be twice as fast. So the
processor time is shown, too: of the server, supervisor included, and of the client.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.client import OwnLoad
from benchmarks.peers import PATIENCE, ROOT, Files

CONNECTIONS = 20
COUNTS = (1, 2)

_TICKS = os.sysconf("SC_CLK_TCK")


class Twistd:
    """
    ``twistd smtpserver --workers``, on 127.0.0.1. It is stopped when the ``with`` block ends.

    :param count: how many workers.
    """

    def __init__(self, files: Files, count: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._log = files.folder / f"twistd{count}.log"
        self._log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("--nodaemon", "--pidfile=", "--logfile", str(self._log), "smtpserver"),
                *("--port", str(self.port), "--workers", str(count), "--discard"),
                *("--cert", str(files.certificate), "--key", str(files.key)),
            ],
            cwd=files.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
        )
        try:
            # The supervisor says it as well.
            self._awaitListening(count + 1 if count > 1 else 1)
        except BaseException:
            self.__exit__()
            raise

    def _awaitListening(self, lines: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._log.exists() or self._log.read_text().count("Listening for") < lines:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("twistd doesn't start")
            time.sleep(0.02)

    def cpu(self) -> float:
        """The processor time of all its processes so far, in seconds."""
        pid = self._process.pid
        return sum(
            (int(fields[11]) + int(fields[12])) / _TICKS
            for number, fields in _stats()
            if number == pid or int(fields[1]) == pid
        )

    def __enter__(self) -> Twistd:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Of each process its id, and what stands behind its name in ``/proc/PID/stat``."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue


def _once(files: Files, count: int, seconds: float) -> dict[str, Any]:
    tls = {"certificate": str(files.certificate), "version": "TLSv1_3", "group": "X25519"}
    with Twistd(files, count) as server, OwnLoad(server.port, CONNECTIONS, False, tls=tls) as load:
        load.work(seconds / 2)
        before = server.cpu()
        done = load.work(seconds)
        used = server.cpu() - before
    if done["errors"] or not done["messages"]:
        raise RuntimeError(f"{count} workers: {done['errors'] or 'nothing was received'}")
    return {
        "rate": done["messages"] / done["seconds"],
        "server": used / done["messages"] * 1e3,
        "client": done["clientSeconds"] / done["messages"] * 1e3,
        "busy": (used + done["clientSeconds"]) / done["seconds"],
    }


def measureWorkers(files: Files, repeat: int, seconds: float) -> str:
    """
    Measure one worker and two, in turn.

    :param repeat: how often; the medians count.
    :param seconds: how long each time.
    :returns: a table.
    """
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
    for _ in range(repeat):
        for count in COUNTS:
            found[count].append(_once(files, count, seconds))
    medians = {
        count: {name: statistics.median(one[name] for one in each) for name in each[0]}
        for count, each in found.items()
    }
    lines = [
        "======= ========= ================ ================ ==========",
        "Workers Sessions  Server           Client           Cores busy",
        "        per s     ms per session   ms per session   of " + str(os.cpu_count()),
        "======= ========= ================ ================ ==========",
        *(
            f"{count:7} {each['rate']:9.1f} {each['server']:16.2f} {each['client']:16.2f} "
            f"{each['busy']:10.2f}"
            for count, each in medians.items()
        ),
        "======= ========= ================ ================ ==========",
        "",
        "",
    ]
    ratios = {name: medians[2][name] / medians[1][name] for name in ("rate", "server")}
    return "\n".join(lines) + (
        f"Two workers to one: {ratios['rate']:.2f} times the rate, "
        f"{ratios['server']:.2f} times the processor time per session.\n"
    )

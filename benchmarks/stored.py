"""
``python -m benchmarks.stored``: what a message costs that is stored, from the first command until
the file is on the disk, beside other servers that store.

The servers take turns; the rows are medians. The processor time is that of all of a server's
processes. Postfix answers when a message is in its queue, and delivers it later: it is done when
the last one is in the mailbox.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import OwnLoad
from benchmarks.peers import HERE, PATIENCE, ROOT

_TICKS = os.sysconf("SC_CLK_TCK")

_MAIN = """\
compatibility_level = 3.6
config_directory = {folder}
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
myhostname = server.example
mydestination = server.example
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
luser_relay = nobody
mail_spool_directory = {folder}/mail/
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n  -  n  -    0  cleanup
qmgr      unix  n  -  n  300  1  qmgr
rewrite   unix  -  -  n  -    -  trivial-rewrite
bounce    unix  -  -  n  -    0  bounce
defer     unix  -  -  n  -    0  bounce
proxymap  unix  -  -  n  -    -  proxymap
anvil     unix  -  -  n  -    1  anvil
local     unix  -  n  n  -    -  local
postlog   unix-dgram n - n - 1  postlogd
"""


def _ours(port: int, folder: Path) -> list[str]:
    """As it is shipped, with its log file."""
    run = "from twisted.scripts.twistd import run; run()"
    flags = ("--nodaemon", "--pidfile=", f"--logfile={folder}/log", "smtpserver")
    return [sys.executable, "-c", run, *flags, f"--port={port}", f"--maildir={folder}/mail"]


def _nodemailer(port: int, folder: Path) -> list[str]:
    return ["node", str(HERE / "servers" / "storing.mjs"), str(port), f"{folder}/mail"]


def _aiosmtpd(port: int, folder: Path) -> list[str]:
    # Its Mailbox syncs nothing: such a message isn't safe when it is answered.
    flags = ("-n", "-c", "aiosmtpd.handlers.Mailbox", f"{folder}/mail", "-l", f"127.0.0.1:{port}")
    return [sys.executable, "-m", "aiosmtpd", *flags]


def _postfix(port: int, folder: Path) -> list[str]:
    (folder / "main.cf").write_text(_MAIN.format(folder=folder))
    (folder / "master.cf").write_text(_MASTER.format(port=port))
    for name in ("queue", "data", "log", "mail"):
        (folder / name).mkdir(mode=0o755)
    shutil.chown(folder / "data", "postfix")
    (folder / "mail").chmod(0o777)
    return ["/usr/sbin/postfix", "-c", str(folder), "start-fg"]


#: The commands by title; those that aren't installed are left out.
SERVERS: dict[str, Callable[[int, Path], list[str]]] = {
    "twistd smtpserver --maildir": _ours,
    "nodemailer, a file and a directory synced": _nodemailer,
    "aiosmtpd's Mailbox, which syncs nothing": _aiosmtpd,
    "Postfix, smtpd to local": _postfix,
}


def _isThere(title: str) -> bool:
    if "nodemailer" in title:
        return shutil.which("node") is not None and (HERE / "node_modules").is_dir()
    if "aiosmtpd" in title:
        return importlib.util.find_spec("aiosmtpd") is not None
    return "Postfix" not in title or (os.geteuid() == 0 and Path("/usr/sbin/postfix").exists())


class Running:
    """
    A server that stores.

    :param process: it, or the first of its processes.
    :param folder: where its mail goes: below ``mail``, in folders called ``new``.
    """

    def __init__(self, port: int, process: int, folder: Path) -> None:
        self.port = port
        self._process = process
        self._mail = folder / "mail"

    def cpu(self) -> tuple[float, float]:
        """What all its processes have used, those that ended included: user, system, in seconds."""
        parents: dict[int, tuple[int, list[int]]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(path.parent.name)] = int(fields[1]), [int(each) for each in fields[11:15]]
        user = system = 0
        for number, (_, times) in parents.items():
            if self._descends(number, parents):
                user += times[0] + times[2]
                system += times[1] + times[3]
        return user / _TICKS, system / _TICKS

    def _descends(self, number: int, parents: dict[int, tuple[int, list[int]]]) -> bool:
        while number != self._process and number in parents:
            number = parents[number][0]
        return number == self._process

    def awaitStored(self, count: int) -> None:
        """Wait until so many messages are in the mailbox, and take them out."""
        deadline = time.monotonic() + PATIENCE
        while len(found := list(self._mail.glob("**/new/*"))) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} of {count} messages were stored")
            time.sleep(0.05)
        for path in found:
            path.unlink()


@contextmanager
def running(title: str, folder: Path) -> Iterator[Running]:
    """Start a server; it is stopped when the ``with`` block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    folder.chmod(0o755)
    process = subprocess.Popen(
        SERVERS[title](port, folder),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield Running(port, process.pid, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def measure(server: Running, connections: int, count: int) -> tuple[float, float]:
    """The processor time of one message, user and system, in microseconds."""
    before = server.cpu()
    with OwnLoad(server.port, connections) as load:
        done = load.work(PATIENCE, count=count)
    if done["errors"]:
        raise RuntimeError(done["errors"][0])
    server.awaitStored(done["messages"])
    used = server.cpu()
    pairs = zip(before, used, strict=True)
    user, system = ((after - first) / done["messages"] * 1e6 for first, after in pairs)
    return user, system


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 20, 100])
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--servers", nargs="*", default=[each for each in SERVERS if _isThere(each)]
    )
    parser.add_argument("--folder", help="a folder of the file system that they store in")
    given = parser.parse_args(arguments)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(given.repeat):
        for title in given.servers:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                os.chmod(folder, 0o755)
                with running(title, Path(folder, "server")) as server:
                    measure(server, 20, given.messages // 4)  # warm up
                    for connections in given.connections:
                        each = measure(server, connections, given.messages)
                        found.setdefault((title, connections), []).append(each)
    print(f"{'Server':<44} {'clients':>8} {'user µs':>8} {'system µs':>10}")
    for (title, connections), values in found.items():
        user, system = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{title:<44} {connections:>8} {user:>8.0f} {system:>10.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

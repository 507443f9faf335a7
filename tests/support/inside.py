"""
Runs in a bare root, by the system's Python: it follows a page of the documentation, and is systemd.

It reads JSON from its standard input, the commands and the requests that it is to make, and writes
JSON: what came of them.
"""

from __future__ import annotations

import fcntl
import grp
import json
import os
import pty
import pwd
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

PATIENCE = 60
STARTTLS = {"SSL": "off", "STARTTLS": "on"}  # msmtp's words for Thunderbird's
UNITS = Path("/etc/systemd/system")
CALLS = Path("/run/systemctl")
NOTIFY = "/run/notify"
ENVIRONMENT = {
    "PATH": "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
#: Where pip finds the wheels.
PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

# As systemd: the sockets from 3 on, our process id, the user of the unit.
LAUNCH = """
import os, sys, fcntl
numbers, user, group, mask = sys.argv[1].split(","), *map(int, sys.argv[2:5])
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in numbers]
for place, number in enumerate(moved, 3):
    os.dup2(number, place)
    os.close(number)
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.umask(mask)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[5], sys.argv[5:])
"""


def bringUpLoopback() -> None:
    """This network is ours alone, and its loopback is down at first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        flags = 0x8914, struct.pack("16sH14x", b"lo", 1 | 64)  # SIOCSIFFLAGS, up and running
        fcntl.ioctl(made, *flags)


def readUnit(name: str) -> dict[str, str]:
    """The settings of a unit; of those that are given several times the last."""
    text = (UNITS / name).read_text().replace("\\\n", " ")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


class Systemd:
    """What systemd does for one service."""

    def __init__(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(NOTIFY)
        os.chmod(NOTIFY, 0o777)
        self.sockets: dict[str, socket.socket] = {}
        self.process: subprocess.Popen[bytes]

    def listen(self, name: str) -> None:
        """Start a socket unit."""
        unit = readUnit(name)
        host, _, port = unit["ListenStream"].rpartition(":")
        assert (host, unit["BindIPv6Only"]) == ("[::]", "both"), unit
        made = socket.create_server(
            ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
        )
        self.sockets[unit["FileDescriptorName"]] = made

    def start(self, name: str) -> None:
        """Start a service unit, and wait until it says that it is ready."""
        unit = readUnit(name)
        assert unit["Type"] == "notify"
        user, group = pwd.getpwnam(unit["User"]), grp.getgrnam(unit["Group"])
        state = Path("/var/lib") / unit["StateDirectory"]
        state.mkdir(exist_ok=True)
        os.chown(state, user.pw_uid, group.gr_gid)
        state.chmod(int(unit["StateDirectoryMode"], 8))
        numbers = [made.fileno() for made in self.sockets.values()]
        owner = [str(user.pw_uid), str(group.gr_gid), str(int(unit["UMask"], 8))]
        with open("/run/journal", "ab") as journal:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", LAUNCH, ",".join(map(str, numbers)), *owner),
                    *shlex.split(unit["ExecStart"]),
                ],
                cwd=unit["WorkingDirectory"],
                env={
                    "PATH": "/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "LISTEN_FDS": str(len(numbers)),
                    "LISTEN_FDNAMES": ":".join(self.sockets),
                    "NOTIFY_SOCKET": NOTIFY,
                    "WATCHDOG_USEC": str(int(unit["WatchdogSec"]) * 10**6),
                },
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=subprocess.STDOUT,
            )
        self.awaitTold("READY=1")

    def awaitTold(self, line: str) -> None:
        """Wait until the service says something."""
        deadline = time.monotonic() + PATIENCE
        said: list[str] = []
        while line not in said:
            assert time.monotonic() < deadline, f"no {line}"
            assert self.process.poll() is None, "the service has ended"
            self.listener.settimeout(1)
            try:
                said += self.listener.recv(4096).decode().split("\n")
            except TimeoutError:
                continue

    def call(self, *words: str) -> None:
        """What ``systemctl`` is asked for."""
        if words[0] == "enable":
            assert words[1] == "--now"
            units = sorted(words[2:], key=lambda name: name.endswith(".service"))
            for name in units:
                (self.start if name.endswith(".service") else self.listen)(name)
        else:
            assert words == ("daemon-reload",), words


def atTerminal(command: str, typed: str) -> str:
    """Run a block of the page at a terminal, where somebody types a password; what it prints."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir("/root")
        words = ["bash", "-euo", "pipefail", "-c", command]
        os.execve("/bin/bash", words, ENVIRONMENT | PIP)
    output, answered = b"", 0
    deadline = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        try:
            octets = os.read(terminal, 65536) if ready else None
        except OSError:  # so Linux says that the other side is closed
            break
        output += octets or b""
        asked = len(re.findall(rb"(?:Password|again): ", output))
        if asked > answered:
            answered = asked
            os.write(terminal, typed.encode() + b"\n")
    else:
        os.close(terminal)  # which ends it
    _, status = os.waitpid(pid, 0)
    said = output.decode(errors="replace")
    assert status == 0, f"{command}\n{said}\nstatus {status}"
    return said


def run(command: str, typed: str, systemd: Systemd) -> str:
    """Run a block of the page, as root; what it prints. Then do what it asked systemd for."""
    output = atTerminal(command, typed)
    calls = CALLS.read_text().splitlines() if CALLS.exists() else []
    CALLS.unlink(missing_ok=True)
    for line in calls:
        systemd.call(*shlex.split(line))
    return output


def fetch(url: str) -> str:
    """Get a page."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def sendBy(page: str, address: str, password: str, trusted: str) -> None:
    """Send a message by each server that Thunderbird's configuration names, with its settings."""
    for server in ElementTree.fromstring(page).findall("./emailProvider/outgoingServer"):
        facts = {part.tag: part.text or "" for part in server}
        assert facts["authentication"] == "password-cleartext", facts
        done = subprocess.run(
            [
                *("msmtp", "--file=/dev/null", f"--host={facts['hostname']}"),
                *(f"--port={facts['port']}", "--tls=on", f"--tls-trust-file={trusted}"),
                f"--tls-starttls={STARTTLS[facts['socketType']]}",
                *("--auth=plain", f"--user={facts['username'].replace('%EMAILADDRESS%', address)}"),
                *(f"--passwordeval=echo '{password}'", f"--from={address}", "joe@example.net"),
            ],
            input=f"Subject: by {facts['port']}\n\nIt works.\n".encode(),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")


def contain(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what a Dockerfile says, with a virtual environment for the image's Python."""
    environment = ENVIRONMENT | PIP | {"PATH": f"/venv/bin:{ENVIRONMENT['PATH']}"}
    for command in ["python3 -m venv /venv", *asked["runs"]]:
        subprocess.run(["sh", "-euc", command], env=environment, stdout=sys.stderr, check=True)
    user = int(asked["user"])
    for name in ("/tmp", asked["volume"]):  # what can be written to, as Docker has it
        subprocess.run(["mount", "-t", "tmpfs", "none", name], check=True)
        os.chown(name, user, user)
    subprocess.run(["mount", "-o", "remount,ro,bind", "/"], check=True)
    more: dict[str, Any] = {"user": user, "group": user, "extra_groups": [], "env": environment}
    more |= {"cwd": asked["volume"], "stdin": subprocess.DEVNULL}
    server = subprocess.Popen(asked["command"], stdout=sys.stderr, stderr=sys.stderr, **more)
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(asked["health"], **more, capture_output=True, check=False).returncode:
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "it isn't healthy"
    sendBy(asked["page"], *asked["sender"])
    server.send_signal(signal.Signals[asked["stop"]])
    status = server.wait(PATIENCE)
    unhealthy = subprocess.run(asked["health"], **more, capture_output=True, check=False)
    stored = [path.read_text() for path in Path(asked["maildir"]).iterdir()]
    return {"status": status, "stored": stored, "unhealthy": unhealthy.returncode}


def main() -> None:
    """Do what is asked for."""
    asked = json.load(sys.stdin)
    bringUpLoopback()
    json.dump(contain(asked) if "runs" in asked else follow(asked), sys.stdout)


def follow(asked: dict[str, Any]) -> dict[str, Any]:
    """Follow the page."""
    systemd = Systemd()
    printed = [run(block, asked["typed"], systemd) for block in asked["blocks"]]
    subprocess.run(["nginx"], env=ENVIRONMENT, timeout=PATIENCE, check=True)  # a daemon from now on
    page = fetch(asked["url"])
    sendBy(page, *asked["user"])
    systemd.process.send_signal(signal.SIGHUP)
    systemd.awaitTold("RELOADING=1")
    systemd.process.terminate()
    systemd.process.wait(PATIENCE)
    stored = [path.read_text() for path in Path(asked["maildir"]).iterdir()]
    journal = Path("/run/journal").read_text()
    return {"printed": printed, "page": page, "stored": stored, "journal": journal}


if __name__ == "__main__":
    try:
        main()
    except Exception:
        journal = Path("/run/journal")
        sys.stderr.write(journal.read_text() if journal.exists() else "no journal")
        raise

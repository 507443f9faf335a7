"""What the library needs, and what it does when it is only imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.project.test_architecture import modules

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "twisted_smtpserver"

_BOUND = re.compile(r'"([\w.-]+)(?:\[\w+\])?>=([\d.]+)"')
_PIN = re.compile(r"^([\w.-]+)==([\d.]+)$", re.MULTILINE)


class VersionsTests(SynchronousTestCase):
    """The lower bounds of the dependencies."""

    def test_oldest(self) -> None:
        """Each is a version that the tests are run with, too."""
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        required = project.partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
        bounds = dict(_BOUND.findall(required))
        pins = dict(_PIN.findall((ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8")))
        self.assertEqual(short(pins), short(bounds))
        self.assertEqual(len(bounds), required.count('"') // 2)


def short(versions: dict[str, str]) -> dict[str, str]:
    """Without final zeros, which make no difference."""
    return {name: re.sub(r"(\.0)+$", "", version) for name, version in versions.items()}


# What CPython's audit events call it when somebody talks to the network, starts something, or
# writes. (A module's byte code is written by Python itself; it is told not to.)
_IMPORT = """
import sys

FORBIDDEN = (
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.sendto",
    "subprocess.Popen", "os.system", "os.fork", "os.posix_spawn", "os.exec",
    "os.mkdir", "os.rename", "os.remove", "os.chmod", "signal.",
)

def judge(event, arguments):
    if event.startswith(FORBIDDEN):
        raise SystemExit(f"{event} {arguments!r} when {current} is imported")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise SystemExit(f"open {arguments!r} when {current} is imported")

current = "nothing"
sys.addaudithook(judge)
for current in sys.argv[1:]:
    __import__(current)
assert "twisted.internet.reactor" not in sys.modules, "a reactor was installed"
import threading
assert threading.active_count() == 1, "a thread was started"
"""


class ImportTests(SynchronousTestCase):
    """Importing has no effects."""

    def run_(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", "-W", "error::ImportWarning", "-c", program, *arguments],
            cwd=ROOT,
            capture_output=True,
            check=False,
            text=True,
        )

    def test_noEffects(self) -> None:
        """
        No module asks the network, starts a process or a thread, writes a file or installs a
        reactor when it is imported.
        """
        # But for pika's adapter, which installs one: the room that needs it says so.
        names = [
            f"{PACKAGE}.{name}".rstrip(".")
            for name, _ in modules()
            if not name.startswith("stores.amqp")
        ]
        self.assertGreater(len(names), 50)
        done = self.run_(_IMPORT, *names, "twisted.plugins.twisted_smtpserver_plugin")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_seen(self) -> None:
        """The watch sees such things: here, those of a module that has them."""
        for code, event in (
            ("import socket; socket.getaddrinfo('localhost', 25)", "socket.getaddrinfo"),
            ("import socket; socket.socket().bind(('127.0.0.1', 0))", "socket.bind"),
            ("open('/dev/null', 'w')", "open"),
            ("import twisted.internet.reactor", "a reactor was installed"),
        ):
            program = _IMPORT.replace("__import__(current)", "exec(current)")
            done = self.run_(program, code)
            self.assertNotEqual(done.returncode, 0, code)
            self.assertIn(event, done.stderr)

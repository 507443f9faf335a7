"""The fixtures, as pytest's users have them: pytest runs in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples" / "fixture"

SYNCHRONOUS = ("test_signup", "test_faults", "test_secure")

MANY = """
import smtplib
import pytest

@pytest.mark.parametrize("number", range(50))
def test_many(smtpserver, number):
    with smtplib.SMTP(smtpserver.host, smtpserver.port, timeout=10) as client:
        client.sendmail("a@example.com", ["b@example.com"], f"Subject: {number}\\r\\n\\r\\n")
    assert smtpserver.waitFor()["Subject"] == str(number)
"""

TWISTED = """
import smtplib
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

def send(server):
    with smtplib.SMTP(server.host, server.port, timeout=10) as client:
        client.sendmail("a@example.com", ["b@example.com"], "Subject: hello\\r\\n\\r\\n")

def test_blocking(smtpserver):
    '''The test blocks the thread of the process's reactor, which runs.'''
    assert reactor.running
    send(smtpserver)
    assert smtpserver.waitFor("hello")

@pytest_twisted.ensureDeferred
async def test_twisted(smtpserver):
    await deferToThread(send, smtpserver)
    assert (await deferToThread(smtpserver.waitFor, "hello")).sender == "a@example.com"
"""

WRONG = """
import pytest

@pytest.mark.smtpserver(True)
def test_positional(smtpserver):
    pass

@pytest.mark.smtpserver(siz=3)
def test_misspelled(smtpserver):
    pass

def test_inVain(smtpserver):
    smtpserver.waitFor(subject="Welcome", timeout=0)
"""

NEAREST = """
import pytest

pytestmark = pytest.mark.smtpserver(name="far.example", size=7)

@pytest.mark.smtpserver(name="near.example")
class TestBoth:
    @pytest.mark.smtpserver(banner="hello")
    def test_both(self, smtpserver):
        import smtplib
        client = smtplib.SMTP()
        greeting = client.connect(smtpserver.host, smtpserver.port)
        assert greeting == (220, b"near.example ESMTP hello")
        client.ehlo()
        assert client.esmtp_features["size"] == "7"
        client.close()
"""

LAZY = """
import sys

def test_nothing():
    assert not [name for name in sys.modules if name.startswith("twisted")
                and name != "twisted_smtpserver_pytest"]
"""


def require(*modules: str) -> None:
    """Skip the test where a package is missing; in CI, where all are installed, let it fail."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        raise SkipTest(f"needs {', '.join(missing)}")


class PluginTests(SynchronousTestCase):
    """Each test has a folder with tests in it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def copy(self, *names: str) -> None:
        """Take files of the documentation's."""
        for name in ("signup", *names):
            shutil.copy(EXAMPLES / f"{name}.py", self.folder)

    def write(self, code: str) -> None:
        """Write a file of tests."""
        (self.folder / "test_written.py").write_text(code)

    def pytest(self, *arguments: str, plugins: tuple[str, ...] = ()) -> str:
        """Run pytest with no plugin but this one, and those that are named; its output."""
        words = ["-p", "twisted_smtpserver_pytest", "-p", "no:cacheprovider", "--strict-markers"]
        for plugin in plugins:
            words += ["-p", plugin]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", "-q", *words, *arguments],
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    def assertPasses(self, count: int, output: str) -> None:
        self.assertRegex(output, rf"(?m)^{count} passed in ", output)

    def test_synchronous(self) -> None:
        """Tests with smtplib: what arrives, what goes wrong, TLS and logins."""
        self.copy(*SYNCHRONOUS)
        self.assertPasses(9, self.pytest())

    def test_asyncio(self) -> None:
        """Tests with pytest-asyncio and aiosmtplib."""
        require("pytest_asyncio", "aiosmtplib")
        self.copy("test_asyncio")
        scope = ["-o", "asyncio_default_fixture_loop_scope=function"]
        self.assertPasses(2, self.pytest(*scope, plugins=("pytest_asyncio.plugin",)))

    def test_xdist(self) -> None:
        """Tests in several processes at the same time."""
        require("xdist")
        self.copy(*SYNCHRONOUS)
        self.assertPasses(9, self.pytest("-n", "2", plugins=("xdist.plugin",)))

    def test_pytestTwisted(self) -> None:
        """Tests beside pytest-twisted, which runs the process's reactor in the same thread."""
        require("pytest_twisted")
        self.write(TWISTED)
        self.assertPasses(2, self.pytest(plugins=("pytest_twisted",)))

    def test_many(self) -> None:
        """Fifty tests, each with a server of its own."""
        self.write(MANY)
        self.assertPasses(50, self.pytest())

    def test_wrong(self) -> None:
        """What the author of a test does wrong is said, without a page of our own code."""
        self.write(WRONG)
        output = self.pytest("--tb=short")
        self.assertIn("pytest.mark.smtpserver takes its options by name", output)
        self.assertIn("did you mean 'size'?", output)
        self.assertIn("no mail with subject='Welcome' within 0 s.", output)
        self.assertIn("No client has even connected", output)
        self.assertNotIn("_mailbox.py:", output)
        self.assertRegex(output, "1 failed, 2 errors")

    def test_marks(self) -> None:
        """Marks add up; the nearest one rules."""
        self.write(NEAREST)
        self.assertPasses(1, self.pytest())

    def test_lazy(self) -> None:
        """Who doesn't ask for a server doesn't pay for one: Twisted isn't even imported."""
        self.write(LAZY)
        self.assertPasses(1, self.pytest())

    def test_help(self) -> None:
        """pytest can explain the fixtures and the mark."""
        output = self.pytest("--markers") + self.pytest("--fixtures")
        self.assertTrue(re.search(r"@pytest\.mark\.smtpserver\(\*\*options\)", output))
        self.assertIn("smtpserver_factory", output)
        self.assertIn("a new one for each test", output)

    def test_entryPoint(self) -> None:
        """The package announces the plugin, so that nothing needs to be configured."""
        from importlib.metadata import entry_points

        plugins = {entry.value for entry in entry_points(group="pytest11")}
        self.assertIn("twisted_smtpserver_pytest", plugins)

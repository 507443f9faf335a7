"""What users install has everything in it, the ``twistd`` plugin above all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support import compiledscanner

ROOT = Path(__file__).parent.parent.parent

TWISTD = "from twisted.scripts.twistd import run; run()"
PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"
COMPILED = (
    "import twisted_smtpserver; from twisted_smtpserver.wire import scanning;"
    " print(scanning.isCompiled, twisted_smtpserver.isCompiled)"
)
ORIGIN = "import twisted_smtpserver as package; print(package.__file__)"


def run(*command: object, cwd: Path = Path("/"), **environment: str) -> str:
    """Run a program; its output if it succeeds, else an error that shows the output."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}:\n{done.stdout}")
    return done.stdout


class PackagingTests(SynchronousTestCase):
    """Each test has an environment of its own, to which only the dependencies are lent."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.python = self.folder / "venv" / "bin" / "python"

    def makeEnvironment(self) -> None:
        """
        Make an environment without this package.

        A folder named in a .pth file is searched, but the .pth files in it aren't read: Twisted is
        found there, an editable install of this package isn't.
        """
        run(sys.executable, "-m", "venv", "--without-pip", self.folder / "venv")
        self.purelib = Path(run(self.python, "-c", PURELIB).strip())
        lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.purelib / "lent.pth").write_text("\n".join(sorted(lent)))

    def install(self, *arguments: object) -> None:
        """Install into that environment, without asking any registry."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        run(
            *pip,
            "--ignore-installed",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            *arguments,
        )

    def buildWheel(self, **environment: str) -> Path:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", self.folder]
        self.said = run(*build, cwd=ROOT, **environment)
        (wheel,) = self.folder.glob("*.whl")
        return wheel

    def assertPluginWorks(self, parent: Path) -> None:
        self.assertIn("\n    smtpserver ", run(self.python, "-c", TWISTD, "--help"))
        self.assertIn("--maildir", run(self.python, "-c", TWISTD, "smtpserver", "--help"))
        origin = run(self.python, "-c", ORIGIN).strip()
        self.assertEqual(Path(origin), parent / "twisted_smtpserver" / "__init__.py")

    def test_wheel(self) -> None:
        """twistd knows ``smtpserver`` when the wheel is installed."""
        self.makeEnvironment()
        self.install(self.buildWheel())
        self.assertPluginWorks(self.purelib)

    def breakMypyc(self) -> str:
        """A folder for the path of modules, with a mypyc that says no. The real one takes long."""
        folder = self.folder / "broken" / "mypyc"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise ImportError('not today')")
        return str(folder.parent)

    def test_compiled(self) -> None:
        """
        A wheel has compiled parts if that is asked for, and then says which Python it is for. The
        core's are built, and run, by the other lane of ``.ci/run``.
        """
        compiledscanner.build()  # skips where there is no compiler
        wheel = self.buildWheel(TWISTED_SMTPSERVER_COMPILE="1", PYTHONPATH=self.breakMypyc())
        self.assertNotIn("py3-none-any", wheel.name)
        self.assertIn("The core will be pure Python: ImportError: not today", self.said)
        self.makeEnvironment()
        self.install(wheel)
        self.assertPluginWorks(self.purelib)
        self.assertEqual(run(self.python, "-c", COMPILED).strip(), "True False")

    def test_noCompiler(self) -> None:
        """Where it doesn't work the wheel is a pure one, unless it mustn't be."""
        broken = {"CC": "false", "PYTHONPATH": self.breakMypyc()}
        wheel = self.buildWheel(TWISTED_SMTPSERVER_COMPILE="1", **broken)
        self.assertIn("py3-none-any", wheel.name)
        said = re.findall("will be pure Python: .+", self.said)
        self.assertEqual(len(said), 1, self.said)
        self.assertIn("apt install gcc", said[0])
        with self.assertRaisesRegex(AssertionError, "CalledProcessError"):
            self.buildWheel(TWISTED_SMTPSERVER_COMPILE="require", **broken)
        with zipfile.ZipFile(wheel) as archive:
            self.assertEqual([name for name in archive.namelist() if name.endswith(".so")], [])

    def test_editable(self) -> None:
        """It does so after ``pip install -e .`` as well."""
        self.makeEnvironment()
        self.install("-e", ROOT)
        self.assertPluginWorks(ROOT)

    def test_contents(self) -> None:
        """The wheel has modules, the inbox's page, the marker for types, the license, no more."""
        with zipfile.ZipFile(self.buildWheel()) as archive:
            names = {name for name in archive.namelist() if not name.endswith("/")}
        code = {name for name in names if ".dist-info/" not in name}
        modules = [
            *(ROOT / "twisted_smtpserver").rglob("*.py"),
            *(ROOT / "twisted_smtpserver").rglob("*.pyi"),
        ]
        page = (ROOT / "twisted_smtpserver" / "inbox" / "static").iterdir()
        self.assertEqual(
            code,
            {str(module.relative_to(ROOT)) for module in [*modules, *page]}
            | {
                "twisted_smtpserver/py.typed",
                "twisted_smtpserver_pytest.py",
                "twisted/plugins/twisted_smtpserver_plugin.py",
            },
        )
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in names))

    def test_namespace(self) -> None:
        """Nothing here pretends to be Twisted's own package."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

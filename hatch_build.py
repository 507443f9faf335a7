"""
Builds wheels with compiled parts, when it is asked to.

By default a wheel is pure Python, and needs no compiler. With ``TWISTED_SMTPSERVER_COMPILE=1``,
what is in :data:`PARTS` is compiled. A part that can't be is left out, with a warning, and so are
those behind it: their Python form does the same. With ``=require``, for release wheels, that is an
error.

The core is compiled from its own source, by mypyc; :data:`MODULES` says which modules.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
VARIABLE = "TWISTED_SMTPSERVER_COMPILE"

#: What a part's builder makes: files' places in the wheel, and where they are now.
Built = dict[str, Path]


def buildScanner(folder: Path) -> Built:
    """
    Compile the scanner of message octets.

    :param folder: where to.
    :returns: the extension module.
    :raises OSError: if there is no compiler.
    :raises subprocess.CalledProcessError: if it fails.
    """
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    module = f"twisted_smtpserver/wire/_scanner{suffix}"
    output = folder / Path(module).name
    # How this Python links an extension, with the compiler that it was made by, or CC.
    link = shlex.split(sysconfig.get_config_var("LDSHARED"))
    if "CC" in os.environ:
        link[:1] = shlex.split(os.environ["CC"])
    includes = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    subprocess.run(
        [
            *(*link, "-O2", "-fPIC", *shlex.split(os.environ.get("CFLAGS", ""))),
            *(f"-I{include}" for include in sorted(includes)),
            *(str(ROOT / "twisted_smtpserver" / "wire" / "_scanner.c"), "-o", str(output)),
        ],
        check=True,
    )
    return {module: output}


#: The modules that mypyc compiles: those that each command, and each message, comes through.
#: docs/topics/compiled.rst says what is left out, and why.
MODULES = (
    *("commands/gates.py", "commands/shortcuts.py", "commands/verbs.py"),
    *(
        "connection/channel.py",
        "connection/hub.py",
        "connection/lines.py",
        "connection/opening.py",
        "connection/replying.py",
    ),
    *("connection/timeouts.py", "connection/writethrough.py"),
    *("dialogue/dialogue.py", "dialogue/octets.py", "dialogue/outcome.py"),
    "dialogue/step.py",
    *("hooks/calling.py", "hooks/coroutines.py", "hooks/firing.py"),
    "log/serverlog.py",
    "message/transfer.py",
    *("wire/commands.py", "wire/dotdata.py", "wire/hello.py"),
    *("wire/newlines.py", "wire/params.py", "wire/text.py"),
)

#: What that takes, besides a C compiler: mypy reads the types of all that the core imports.
NEEDED = ("mypy[mypyc]>=1.18", "mypy-zope>=1.0.11", "setuptools>=65")


def buildCore(folder: Path) -> Built:
    """
    Compile the core.

    :param folder: where to.
    :returns: a module of a few lines for each of :data:`MODULES`, and the library behind them all.
    :raises ImportError: if there is no mypyc.
    :raises Exception: (or SystemExit) if that, or the compiler, fails.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution

    here = Path.cwd()
    os.chdir(ROOT)  # mypy's settings are found there
    try:
        extensions = mypycify(
            [f"--cache-dir={folder / 'cache'}", *(f"twisted_smtpserver/{m}" for m in MODULES)],
            group_name="twisted_smtpserver",
            target_dir=str(folder / "c"),
            debug_level="0",
        )
        command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(here)
    return {str(path.relative_to(folder / "lib")): path for path in (folder / "lib").rglob("*.so")}


#: What is compiled, each by a function of a folder for what it makes.
PARTS: dict[str, Callable[[Path], Built]] = {"scanner": buildScanner, "core": buildCore}


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's name for what changes a build."""

    def dependencies(self) -> list[str]:
        """
        What a build in an environment of its own needs.

        :returns: requirements, if something is to be compiled.
        """
        if os.environ.get(VARIABLE, "0") in ("", "0"):
            return []
        return [*NEEDED, *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """
        Compile what was asked for.

        :param version: ``"editable"`` for ``pip install -e``: then the modules go into this folder.
        :param build_data: what goes into the wheel.
        """
        asked = os.environ.get(VARIABLE, "0")
        if asked in ("", "0"):
            return
        folder = Path(tempfile.mkdtemp(prefix="twisted-smtpserver-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for place, build in enumerate(PARTS.values()):
            try:
                built = build(folder)
            except (Exception, SystemExit) as error:  # whatever a compiler may come to
                if asked == "require":
                    raise
                # The rest needs a compiler, too, and mypy would take its time first.
                names = " and the ".join([*PARTS][place:])
                why = f"{type(error).__name__}: {error}"
                self.app.display_warning(f"The {names} will be pure Python: {why}{_cure(error)}")
                return
            self._add(built, version, build_data)

    def _add(self, built: Built, version: str, build_data: dict[str, Any]) -> None:
        for place, path in built.items():
            if version == "editable":
                (ROOT / place).write_bytes(path.read_bytes())
            else:
                build_data["force_include"][str(path)] = place
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _cure(error: BaseException) -> str:
    """What to do about the compiler's failure."""
    if not isinstance(error, (OSError, subprocess.CalledProcessError)):
        return ""
    return " (it takes a C compiler and Python's headers: on Debian, apt install gcc python3-dev)"

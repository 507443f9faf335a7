"""
Builds wheels with compiled parts, when it is asked to.

By default a wheel is pure Python, and needs no compiler. With ``TWISTED_SMTPSERVER_COMPILE=1``,
what is in :data:`PARTS` is compiled. A part that can't be is left out, with a warning: its Python
form does the same. With ``=require``, for release wheels, that is an error.
"""

from __future__ import annotations

import os
import shlex
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


#: What is compiled, each by a function of a folder for what it makes.
PARTS: dict[str, Callable[[Path], Built]] = {"scanner": buildScanner}


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's name for what changes a build."""

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
        for name, build in PARTS.items():
            try:
                built = build(folder)
            except (OSError, subprocess.CalledProcessError) as error:
                if asked == "require":
                    raise
                self.app.display_warning(f"{name} stays pure Python: {error}")
                continue
            for place, path in built.items():
                if version == "editable":
                    (ROOT / place).write_bytes(path.read_bytes())
                else:
                    build_data["force_include"][str(path)] = place
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

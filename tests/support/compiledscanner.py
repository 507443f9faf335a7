"""The scanner in C, built for a test."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

ROOT = Path(__file__).parent.parent.parent


def load(path: Path) -> ModuleType:
    """Import a file that isn't on the path."""
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def build() -> ModuleType:
    """
    Build it by the function that builds it for wheels, and import it.

    :raises SkipTest: where there is no compiler; in CI there has to be one.
    """
    folder = Path(tempfile.mkdtemp(prefix="scanner-"))
    hook = load(ROOT / "hatch_build.py")
    try:
        [path] = hook.buildScanner(folder).values()
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        raise SkipTest(f"no compiler for extensions of Python: {error}") from error
    return load(path)

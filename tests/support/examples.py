"""The examples of the documentation, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent.parent.parent / "docs"
EXAMPLES = DOCS / "examples"


def load(name: str) -> ModuleType:
    """
    Import an example anew.

    :param name: its path below the folder of examples, without the suffix. It may import its
        neighbors by name.
    """
    path = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module

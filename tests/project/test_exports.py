"""What is public: each name once, in a place that is documented, with a docstring."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver

DOCS = Path(__file__).parent.parent.parent / "docs"

#: Where a module's own path is documented, for what isn't at the top.
PUBLIC = ("interfaces", "handlers", "handlers.policies", "extensions", "sasl", "testing", "tls")


def packages() -> list[str]:
    """All modules that say by ``__all__`` what they export."""
    walk = pkgutil.walk_packages(twisted_smtpserver.__path__, "twisted_smtpserver.")
    inside = [module.name for module in walk if not module.name.endswith("__main__")]
    found = [twisted_smtpserver.__name__, *inside]
    return [name for name in found if hasattr(importlib.import_module(name), "__all__")]


class ExportTests(SynchronousTestCase):
    """The names that ``__all__`` has."""

    def test_once(self) -> None:
        """Each is there, and once in its list."""
        for name in packages():
            module = importlib.import_module(name)
            self.assertEqual(len(module.__all__), len(set(module.__all__)), name)
            for each in module.__all__:
                self.assertTrue(hasattr(module, each), f"{name}.{each}")

    def test_top(self) -> None:
        """All that the package itself imports is exported, and nothing else."""
        public = {
            name
            for name, value in vars(twisted_smtpserver).items()
            if not name.startswith("_") and not inspect.ismodule(value)
        }
        self.assertEqual(public, {n for n in twisted_smtpserver.__all__ if not n.startswith("_")})

    def test_one(self) -> None:
        """No two different things have the same name, unless one is a kind of the other."""
        things: dict[str, object] = {}
        for name in ("twisted_smtpserver", *(f"twisted_smtpserver.{each}" for each in PUBLIC)):
            module = importlib.import_module(name)
            for each in getattr(module, "__all__", ()):
                value = getattr(module, each)
                known = things.setdefault(each, value)
                isKind = isinstance(known, type) and value in known.__mro__
                self.assertTrue(known is value or isKind, f"{name}.{each}")

    def test_documented(self) -> None:
        """Each has a docstring, and stands on a page of the documentation."""
        pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.rst"))
        for name in twisted_smtpserver.__all__:
            value = getattr(twisted_smtpserver, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                self.assertTrue(inspect.getdoc(value), name)
            self.assertRegex(pages, rf"\b{re.escape(name)}\b")

    def test_paths(self) -> None:
        """Every path that a page of the documentation names can be imported from."""
        pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.rst"))
        for module, names in re.findall(r"from (twisted_smtpserver[\w.]*) import ([\w, ]+)", pages):
            for name in re.split(r",\s*", names.strip().rstrip(",")):
                found = importlib.import_module(module)
                self.assertTrue(
                    hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"),
                    f"{module}.{name}",
                )

"""The modules that are compiled for wheels, in the form that is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver
from tests.support import compiledscanner

ROOT = Path(__file__).parent.parent.parent
HOOK = compiledscanner.load(ROOT / "hatch_build.py")

#: Bases that take no place in an object, or make a class that isn't native.
_HARMLESS = {"Enum", "Generic", "NamedTuple", "Protocol"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Each module's path and code."""
    for name in HOOK.MODULES:
        yield name, ast.parse((ROOT / "twisted_smtpserver" / name).read_text())


def modules() -> Iterator[ModuleType]:
    """Each of them, imported."""
    for name in HOOK.MODULES:
        yield import_module(f"twisted_smtpserver.{name.removesuffix('.py').replace('/', '.')}")


class FormTests(SynchronousTestCase):
    """Which form there is."""

    def test_all(self) -> None:
        """All of them have the one that is told."""
        for module in modules():
            isNative = not str(module.__file__).endswith(".py")
            self.assertIs(isNative, twisted_smtpserver.isCompiled, module)


class SourceTests(SynchronousTestCase):
    """What would be compiled to something slow, wrong or dangerous."""

    def test_closures(self) -> None:
        """No function has another one within it: that is garbage that refers to itself."""
        for name, code in sources():
            for outer in ast.walk(code):
                if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    inner = [each for each in ast.walk(outer) if isinstance(each, ast.FunctionDef)]
                    self.assertEqual([each.name for each in inner if each is not outer], [], name)

    def test_classes(self) -> None:
        """
        No class is decorated, which mypyc leaves slow, or has a base that isn't compiled: with such
        a one, mypyc's own pointer lies where Python has that of the weak references.
        """
        for name, code in sources():
            for each in ast.walk(code):
                if isinstance(each, ast.ClassDef):
                    bases = {ast.unparse(base).partition("[")[0] for base in each.bases}
                    self.assertEqual(each.decorator_list, [], f"{name}: {each.name}")
                    self.assertLessEqual(bases, _HARMLESS, f"{name}: {each.name}")

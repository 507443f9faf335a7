"""The house stays as it was built: imports go one way, from the roof down."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "twisted_smtpserver"

# What each floor has, and which distributions it may import besides the standard library. A module
# may import those of its own floor and of the floors below.
FLOORS: tuple[tuple[str, set[str], set[str]], ...] = (
    ("ground", {"errors", "replies", "sasl", "states", "wire"}, {"idna"}),
    ("first", {"interfaces", "options", "results", "session"}, {"idna", "zope"}),
    ("second", set(), {"OpenSSL", "cryptography", "idna", "twisted", "zope"}),  # all the others
    (
        "roof",
        # "": the package itself: it gathers the names
        {"", "__main__", "service", "shared", "tap", "testing", "threaded", "twistd"},
        {"OpenSSL", "cryptography", "idna", "twisted", "zope"},
    ),
)
SECOND = 2

#: The optional distributions, and the one room that may import each.
OPTIONAL = {
    "psycopg": "stores",
    "treq": "stores",
    "trustme": "testing",
    "txredisapi": "shared",
}

#: All that the handlers that come with the library see of it, so that they are good to copy.
HANDLERS_SEE = {
    "auth",
    "errors",
    "handlers",
    "headers",
    "hooks",
    "interfaces",
    "limits",
    "message",
    "replies",
    "resolver",
    "results",
    "sasl",
    "session",
    "wire",
}

#: Those who may know the protocol.
KNOW_PROTOCOL = {"connection", "factory", "testing"}

# Names of the place where this was written, which nobody else could make sense of. A class of one
# character keeps the pattern from finding itself.
_WORKPLACE = re.compile(
    r"""(?x)
    (?<![\w.])/[w]ork/ | /tmp/(?:[v]env|[w]ork)\b | /opt/(?:[p]ypi|[w]heels)
    | \b[C]ONTRACT\.md | \b[D]ESIGN\.md
    | \b[f]iles\.pythonhosted\.org | \b[r]egistry\.npmjs\.org
    """
)
_SKIPPED = {"node_modules", "__pycache__", "_build"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module's name inside of the package, ``wire.path`` for example, and its file."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts)
        yield name.removesuffix("__init__").rstrip("."), path


def parse(path: Path) -> ast.Module:
    """Read a file's code."""
    return ast.parse(path.read_text())


def forTypesOnly(node: ast.If) -> bool:
    """Whether it is ``if TYPE_CHECKING:``."""
    return ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(node: ast.AST) -> Iterator[str]:
    """What a piece of code imports when it runs, wherever in it, by full names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports aren't the custom here"
        # "from package import module" imports package.module.
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    else:
        skipped = node.body if isinstance(node, ast.If) and forTypesOnly(node) else []
        for child in ast.iter_child_nodes(node):
            if child not in skipped:
                yield from imports(child)


def rooms(path: Path) -> set[str]:
    """The rooms of the package that a file imports: the first part of each module's name."""
    inside = (name.split(".") for name in imports(parse(path)))
    return {parts[1] for parts in inside if parts[0] == PACKAGE}


def floor(name: str) -> int:
    """The number of the floor that a module is on."""
    room = name.partition(".")[0]
    return next((n for n, (_, on, _) in enumerate(FLOORS) if room in on), SECOND)


class ImportTests(SynchronousTestCase):
    """Who imports whom."""

    def test_inside(self) -> None:
        """No module imports one from a floor above its own."""
        for name, path in modules():
            above = {room for room in rooms(path) if floor(room) > floor(name)}
            self.assertEqual(above, set(), f"imported by {name or PACKAGE}")

    def test_outside(self) -> None:
        """The lower floors know nothing of Twisted, and nothing is imported that isn't required."""
        for name, path in modules():
            tops = {top.partition(".")[0] for top in imports(parse(path))}
            allowed = FLOORS[floor(name)][2] | {
                distribution
                for distribution, room in OPTIONAL.items()
                if name.partition(".")[0] == room
            }
            foreign = tops - sys.stdlib_module_names - {PACKAGE} - allowed
            self.assertEqual(foreign, set(), f"imported by {name or PACKAGE}")

    def test_protocol(self) -> None:
        """Only the factory knows the protocol; the fakes for tests may."""
        for name, path in modules():
            protocol = f"{PACKAGE}.connection.protocol."
            if any(full.startswith(protocol) for full in imports(parse(path))):
                self.assertIn(name.partition(".")[0], KNOW_PROTOCOL)

    def test_handlers(self) -> None:
        """The handlers see no more of the library than a user's handler does."""
        for name, path in modules():
            if name.startswith("handlers"):
                self.assertEqual(rooms(path) - HANDLERS_SEE, set(), f"imported by {name}")

    def test_types(self) -> None:
        """What only type checkers import doesn't count; the other branch does."""
        code = "if TYPE_CHECKING:\n import a\nelse:\n from b import c\ndef f():\n import d.e"
        self.assertEqual(list(imports(ast.parse(code))), ["b.c", "d.e"])


class TextTests(SynchronousTestCase):
    """What is written in the files."""

    def test_docstrings(self) -> None:
        """Every module of the package says what it is for."""
        missing = [name for name, path in modules() if not ast.get_docstring(parse(path))]
        self.assertEqual(missing, [])

    def test_testDocstrings(self) -> None:
        """Every test says in a sentence what it proves."""
        missing = [
            f"{path.name}: {node.name}"
            for path in sorted((ROOT / "tests").rglob("test_*.py"))
            for node in ast.walk(parse(path))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and node.name.startswith("test_")
            and not ast.get_docstring(node)
        ]
        self.assertEqual(missing, [])

    def test_workplace(self) -> None:
        """No file mentions a place that only its authors had."""
        for path in texts():
            found = _WORKPLACE.search(path.read_text(errors="replace"))
            self.assertIsNone(found, f"in {path}")

    def test_workplaceIsSeen(self) -> None:
        """The pattern for that finds something."""
        place = "/wor" + "k/shared"
        self.assertRegex(f"see {place}", _WORKPLACE)
        self.assertNotRegex(f"/home/joe{place}", _WORKPLACE)


def texts() -> Iterator[Path]:
    """All files that are the project's own: what is hidden or made by tools is not."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if (name == ".ci" or not name.startswith("."))
            and name not in _SKIPPED
            and not name.startswith(("_trial_temp", "tests."))
        ]
        own = (Path(folder, name) for name in files if not name.startswith((".", "_trial_temp")))
        yield from filter(Path.is_file, own)

"""The house stays as it was built: imports go one way, from the roof down."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "twisted_smtpserver"

#: The rooms of the house, from the ground up: for each, which others it imports, and which
#: distributions besides the standard library. It may name only rooms above its own row: so there
#: is no circle. What only type checkers import counts as well.
TABLE = ROOT / "docs" / "rooms.txt"


def readTable(text: str) -> dict[str, tuple[set[str], set[str]]]:
    """The table of the rooms: a row for each; one that begins with blanks goes on."""
    found = {}
    for row in re.sub(r"\n +", " ", text).splitlines():
        name, _, rest = row.partition(" ")
        rooms, outside = (
            {word for word in part.split() if word != "–"} for part in rest.split("|")
        )
        found["" if name == "__init__" else name] = (rooms, outside)
    return found


ROOMS = readTable(TABLE.read_text(encoding="utf-8"))

#: What may stand at the top of the package; everything else has a room.
MOST_AT_THE_TOP = 16

#: Attributes of others that are private to them, and why they are used all the same.
FOREIGN = {
    "_tempDataLen",  # Twisted's transport: the only way to know whether all was sent
    "_asyncio_future_blocking",  # whoever drives a coroutine must set or clear it
}

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


def imports(node: ast.AST) -> Iterator[str]:
    """What a piece of code imports, wherever in it, by full names; also for type checkers only."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            assert each.level == 0, "relative imports aren't the custom here"
            # "from package import module" imports package.module.
            yield from (f"{each.module}.{alias.name}" for alias in each.names)


def room(name: str) -> str:
    """The room that a module is in: the first part of its name."""
    return name.partition(".")[0]


def inside(path: Path, names: Container[str]) -> set[str]:
    """The modules of the package that a file imports, by their names inside of it."""
    found = set()
    for full in imports(parse(path)):
        package, _, name = full.partition(".")
        if package == PACKAGE:
            while name and name not in names:
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The nodes that lead back to themselves."""
    reached = {node: set(after) for node, after in graph.items()}
    changed = True
    while changed:
        changed = False
        for node, after in reached.items():
            more = after.union(*(reached.get(each, set()) for each in after))
            changed |= more != after
            reached[node] = more
    return [node for node, after in reached.items() if node in after]


class ImportTests(SynchronousTestCase):
    """Who imports whom."""

    def setUp(self) -> None:
        """Read all files."""
        self.modules = dict(modules())
        self.graph = {name: inside(path, self.modules) for name, path in self.modules.items()}

    def test_rooms(self) -> None:
        """Every room is in the table, once, and imports exactly what its row says."""
        found: dict[str, set[str]] = {room(name): set() for name in self.modules}
        for name, imported in self.graph.items():
            found[room(name)] |= {room(each) for each in imported} - {room(name), ""}
        expected = {name: row for name, (row, _) in ROOMS.items()}
        for name in found.keys() | expected.keys():
            self.assertEqual(found.get(name), expected.get(name), f"the row of {name}")

    def test_order(self) -> None:
        """A room imports only what stands above it in the table."""
        above: set[str] = set()
        for name, (row, _) in ROOMS.items():
            self.assertEqual(row - above, set(), f"imported by {name}")
            above.add(name)

    def test_circles(self) -> None:
        """No file leads back to itself. A package that gathers the names of its modules may."""
        files = {
            name: {each for each in after if each and not name.startswith(f"{each}.")}
            for name, after in self.graph.items()
        }
        self.assertEqual(circles(files), [])
        self.assertEqual(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}), ["b", "c"])

    def test_outside(self) -> None:
        """Nothing is imported that a room has no need of."""
        found: dict[str, set[str]] = {room(name): set() for name in self.modules}
        for name, path in self.modules.items():
            tops = {top.partition(".")[0] for top in imports(parse(path))}
            # Python 3.10 doesn't know that later ones have a tomllib.
            found[room(name)] |= tops - sys.stdlib_module_names - {PACKAGE, "tomllib"}
        expected = {name: row for name, (_, row) in ROOMS.items()}
        for name in found.keys() | expected.keys():
            self.assertEqual(found.get(name), expected.get(name), f"the row of {name}")

    def test_top(self) -> None:
        """There are few modules outside of rooms."""
        top = [path.name for path in self.modules.values() if path.parent.name == PACKAGE]
        self.assertLessEqual(len(top), MOST_AT_THE_TOP, top)

    def test_private(self) -> None:
        """A private attribute is used in the file that defines it, and nowhere else."""
        for name, path in self.modules.items():
            tree = parse(path)
            used = {
                each.attr
                for each in ast.walk(tree)
                if isinstance(each, ast.Attribute) and re.match("_[^_]", each.attr)
            }
            self.assertEqual(used - definitions(tree) - FOREIGN, set(), name)

    def test_privateIsSeen(self) -> None:
        """The test of that sees something."""
        tree = ast.parse("class A:\n def _b(self):\n  self._c = a._d\n  self._b(self._e)")
        self.assertEqual(definitions(tree), {"A", "_b", "_c"})


def definitions(tree: ast.Module) -> set[str]:
    """All names that a file gives to attributes: methods, slots, what is assigned to."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # a slot
    return found


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

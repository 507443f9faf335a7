"""The table of limits in the documentation is what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Options, options
from twisted_smtpserver.twistd.flags import FLAGS

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "limits.rst"
CELL = re.compile(r"^   (?:  |\* )- (.*)$", re.MULTILINE)
COLUMNS = 5
UNITS = {"": 1, "s": 1, "octets": 1, "octets/s": 1, "KiB": 2**10, "MiB": 2**20}


def rows() -> list[list[str]]:
    cells = CELL.findall(PAGE.read_text(encoding="utf-8"))
    assert len(cells) % COLUMNS == 0
    table = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    return [row for row in table if row[0] != "What"]


def content(cell: str) -> str:
    found = re.fullmatch(r"(?::\w+:)?`+([\w.]+)`+", cell)
    return found[1] if found else ""


def value(cell: str) -> float | None:
    if cell == "–":
        return None
    number, _, unit = cell.partition(" ")
    return float(number) * UNITS[unit]


def constant(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"twisted_smtpserver.{module}"), attribute)


class TableTests(SynchronousTestCase):
    def test_complete(self) -> None:
        """Every option that is a number is in it, once, and has a flag."""
        named = [content(row[2]) for row in rows() if "." not in row[2]]
        self.assertEqual(sorted(name for name in named if name), sorted(options._LEAST))
        flags = {flag.option for group in FLAGS.values() for flag in group}
        self.assertEqual(set(options._LEAST) - flags, set())

    def test_values(self) -> None:
        """The values are the code's."""
        for what, default, where, _, _ in rows():
            name = content(where)
            if name:
                actual = constant(name) if "." in name else getattr(Options(), name)
                self.assertEqual(value(default), actual, what)

    def test_tests(self) -> None:
        """The tests exist."""
        for row in rows():
            *folders, case, method = content(row[4]).split(".")
            module = ".".join(folders)
            found = getattr(importlib.import_module(f"tests.{module}"), case)
            self.assertTrue(callable(getattr(found, method)), row[4])

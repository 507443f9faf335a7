"""What contributors rely on: the workflows, the sessions of nox, the files of the change log."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
RELEASING = (ROOT / "RELEASING.md").read_text()

_KIND = re.compile(r'^\[\[tool\.towncrier\.type\]\]\ndirectory = "(\w+)"', re.MULTILINE)
_SESSION = re.compile(r"nox -s ([\w.-]+(?: [a-z][\w.-]+)*)")


def sessions() -> set[str]:
    """The sessions of noxfile.py, without the versions of Python."""
    found: set[str] = set()
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        for mark in getattr(node, "decorator_list", ()):
            assert isinstance(node, ast.FunctionDef)
            keywords = {each.arg: each.value for each in getattr(mark, "keywords", ())}
            given = keywords.get("name")
            found.add(str(given.value) if isinstance(given, ast.Constant) else node.name)
    return found


def pythons() -> list[str]:
    """The versions of Python that pyproject.toml promises."""
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)


class NoxTests(SynchronousTestCase):
    """The sessions, and those who name them."""

    def test_workflows(self) -> None:
        """What the workflows run exists."""
        named = set()
        for path in (ROOT / ".github" / "workflows").glob("*.yaml"):
            text = path.read_text()
            named |= set(re.findall(r"nox -s ([\w-]+)", text))
            named |= set(re.findall(r"\bsession: ([\w-]+)", text))
            for several in re.findall(r"session: \[(.*)\]", text):
                named |= set(several.split(", "))
        self.assertLessEqual({"lint", "types", "tests", "tests-oldest", "tests-trunk"}, named)
        self.assertEqual(named - sessions(), set())

    def test_pages(self) -> None:
        """So does what the pages for contributors name."""
        pages = (CONTRIBUTING, RELEASING, (ROOT / "changes" / "README.md").read_text())
        words = " ".join(_SESSION.findall("\n".join(pages))).split()
        self.assertGreater(len(words), 8)
        named = {re.sub(r"-3\.\d+$", "", word) for word in words}
        self.assertEqual(named - sessions(), set())

    def test_pythons(self) -> None:
        """The tests are run with every version of Python that is promised."""
        versions = ", ".join(f'"{version}"' for version in pythons())
        self.assertIn(f"PYTHONS = [{versions}]", (ROOT / "noxfile.py").read_text())
        workflow = (ROOT / ".github" / "workflows" / "tests.yaml").read_text()
        self.assertIn(f"python: [{versions}]", workflow)


class PlaceTests(SynchronousTestCase):
    """Where a thing belongs."""

    def test_exist(self) -> None:
        """The rooms and files that are named exist; so does the test that is run alone."""
        named = re.findall(r"`([\w./]+(?:/|\.py))`", CONTRIBUTING) + re.findall(
            r"pytest (tests/\S+)", CONTRIBUTING
        )
        self.assertGreater(len(named), 20)
        places = (ROOT, ROOT / "twisted_smtpserver")
        missing = [name for name in named if not any((place / name).exists() for place in places)]
        self.assertEqual(missing, [])


class ReleaseTests(SynchronousTestCase):
    """What a release is made of."""

    def test_version(self) -> None:
        """The package says which version it is."""
        self.assertRegex(twisted_smtpserver.__version__, r"\A\d+\.\d+\.\d+(\.dev0)?\Z")

    def test_changes(self) -> None:
        """Each file of the change log has a kind that is known, and says something."""
        kinds = _KIND.findall(PYPROJECT)
        self.assertIn("feature", kinds)
        table = (ROOT / "changes" / "README.md").read_text()
        self.assertEqual(set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)), set(kinds))
        for path in (ROOT / "changes").iterdir():
            if path.name not in ("README.md", "template.md"):
                self.assertRegex(path.name, rf"\A[\w+-]+\.({'|'.join(kinds)})\.md\Z")
                self.assertTrue(path.read_text().strip(), path.name)

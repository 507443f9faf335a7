"""
What there is one of: a second parser, grammar or way that does the same would come to differ.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver
from twisted_smtpserver.replies import CONTROLS
from twisted_smtpserver.sasl import names

PACKAGE = Path(twisted_smtpserver.__file__).parent

#: Where controls are spelled out, and why :data:`twisted_smtpserver.replies.CONTROLS` won't do.
CONTROL_CLASSES = {
    "replies.py": "the one",
    "sasl/names.py": "imports the standard library only; the same by test_sasl",
    "wire/bdat.py": "octets: all that isn't printable ASCII",
    "wire/path.py": "octets: all that isn't printable ASCII",
}

#: Where a regular expression has a class of letters, digits and hyphens that is no host's name.
HYPHENATED = {
    "commands/shortcuts.py": "the short ways; test_shortcuts holds them equal to the long ones",
    "extensions/dsn.py": "an atom",
    "extensions/priority.py": "a profile's name (RFC 6710)",
    "extensions/__init__.py": "a keyword (RFC 5321 §4.1.1.1)",
    "filters/attachments.py": "a media type",
    "headers.py": "an atom, and what may not stand in a domain",
    "inbox/gate.py": "HTTP's Host field, which is only compared",
    "inbox/mail.py": "a media type",
    "sasl/bearer.py": "a token (RFC 6750)",
    "sasl/gs2.py": "a channel binding's name",
    "twistd/layers.py": "a flag",
    "users/schemes.py": "the name of a password's hash",
    "wire/authresults.py": "a keyword (RFC 8601)",
    "wire/domain.py": "an address literal's tag",
    "wire/hostname.py": "the one",
    "wire/params.py": "a parameter's keyword (RFC 5321 §4.1.2)",
}

_CONTROL_CLASS = re.compile(r"\\?x00-\\?x1f|\x00-\x1f|\\?x00-\\?x20|\x00- ", re.IGNORECASE)
_HYPHENATED_CLASS = re.compile(
    r"\[[^\]]*a-z[^\]]*0-9[^\]]*-\]|\[[^\]]*a-z[^\]]*0-9[^\]]*\\-", re.IGNORECASE
)


@cache
def files() -> list[tuple[str, ast.Module]]:
    """All files of the package, by their paths inside of it."""
    return [
        (path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def importers(name: str) -> set[str]:
    """The files that import a module, or a name of one."""
    found = set()
    for path, tree in files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}
            else:
                continue
            if name in names:
                found.add(path)
    return found


def spelling(pattern: re.Pattern[str]) -> set[str]:
    """The files with a text in which a pattern is found, docstrings aside."""
    found = set()
    for path, tree in files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                if "\n\n" not in text and pattern.search(text):
                    found.add(path)
    return found


class TwinTests(SynchronousTestCase):
    """Each is in one file; exceptions are argued above."""

    def test_addresses(self) -> None:
        """One file reads IP addresses and networks."""
        self.assertEqual(importers("ipaddress"), {"wire/ip.py"})

    def test_reactor(self) -> None:
        """One file gets the reactor."""
        self.assertEqual(importers("twisted.internet.reactor"), {"hooks/reactor.py"})

    def test_controls(self) -> None:
        """One class of control characters."""
        self.assertEqual(spelling(_CONTROL_CLASS), set(CONTROL_CLASSES))

    def test_sasl(self) -> None:
        """The room that can't import it has the same."""
        self.assertEqual(names._CONTROL.pattern, CONTROLS)

    def test_hostNames(self) -> None:
        """One grammar of host names, and one library for what isn't ASCII in them."""
        self.assertEqual(spelling(_HYPHENATED_CLASS), set(HYPHENATED))
        self.assertEqual(importers("idna"), {"wire/domain.py", "wire/hostname.py"})

"""The runbook has what can happen, and nothing that can't."""

from __future__ import annotations

import ast
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import DOCS, EXAMPLES

PAGE = DOCS / "howto" / "runbook.rst"
PACKAGE = DOCS.parent / "twisted_smtpserver"

SITE = "https://twisted-smtpserver.readthedocs.io/en/stable"

_ALERT = re.compile(r"^(SMTP\w+)\n~+$", re.MULTILINE)
_LINE = re.compile(r"^``([^`]+)``\n   \S", re.MULTILINE)


def texts() -> list[str]:
    """All texts in the code; of those with values in them the parts between."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(ast.unparse(node)[2:-1])
    return found


class RunbookTests(SynchronousTestCase):
    """Alerts, and lines of the log."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")

    def test_lines(self) -> None:
        """Each line that is quoted is one of the code's."""
        quoted = _LINE.findall(self.text)
        self.assertGreater(len(quoted), 15)
        known = texts()
        self.assertEqual([q for q in quoted if not any(q in text for text in known)], [])

    def test_references(self) -> None:
        """What is referred to as an alert is one that has a section."""
        sections = set(_ALERT.findall(self.text))
        self.assertEqual(set(re.findall(r"\bSMTP[A-Z]\w+", self.text)), sections)

    def test_alerts(self) -> None:
        """Each alert of the rules has a section, in their order, and leads to it."""
        rules = "".join(
            path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("metrics/*.yml"))
        )
        alerts = re.findall(r"^ +- alert: (\w+)$", rules, re.MULTILINE)
        self.assertEqual(_ALERT.findall(self.text), alerts)
        links = re.findall(r"^ +runbook_url: \"(.*)\"$", rules, re.MULTILINE)
        self.assertEqual({link.partition("#")[0] for link in links}, {f"{SITE}/howto/runbook.html"})
        rules_ = (EXAMPLES / "metrics/alerts.yml").read_text(encoding="utf-8")
        linked = re.findall(r"runbook.html#(\w+)", rules_)
        self.assertEqual(linked, [alert.lower() for alert in alerts])

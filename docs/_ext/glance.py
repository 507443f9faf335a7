"""
``.. benchmarks-at-a-glance::`` draws the most telling columns of the performance page as bars.

It reads the table there, so the two can't differ.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

PAGE = Path(__file__).parent.parent / "topics" / "performance.rst"

#: The columns that are drawn, and what they say in words.
COLUMNS = {
    "one of many": "A message of 1 KiB, µs of the processor",
    "100 rcpts": "A message for 100 recipients, µs",
    "base64": "A megabyte of an attachment, µs",
    "idle": "An idle connection, KiB of memory",
}

#: The servers that are shown, by the beginning of their rows.
SERVERS = ("**twisted_smtpserver**", "nodemailer", "twisted.mail", "aiosmtpd", "go-smtp")


def figures(text: str) -> dict[str, list[tuple[str, float]]]:
    """
    The figures of each column, by server.

    :param text: the page, in reStructuredText.
    """
    found = re.search(r"\.\. csv-table:: Processor time.*\n(?:   :.*\n)*\n((?:   .*\n)+)", text)
    assert found is not None, "the performance page has no table"
    head, *rows = ([cell.strip() for cell in line.split(";")] for line in found[1].splitlines())
    shown = [row for row in rows if row[0].startswith(SERVERS)]
    columns = {}
    for column in COLUMNS:
        [number] = [n for n, title in enumerate(head) if title.startswith(column)]
        cells = [(row[0].strip("*"), row[number].replace(",", "")) for row in shown]
        columns[column] = [(name, float(cell)) for name, cell in cells if cell != "–"]
    return columns


def draw(columns: dict[str, list[tuple[str, float]]]) -> str:
    """The bars, as HTML: text that can be read and searched, beside a bar that shows it."""
    parts = []
    for column, values in columns.items():
        most = max(value for _, value in values)
        rows = "".join(
            f'<tr{" class=ours" if number == 0 else ""}><th scope="row">{escape(name)}</th>'
            f'<td><span class="bar" style="width:{max(value / most * 100, 0.5):.1f}%"></span></td>'
            f'<td class="figure">{value:,g}</td></tr>'
            for number, (name, value) in enumerate(values)
        )
        parts.append(f"<table><caption>{escape(COLUMNS[column])}</caption>{rows}</table>")
    return f'<div class="glance">{"".join(parts)}</div>'


class Glance(Directive):
    """The directive."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        self.state.document.settings.env.note_dependency(str(PAGE))
        drawn = draw(figures(PAGE.read_text(encoding="utf-8")))
        return [nodes.raw("", drawn, format="html")]


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_directive("benchmarks-at-a-glance", Glance)
    return {"parallel_read_safe": True}

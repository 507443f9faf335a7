"""
Tables that a telephone can show: a table of three to six columns has the column's name in each of
its cells, which is hidden unless the page is so narrow that the cells stand below each other.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes

COLUMNS = range(3, 7)


def label(app: Any, tree: nodes.document) -> None:
    """(Sphinx's call.) A page was read."""
    for table in tree.findall(nodes.table):
        heads = [row.children for head in table.findall(nodes.thead) for row in head.children]
        if len(heads) != 1 or len(heads[0]) not in COLUMNS:
            continue
        names = [cell.astext() for cell in heads[0]]
        table["classes"].append("stacked")
        for body in table.findall(nodes.tbody):
            for row in body.children:
                for name, cell in list(zip(names, row.children, strict=False))[1:]:
                    cell.insert(0, nodes.paragraph("", name, classes=["cell-label"]))


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("doctree-read", label)
    return {"parallel_read_safe": True}

"""
Shows an included file as what its name says it is.

Sphinx takes each ``literalinclude`` without a ``:language:`` for the default language; and one that
begins behind the docstring, it shows with an empty line above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes

#: The languages, as Pygments calls them, by the suffix.
LANGUAGES = {
    ".py": "python",
    ".cfg": "text",  # HAProxy's: no lexer knows them
    ".cf": "ini",  # Postfix's
    ".conf": "ini",
    ".service": "ini",
    ".socket": "ini",
    ".toml": "toml",
    ".json": "json",
    ".mjs": "javascript",
    ".sql": "sql",
    ".yaml": "yaml",
    ".yml": "yaml",
}


def name(app: Any, tree: nodes.document) -> None:
    """(Sphinx's call.) A page was read."""
    for block in tree.findall(nodes.literal_block):
        suffix = Path(block.get("source") or "").suffix
        if "language" not in block and suffix in LANGUAGES:
            block["language"] = LANGUAGES[suffix]
            text = block.astext().lstrip("\n")
            block.rawsource = text
            block.clear()
            block.append(nodes.Text(text))


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("doctree-read", name)
    return {"parallel_read_safe": True}

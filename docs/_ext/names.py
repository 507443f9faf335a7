"""
Finds what a cross-reference means that Sphinx can't resolve by itself.

Docstrings call things by the names that they have in their own module, as pydoctor understands
them; the documentation has them under the names that users import. A name that means nothing at all
is still a warning, and so an error.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from twisted.python.reflect import namedAny

PACKAGE = "twisted_smtpserver"


def resolve(app: Any, env: Any, node: Any, content: nodes.TextElement) -> nodes.Node | None:
    """(Sphinx's call.) A reference has no target."""
    if node.get("refdomain") not in ("py", ""):
        return None
    for name in candidates(node):
        try:
            found = namedAny(name)
        except (AttributeError, ImportError, ValueError):
            if isField(name):
                return content  # a line of a class's documentation: it has no place of its own
            continue
        target = documented(env, found)
        if target is None:
            return content  # a constant, say: it exists, and that is all there is to know
        domain = env.get_domain("py")
        return domain.resolve_xref(  # type: ignore[no-any-return]
            env, node["refdoc"], app.builder, "obj", target, node, content
        )
    return None


def candidates(node: Any) -> Iterator[str]:
    """What a name may stand for, in full, the likeliest first."""
    target = node["reftarget"].lstrip(".~")
    module, context = node.get("py:module"), node.get("py:class")
    source = re.search(rf"docstring of ({PACKAGE}[\w.]*)", node.source or "")
    owner = f"{module}.{context}" if module and context else context or module
    for scope in (source and source[1], owner):
        parts = (scope or "").split(".")
        yield from (".".join([*parts[:length], target]) for length in range(len(parts), 0, -1))
    yield target
    yield f"{PACKAGE}.Options.{target}"  # the table of options is made of their docstring


def isField(name: str) -> bool:
    """Whether a class says so by ``:ivar name:`` or the like, or its code annotates it."""
    owner, _, attribute = name.rpartition(".")
    try:
        found = namedAny(owner)
    except (AttributeError, ImportError, ValueError):
        return False
    if inspect.isfunction(found):  # the docstring's class is that of the method
        return isField(f"{owner.rpartition('.')[0]}.{attribute}")
    if re.search(rf":(ivar|cvar|param) {attribute}:", inspect.getdoc(found) or ""):
        return True
    return inspect.isclass(found) and f"self.{attribute}: " in inspect.getsource(found)


def documented(env: Any, found: object) -> str | None:
    """The name that an object is documented under."""
    index = getattr(env, "_documentedObjects", None)
    if index is None:
        index = env._documentedObjects = {}
        for name in env.get_domain("py").objects:
            if name.startswith(PACKAGE):
                index[id(named(name))] = name
    return index.get(id(found))  # type: ignore[no-any-return]


def named(name: str) -> object:
    """The object of a name; its own name stands for one that has none, such as a field."""
    try:
        return namedAny(name)
    except (AttributeError, ImportError):
        return name


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    importlib.import_module(PACKAGE)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}

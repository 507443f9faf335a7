"""
``.. autointerface:: name``: documents a zope interface, which autodoc takes for a mere variable.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from twisted.python.reflect import namedAny
from zope.interface.interface import InterfaceClass, Method


class AutoInterface(Directive):
    """Writes ``py:class`` with the interface's methods and attributes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write it, and parse that."""
        interface = namedAny(self.arguments[0])
        parent = nodes.container()
        lines = StringList(describe(interface), f"<{self.arguments[0]}>")
        self.state.nested_parse(lines, self.content_offset, parent)
        return parent.children


def describe(interface: InterfaceClass) -> list[str]:
    """The reStructuredText for an interface."""
    module, name = interface.__module__, interface.__name__
    lines = [f".. py:class:: {name}", f"   :module: {module}", "", *indented(interface.__doc__)]
    members: Any = interface.namesAndDescriptions()
    for member, description in sorted(members, key=lambda pair: order(interface, pair[0])):
        if isinstance(description, Method):
            lines += [f"   .. py:method:: {member}{description.getSignatureString()}", ""]
        else:
            lines += [f"   .. py:attribute:: {member}", ""]
        lines += ["   " + line for line in indented(description.__doc__)]
    return lines


def order(interface: InterfaceClass, name: str) -> int:
    """Members are shown in the order in which they were written."""
    return list(interface._InterfaceClass__attrs).index(name)


def indented(docstring: str) -> list[str]:
    """A docstring's lines, one level in, with an empty line behind."""
    return ["   " + line for line in inspect.cleandoc(docstring).splitlines()] + [""]


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_directive("autointerface", AutoInterface)
    return {"parallel_read_safe": True}

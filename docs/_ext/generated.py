"""
Directives whose content is made from the code when the documentation is built, so that it can't be
wrong: the state machine as a picture and as tables, the options, the flags, the replies.

There are two roles as well, ``:test:`` and ``:src:``, for the tests and the pieces of code that a
table names. They only print them; ``tests/project/test_docs.py`` checks that they exist.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from typing import Any

import statediagram
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from twisted_smtpserver import replies
from twisted_smtpserver.log.events import EVENTS
from twisted_smtpserver.metrics.table import METRICS, Metric
from twisted_smtpserver.options import Options
from twisted_smtpserver.states import ALLOWED, ALLOWED_ADDED, COMMAND_PHASES, TRANSITIONS
from twisted_smtpserver.twistd import flags
from twisted_smtpserver.twistd.example import exampleConfig


def table(header: list[str], rows: list[list[str]], widths: str = "auto") -> list[str]:
    """The lines of a ``list-table``."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"   {' ' if number else '*'} - {cell}".rstrip())
    return lines


class Generated(Directive):
    """A directive that writes reStructuredText."""

    def lines(self) -> list[str]:
        """What it writes."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse it."""
        parent = nodes.container()
        source = f"<{self.name}>"
        self.state.nested_parse(StringList(self.lines(), source), self.content_offset, parent)
        return parent.children


class StateDiagram(Directive):
    """The phases and transitions as a picture, for HTML."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        return [nodes.raw("", statediagram.svg(), format="html")]


class TransitionTable(Generated):
    """The same as a table."""

    def lines(self) -> list[str]:
        """One row for each transition."""
        return table(
            ["Phase", "Outcome", "Next phase"],
            [
                [f"``{before.name}``", f"``{event.name}``", f"``{after.name}``"]
                for (before, event), after in TRANSITIONS.items()
            ],
        )


class CommandTable(Generated):
    """Which command may come in which phase."""

    def lines(self) -> list[str]:
        """One row for each verb."""
        rows = {**ALLOWED, "*one of your own*": ALLOWED_ADDED}
        return table(
            ["Command", *(f"``{phase.name}``" for phase in COMMAND_PHASES)],
            [[verb, *(cell(row[phase]) for phase in COMMAND_PHASES)] for verb, row in rows.items()],
        )


def cell(refusal: replies.Reply | None) -> str:
    """What stands in the table of commands."""
    return "yes" if refusal is None else f"{refusal.code} {refusal.text}"


class OptionTable(Generated):
    """The options: name, default, flag, meaning."""

    def lines(self) -> list[str]:
        """One row for each option."""
        meanings = ivars(Options)
        flagOf = {flag.option: flag.name for flag in reversed(allFlags()) if flag.option}
        rows = [
            [
                f"``{field.name}``",
                default(field),
                f"``--{flagOf[field.name]}``" if field.name in flagOf else "–",
                meanings[field.name],
            ]
            for field in fields(Options)
            if field.init
        ]
        return table(["Option", "Default", "Flag", "Meaning"], rows, "20 14 20 46")


def allFlags() -> list[flags.Flag]:
    """The flags of ``twistd smtpserver``."""
    return [flag for group in flags.FLAGS.values() for flag in group]


def escaped(text: str) -> str:
    """A text without markup: no emphasis, and no links to ``tcp:25``."""
    return re.sub(r"(?<=\w):(?=\w)|\*", r"\\\g<0>", text)


def default(field: Any) -> str:
    """How a default is shown."""
    if field.default is MISSING:
        return "the host's name"
    if field.default in (None, "", ()):
        return "–"
    return f"``{field.default!r}``"


def ivars(documented: type) -> dict[str, str]:
    """The ``:ivar name: text`` fields of a docstring, each on one line."""
    text = inspect.getdoc(documented) or ""
    found = re.findall(r":ivar (\w+): (.*?)(?=\n:|\Z)", text, re.DOTALL)
    return {name: " ".join(meaning.split()) for name, meaning in found}


class FlagTable(Generated):
    """The flags of ``twistd smtpserver``, under their headings."""

    def lines(self) -> list[str]:
        """One table for each heading."""
        lines: list[str] = []
        for heading, group in flags.FLAGS.items():
            rows = [
                [
                    f"``--{flag.name} {flag.value}".rstrip() + "``",
                    flag.text[0].upper() + escaped(flag.text[1:]),
                ]
                for flag in group
            ]
            lines += [f".. rubric:: {heading}", "", *table(["Flag", "Meaning"], rows, "35 65"), ""]
        return lines


class EventTable(Generated):
    """The events of the log."""

    def lines(self) -> list[str]:
        """One row for each."""
        rows = [
            [
                f"``{event.name}``",
                event.level,
                event.when,
                "; ".join(f"``{name}``: {text}" for name, text in event.fields.items()) or "–",
            ]
            for event in EVENTS
        ]
        return table(["Event", "Level", "When", "Fields"], rows, "14 10 26 50")


class MetricTable(Generated):
    """The figures that the server keeps."""

    def lines(self) -> list[str]:
        """One row for each."""
        rows = [
            [f"``{metric.name}``", metric.kind, labelled(metric), escaped(metric.text)]
            for metric in METRICS
        ]
        return table(["Figure", "Kind", "Label", "Meaning"], rows, "30 12 24 34")


def labelled(metric: Metric) -> str:
    """A figure's label, and its values if they are few."""
    if not metric.label:
        return "–"
    if len(metric.values) > 20:
        return f"``{metric.label}``: {metric.values[0]} to {metric.values[-1]}"
    return f"``{metric.label}``: {', '.join(metric.values)}"


class ExampleConfig(Directive):
    """The file of configuration with every key, as ``--example-config`` prints it."""

    def run(self) -> list[nodes.Node]:
        """Print it."""
        text = exampleConfig()
        return [nodes.literal_block(text, text, language="toml")]


class ReplyTable(Generated):
    """The catalog of replies."""

    def lines(self) -> list[str]:
        """One row for each, by code."""
        catalog = [value for value in vars(replies).values() if isinstance(value, replies.Reply)]
        rows = [
            [str(reply.code), reply.enhanced or "–", reply.text.replace("*", r"\*")]
            for reply in sorted(catalog, key=lambda reply: (reply.code, reply.enhanced or ""))
        ]
        return table(["Code", "Enhanced", "Text"], rows, "10 15 75")


def literalRole(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Print a name as it is, breakable at its dots."""
    node = nodes.literal(rawtext, text.replace(".", ".\u200b"), classes=[name])
    return [node], []


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("transition-table", TransitionTable)
    app.add_directive("command-table", CommandTable)
    app.add_directive("option-table", OptionTable)
    app.add_directive("flag-table", FlagTable)
    app.add_directive("example-config", ExampleConfig)
    app.add_directive("reply-table", ReplyTable)
    app.add_directive("metric-table", MetricTable)
    app.add_directive("event-table", EventTable)
    app.add_role("test", literalRole)
    app.add_role("src", literalRole)
    return {"parallel_read_safe": True}

"""The help of ``twistd smtpserver``, and errors in the words of its flags."""

from __future__ import annotations

import difflib
import re
import textwrap
from dataclasses import fields

from twisted_smtpserver import options as library
from twisted_smtpserver.twistd.flags import BY_NAME, FLAGS, Flag

_INTRODUCTION = (
    "Receives mail by SMTP or LMTP, and stores it in a Maildir or passes it on. Flags for "
    "listeners, networks and lists may be repeated; the items of a list are separated by commas."
)

_FLAG_OF = {flag.option: flag.name for flag in reversed(BY_NAME.values()) if flag.option}
_DEFAULTS = {field.name: field.default for field in fields(library.Options) if field.init}
_HELP_COLUMN = 28


def helpText(width: int) -> str:
    """
    The help: the flags under their headings.

    :param width: the terminal's, in columns.
    """
    lines = ["", *textwrap.wrap(_INTRODUCTION, width)]
    for heading, flags in FLAGS.items():
        lines += ["", f"{heading}:"]
        for flag in flags:
            lines += _describe(flag, width)
    return "\n".join(lines) + "\n"


def _describe(flag: Flag, width: int) -> list[str]:
    """The lines of the help for a flag."""
    left = f"  --{flag.name} {flag.value}".rstrip()
    text, room = flag.text + _shownDefault(flag), max(20, width - _HELP_COLUMN)
    right = textwrap.wrap(text, room, break_on_hyphens=False)
    if len(left) >= _HELP_COLUMN:
        return [left, *(" " * _HELP_COLUMN + line for line in right)]
    return [f"{left:{_HELP_COLUMN}}{right[0]}", *(" " * _HELP_COLUMN + line for line in right[1:])]


def _shownDefault(flag: Flag) -> str:
    default = _DEFAULTS.get(flag.option)
    # The help doesn't say that a switch is off, or that a default is empty.
    if not flag.value or not default or not isinstance(default, (str, int, float, tuple)):
        return ""
    if isinstance(default, tuple):
        default = ",".join(default)
    return f" [default: {'yes' if default is True else default}]"


def inFlags(text: str) -> str:
    """Replace the options' names in an error's text by their flags."""
    first = re.match(r"(\w+)(?=:| \()", text)
    if first and first[0] in _FLAG_OF:
        text = f"--{_FLAG_OF[first[0]]}{text[first.end() :]}"
    # Only names in camelCase: "name" and "size" are English words, too.
    camelCase = "|".join(name for name in _FLAG_OF if not name.islower())
    return re.sub(rf"\b(?:{camelCase})\b", lambda match: f"--{_FLAG_OF[match[0]]}", text)


def withMeant(text: str) -> str:
    """
    Add the flag that was meant to an error of getopt's.

    :param text: the error.
    """
    found = re.match(r"option --([^ =]+) not recognized", text)
    close = difflib.get_close_matches(found[1], BY_NAME, 1) if found else []
    return f"{text}; did you mean --{close[0]}?" if close else text

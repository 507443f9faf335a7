"""The file of ``--config``: TOML, whose keys are the flags' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.options import unknownName
from twisted_smtpserver.twistd.flags import (
    BY_NAME,
    COMMAND_LINE_ONLY,
    FOR_EACH_LISTENER,
    TABLE_OF,
    Flag,
)
from twisted_smtpserver.twistd.layers import LISTEN, ConfigFile, Setting
from twisted_smtpserver.wire.text import escape

#: The largest file, in octets.
MAX_OCTETS = 2**20

#: What a listener's table is called.
LISTENER = "listener"

_TABLES = frozenset(TABLE_OF.values())

#: The values, as the help calls them, that may be written as numbers.
_NUMBERS = frozenset({"N", "OCTETS", "SECONDS", "ENDPOINT", "[ADDRESS:]PORT"})

# What the parser says, and what helps.
_CURES = {
    "Invalid value": "text stands in quotes, and lists in brackets",
    "Invalid statement": "a line is [table], key = value or # a comment",
    "Cannot overwrite a value": "each key stands once in its table",
    "Cannot declare": "each table stands once, but [[listener]]",
    "Illegal character '\\n'": "text ends with the quote that it began with",
    "Unterminated string": "text ends with the quote that it began with",
    "Unescaped": "write \\\\ for \\",
    "Unclosed array": "a list ends with ]",
    "Expected newline": "begin a new line after each value",
    "Expected '='": "a line is key = value",
}


def loadTOML(text: str) -> dict[str, Any]:
    """
    Parse TOML.

    :param text: the text.
    :raises ConfigurationError: if there is no parser: Python has one since 3.11.
    :raises ValueError: if it isn't TOML.
    """
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib  # type: ignore[no-redef]  # the same under another name
        except ImportError:
            raise ConfigurationError(
                'Python before 3.11 needs tomli: pip install "twisted-smtpserver[config]"'
            ) from None
    parsed: dict[str, Any] = tomllib.loads(text)
    return parsed


def readText(path: str) -> str:
    """
    Read the file.

    :param path: where it is.
    :raises ConfigurationError: if it can't be read.
    """
    try:
        with open(path, "rb") as file:
            octets = file.read(MAX_OCTETS + 1)
        if len(octets) > MAX_OCTETS:
            raise ConfigurationError(f"--config: {path!r} is larger than {MAX_OCTETS} octets")
        return octets.decode("utf-8-sig")  # some editors begin with a byte order mark
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        reason = f"line {line}: isn't UTF-8, as TOML is: save it so"
    raise ConfigurationError(f"--config: {path!r} {reason}")


def parseConfig(path: str, text: str) -> ConfigFile:
    """
    Parse the file.

    :param path: where it is, for messages.
    :param text: what is in it.
    :raises ConfigurationError: if there is something in it that no flag would understand.
    """
    try:
        tree = loadTOML(text)
    except RecursionError:
        raise ConfigurationError(f"{path}: brackets are nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(_describe(path, str(error))) from None
    return _Reader(path, text).read(tree)


def _describe(path: str, reason: str) -> str:
    """Say what the parser said, the place first, and what helps."""
    reason, _, place = reason.removesuffix(")").partition(" (at ")
    place = place.replace("end of document", "at its end")
    cures = [cure for start, cure in _CURES.items() if reason.startswith(start)]
    return f"{path}{', ' if place else ''}{place}: {'; '.join([reason, *cures[:1]])}"


class _Reader:
    """Makes settings of the parsed tables."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._lines = findLines(text)

    def read(self, tree: Mapping[str, Any]) -> ConfigFile:
        common: dict[str, Setting] = {}
        for table, content in tree.items():
            if table != LISTENER:
                self._checkTable(table, content)
                for key in content:
                    common[key] = self._setting(table, 0, key, content[key])
        return ConfigFile(self._path, common, self._listeners(tree.get(LISTENER, [])))

    def _place(self, table: str, number: int = 0, key: str = "") -> str:
        for known in ((table, number, key), (table, number, ""), ("", 0, table)):
            if known in self._lines:
                return f"{self._path}, line {self._lines[known]}"
        return self._path

    def _error(self, reason: str, table: str, number: int = 0, key: str = "") -> ConfigurationError:
        return ConfigurationError(f"{self._place(table, number, key)}: {reason}")

    def _checkTable(self, table: str, content: Any) -> None:
        if table in TABLE_OF and not isinstance(content, (dict, list)):
            raise self._error(f"{table}: belongs to the table [{TABLE_OF[table]}]", "", 0, table)
        if table not in _TABLES:
            reason = unknownName(table, {*_TABLES, LISTENER}, "table")
            raise (
                self._error(reason, table, 0)
                if isinstance(content, (dict, list))
                else (self._error(unknownName(table, TABLE_OF, "key"), "", 0, table))
            )
        if not isinstance(content, dict):
            raise self._error(f"{table} is one table: write [{table}], with single brackets", table)

    def _listeners(self, content: Any) -> dict[str, dict[str, Setting]]:
        if not (isinstance(content, list) and all(isinstance(each, dict) for each in content)):
            raise self._error("a listener is written [[listener]], with double brackets", LISTENER)
        return {
            f"{self._place(LISTENER, number)} ([[{LISTENER}]] {number + 1})": self._listener(
                number, each
            )
            for number, each in enumerate(content)
        }

    def _listener(self, number: int, content: dict[str, Any]) -> dict[str, Setting]:
        settings = {key: self._setting(LISTENER, number, key, content[key]) for key in content}
        if not any(settings[key].texts for key in LISTEN & set(settings)):
            raise self._error(
                "[[listener]]: needs listen, listen-tls, listen-lmtp or port", LISTENER, number
            )
        return settings

    def _setting(self, table: str, number: int, key: str, value: Any) -> Setting:
        name = _nameOf(table, key)
        reason = _misplaced(table, key)
        if not reason:
            try:
                return Setting(_texts(BY_NAME[key], value), name, self._place(table, number, key))
            except ValueError as error:
                reason = f"{name}: {error}"
        raise self._error(reason, table, number, key)


def _nameOf(table: str, key: str) -> str:
    """What messages call a key."""
    return f"[[{table}]] {escape(key)}" if table == LISTENER else f"[{table}] {escape(key)}"


def _misplaced(table: str, key: str) -> str:
    """Say why a key can't stand in a table; empty if it can."""
    name = _nameOf(table, key)
    if key in COMMAND_LINE_ONLY:
        return f"{name}: is for the command line only"
    if key not in TABLE_OF:
        return f"{name}: {unknownName(key, TABLE_OF, 'key')}"
    if table == LISTENER and key not in FOR_EACH_LISTENER:
        return f"{name}: is for all listeners together: it belongs to the table [{TABLE_OF[key]}]"
    if table not in (LISTENER, TABLE_OF[key]):
        return f"{name}: belongs to the table [{TABLE_OF[key]}]"
    return ""


def _texts(flag: Flag, value: Any) -> tuple[str, ...]:
    """
    Make of a key's value what would stand on the command line.

    :raises ValueError: if it has the wrong type.
    """
    if not flag.value:
        if not isinstance(value, bool):
            raise ValueError("needs true or false, without quotes")
        return ("",) if value else ()
    if not isinstance(value, list):
        return (_text(flag, value),)
    if value and not flag.isRepeatable:  # an empty one takes back what is common
        raise ValueError("takes one value, not a list")
    return tuple(_text(flag, each) for each in value)


def _text(flag: Flag, value: Any) -> str:
    takesNumbers, takesSwitch = flag.value in _NUMBERS, flag.value == "yes|no"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        if takesSwitch:
            return "yes" if value else "no"
    elif isinstance(value, (int, float)) and takesNumbers:
        return str(value)
    if takesSwitch:
        raise ValueError("needs true or false")
    raise ValueError("needs a number" if takesNumbers else "needs text: put it in quotes")


# -- Lines ---------------------------------------------------------------------------------------

# Python's parser doesn't tell where a key stands. These find most of them, and where they find
# none the message names the table and the key only.
_HEADER = re.compile(r"""[ \t]*(\[\[?)[ \t]*["']?([\w-]+)["']?[ \t]*\]\]?[ \t]*(?:#.*)?\r?$""")
_KEY = re.compile(r"""[ \t]*["']?([\w-]+)["']?[ \t]*(?:\.[ \t]*["']?([\w-]+)["']?[ \t]*)?=""")


def findLines(text: str) -> dict[tuple[str, int, str], int]:
    """
    Find the lines of tables and keys.

    :param text: the file.
    :returns: line numbers from 1 by table, number of the table with that name from 0, and key; the
        key is empty for the table itself.
    """
    found: dict[tuple[str, int, str], int] = {}
    table, number = "", 0
    for line, content in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(content):
            table, number = header[2], 0
            while (table, number, "") in found and header[1] == "[[":
                number += 1
            found.setdefault((table, number, ""), line)
        elif key := _KEY.match(content):
            place = (table, number, key[1]) if table or not key[2] else (key[1], 0, key[2])
            found.setdefault(place, line)
    return found

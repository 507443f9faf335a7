"""
Events as lines: JSON for programs, priorities for journald. One event is one line, whatever is in
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json import JSONEncoder
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import Any

from twisted.logger import LogEvent, LogLevel, eventAsText

from twisted_smtpserver.log.batches import ClassicText, madeText, shortened, systemOf

#: The most elements of a list that a line has.
MAX_LIST = 100

#: The longest text of one field, in characters.
MAX_FIELD = 1024

#: How many kinds of events are remembered.
MAX_SHAPES = 100

# A longer line is made with care: its fields are cut off.
_LONG = 4096

# What each line has, whatever the event calls its own fields.
_OURS = frozenset({"time", "level", "namespace", "text"})

# Of twisted.python.log, the old way to log: they are in the text.
_OLD = frozenset({"message", "time", "system", "isError", "failure", "why", "format"})
_NUMBERS = frozenset({int, bool, type(None)})

# Only ASCII: so no C1 control, separator or mark of direction gets anywhere as it is.
_encode = JSONEncoder(ensure_ascii=True).encode
_quote = encode_basestring_ascii

#: syslog's numbers (RFC 5424 §6.2.1), which journald reads at the beginning of a line.
_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}


def plainFields(event: LogEvent) -> dict[str, Any]:
    """
    The fields of an event, as far as they aren't Twisted's own, in types that JSON has.

    :param event: any.
    """
    found: dict[str, Any] = {}
    for name, value in event.items():
        if name[:4] != "log_" and name != "text":
            found[name] = value if type(value) in _NUMBERS else _plain(value)
    if "log_logger" not in event:
        for name in _OLD & found.keys():
            del found[name]
    return found


def _plain(value: Any) -> Any:
    if type(value) is float:
        # JSON has neither NaN nor infinity.
        return value if value - value == 0 else None
    if isinstance(value, (list, tuple)):
        return [_shown(each) for each in value[:MAX_LIST]]
    return _shown(value)


def _shown(value: object) -> str:
    try:
        return str(value)[:MAX_FIELD]
    except Exception:  # whatever a user's object does
        return f"<{type(value).__name__}>"


def textOf(event: LogEvent) -> str:
    """
    An event's text, with its traceback if it has one.

    :param event: any.
    """
    text = madeText(event)
    if text is None:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return shortened(text)


class _Shape:
    """
    How to write events whose fields have the same names, in a third of the time that the general
    encoder takes: the strings, lists and numbers go into a template.

    :param event: one of them, whose own fields are texts, lists of texts and numbers.
    """

    __slots__ = ("_kinds", "_lists", "_numbers", "_template", "_texts")

    def __init__(self, event: LogEvent) -> None:
        names = [name for name in event if name[:4] != "log_" and name not in _OURS]
        texts = [name for name in names if type(event[name]) is str]
        lists = [name for name in names if type(event[name]) is list]
        numbers = [name for name in names if name not in {*texts, *lists}]
        self._kinds = tuple(type(event[name]) for name in numbers)
        self._texts = _getter(["log_namespace", *texts])
        self._lists = _getter(lists)
        self._numbers = _getter(numbers)
        fields = "".join(
            f", {_quote(name).replace('%', '%%')}: {mark}"
            for marked, mark in ((texts, "%s"), (lists, "[%s]"), (numbers, "%s"))
            for name in marked
        )
        begin = '{"time": "%s", "level": "%s", "text": %s, "namespace": %s'
        self._template = begin + fields + "}\n"

    @staticmethod
    def fits(event: LogEvent) -> bool:
        """Whether such an event can have a shape."""
        kinds = {type(event[name]) for name in event if name[:4] != "log_"}
        return kinds <= {str, int, float, list} and "event" in event

    def write(self, event: LogEvent, when: str, text: str) -> str | None:
        """
        Make the line.

        :param when: the time.
        :param text: the event's text.
        :returns: ``None`` if this event isn't like the others after all.
        """
        numbers = self._numbers(event)
        if tuple(map(type, numbers)) != self._kinds:
            return None
        total = sum(numbers)
        if total - total != 0:  # NaN and infinity, which JSON doesn't have
            return None
        try:
            return self._template % (
                when,
                event["log_level"].name,
                _quote(text),
                *map(_quote, self._texts(event)),
                *[", ".join(map(_quote, each)) for each in self._lists(event)],
                *numbers,
            )
        except (TypeError, KeyError):
            return None


def _getter(names: list[str]) -> Callable[[LogEvent], tuple[Any, ...]]:
    """What gets these values, as fast as can be."""
    if len(names) > 1:
        return itemgetter(*names)
    return (lambda event: (event[names[0]],)) if names else (lambda event: ())


class JSONText:
    """
    Makes a JSON object of each event: ``time`` (RFC 3339), ``level``, ``namespace``, ``event``, the
    event's own fields, and ``text``, which is what the other formats write.
    """

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}

    def __call__(self, event: LogEvent) -> str | None:
        """
        :param event: what to make a line of.
        """
        text = textOf(event)
        if not text:
            return None
        when = self._timeOf(event)
        shape = self._shapeOf(event)
        line = None if shape is None else shape.write(event, when, text)
        if line is None or len(line) > _LONG:
            line = _slowly(event, when, text)
        # The one control of ASCII that JSON leaves as it is.
        return line if "\x7f" not in line else line.replace("\x7f", "\\u007f")

    def _shapeOf(self, event: LogEvent) -> _Shape | None:
        names = tuple(event)
        try:
            return self._shapes[names]
        except KeyError:
            pass
        if len(self._shapes) >= MAX_SHAPES:
            return None
        self._shapes[names] = shape = _Shape(event) if _Shape.fits(event) else None
        return shape

    def _timeOf(self, event: LogEvent) -> str:
        now = event.get("log_time") or 0.0
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._prefix}{str(int(now * 1000000))[-6:]:0>6}Z"


def _slowly(event: LogEvent, when: str, text: str) -> str:
    """The line of any event."""
    level = event.get("log_level")
    fields = plainFields(event)
    line = {
        "time": when,
        "level": "info" if level is None else level.name,
        "namespace": str(event.get("log_namespace", "-")),
        "text": text,
        "event": fields.pop("event", "other"),
    }
    line |= {name: value for name, value in fields.items() if name not in _OURS}
    return f"{_encode(line)}\n"


class SystemdText:
    """Makes lines for journald: the priority, and no time, which journald has itself."""

    def __call__(self, event: LogEvent) -> str | None:
        """
        :param event: what to make a line of.
        """
        text = textOf(event)
        if not text:
            return None
        priority = _PRIORITIES.get(event.get("log_level", LogLevel.info), 6)
        if not text.isprintable():
            text = _onOneLine(text)
        return f"<{priority}>[{systemOf(event)}] {text}\n"


def _onOneLine(text: str) -> str:
    """Escape what isn't printable: journald takes each line for an entry of its own."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


#: The values of ``--log-format``, and what makes the lines.
FORMATS: dict[str, Callable[[], Callable[[LogEvent], str | None]]] = {
    "text": ClassicText,
    "json": JSONText,
    "systemd": SystemdText,
}

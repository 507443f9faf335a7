"""
The search box's language, as SQL.

It is Mailpit's: words and ``"phrases"``, ``from:``, ``to:``, ``cc:``, ``bcc:``, ``reply-to:``,
``addressed:``, ``subject:``, ``message-id:``, ``tag:``, ``has:attachment``, ``has:inline``,
``is:read``, ``is:unread``, ``is:tagged``, ``before:``, ``after:``, ``larger:`` and ``smaller:``.
All terms must be true; ``-`` or ``!`` before a term denies it. Letters match in any case, and
pieces of words match.

The parser is total: any text is a search. What it doesn't understand is left out and reported.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

__all__ = ["Condition", "parseSearch"]

#: The longest search, in characters, and the most terms in it.
MAX_LENGTH = 1000
MAX_TERMS = 30

_TERM = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_SIZE = re.compile(r"([0-9]{1,12})(?:\.[0-9]{1,3})?([km]?)b?\Z", re.IGNORECASE)
_DAY = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})\Z")

#: Trigrams find nothing shorter.
_SHORTEST_INDEXED = 3

_COLUMNS = {
    "from": ("sender",),
    "to": ("recipients",),
    "cc": ("cc",),
    "bcc": ("bcc",),
    "reply-to": ("replyTo",),
    "addressed": ("sender", "recipients", "cc", "bcc", "replyTo"),
    "subject": ("subject",),
    "message-id": ("messageId",),
}

_STATES = {
    "is:read": "read = 1",
    "is:unread": "read = 0",
    "is:tagged": "seq IN (SELECT seq FROM tag)",
    "has:attachment": "attachments > 0",
    "has:attachments": "attachments > 0",
    "has:inline": "inlines > 0",
    "has:inlines": "inlines > 0",
}


@dataclass
class Condition:
    """
    What follows ``WHERE`` on the table ``message``.

    :ivar clauses: all must be true.
    :ivar arguments: for their question marks.
    :ivar problems: what wasn't understood, for the person who searched.
    """

    clauses: list[str] = field(default_factory=list)
    arguments: list[str | float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sql(self) -> str:
        """The whole condition."""
        return " AND ".join(self.clauses) or "1"


def parseSearch(text: str, zone: str = "") -> Condition:
    """
    Understand a search.

    :param text: anything.
    :param zone: the time zone that days are in, ``Europe/Zurich`` for example; UTC by default.
    """
    condition = Condition()
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")
    if len(text) > MAX_LENGTH:
        condition.problems.append(f"the search is longer than {MAX_LENGTH} characters")
    terms = _TERM.findall(text[:MAX_LENGTH])
    if len(terms) > MAX_TERMS:
        condition.problems.append(f"the search has more than {MAX_TERMS} words")
    for term in terms[:MAX_TERMS]:
        _Term(term.replace('"', ""), zone, condition).add()
    return condition


class _Term:
    """One term on its way into a condition."""

    def __init__(self, term: str, zone: str, condition: Condition) -> None:
        self._denied = len(term) > 1 and term[0] in "-!"
        self._term = term[1:] if self._denied else term
        self._zone = zone
        self._condition = condition

    def add(self) -> None:
        name, colon, value = self._term.partition(":")
        name, value = name.lower(), value.strip()
        special: dict[str, Callable[[str], None]] = {
            "tag": self._tag,
            "before": self._before,
            "after": self._after,
            "larger": self._larger,
            "smaller": self._smaller,
        }
        if self._term.lower() in _STATES:
            self._where(_STATES[self._term.lower()])
        elif colon and not value and (name in _COLUMNS or name in special):
            return  # half typed
        elif colon and name in _COLUMNS:
            self._columns(_COLUMNS[name], value)
        elif colon and name in special:
            special[name](value)
        elif self._term.strip():
            self._words(self._term)

    def _where(self, clause: str, *arguments: str | float) -> None:
        self._condition.clauses.append(f"NOT ({clause})" if self._denied else f"({clause})")
        self._condition.arguments.extend(arguments)

    def _columns(self, columns: tuple[str, ...], value: str) -> None:
        like = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        self._where(like, *[_pattern(value)] * len(columns))

    def _tag(self, value: str) -> None:
        self._where("seq IN (SELECT seq FROM tag WHERE name = ?)", value)

    def _before(self, value: str) -> None:
        self._date("created < ?", value)

    def _after(self, value: str) -> None:
        self._date("created >= ?", value)

    def _date(self, clause: str, value: str) -> None:
        date = _parseDate(value, self._zone)
        if date is None:
            self._condition.problems.append(f"{value!r} is not a date such as 2026-11-21")
        else:
            self._where(clause, date)

    def _larger(self, value: str) -> None:
        self._size("size > ?", value)

    def _smaller(self, value: str) -> None:
        self._size("size < ?", value)

    def _size(self, clause: str, value: str) -> None:
        match = _SIZE.match(value)
        if match is None:
            self._condition.problems.append(f"{value!r} is not a size such as 500k or 2M")
        else:
            self._where(clause, int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()])

    def _words(self, value: str) -> None:
        if len(value) < _SHORTEST_INDEXED:
            clause = "SELECT rowid FROM words WHERE content LIKE ? ESCAPE '\\'"
            self._where(f"seq IN ({clause})", _pattern(value))
        else:
            # A phrase: no character in it is one of FTS5's operators.
            self._where("seq IN (SELECT rowid FROM words WHERE words MATCH ?)", f'"{value}"')


def _pattern(value: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", value)
    return f"%{escaped}%"


def _parseDate(value: str, zone: str) -> float | None:
    day = _DAY.match(value)
    text = f"{day[1]}-{int(day[2]):02}-{int(day[3]):02}" if day else value.replace("Z", "+00:00")
    try:
        date = datetime.datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=_zone(zone))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _zone(name: str) -> datetime.tzinfo:
    try:
        return ZoneInfo(name) if name else datetime.timezone.utc
    except (ValueError, KeyError, OSError):  # what ZoneInfo says of names that aren't any
        return datetime.timezone.utc

"""
``Authentication-Results:``, the field in which a filter reports who sent a message (RFC 8601).

Whatever the field has in it, there is a result: what can't be understood is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from twisted_smtpserver.wire.domain import Problem, parseDomain

#: The longest field that is read, in octets.
MAX_FIELD = 8 * 1024

#: How many fields of one message are read.
MAX_FIELDS = 10

#: In how many octets the authserv-id must end.
MAX_ID = 512

#: The most results that are kept of one message, and the most properties of one result.
MAX_RESULTS = 100
MAX_PROPERTIES = 50

# What matters in comments and quoted strings (RFC 5322 §3.2.2, §3.2.4), and all that is between.
_PIECE = re.compile(r"""[^()"\\]+|\\.|\\|[()"]""", re.DOTALL)
# Unicode's categories of controls.
_INVISIBLE = frozenset({"Cc", "Cf"})
_KEYWORD = re.compile(r"[A-Za-z0-9-]+\Z")
_PROPERTY = re.compile(r"[A-Za-z0-9-]+\.[A-Za-z0-9_-]+\Z")
# Stands around the number of a quoted string.
_MARK = "\0"
_QUOTED = re.compile(f"{_MARK}([0-9]+){_MARK}")
# What ends a name. OpenDKIM may write "name/job" (AuthservIDWithJobID).
_NAME_END = re.compile(r"[\s;/]")
# Some programs decode encoded words wherever they stand (RFC 2047 allows none here).
_ENCODED = b"=?"


@dataclass(frozen=True, slots=True)
class AuthenticationResult:
    """
    What one method found (RFC 8601 §2.2).

    :ivar method: in lower case: ``"spf"``, ``"dkim"``, ``"dmarc"``, ``"arc"`` …
    :ivar result: in lower case: ``"pass"``, ``"fail"``, ``"none"``, ``"temperror"`` … (§2.7)
    :ivar reason: why, ``""`` if nothing was said.
    :ivar properties: what was judged, ``{"smtp.mailfrom": "example.org"}`` for example.
    """

    method: str
    result: str
    reason: str = ""
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def passed(self) -> bool:
        """Whether the result is ``"pass"``."""
        return self.result == "pass"


@dataclass(frozen=True, slots=True)
class Authentication:
    """
    What is known of who sent a message.

    :ivar results: everything that our filters found, in the order in which they said so.
    """

    results: tuple[AuthenticationResult, ...] = ()

    def __iter__(self) -> Iterator[AuthenticationResult]:
        return iter(self.results)

    def all(self, method: str) -> list[AuthenticationResult]:
        """
        The results of a method: of DKIM there is one for each signature.

        :param method: its name, in lower case.
        """
        return [result for result in self.results if result.method == method]

    def get(self, method: str) -> AuthenticationResult | None:
        """
        The first result of a method that passed, or else the first one, if there is any.

        :param method: its name, in lower case.
        """
        found = self.all(method)
        return next((result for result in found if result.passed), found[0] if found else None)

    @property
    def spf(self) -> AuthenticationResult | None:
        """Whether the client may send for the sender's domain (RFC 7208)."""
        return self.get("spf")

    @property
    def dkim(self) -> AuthenticationResult | None:
        """Whether a domain has signed the message (RFC 6376); :meth:`all` has each signature."""
        return self.get("dkim")

    @property
    def dmarc(self) -> AuthenticationResult | None:
        """Whether the domain in ``From:`` vouches for it (RFC 7489)."""
        return self.get("dmarc")

    @property
    def arc(self) -> AuthenticationResult | None:
        """Whether the chain of those who passed it on is unbroken (RFC 8617)."""
        return self.get("arc")


#: What there is before a filter has said anything.
NOTHING_KNOWN = Authentication()


def parseAuthservId(value: bytes) -> str | None:
    """
    Read who speaks in a field.

    :param value: what is behind the colon.
    :returns: the authserv-id as :func:`normalName` has it; ``None`` if there is none, if it doesn't
        end within :data:`MAX_ID` octets, or if programs don't agree on what it is.
    """
    text, strings, isOpen = _plain(_decode(value[:MAX_ID]))
    first, end, _ = text.partition(";")
    words = first.split()
    if not words or (not end and (isOpen or len(value) > MAX_ID)) or _ENCODED in value:
        return None
    name, *rest = words
    for word in rest:  # blanks around dots are obsolete, and understood (RFC 5322 §4.4)
        if (name[-1] != "." and word[0] != ".") or word.isdigit():  # a version
            break
        name += word
    return normalName(_value(name, strings)) or None


def normalName(name: str) -> str:
    """
    Write an authserv-id so that all spellings of it are equal: in lower case, with U-labels (RFC
    5890), without what can't be seen.

    :param name: the name, without comments and quotes.
    :returns: its normal form; ``""`` if nothing is left of it.
    """
    visible = "".join(each for each in name if unicodedata.category(each) not in _INVISIBLE)
    # As those programs see it that map characters to others (UTS 46).
    folded = unicodedata.normalize("NFKC", visible).replace("\u3002", ".").lower()
    first = _NAME_END.split(folded.replace("\\", "").lstrip(), maxsplit=1)[0].strip(".")
    domain = parseDomain(first.encode("utf-8", "replace"))
    return first if isinstance(domain, Problem) else domain


def parseResults(value: bytes) -> list[AuthenticationResult]:
    """
    Read what is said in a field.

    :param value: what is behind the colon.
    :returns: the results that are well-formed, at most :data:`MAX_RESULTS`; none if it is longer
        than :data:`MAX_FIELD`.
    """
    if len(value) > MAX_FIELD:
        return []
    text, strings, _ = _plain(_decode(value))
    parts = text.split(";", MAX_RESULTS + 1)[1 : MAX_RESULTS + 1]
    found = (_result(_items(part), strings) for part in parts)
    return [result for result in found if result is not None]


def joined(fields: Iterable[bytes]) -> Authentication:
    """
    Put together what is said in several fields.

    :param fields: their values, of which the first :data:`MAX_FIELDS` count.
    :returns: the results, at most :data:`MAX_RESULTS`.
    """
    first = islice(fields, MAX_FIELDS)
    results = [result for value in first for result in parseResults(value)]
    return Authentication(tuple(results[:MAX_RESULTS]))


def _plain(text: str) -> tuple[str, list[str], bool]:
    """
    Take comments and quoted strings out.

    :returns: the text, a mark in the place of each quoted string; those; and whether something
        wasn't closed, and so swallowed the rest.
    """
    kept: list[str] = []
    strings: list[str] = []
    quoted: list[str] | None = None
    depth = place = 0
    while match := _PIECE.match(text, place):
        piece, place = match[0], match.end()
        if piece == '"' and not depth:
            if quoted is not None:
                kept.append(f"{_MARK}{len(strings)}{_MARK}")
                strings.append("".join(quoted))
            quoted = [] if quoted is None else None
        elif quoted is not None:
            quoted.append(piece[1:] if piece[0] == "\\" else piece)
        elif piece == "(":
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
            kept.append(" ")
        elif not depth:
            kept.append(piece)
    return "".join(kept), strings, bool(depth) or quoted is not None


def _items(part: str) -> list[str]:
    """The words of a part; those that belong together, as in ``a = b``, are one."""
    items: list[str] = []
    for word in part.split():
        last = items[-1] if items else ""
        isName = last and "=" not in last and (word[0] in "=./" or last[-1] in "./")
        if isName or (last.count("=") == 1 and last[-1] == "="):
            items[-1] += word
        else:
            items.append(word)
    return items


def _result(items: list[str], strings: list[str]) -> AuthenticationResult | None:
    method, _, result = items[0].partition("=") if items else ("", "", "")
    method = method.partition("/")[0]
    if not (_KEYWORD.match(method) and _KEYWORD.match(result)):
        return None
    reason = ""
    properties: dict[str, str] = {}
    for item in items[1 : MAX_PROPERTIES + 2]:
        name, _, value = item.partition("=")
        if name.lower() == "reason":
            reason = _value(value, strings)
        elif _PROPERTY.match(name) and len(properties) < MAX_PROPERTIES:
            properties.setdefault(name.lower(), _value(value, strings))
    return AuthenticationResult(
        method.lower(), result.lower(), reason, MappingProxyType(properties)
    )


def _decode(octets: bytes) -> str:
    return octets.replace(_MARK.encode(), b"").decode("utf-8", "replace")


def _value(text: str, strings: list[str]) -> str:
    """A word, with the quoted strings that are in it."""
    return _QUOTED.sub(lambda found: strings[int(found[1])], text)

"""
Reverse-paths and forward-paths: the addresses of MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).

Almost every path a server meets is ``<dot-string@name>`` in ASCII; one regular expression takes
those. The careful parser takes all, and says what is wrong with the rest. Lenient parsing takes, in
addition, what has angle brackets, one ``@``, and something on both sides of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.domain import (
    MAX_DOMAIN,
    NOT_TEXT,
    TOO_LONG,
    Problem,
    parseDomain,
    parseLiteral,
    toAscii,
)
from twisted_smtpserver.wire.text import decodeVisible

#: Octets in a local part and in a path with its brackets, counted as sent, quotes and all. A server
#: must take 64 and 256 (RFC 5321 §4.5.3.1.1, §4.5.3.1.3), and should have no limits where it can do
#: without (§4.5.3.1): addresses made by VERP or SRS are longer.
MAX_LOCAL_PART = 512
MAX_PATH = 1024

NO_BRACKETS = Problem("angle brackets are needed, as in <user@example.com>")
NOT_CLOSED = Problem("the closing angle bracket is missing")
NOT_ALONE = Problem("only a space and parameters may follow the closing angle bracket")
BAD_ROUTE = Problem("a source route is written <@a.example,@b.example:user@example.com>")
LOCAL_MISSING = Problem("the local part is missing")
LOCAL_MALFORMED = Problem("the local part has a dot or a character that needs quotes")
QUOTES_MALFORMED = Problem("the quoted local part is malformed")
LOCAL_TOO_LONG = Problem(f"the local part is longer than {MAX_LOCAL_PART} octets")
NO_DOMAIN = Problem("the domain is missing, as in <user@example.com>")
PATH_TOO_LONG = Problem(f"the path is longer than {MAX_PATH} octets")

# None of these expressions can match the same octets in two ways, so all run in linear time.
_UTF8_ATOM = rb"[\w!#$%&'*+/=?^`{|}~\x80-\xff-]+"
_DOT_STRING = re.compile(rb"%(atom)s(?:\.%(atom)s)*" % {b"atom": _UTF8_ATOM})
_QTEXT = rb"[ !#-\[\]-~\x80-\xff]*"
_QUOTED_STRING = re.compile(rb'"%(qtext)s(?:\\[ -~]%(qtext)s)*"' % {b"qtext": _QTEXT})
_QUOTED_PAIR = re.compile(rb"\\(.)")
_TO_ESCAPE = re.compile(r'["\\]')
_ESCAPED = r"\\\g<0>"
_LITERAL = re.compile(rb"\[[!-Z^-~]*\]")
# A source route is ignored (RFC 5321 §4.1.2, appendix C), so it is only told from the mailbox. To
# look at its domains could cost a thousand octets' worth of IDNA.
_ROUTE = rb"@[^\x00-\x20\x7f,:@<>]+(?:,@[^\x00-\x20\x7f,:@<>]+)*"
_ROUTE_ALONE = re.compile(_ROUTE)
_LENIENT = re.compile(rb"<(?:%s:)?([^\x00-\x20\x7f<>@]+)@([^\x00-\x20\x7f<>@]+)>(?: +|\Z)" % _ROUTE)
# ZERO WIDTH NON-JOINER and JOINER: no rule says where in a local part they could be seen.
_JOINERS = re.compile("[\u200c\u200d]")


#: The fields of a :class:`Path`.
PathParts = tuple[str, str | None, str, str, bool]


class Path(NamedTuple):  # not a frozen dataclass, which takes four times as long to make
    """
    A reverse-path or a forward-path, without the source route it may have had.

    :ivar local: the local part without its quotes and backslashes, in the case it was sent in;
        empty for the null reverse-path ``<>``.
    :ivar domain: the domain in lower case and in U-labels (RFC 5890), or an address literal with
        its brackets; ``None`` for ``<>`` and ``<Postmaster>``.
    :ivar address: the canonical mailbox: the local part in quotes only if it needs them (RFC 5321
        §4.1.2), ``@`` and the domain. Empty for ``<>``; as sent for ``<Postmaster>``. Between angle
        brackets, it parses to the same local part and domain.
    :ivar raw: what was sent between the angle brackets, source route included.
    :ivar needsUtf8: whether there are octets outside ASCII in what was sent, so that MAIL needs the
        parameter SMTPUTF8 (RFC 6531 §3.4).
    """

    local: str
    domain: str | None
    address: str
    raw: str
    needsUtf8: bool


@dataclass(frozen=True)
class _Role:
    """What differs between MAIL and RCPT."""

    noun: str
    enhanced: str  # RFC 3463 §3.2
    special: re.Pattern[bytes]  # the path that has no domain
    keyword: re.Pattern[bytes]
    lenientKeyword: re.Pattern[bytes]
    syntax: Reply

    def refuse(self, problem: Problem) -> Reply:
        return Reply(501, self.enhanced, f"Bad {self.noun} address: {problem.text}")


_SENDER = _Role(
    noun="sender",
    enhanced="5.1.7",
    special=re.compile(rb"<>"),
    keyword=re.compile(rb"FROM:", re.IGNORECASE),
    lenientKeyword=re.compile(rb"FROM *:", re.IGNORECASE),
    syntax=Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>"),
)
_RECIPIENT = _Role(
    noun="recipient",
    enhanced="5.1.3",
    special=re.compile(rb"<postmaster>", re.IGNORECASE),  # RFC 5321 §4.1.1.3, §4.5.1
    keyword=re.compile(rb"TO:", re.IGNORECASE),
    lenientKeyword=re.compile(rb"TO *:", re.IGNORECASE),
    syntax=Reply(501, "5.5.4", "Syntax: RCPT TO:<address>"),
)


def parseMailArgument(argument: bytes, lenient: bool = False) -> tuple[Path, bytes] | Reply:
    """
    Parse the argument of MAIL (RFC 5321 §4.1.1.2).

    :param argument: what follows the verb and a space.
    :param lenient: see :func:`parseReversePath`; spaces behind ``FROM`` are tolerated as well.
    :returns: like :func:`parseReversePath`; 501 5.5.4 if ``FROM:`` is missing.
    """
    return _parseArgument(argument, lenient, _SENDER)


def parseRcptArgument(argument: bytes, lenient: bool = False) -> tuple[Path, bytes] | Reply:
    """
    Parse the argument of RCPT (RFC 5321 §4.1.1.3).

    :param argument: what follows the verb and a space.
    :param lenient: see :func:`parseReversePath`; spaces behind ``TO`` are tolerated as well.
    :returns: like :func:`parseForwardPath`; 501 5.5.4 if ``TO:`` is missing.
    """
    return _parseArgument(argument, lenient, _RECIPIENT)


def parseReversePath(argument: bytes, lenient: bool = False) -> tuple[Path, bytes] | Reply:
    """
    Parse a reverse-path (RFC 5321 §4.1.2), which may be the null path ``<>``.

    :param argument: what follows ``FROM:``. Spaces before the path are tolerated: devices send
        them, and other servers take them.
    :param lenient: tolerate, between angle brackets, any address that has one ``@`` with something
        on both sides and no control, invisible character, space or angle bracket. A local part that
        isn't well-formed is taken as sent; a domain that isn't, with ASCII letters in lower case.
        The limits stay. What is well-formed is not treated differently.
    :returns: the path, and the octets of the parameters after it; or the refusal, 501 5.1.7.
    """
    return _parsePath(argument, lenient, _SENDER)


def parseForwardPath(argument: bytes, lenient: bool = False) -> tuple[Path, bytes] | Reply:
    """
    Parse a forward-path (RFC 5321 §4.1.2), which may be ``<Postmaster>`` (§4.1.1.3).

    :param argument: what follows ``TO:``.
    :param lenient: see :func:`parseReversePath`.
    :returns: the path, and the octets of the parameters after it; or the refusal, 501 5.1.3.
    """
    return _parsePath(argument, lenient, _RECIPIENT)


def asciiDomain(pathOrDomain: Path | str | None) -> str:
    """
    The domain in A-labels (RFC 5890), for example for a header of a message without SMTPUTF8.

    :param pathOrDomain: a path, or its domain.
    :returns: ASCII text; empty for a path without a domain. What lenient parsing let through and
        IDNA has no form for has question marks in it.
    """
    domain = pathOrDomain.domain if isinstance(pathOrDomain, Path) else pathOrDomain
    return toAscii(domain or "")


def _parseArgument(argument: bytes, lenient: bool, role: _Role) -> tuple[Path, bytes] | Reply:
    found = (role.lenientKeyword if lenient else role.keyword).match(argument)
    return role.syntax if found is None else _parsePath(argument[found.end() :], lenient, role)


def _parsePath(argument: bytes, lenient: bool, role: _Role) -> tuple[Path, bytes] | Reply:
    argument = argument.lstrip(b" ")
    result = (_parseLeniently if lenient else _parseStrictly)(argument, role)
    return role.refuse(result) if isinstance(result, Problem) else result


def _parseStrictly(argument: bytes, role: _Role) -> tuple[Path, bytes] | Problem:
    """All that the grammar has."""
    if not argument.startswith(b"<"):
        return NO_BRACKETS
    special = role.special.match(argument)
    if special is not None:
        end = special.end()
        address = argument[1 : end - 1].decode("ascii")
        path: Path | Problem = Path(address, None, address, address, False)
    else:
        start = _skipRoute(argument)
        if isinstance(start, Problem):
            return start
        bounds = _findMailbox(argument, start)
        if isinstance(bounds, Problem):
            return bounds
        at, end = bounds
        path = _makePath(argument[1 : end - 1], argument[start:at], argument[at + 1 : end - 1])
    if isinstance(path, Problem):
        return path
    if argument[end : end + 1] not in (b"", b" "):
        return NOT_ALONE
    return path, argument[end:].lstrip(b" ")


def _skipRoute(argument: bytes) -> int | Problem:
    """Where the mailbox begins: behind the source route, which is valid and ignored (§4.1.2, C)."""
    if argument[1:2] != b"@":
        return 1
    route = argument[1:].partition(b":")[0]
    if b">" in route:
        return LOCAL_MISSING
    if len(route) > MAX_PATH:
        return PATH_TOO_LONG
    return BAD_ROUTE if _ROUTE_ALONE.fullmatch(route) is None else len(route) + 2


def _findMailbox(argument: bytes, start: int) -> tuple[int, int] | Problem:
    """The place of the mailbox's ``@``, and the one behind the closing angle bracket."""
    isQuoted = argument[start : start + 1] == b'"'
    local = (_QUOTED_STRING if isQuoted else _DOT_STRING).match(argument, start)
    at = start if local is None else local.end()
    follower = argument[at : at + 1]
    if follower != b"@" or local is None:
        return _diagnoseLocalPart(follower, local is not None, isQuoted)
    # A literal may have angle brackets in it, a name may not.
    literal = _LITERAL.match(argument, at + 1)
    close = argument.find(b">", at if literal is None else literal.end())
    return NOT_CLOSED if close < 0 else (at, close + 1)


def _diagnoseLocalPart(follower: bytes, isFound: bool, isQuoted: bool) -> Problem:
    """What is wrong with a local part that isn't followed by ``@``, or isn't there."""
    if isFound and follower == b">":
        return NO_DOMAIN
    if isQuoted:
        return QUOTES_MALFORMED
    if follower in (b"@", b">"):
        return LOCAL_MISSING
    return LOCAL_MALFORMED if follower else NOT_CLOSED


def _makePath(sent: bytes, local: bytes, domain: bytes) -> Path | Problem:
    if len(local) > MAX_LOCAL_PART:
        return LOCAL_TOO_LONG
    name = _parseHost(domain)
    if isinstance(name, Problem):
        return name
    if len(sent) + len(b"<>") > MAX_PATH:
        return PATH_TOO_LONG
    raw = decodeVisible(sent)
    if raw is None:
        return NOT_TEXT
    unquoted = _QUOTED_PAIR.sub(rb"\1", local[1:-1]) if local.startswith(b'"') else local
    text = unquoted.decode("utf-8")
    if _JOINERS.search(text):
        return NOT_TEXT
    # Minimal quoting (§4.1.2): none at all, or a backslash before two characters only.
    quoted = text if _DOT_STRING.fullmatch(unquoted) else f'"{_TO_ESCAPE.sub(_ESCAPED, text)}"'
    return Path(text, name, f"{quoted}@{name}", raw, not sent.isascii())


def _parseHost(domain: bytes) -> str | Problem:
    return parseLiteral(domain) if domain.startswith(b"[") else parseDomain(domain)


def _parseLeniently(argument: bytes, role: _Role) -> tuple[Path, bytes] | Problem:
    """What :func:`_parseStrictly` takes, and some more."""
    result = _parseStrictly(argument, role)
    found = _LENIENT.match(argument) if isinstance(result, Problem) else None
    if found is None:
        return result
    path = _takeAsSent(argument[1 : argument.index(b">")], found[1], found[2])
    return path if isinstance(path, Problem) else (path, argument[found.end() :])


def _takeAsSent(sent: bytes, local: bytes, domain: bytes) -> Path | Problem:
    """A path from octets that are no mailbox."""
    if len(local) > MAX_LOCAL_PART:
        return LOCAL_TOO_LONG
    if len(domain) > MAX_DOMAIN:
        return TOO_LONG
    if len(sent) + len(b"<>") > MAX_PATH:
        return PATH_TOO_LONG
    raw = decodeVisible(sent)
    if raw is None or _JOINERS.search(raw):
        return NOT_TEXT
    parsed = _parseHost(domain)
    # Lower case in ASCII only: a mapping that IDNA refused might make one name pass for another.
    name = domain.lower().decode("utf-8") if isinstance(parsed, Problem) else parsed
    user = local.decode("utf-8")
    return Path(user, name, f"{user}@{name}", raw, not sent.isascii())

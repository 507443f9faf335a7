"""
Content-Type, Content-Disposition: a value and its parameters (RFC 2045 §5.1, RFC 2183, RFC 2231).
Total, and linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from twisted_smtpserver.message.bounds import MAX_COMMENT_NESTING, MAX_PARAMETERS
from twisted_smtpserver.message.words import cleanText, decodeText, decodeWords

# A quoted string, also one that isn't closed; an escape; what separates; text; what is left over.
_TOKEN = re.compile(r'"(?:[^"\\]+|\\.)*(?:"|\\?\Z)|\\.|[;()]|[^";()\\]+|.', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# name, name*, name*0, name*0*
_EXTENDED = re.compile(r"(.+?)(?:\*(0|[1-9][0-9]{0,3}))?(\*?)\Z", re.DOTALL)
_TYPE = re.compile(r"[!#-'+\-.0-9A-Z^-~]{1,127}/[!#-'+\-.0-9A-Z^-~]{1,127}\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Parameterized:
    """
    A value with parameters.

    :ivar value: in lower case, ``text/plain`` for example.
    :ivar parameters: by name in lower case.
    :ivar excess: which bound of :mod:`~twisted_smtpserver.message.bounds` the field is beyond, in
        words; empty if none.
    """

    value: str
    parameters: dict[str, str] = field(default_factory=dict)
    excess: str = ""


def parseParameterized(text: str) -> Parameterized:
    """
    Parse a field.

    :param text: the field's value, unfolded or not; its length is bounded by the caller.
    """
    segments, excess = _segments(text)
    parameters: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for segment in segments[1 : MAX_PARAMETERS + 1]:
        name, isThere, value = segment.partition("=")
        found = _EXTENDED.match(name.strip().lower())
        if not isThere or found is None:
            continue
        if found[2] is None and not found[3]:
            name = cleanText(found[1])
            value = _unquoted(value)
            # Some write encoded words here, although RFC 2047 §5 forbids it. A boundary is what it
            # is.
            parameters.setdefault(
                name, value.rstrip() if name == "boundary" else decodeWords(value)
            )
        else:
            piece = (int(found[2] or 0), bool(found[3]), _unquoted(value))
            pieces.setdefault(cleanText(found[1]), []).append(piece)
    for name, found2231 in pieces.items():
        parameters[name] = _joined(found2231)  # RFC 2231 §3: it is meant for those who know it
    if len(segments) - 1 > MAX_PARAMETERS:
        excess = excess or f"more than {MAX_PARAMETERS} parameters in a field"
    return Parameterized(cleanText(segments[0]).lower(), parameters, excess)


def parseContentType(text: str | None) -> Parameterized:
    """
    Parse a Content-Type.

    :param text: its value; ``None`` if there is none.
    :returns: ``text/plain`` for what is none (RFC 2045 §5.2).
    """
    parsed = parseParameterized(text or "")
    if _TYPE.match(parsed.value):
        return parsed
    return Parameterized("text/plain", parsed.parameters, parsed.excess)


def _segments(text: str) -> tuple[list[str], str]:
    """What stands between the semicolons, without comments; and what there was too much of."""
    segments: list[str] = []
    pieces: list[str] = []
    depth, excess = 0, ""
    for token in _TOKEN.findall(text):
        if token == "(":
            depth += 1
            if depth > MAX_COMMENT_NESTING:
                excess = f"more than {MAX_COMMENT_NESTING} comments within each other"
        elif token == ")":
            depth = max(depth - 1, 0)
        elif depth:
            continue
        elif token == ";":
            segments.append("".join(pieces))
            pieces = []
        else:
            pieces.append(token)
    segments.append("".join(pieces))
    return [segments[0], *filter(str.strip, segments[1:])], excess


def _unquoted(value: str) -> str:
    value = value.strip()
    if not value.startswith('"'):
        return value
    return _ESCAPE.sub(r"\1", value[1:].removesuffix('"'))


def _joined(pieces: list[tuple[int, bool, str]]) -> str:
    """RFC 2231 §3 and §4: the pieces by number, each percent-encoded or not."""
    pieces.sort(key=lambda piece: piece[0])
    charset = ""
    octets = bytearray()
    for number, (_, isEncoded, text) in enumerate(pieces):
        if isEncoded and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)  # noqa: PLW2901  # what is left of it
        raw = text.encode("utf-8", "surrogateescape")
        octets += unquote_to_bytes(raw) if isEncoded else raw
    return cleanText(decodeText(bytes(octets), charset))

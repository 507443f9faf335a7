"""
The scanner of message octets: the end, stuffing dots, bare newlines.

These functions take most of the time that a large message takes. So they are there twice: here, and
in C, in one pass (:file:`_scanner.c`). The ones here are the definition, and what a wheel has that
was built without a compiler; the others are used where they are.
"""

from __future__ import annotations

import re
from io import IncrementalNewlineDecoder

__all__ = ["hasBareNewline", "isCompiled", "scan"]

_CRLF = b"\r\n"
_STUFFED = b"\r\n."
_END = b"\r\n.\r\n"

# A stuffing dot, or the end. To join the pieces between takes a fifth of the time of bytes.replace,
# unless there are very many.
_findStuffed = re.compile(rb"\r\n\.(\r\n)?").finditer
_MANY = 200

# From how many octets on it pays to look whether the lines are even.
_LARGE = 4096


def scanPurely(raw: bytes, isStrict: bool) -> tuple[bytes, int, bool]:
    """
    Take stuffing dots out, up to the end of the message.

    :param raw: some of a message's octets, of which the first is none that a line begins with.
    :param isStrict: whether to look for bare newlines.
    :returns: the content, the last CRLF included; where in ``raw`` that begins, or -1; and whether
        there is a bare newline up to there.
    """
    content, end = _undot(raw)
    isBare = isStrict and hasBareNewlinePurely(raw if end < 0 else raw[: end + len(_CRLF)])
    return content, end, isBare


def _undot(raw: bytes) -> tuple[bytes, int]:
    """
    Take stuffing dots out, up to the end of the message.

    :returns: the content, the last CRLF included; and where in ``raw`` that begins, or -1.
    """
    dot = raw.find(b".")  # this is memchr, and base64 has no dots: nearly free there
    if dot < 0:
        return raw, -1
    pieces = []
    start = 0
    for found in _findStuffed(raw, max(dot - len(_CRLF), 0)):
        pieces.append(raw[start : found.start() + len(_CRLF)])
        if found[1] is not None:
            return b"".join(pieces), found.start()
        start = found.end()
        if len(pieces) >= _MANY:
            break
    # What is left has no stuffing dots, or there are so many that pieces don't pay.
    end = raw.find(_END, start) if pieces else -1
    rest = raw[start:] if end < 0 else raw[start : end + len(_CRLF)]
    pieces.append(rest.replace(_STUFFED, _CRLF) if len(pieces) >= _MANY else rest)
    return b"".join(pieces), end


def hasBareNewlinePurely(raw: bytes) -> bool:
    """
    Whether a CR or LF stands alone; a CR at the very end is left to the next segment.

    :param raw: any octets.
    """
    if len(raw) >= _LARGE and _isEven(raw):
        return False
    # The one thing in the standard library that tells line endings apart in one pass, in C: as
    # fast as a single bytes.translate or count, and never slow whatever the octets are.
    newlines = IncrementalNewlineDecoder(None, translate=False)
    newlines.decode(raw.decode("latin-1"))
    return newlines.newlines not in (None, "\r\n")


def _isEven(raw: bytes) -> bool:
    """
    Whether all lines are equally long, and no CR or LF stands alone.

    So it is in base64, which is most of what large messages are made of, and there it takes a
    quarter of the time: the CRLFs are two columns, which are compared, blanked out, and then there
    must be no CR and no LF left. Where the lines aren't even, the first comparison says so.
    """
    first = raw.find(_CRLF)
    second = raw.find(_CRLF, first + len(_CRLF))
    if first < 0 or second < 0:
        return False
    length = second - first
    returns = raw[first::length]
    feeds = raw[first + 1 :: length]
    if returns != b"\r" * len(returns) or feeds != b"\n" * len(feeds):
        return False
    others = bytearray(raw)
    others[first::length] = bytes(len(returns))
    others[first + 1 :: length] = bytes(len(feeds))
    return b"\r" not in others and b"\n" not in others


try:
    from twisted_smtpserver.wire._scanner import hasBareNewline, scan
except ImportError:
    hasBareNewline, scan = hasBareNewlinePurely, scanPurely

#: Whether the scanner is the one in C.
isCompiled: bool = scan is not scanPurely

"""
Bare newlines: a CR or LF in a message that is no part of a CRLF (RFC 5321 §2.3.8).
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder
from typing import Literal

__all__ = ["BareNewlines", "NewlineFilter", "hasBareNewline"]

#: What becomes of a CR or LF that stands alone (RFC 5321 §2.3.8 forbids to send one).
BareNewlines = Literal["reject", "normalize", "accept"]

_CRLF = b"\r\n"

# So many CRs before a LF are one line's end under "normalize": a program that made CRLF of each LF
# more than once wrote them. Were they several, a header of such lines would end after the first.
_MOST_RETURNS = 8

# From how many octets on it pays to look whether the lines are even.
_LARGE = 4096


def hasBareNewline(raw: bytes) -> bool:
    """Whether a CR or LF stands alone; a CR at the very end is left to the next segment."""
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


def normalized(content: bytes) -> bytes:
    """Every bare CR and LF made a CRLF; CRs before a CRLF are part of it."""
    for _ in range(_MOST_RETURNS - 1):
        if b"\r\r\n" not in content:
            break
        content = content.replace(b"\r\r\n", _CRLF)
    content = content.replace(_CRLF, b"\n").replace(b"\r", b"\n")
    return content.replace(b"\n", _CRLF)


class NewlineFilter:
    """
    Sees to bare newlines in content that comes by count (RFC 3030), in segments of any size.

    :param bareNewlines: as for :class:`~twisted_smtpserver.wire.dotdata.DotDecoder`.
    :ivar bareNewline: whether, under ``"reject"``, one was seen.
    """

    __slots__ = ("_bareNewlines", "_carry", "_most", "bareNewline")

    def __init__(self, bareNewlines: BareNewlines) -> None:
        self.bareNewline = False
        self._bareNewlines = bareNewlines
        # CRs that may be part of a CRLF, and how many at most.
        self._carry = b""
        self._most = _MOST_RETURNS if bareNewlines == "normalize" else 1

    def feed(self, data: bytes) -> bytes:
        """
        Take the next octets.

        :param data: what the client sent next.
        :returns: the content that can be given out by now, perhaps none.
        """
        raw = self._carry + data
        ending = raw[-self._most :]
        count = len(ending) - len(ending.rstrip(b"\r"))
        self._carry = ending[len(ending) - count :]
        content = raw[: len(raw) - count] if count else raw
        if self._bareNewlines == "reject":
            self.bareNewline = self.bareNewline or hasBareNewline(raw)
        elif self._bareNewlines == "normalize" and (
            content.endswith(b"\r") or hasBareNewline(content)
        ):
            return normalized(content)
        return content

    def end(self) -> bytes:
        """
        The content is complete.

        :returns: the last of it, perhaps none.
        """
        last, self._carry = self._carry, b""
        if self._bareNewlines == "normalize":
            return _CRLF * len(last)
        self.bareNewline |= bool(last) and self._bareNewlines == "reject"
        return last

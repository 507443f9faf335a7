"""
Bare newlines: a CR or LF in a message that is no part of a CRLF (RFC 5321 §2.3.8).
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder
from typing import Literal

__all__ = ["BareNewlines", "NewlineFilter", "hasBareNewline", "normalized"]

#: What becomes of a CR or LF that stands alone (RFC 5321 §2.3.8 forbids to send one).
BareNewlines = Literal["reject", "normalize", "accept"]

_CRLF = b"\r\n"

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
    """Every bare CR and LF made a CRLF; a CR at the very end is left to the next segment."""
    last = b"\r" if content.endswith(b"\r") else b""
    content = content.removesuffix(last).replace(_CRLF, b"\n").replace(b"\r", b"\n")
    return content.replace(b"\n", _CRLF) + last


class NewlineFilter:
    """
    Sees to bare newlines in content that comes by count (RFC 3030), in segments of any size.

    :param bareNewlines: as for :class:`~twisted_smtpserver.wire.dotdata.DotDecoder`.
    :ivar bareNewline: whether, under ``"reject"``, one was seen.
    """

    __slots__ = ("_bareNewlines", "_carry", "bareNewline")

    def __init__(self, bareNewlines: BareNewlines) -> None:
        self.bareNewline = False
        self._bareNewlines = bareNewlines
        self._carry = b""  # a CR that may be half of a CRLF

    def feed(self, data: bytes) -> bytes:
        """
        Take the next octets.

        :param data: what the client sent next.
        :returns: the content that can be given out by now, perhaps none.
        """
        raw = self._carry + data
        if self._bareNewlines != "accept" and hasBareNewline(raw):
            if self._bareNewlines == "reject":
                self.bareNewline = True
            else:
                raw = normalized(raw)
        self._carry = b"\r" if raw.endswith(b"\r") else b""
        return raw.removesuffix(self._carry)

    def end(self) -> bytes:
        """
        The content is complete.

        :returns: the last of it, perhaps none.
        """
        last, self._carry = self._carry, b""
        if last and self._bareNewlines == "normalize":
            return _CRLF
        self.bareNewline |= bool(last) and self._bareNewlines == "reject"
        return last

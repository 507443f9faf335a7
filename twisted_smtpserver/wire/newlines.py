"""
Bare newlines: a CR or LF in a message that is no part of a CRLF (RFC 5321 §2.3.8).
"""

from __future__ import annotations

from typing import Literal

from twisted_smtpserver.wire.scanning import hasBareNewline

__all__ = ["BareNewlines", "NewlineFilter", "hasBareNewline"]

#: What becomes of a CR or LF that stands alone (RFC 5321 §2.3.8 forbids to send one).
BareNewlines = Literal["reject", "normalize", "accept"]

_CRLF = b"\r\n"

# This many CRs before an LF are one line end under "normalize": a program that made CRLF of each LF
# more than once wrote them. Were they several, a header of such lines would end after the first.
_MOST_RETURNS = 8


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
        raw = self._carry + data if self._carry else data
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

"""
The DATA decoder: message octets in segments of any size, to content and what follows it.

Only ``<CRLF>.<CRLF>`` ends a message, and only a dot behind a real CRLF is a stuffing dot (RFC 5321
§4.1.1.4, §4.5.2). Taking anything else for an end, as ``<LF>.<LF>``, is how messages are smuggled
past the next server's idea of where a message ends.

It works on whole segments, never line by line; what a segment leaves undecided is carried over to
the next one, at most four octets of it.
"""

from __future__ import annotations

from typing import Final

from twisted_smtpserver.wire.newlines import BareNewlines, NewlineFilter
from twisted_smtpserver.wire.scanning import hasBareNewline, isCompiled, scan

__all__ = ["BareNewlines", "DotDecoder"]

_CRLF: Final = b"\r\n"
_STUFFED: Final = b"\r\n."
_END: Final = b"\r\n.\r\n"
# How a segment may end without deciding what comes next, the longest first: each is what _END
# begins with.
_UNDECIDED: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")

# Up to how many octets it pays to look for the end alone first; the scanner in C sees all at once.
_SMALL: Final = 0 if isCompiled else 4096


class DotDecoder:
    """
    Decode one message; its end ends the decoder's life.

    :param bareNewlines: what becomes of a CR or LF that stands alone. ``"reject"``: the message is
        read to its end, with :attr:`bareNewline` set; ``"accept"``: they stay what they are;
        ``"normalize"``: each becomes a CRLF of the content, and CR CR LF one. In no mode do they
        end a message or make the dot behind them a stuffing dot.

    :ivar bareNewline: whether, under ``"reject"``, a bare CR or LF was seen in the content. From
        then on the content is meaningless; the end is still found where it is.
    """

    __slots__ = ("_carry", "_isStrict", "_normalizer", "bareNewline")

    def __init__(self, bareNewlines: BareNewlines) -> None:
        self.bareNewline = False
        self._isStrict = bareNewlines == "reject"
        self._normalizer = NewlineFilter(bareNewlines) if bareNewlines == "normalize" else None
        # The CRLF that ended the DATA command is the first of <CRLF>.<CRLF> (RFC 5321 §4.1.1.4).
        self._carry = _CRLF

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        Decode the next octets.

        The cuts between the segments make no difference to the content, the end or
        :attr:`bareNewline`.

        :param data: what the client sent next; not called again once the end was found.
        :returns: the content octets this segment brought, and ``None``; or the last of the content,
            and the octets behind the end of the message, perhaps none.
        """
        carry = self._carry
        if carry == _CRLF and data[:1] not in (b"", b"."):
            carry = b""  # decided: the line has no dot. Saves two copies where segments are lines
            if (
                len(data) <= _SMALL
                and self._normalizer is None
                and data.find(_STUFFED) == len(data) - len(_END)
                and data.endswith(_END)
            ):
                # A small message in one piece, without a dot to take out: the most common of all.
                content = data[: -len(b".\r\n")]
                if not self._isStrict or not hasBareNewline(content):
                    return content, b""
        raw = carry + data if carry else data
        content, end, isBare = scan(raw, self._isStrict and not self.bareNewline)
        if end >= 0:
            rest = raw[end + len(_END) :]
        else:
            rest = None
            self._carry = _undecided(raw)
            if self._carry == _UNDECIDED[0]:  # its CR is the only octet held back
                content = content[:-1]
        if isBare:
            self.bareNewline = True
        # The CRLF, or its CR, that was carried over was given out with the segment before.
        if carry:
            content = content[min(len(carry), len(_CRLF)) :]
        if self._normalizer is not None:
            # At the end of a message, which is a CRLF, it holds nothing back.
            content = self._normalizer.feed(content)
        return content, rest


def _undecided(raw: bytes) -> bytes:
    """The octets at the end that matter for what comes next, at most four."""
    if not raw.endswith(_UNDECIDED):  # the most common case, at a third of the price
        return b""
    return next(filter(raw.endswith, _UNDECIDED))

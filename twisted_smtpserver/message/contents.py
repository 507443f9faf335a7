"""
Content-Transfer-Encodings (RFC 2045 §6), undone in slices none of which takes long. Total: garbage
gives what can be made of it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Generator

from twisted_smtpserver.message.largebytes import LargeBytes

#: Octets that are decoded at once.
SLICE = 64 * 1024

# Octets that are copied at once; a multiple of that.
_COPIED = 4 * SLICE

Octets = bytes | bytearray | memoryview

_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_UU_BEGIN = re.compile(rb"(?:\A|\n)begin [0-7]{3,4} [^\n]*\n")
_UU_NAMES = frozenset({"x-uuencode", "uuencode", "uue", "x-uue"})

# Where it must have begun.
_UU_BEGINS = 65536

#: From how many lines on uuencoded content stays as it is: they are decoded one by one.
_MAX_UU_LINES = 200_000

# How much of a line counts, in octets: its first one says how many letters there are, and that is
# no more than 84. Lines that are decoded at once.
_UU_LINE = 100
_UU_LINES = 500


def decodeContent(octets: memoryview, encoding: str) -> Generator[None, None, bytes]:
    """
    Undo a transfer encoding.

    :param octets: a part's body.
    :param encoding: the value of Content-Transfer-Encoding, in lower case. What isn't known leaves
        the octets as they are (RFC 2045 §6.4).
    :returns: (in the end, after a ``yield`` for each slice) the content.
    """
    if encoding == "base64":
        return (yield from _base64(octets))
    if encoding == "quoted-printable":
        return (yield from _quotedPrintable(octets))
    if encoding in _UU_NAMES:
        return (yield from _uu(octets))
    return (yield from _copy(octets))


def _copy(octets: memoryview) -> Generator[None, None, bytes]:
    copied = LargeBytes()
    for start in range(0, len(octets), SLICE):
        copied.add(octets[start : start + SLICE])
        if copied.length % _COPIED == 0:
            yield
    return copied.take()


def _base64(octets: memoryview) -> Generator[None, None, bytes]:
    """RFC 2045 §6.8: what isn't of the alphabet is ignored, and padding is the end."""
    decoded = LargeBytes()
    carried = b""
    for start in range(0, len(octets), SLICE):
        letters = carried + bytes(octets[start : start + SLICE]).translate(None, _NOT_BASE64)
        letters, isEnd, _ = letters.partition(b"=")
        whole = len(letters) // 4 * 4
        decoded.add(binascii.a2b_base64(letters[:whole]))
        carried = letters[whole:]
        if isEnd:
            break
        yield
    if len(carried) > 1:  # one letter alone is less than an octet
        decoded.add(binascii.a2b_base64(carried + b"=" * (4 - len(carried))))
    return decoded.take()


def _quotedPrintable(octets: memoryview) -> Generator[None, None, bytes]:
    """RFC 2045 §6.7."""
    decoded = LargeBytes()
    carried = b""
    for start in range(0, len(octets), SLICE):
        raw = carried + bytes(octets[start : start + SLICE])
        # "=" and what follows it stay together; a soft line break has up to three octets.
        cut = raw.find(b"=", max(len(raw) - 3, 0))
        carried = raw[cut:] if cut >= 0 else b""
        decoded.add(binascii.a2b_qp(raw[:cut] if cut >= 0 else raw))
        yield
    decoded.add(binascii.a2b_qp(carried))
    return decoded.take()


def _uu(octets: memoryview) -> Generator[None, None, bytes]:
    """What POSIX's uuencode writes; garbage stays what it is."""
    begin = _UU_BEGIN.search(bytes(octets[:_UU_BEGINS]))
    if begin is None or (yield from _countLines(octets)) > _MAX_UU_LINES:
        return (yield from _copy(octets))
    decoded = LargeBytes()
    line = b""  # as much as has come of it
    for start in range(begin.end(), len(octets), SLICE):
        *lines, rest = bytes(octets[start : start + SLICE]).split(b"\n")
        for number, end in enumerate(lines):
            line += end[:_UU_LINE]
            if not _addLine(decoded, line):
                return decoded.take()
            line = b""
            if number % _UU_LINES == _UU_LINES - 1:
                yield
        line = (line + rest[:_UU_LINE])[:_UU_LINE]
        yield
    _addLine(decoded, line)
    return decoded.take()


def _countLines(octets: memoryview) -> Generator[None, None, int]:
    lines = 0
    for start in range(0, len(octets), SLICE):
        lines += bytes(octets[start : start + SLICE]).count(b"\n")
        yield
    return lines


def _addLine(decoded: LargeBytes, line: bytes) -> bool:
    """Decode a line, unless it is the end."""
    line = line.rstrip(b"\r")
    isEnd = line in (b"", b"end", b"`")
    if not isEnd:
        decoded.add(_uuLine(line))
    return not isEnd


def _uuLine(line: bytes) -> bytes:
    # Some programs end lines with octets too many: the first says how many count.
    letters = -(-((line[0] - 32) & 63) * 4 // 3)
    try:
        # Octets that aren't there would be zeros.
        return binascii.a2b_uu(line[: 1 + letters])[: (len(line) - 1) * 3 // 4]
    except binascii.Error:
        return b""

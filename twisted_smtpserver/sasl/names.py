"""
User names and passwords as mechanisms carry them: strict UTF-8, bounded, names without controls.
"""

from __future__ import annotations

import re
import stringprep
from unicodedata import ucd_3_2_0

#: Octets in a user name; RFC 4616 §2 wants 255 to be accepted.
MAX_NAME = 255
#: Octets in a password.
MAX_PASSWORD = 1024

# As replies.CONTROLS, which this room can't import: it uses the standard library only.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# RFC 4013 §2.3.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def decodeText(octets: bytes) -> str | None:
    """
    Strict UTF-8.

    :returns: the text, or ``None`` if it is no UTF-8.
    """
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decodeName(octets: bytes) -> str | None:
    """
    Read a user name.

    The name is taken as the client sent it: SASLprep is applied only where an RFC demands it
    (SCRAM), because a handler compares names by its own rules.

    :returns: the name, or ``None`` if it is empty, longer than :data:`MAX_NAME`, no UTF-8, or has
        controls in it.
    """
    if not 0 < len(octets) <= MAX_NAME:
        return None
    name = decodeText(octets)
    return None if name is None or _CONTROL.search(name) else name


def decodePassword(octets: bytes) -> str | None:
    """
    Read a password.

    :returns: the password as sent, or ``None`` if it is empty, longer than :data:`MAX_PASSWORD`, no
        UTF-8, or has a NUL in it (RFC 4616 §2).
    """
    if not 0 < len(octets) <= MAX_PASSWORD or b"\0" in octets:
        return None
    return decodeText(octets)


def saslprep(text: str) -> str | None:
    """
    Prepare a name or a password by the SASLprep profile (RFC 4013), as a query: code points that
    Unicode 3.2 didn't assign are left alone.

    :returns: the prepared text, which may be empty, or ``None`` if it has a prohibited character or
        mixes directions in a way that RFC 3454 §6 forbids.
    """
    if text.isascii() and text.isprintable():
        return text  # nothing in any of the tables
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    # Each character once: NFKC makes one of them up to 18, and a name comes before any password.
    if any(prohibits(char) for char in set(prepared) for prohibits in _PROHIBITED):
        return None
    return prepared if _oneDirection(prepared) else None


def _oneDirection(text: str) -> bool:
    """Whether right-to-left text stands alone, at both ends (RFC 3454 §6)."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    if any(stringprep.in_table_d2(char) for char in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])

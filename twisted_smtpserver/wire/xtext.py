"""
The two encodings of parameter values: xtext (RFC 3461 §4) and its Unicode relative (RFC 6533 §3).
"""

from __future__ import annotations

import re

from twisted_smtpserver.wire.text import decodeVisible

# The decoded text must be printable ASCII (RFC 3461 §4.2, §4.4), so no escape may begin with 0, 1
# or 8 to F, and 7F is out as well. RFC 3461 counts HT as printable white space; nobody sends it,
# and it is a control in whatever the value is written to.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))*")
_HEXCHAR = re.compile(r"\+(..)")
_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")

# QUCHAR and EmbeddedUnicodeChar. HEXPOINT begins with 0 for no character that may be in a text, and
# stands for four of the printable ASCII characters only.
_UNITEXT = re.compile(
    r"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]"
    r"|\\x\{(?:20|2[Bb]|3[Dd]|5[Cc]|[89A-Fa-f][0-9A-Fa-f]|[1-9A-Fa-f][0-9A-Fa-f]{2,5})\})+"
)
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]+)\}")
_MAX_CODE_POINT = 0x10FFFF


def decodeXtext(value: str) -> str | None:
    """
    Decode xtext (RFC 3461 §4), as ENVID, ORCPT and AUTH have it.

    :param value: the value as sent.
    :returns: printable ASCII text, spaces included; ``None`` if the value is malformed or stands
        for anything else.
    """
    if _XTEXT.fullmatch(value) is None:
        return None
    return _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), value)


def encodeXtext(text: str) -> str:
    """
    Encode text as xtext (RFC 3461 §4).

    :param text: printable ASCII; other characters become the octets of their UTF-8 form, which
        :func:`decodeXtext` won't take.
    :returns: ASCII text that can be the value of an ESMTP parameter.
    :raises UnicodeEncodeError: if there is a lone surrogate in the text.
    """
    escaped = _NOT_XCHAR.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8"))
    return escaped.decode("ascii")


def decodeUtf8AddrXtext(value: str) -> str | None:
    r"""
    Decode a ``utf-8`` address of ORCPT (RFC 6533 §3): utf-8-addr-xtext or utf-8-addr-unitext, where
    ``\x{HEX}`` stands for a character.

    :param value: what follows ``utf-8;`` in the value as sent.
    :returns: the address; ``None`` if the value is malformed, or stands for a control, a line
        separator, an invisible character or a surrogate.
    """
    if _UNITEXT.fullmatch(value) is None:
        return None
    points = [int(digits, 16) for digits in _EMBEDDED.findall(value)]
    if points and max(points) > _MAX_CODE_POINT:
        return None
    text = _EMBEDDED.sub(lambda found: chr(int(found[1], 16)), value)
    # Surrogates, embedded or not, are no UTF-8: they are turned down with the controls.
    return decodeVisible(text.encode("utf-8", "surrogatepass"))

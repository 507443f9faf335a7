"""
Text from the peer: made safe for a log line, or refused where it can't be shown.
"""

from __future__ import annotations

import re

from twisted_smtpserver.replies import CONTROLS

# RFC 6531 §3.3 lets any non-ASCII character into an address; these must not be shown anywhere.
_CONTROLS = re.compile(CONTROLS)

# What takes no room or turns the text around: with these two addresses look the same, or one looks
# like another. U+200C and U+200D aren't here: some scripts need them in domains, where IDNA has
# rules for them (RFC 5892 appendix A.1, A.2).
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0001\U000e0020-\U000e007f]"
)


def decodeText(octets: bytes) -> str | None:
    """
    Read octets as UTF-8 text (RFC 3629) that fits on one line.

    :param octets: any octets.
    :returns: the text; ``None`` if it isn't valid UTF-8 or has a control character or a line
        separator.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text


def decodeVisible(octets: bytes) -> str | None:
    """
    Read octets as :func:`decodeText` does, for an address.

    :param octets: any octets.
    :returns: the text; ``None`` also if it has a character without width, but for the two joiners,
        or one that changes the direction of the text.
    """
    text = decodeText(octets)
    return None if text is None or _INVISIBLE.search(text) else text


def escape(text: str | bytes, limit: int = 256) -> str:
    r"""
    Make text from the peer safe for one line of a log.

    Printable characters stay, letters outside ASCII too. A backslash and what isn't printable
    (controls, separators, direction marks, lone surrogates) become ``\xNN``, ``\uNNNN`` or
    ``\UNNNNNNNN``; octets that aren't UTF-8 become ``\xNN``.

    :param text: any text or octets.
    :param limit: the length of the result, in characters, at least 1; what is longer ends in an
        ellipsis, and never within an escape.
    :returns: printable text of at most ``limit`` characters.
    """
    if isinstance(text, bytes):
        # No more octets than can matter: a character is four at most.
        text = text[: 4 * limit + 4].decode("utf-8", "surrogateescape")
    if len(text) <= limit and text.isprintable() and "\\" not in text:
        return text
    length = kept = 0
    pieces = [_escapeCharacter(character) for character in text[: limit + 1]]
    for piece in pieces:
        length += len(piece)
        kept += length < limit
    if length <= limit:
        return "".join(pieces)
    return "".join(pieces[:kept]) + "…"


def _escapeCharacter(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # an octet that is no UTF-8, as PEP 383 carries it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

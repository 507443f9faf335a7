"""
Octets of a declared charset, and encoded words (RFC 2047), to text. Total: whatever is declared,
and whatever the octets are, the result is text that has a UTF-8 form.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Callable, Iterator
from encodings.aliases import aliases
from functools import lru_cache
from itertools import islice

from twisted_smtpserver.replies import CONTROLS

# Codecs that are no charsets of mail: they turn octets into octets, take quadratic time (idna,
# punycode), read Python's escapes, or depend on this machine.
_NO_CHARSETS = frozenset(
    (
        *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec"),
        *("zlib_codec", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined"),
        *("mbcs", "oem"),
    )
)

# Charsets that the table of aliases doesn't name, because Python calls them by no other name.
_UNALIASED = frozenset(
    ("cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u", "utf_8_sig")
)

# Only these are looked up: codecs.lookup() imports modules, and remembers each name it didn't find.
_CHARSETS = (frozenset(aliases.values()) | _UNALIASED) - _NO_CHARSETS

# What is so called is often one of the larger charset that includes it (WHATWG Encoding Standard).
_LARGER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}

# Octets that are decoded at once: some codecs take 50 ms for a megabyte.
_SLICE = 16 * 1024

_SURROGATES = re.compile("[\ud800-\udfff]+")
# Those that stand for no octet.
_UNESCAPED = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_CONTROLS = re.compile(f"{CONTROLS}+")

_FOLDS = re.compile(r"\r?\n(?=[ \t])")  # RFC 5322 §2.2.3

# RFC 2047 §2: the charset, the language after a star (RFC 2231 §5), the encoding, the text. Spaces
# aren't allowed in the text, and are there.
_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,75})(?:\*[^?\s]{0,75})?\?([BbQq])\?([^?]*)\?=")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")

# How many of a field are decoded; more than a field of any use has.
_MAX_WORDS = 500

# Characters of a charset's name.
_MAX_LABEL = 40


def charsetOf(label: str) -> str | None:
    """
    Find a charset by what a message calls it.

    :param label: the value of ``charset=``, for example.
    :returns: the name of a codec of Python's that decodes text in linear time; ``None`` if there is
        none by that name.
    """
    return _find(label) if len(label) <= _MAX_LABEL and label.isascii() else None


@lru_cache(maxsize=256)
def _find(label: str) -> str | None:
    name = label.strip().lower().replace("-", "_").replace(" ", "_").replace(".", "_")
    name = aliases.get(name, name)
    return _LARGER.get(name, name) if name in _CHARSETS else None


def decodeText(octets: bytes, label: str) -> str:
    """
    Decode octets as well as can be.

    :param octets: in the charset, or not.
    :param label: what the message calls the charset; if that is unknown, or ASCII, and the octets
        are no UTF-8, they are taken for Windows-1252.
    :returns: text without lone surrogates; U+FFFD stands for what isn't in the charset.
    """
    if len(octets) > _SLICE:
        return "".join(decodedSlices(octets, label))
    try:
        text = octets.decode(_charsetFor(octets, label), "replace")
    except (UnicodeError, ValueError, OverflowError):
        return "\ufffd"
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def decodedSlices(octets: bytes, label: str) -> Iterator[str]:
    """
    The same in slices, none of which takes long.

    :param octets: as for :func:`decodeText`.
    :param label: as for :func:`decodeText`.
    """
    decoder = codecs.getincrementaldecoder(_charsetFor(octets, label))("replace")
    for start in range(0, len(octets), _SLICE):
        isLast = start + _SLICE >= len(octets)
        try:
            text = decoder.decode(octets[start : start + _SLICE], isLast)
        except (UnicodeError, ValueError, OverflowError):
            # Some codecs have no good idea of errors="replace" (utf-7 in places, iso-2022).
            yield "\ufffd"
            decoder.reset()
        else:
            yield _SURROGATES.sub("\ufffd", text)


def _charsetFor(octets: bytes, label: str) -> str:
    charset = charsetOf(label)
    if charset is not None and charset != "ascii":
        return charset
    # Who says nothing of UTF-8, and doesn't write it, writes what Windows has.
    return "utf_8" if _isUtf8(octets) else "cp1252"


def _isUtf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decodeWords(value: str) -> str:
    """
    Decode a header field's encoded words (RFC 2047), wherever they stand.

    :param value: the field as ASCII with octets above that escaped to surrogates, as the email
        package has them; folded or not.
    :returns: one line of text without controls.
    """
    value = _UNESCAPED.sub("\ufffd", _FOLDS.sub("", value))
    pieces: list[str] = []
    word: tuple[str, bytes] | None = None  # the last encoded word, which the next one may continue
    end = 0
    for found in islice(_ENCODED_WORD.finditer(value), _MAX_WORDS):
        between = value[end : found.start()]
        end = found.end()
        charset, octets = found[1].lower(), _DECODERS[found[2].upper()](found[3])
        if word is not None and not between.strip():
            # RFC 2047 §6.2: blanks between encoded words don't count. Characters may be cut in two
            # by them, although §5 forbids it.
            if word[0] == charset:
                word = (charset, word[1] + octets)
                continue
            between = ""
        pieces += _text(word), plainText(between)
        word = (charset, octets)
    pieces += _text(word), plainText(value[end:])
    return _CONTROLS.sub(" ", "".join(pieces)).strip()


def plainText(value: str) -> str:
    """
    Header text that isn't encoded.

    :param value: as for :func:`decodeWords`.
    :returns: its octets above ASCII decoded, if there are any (RFC 6532, or an old habit).
    """
    if value.isascii():
        return value
    value = _UNESCAPED.sub("\ufffd", value)
    return decodeText(value.encode("utf-8", "surrogateescape"), "")


def cleanText(text: str) -> str:
    """
    :param text: any.
    :returns: it on one line, without controls and lone surrogates.
    """
    return _CONTROLS.sub(" ", _SURROGATES.sub("\ufffd", text)).strip()


def _text(word: tuple[str, bytes] | None) -> str:
    return "" if word is None else decodeText(word[1], word[0])


def _decodeB(text: str) -> bytes:
    octets = _NOT_BASE64.sub(b"", text.encode("ascii", "replace"))
    if len(octets) % 4 == 1:  # what is left of a word that was cut
        octets = octets[:-1]
    return binascii.a2b_base64(octets + b"=" * (-len(octets) % 4))


def _decodeQ(text: str) -> bytes:
    return binascii.a2b_qp(text.encode("utf-8", "surrogateescape"), header=True)


_DECODERS: dict[str, Callable[[str], bytes]] = {"B": _decodeB, "Q": _decodeQ}

"""
Domain names and address literals (RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from twisted_smtpserver.wire.hostname import LDH_LABEL
from twisted_smtpserver.wire.ip import spellIpv4, spellIpv6
from twisted_smtpserver.wire.text import decodeVisible

#: Octets in a domain (RFC 5321 §4.5.3.1.2) and in one of its labels (RFC 1035 §2.3.4).
MAX_DOMAIN = 255
MAX_LABEL = 63

_PREFIX = "xn--"
# Characters in a U-label: its A-label has a prefix and at least one octet for each (RFC 3492).
_MAX_U_LABEL = MAX_LABEL - len(_PREFIX)
# Labels whose forms are remembered. IDNA takes 50 times as long as ASCII, and a list of recipients
# names few domains.
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Why octets were refused.

    :ivar text: the reason, in words for the client.
    """

    text: str


MISSING = Problem("the domain is missing")
TOO_LONG = Problem(f"the domain is longer than {MAX_DOMAIN} octets")
EMPTY_LABEL = Problem("the domain has an empty label")
LABEL_TOO_LONG = Problem(f"a label of the domain is longer than {MAX_LABEL} octets")
NOT_LDH = Problem("only letters, digits and inner hyphens are allowed in a domain")
NOT_IDNA = Problem("the domain is not a valid internationalized name (IDNA 2008)")
NOT_TEXT = Problem("it is not UTF-8 text without control or invisible characters")
NUMERIC = Problem("the domain ends in a number; an IP address is written [192.0.2.1]")
BAD_LITERAL = Problem("the address literal is malformed")
BAD_IP = Problem("an address literal is written [192.0.2.1] or [IPv6:2001:db8::1]")
BAD_IPV6 = Problem("the IPv6 address in the literal is malformed")

_UNTAGGED_IPV6 = re.compile(r"[0-9A-Fa-f]{0,4}:.*:")
# Capitals that IDNA allows while it forbids their small letters (RFC 5892 §2.6, Unicode 8).
_CHEROKEE = re.compile("[\u13a0-\u13f5]")
# RFC 5892 appendix A has three rules that look at the whole label, and the library applies them to
# each character that they are about: up to 0.8 ms for one label. Once is enough: all but the first
# get a stand-in of the same directionality that no rule is about.
_WHOLE_LABEL_RULES = (
    (re.compile("\u30fb"), "\u30fc"),  # A.7: KATAKANA MIDDLE DOT
    (re.compile("[\u0660-\u0669]"), "\U00010d30"),  # A.8: ARABIC-INDIC DIGITS
    (re.compile("[\u06f0-\u06f9]"), "0"),  # A.9: EXTENDED ARABIC-INDIC DIGITS
)
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")


def parseDomain(octets: bytes) -> str | Problem:
    """
    Parse a domain name (RFC 5321 §4.1.2; RFC 6531 §3.3 adds U-labels).

    The limit of length holds for the name as sent, for its A-labels and for its U-labels, so that
    it can be used in any of these forms.

    :param octets: the name, without a final dot.
    :returns: the name in lower case, its labels in their U-label form (RFC 5890); or what is wrong.
    """
    if len(octets) > MAX_DOMAIN:  # before anything that takes time
        return TOO_LONG
    if not octets:
        return MISSING
    text = decodeVisible(octets)
    if text is None:
        return NOT_TEXT
    labels = []
    asciiLength = utf8Length = -1
    for sent in text.split("."):
        forms = _parseLabel(sent)
        if isinstance(forms, Problem):
            return forms
        labels.append(forms[0])
        utf8Length += 1 + len(forms[0].encode("utf-8"))
        asciiLength += 1 + len(forms[1])
        # Asked for each label, because IDNA is slow: no peer gets more than a name's worth of it.
        if max(utf8Length, asciiLength) > MAX_DOMAIN:
            return TOO_LONG
    # The grammar alone would admit it, but no top-level domain is a number (RFC 1123 §2.1, RFC 3696
    # §2): this is an IP address without its brackets, and must not pass for a name.
    if labels[-1].isascii() and labels[-1].isdigit():
        return NUMERIC
    return ".".join(labels)


def parseLiteral(octets: bytes) -> str | Problem:
    """
    Parse an address literal (RFC 5321 §4.1.3).

    :param octets: the literal with its brackets.
    :returns: the literal with its brackets, an IP address in it in normal form (RFC 5952 for IPv6);
        or what is wrong. A literal of another kind, for which nobody has defined a tag yet, stays
        as sent.
    """
    if len(octets) > MAX_DOMAIN:
        return TOO_LONG
    if not octets.isascii() or octets[:1] != b"[" or octets[-1:] != b"]":
        return BAD_LITERAL
    content = octets[1:-1].decode("ascii")
    tag, colon, rest = content.partition(":")
    if not colon:
        number = spellIpv4(content)
        return BAD_IP if number is None else f"[{number}]"
    if tag.lower() == "ipv6":
        address = spellIpv6(rest)
        return BAD_IPV6 if address is None else f"[IPv6:{address}]"
    if _UNTAGGED_IPV6.match(content) is not None:
        return BAD_IP  # [2001:db8::1] is not db8::1 with the tag 2001
    return BAD_LITERAL if _GENERAL_LITERAL.fullmatch(content) is None else f"[{content}]"


def toAscii(domain: str) -> str:
    """
    Write a domain in A-labels (RFC 5890), for places where only ASCII may stand.

    :param domain: a domain name or an address literal, as :func:`parseDomain` or
        :func:`parseLiteral` returns it.
    :returns: ASCII text. A label that IDNA has no form for, which lenient parsing lets through, has
        question marks in place of the other characters.
    """
    if domain.isascii():
        return domain
    labels = []
    for label in domain.split("."):
        encoded = label if label.isascii() else _encodeLabel(label)
        labels.append(encoded or label.encode("ascii", "replace").decode("ascii"))
    return ".".join(labels)


def _parseLabel(sent: str) -> tuple[str, str] | Problem:
    """The label's U-label and A-label form; the same twice if there is but one."""
    if not sent:
        return EMPTY_LABEL
    if not sent.isascii():
        return _parseULabel(sent) if len(sent) <= _MAX_U_LABEL else NOT_IDNA
    label = sent.lower()
    if len(label) > MAX_LABEL:
        return LABEL_TOO_LONG
    if LDH_LABEL.fullmatch(label) is None:
        return NOT_LDH
    if label.startswith(_PREFIX):
        decoded = _decodeLabel(label)
        return NOT_IDNA if decoded is None else (decoded, label)
    return label, label


@lru_cache(maxsize=_REMEMBERED)
def _parseULabel(sent: str) -> tuple[str, str] | Problem:
    label = sent if _CHEROKEE.search(sent) else sent.lower()
    # KELVIN SIGN in lower case is a k; it must not pass for one.
    encoded = None if label.isascii() else _encodeLabel(label)
    return NOT_IDNA if encoded is None else (label, encoded)


def _encodeLabel(label: str) -> str | None:
    """The A-label of a U-label; ``None`` if it is none, or its A-label is too long."""
    if len(label) > _MAX_U_LABEL:  # before anything that takes time
        return None
    try:
        idna.check_label(_withoutRepetition(label))
        encoded = _PREFIX + label.encode("punycode").decode("ascii")
    # The library and the codecs beneath it aren't careful about what they raise.
    except (ValueError, LookupError, ArithmeticError):
        return None
    return encoded if len(encoded) <= MAX_LABEL else None


def _withoutRepetition(label: str) -> str:
    """A label that is valid if and only if this one is, and that can be checked in linear time."""
    for characters, standIn in _WHOLE_LABEL_RULES:
        first = characters.search(label)
        if first is not None:
            label = label[: first.end()] + characters.sub(standIn, label[first.end() :])
    return label


@lru_cache(maxsize=_REMEMBERED)
def _decodeLabel(label: str) -> str | None:
    """The U-label of an A-label; ``None`` if it is none."""
    try:
        decoded = label.removeprefix(_PREFIX).encode("ascii").decode("punycode")
    except (ValueError, LookupError, ArithmeticError):
        return None
    # RFC 5891 §5.3: an A-label is one only if the way back leads to it, or two spellings would name
    # the same mailbox.
    isCanonical = not decoded.isascii() and _encodeLabel(decoded) == label
    return decoded if isCanonical else None

"""
XCLIENT and XFORWARD, as Postfix documents them: a trusted proxy or filter says who its client is.

Both carry ``NAME=value`` attributes, the values as xtext (RFC 3461 §4). Postfix before 2.3 sent
them plain, which nobody has to guess at anymore. What its XFORWARD_README asks of values, to have
nothing in them that is special in a header, is asked of XCLIENT as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.ip import normalizeAddress
from twisted_smtpserver.wire.proxy import parsePort
from twisted_smtpserver.wire.xtext import decodeXtext

#: Characters of an attribute's value, before and after decoding.
MAX_VALUE = 255
#: Characters of XFORWARD's PROTO.
MAX_PROTOCOL = 64

VALUE_TOO_LONG = Reply(501, "5.5.4", f"Attribute value longer than {MAX_VALUE} characters")

_ATTRIBUTE = re.compile(r"([A-Za-z_]+)=([!-~]+)")
# RFC 5322's specials without those that host names and address literals are made of.
_WORD = re.compile(r'[^ <>()\\",;@]+')
_IPV6_PREFIX = re.compile(r"ipv6:", re.IGNORECASE)


class Unavailable(Enum):
    """What a client says in place of a value that it doesn't know."""

    #: There is none: a lookup failed for good.
    PERMANENT = "[UNAVAILABLE]"
    #: A lookup failed and may succeed later; for NAME only.
    TEMPORARY = "[TEMPUNAVAIL]"


@dataclass(frozen=True, slots=True)
class XClientRequest:
    """
    The attributes of one XCLIENT; ``None`` is one that it doesn't name.

    :ivar name: NAME, the client's host name.
    :ivar address: ADDR, its IP address as
        :func:`~twisted_smtpserver.wire.proxy.normalizeAddress` returns it.
    :ivar port: PORT.
    :ivar protocol: PROTO: ``"SMTP"``, ``"ESMTP"`` or ``"LMTP"``.
    :ivar helo: HELO, what it said in its hello.
    :ivar login: LOGIN, the name it logged in with; any printable ASCII.
    :ivar destinationAddress: DESTADDR, the address it connected to.
    :ivar destinationPort: DESTPORT.
    """

    name: str | Unavailable | None = None
    address: str | Unavailable | None = None
    port: int | Unavailable | None = None
    protocol: str | Unavailable | None = None
    helo: str | Unavailable | None = None
    login: str | Unavailable | None = None
    destinationAddress: str | Unavailable | None = None
    destinationPort: int | Unavailable | None = None


@dataclass(frozen=True, slots=True)
class XForwardRequest:
    """
    The attributes of one XFORWARD; ``None`` is one that it doesn't name and that keeps its value.

    :ivar name: NAME, the host name of the upstream client.
    :ivar address: ADDR, its IP address as
        :func:`~twisted_smtpserver.wire.proxy.normalizeAddress` returns it.
    :ivar port: PORT.
    :ivar protocol: PROTO, which need not be SMTP; as sent.
    :ivar helo: HELO, what it called itself.
    :ivar ident: IDENT, the upstream server's identifier of the message.
    :ivar source: SOURCE: ``"LOCAL"`` or ``"REMOTE"``, seen from the upstream server.
    """

    name: str | Unavailable | None = None
    address: str | Unavailable | None = None
    port: int | Unavailable | None = None
    protocol: str | Unavailable | None = None
    helo: str | Unavailable | None = None
    ident: str | Unavailable | None = None
    source: str | Unavailable | None = None


def parseAttributes(
    argument: bytes, known: frozenset[str]
) -> Mapping[str, str | Unavailable] | Reply:
    """
    Parse ``1*(SP name "=" value)``, the first space left out.

    :param argument: the octets behind the verb and one space.
    :param known: the attributes there are, in upper case.
    :returns: a new dict of the decoded values, none of them empty, by the names in upper case. Or
        the refusal, 501 5.5.4: no attribute, bad syntax, one that isn't known or comes twice, a
        value longer than :data:`MAX_VALUE` or that isn't printable ASCII.
    """
    if not argument:
        return replies.ARGUMENT_NEEDED
    if not argument.isascii():
        return replies.MALFORMED_ATTRIBUTE
    values: dict[str, str | Unavailable] = {}
    for attribute in argument.decode("ascii").split(" "):
        found = _ATTRIBUTE.fullmatch(attribute)
        if found is None:
            return replies.MALFORMED_ATTRIBUTE
        name = found[1].upper()
        if name not in known:
            return replies.UNKNOWN_ATTRIBUTE
        if name in values:
            return replies.DUPLICATE_ATTRIBUTE
        if len(found[2]) > MAX_VALUE:
            return VALUE_TOO_LONG
        value = decodeXtext(found[2])
        if value is None:
            return replies.MALFORMED_ATTRIBUTE
        values[name] = _UNAVAILABLE.get(value.upper(), value)
    return values


def parseXClient(argument: bytes) -> XClientRequest | Reply:
    """
    Parse the argument of XCLIENT.

    An IPv6 address may do without its prefix, as it can't be taken for anything else.

    :param argument: the octets behind ``XCLIENT`` and one space.
    :returns: the attributes, their types checked; or the refusal, 501 5.5.4.
    """
    fields = _parseFields(argument, _XCLIENT)
    return fields if isinstance(fields, Reply) else XClientRequest(**fields)


def parseXForward(argument: bytes) -> XForwardRequest | Reply:
    """
    Parse the argument of XFORWARD.

    :param argument: the octets behind ``XFORWARD`` and one space.
    :returns: the attributes, their types checked; or the refusal, 501 5.5.4.
    """
    fields = _parseFields(argument, _XFORWARD)
    return fields if isinstance(fields, Reply) else XForwardRequest(**fields)


def _word(value: str) -> str | None:
    return value if _WORD.fullmatch(value) else None


def _address(value: str) -> str | None:
    prefix = _IPV6_PREFIX.match(value)
    return normalizeAddress(value[prefix.end() :], 6) if prefix else normalizeAddress(value)


def _smtpProtocol(value: str) -> str | None:
    return value.upper() if value.upper() in ("SMTP", "ESMTP", "LMTP") else None


def _anyProtocol(value: str) -> str | None:
    return _word(value) if len(value) <= MAX_PROTOCOL else None


def _source(value: str) -> str | None:
    return value.upper() if value.upper() in ("LOCAL", "REMOTE") else None


_UNAVAILABLE = {member.value: member for member in Unavailable}

# For each attribute the field it goes to, and what makes of its text a value of the right type, or
# None of one that is wrong.
_Fields = Mapping[str, tuple[str, Callable[[str], str | int | None]]]
_XCLIENT: _Fields = {
    "NAME": ("name", _word),
    "ADDR": ("address", _address),
    "PORT": ("port", parsePort),
    "PROTO": ("protocol", _smtpProtocol),
    "HELO": ("helo", _word),
    "LOGIN": ("login", str),
    "DESTADDR": ("destinationAddress", _address),
    "DESTPORT": ("destinationPort", parsePort),
}
_XFORWARD: _Fields = {
    "NAME": ("name", _word),
    "ADDR": ("address", _address),
    "PORT": ("port", parsePort),
    "PROTO": ("protocol", _anyProtocol),
    "HELO": ("helo", _word),
    "IDENT": ("ident", _word),
    "SOURCE": ("source", _source),
}
#: The attributes' names, in the order in which the EHLO keywords list them.
XCLIENT_ATTRIBUTES = tuple(_XCLIENT)
XFORWARD_ATTRIBUTES = tuple(_XFORWARD)


def _parseFields(argument: bytes, known: _Fields) -> dict[str, Any] | Reply:
    """The request's fields, by their names."""
    attributes = parseAttributes(argument, frozenset(known))
    if isinstance(attributes, Reply):
        return attributes
    fields = {}
    for name, text in attributes.items():
        field, convert = known[name]
        value: str | int | Unavailable | None
        if isinstance(text, Unavailable):
            value = None if text is Unavailable.TEMPORARY and name != "NAME" else text
        else:
            value = convert(text)
        if value is None:
            return Reply(501, "5.5.4", f"Bad {name} syntax")
        fields[field] = value
    return fields

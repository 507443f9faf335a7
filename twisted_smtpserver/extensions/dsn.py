"""DSN (RFC 3461): a message's sender asks for certain reports on its delivery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.session import Address, Envelope, EnvelopeDSN, RecipientDSN, Session
from twisted_smtpserver.wire.xtext import decodeUtf8AddrXtext, decodeXtext

#: Characters in the value of ENVID (RFC 3461 §4.4) and of ORCPT (§4.2), as sent.
MAX_ENVID = 100
MAX_ORCPT = 500

_CONDITIONS = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")  # atom


def parseRet(value: str | bool) -> str:
    """
    The parser of MAIL's ``RET=`` (RFC 3461 §4.3).

    :returns: ``"FULL"`` or ``"HDRS"``.
    """
    word = value.upper() if isinstance(value, str) else ""
    if word not in ("FULL", "HDRS"):
        raise Rejection("RET must be FULL or HDRS")
    return word


def parseEnvid(value: str | bool) -> str:
    """
    The parser of MAIL's ``ENVID=`` (RFC 3461 §4.4).

    :returns: the envelope identifier, xtext decoded: printable ASCII.
    """
    if not isinstance(value, str):
        raise Rejection("ENVID needs an envelope identifier")
    if len(value) > MAX_ENVID:
        raise Rejection(f"ENVID is longer than {MAX_ENVID} characters")
    identifier = decodeXtext(value)
    if identifier is None:
        raise Rejection("ENVID must be printable ASCII in xtext")
    return identifier


def parseNotify(value: str | bool) -> tuple[str, ...]:
    """
    The parser of RCPT's ``NOTIFY=`` (RFC 3461 §4.1).

    :returns: the conditions in the order in which they were sent, in upper case.
    """
    words = tuple(value.upper().split(",")) if isinstance(value, str) else ()
    if words == ("NEVER",):
        return words
    if "NEVER" in words:
        raise Rejection("NOTIFY: NEVER must be alone")
    if not words or not _CONDITIONS.issuperset(words):
        raise Rejection("NOTIFY must be NEVER or a list of SUCCESS, FAILURE, DELAY")
    if len(set(words)) < len(words):
        raise Rejection("NOTIFY has a condition twice")
    return words


def parseOrcpt(value: str | bool) -> str:
    """
    The parser of RCPT's ``ORCPT=`` (RFC 3461 §4.2, RFC 6533 §3).

    UTF-8 is accepted in an address of type ``utf-8``, in every transaction: who offers both DSN and
    SMTPUTF8 must do so (RFC 6533 §3).

    :returns: type and address as ``"rfc822;joe@example.com"``, the address decoded.
    """
    kind, separator, encoded = value.partition(";") if isinstance(value, str) else ("", "", "")
    if not separator or not encoded or _ADDRESS_TYPE.fullmatch(kind) is None:
        raise Rejection("ORCPT needs a type and an address, as in rfc822;user@example.com")
    if len(kind) + len(separator) + len(encoded) > MAX_ORCPT:
        raise Rejection(f"ORCPT is longer than {MAX_ORCPT} characters")
    isUtf8 = kind.lower() == "utf-8"
    address = (decodeUtf8AddrXtext if isUtf8 else decodeXtext)(encoded)
    if not address:
        form = "utf-8-addr-xtext (RFC 6533)" if isUtf8 else "printable ASCII in xtext"
        raise Rejection(f"ORCPT: the address must be {form}")
    return f"{kind};{address}"


class DSN(Extension):
    """
    RFC 3461: ``RET``, ``ENVID``, ``NOTIFY`` and ``ORCPT``, found in ``envelope.dsn`` and in each
    recipient's ``dsn``.

    Off by default: a server that takes such a message has to send the reports, or to pass the
    requests on to the next server.
    """

    keyword = "DSN"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType(
        {"RET": parseRet, "ENVID": parseEnvid}
    )
    rcptParameters: Mapping[str, ParameterParser] = MappingProxyType(
        {
            "NOTIFY": parseNotify,
            "ORCPT": parseOrcpt,
        }
    )

    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.dsn`` is there with every MAIL, whatever it said."""
        values = address.values
        envelope.dsn = EnvelopeDSN(values.get("RET"), values.get("ENVID"))

    def onRcpt(self, address: Address, envelope: Envelope, session: Session) -> None:
        """So is the ``dsn`` of every recipient."""
        values = address.values
        address.dsn = RecipientDSN(values.get("NOTIFY", ()), values.get("ORCPT"))

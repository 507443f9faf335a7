"""
Which parameters of MAIL and RCPT can be passed to the next hop, and which must be refused.

An extension is a promise. If the next hop doesn't offer it, the parameter is left out where nothing
is lost by that; otherwise the client is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_smtpserver.errors import MessageTooLarge, Rejection
from twisted_smtpserver.session import Address
from twisted_smtpserver.stores.forward.pool import Connection
from twisted_smtpserver.wire.path import asciiDomain, parseForwardPath, parseReversePath

#: What our trace field adds to a message at most, in octets, for SIZE.
TRACE_OCTETS = 2048

# What is refused with, and "" for what may be left out. Codes: RFC 6531 §3.5, RFC 8689 §4.2.1 and
# §5, RFC 3463 §3.4 ("system not capable of selected features").
_NO_UTF8 = Rejection("The next hop doesn't take SMTPUTF8", 550, "5.6.7")
_NO_TLS = Rejection("The next hop doesn't take REQUIRETLS", 550, "5.7.30")
_NO_BINARY = Rejection("The next hop doesn't take BODY=BINARYMIME", 554, "5.6.3")
_NO_REPORTS = Rejection("The next hop can't send the reports that NOTIFY asks for", 550, "5.3.3")
_BAD_PATH = Rejection("The next hop needs a well-formed address", 553, "5.1.3")
_ASCII_PATH = Rejection("The next hop needs an address in ASCII", 553, "5.6.7")


def _handed(keyword: str, value: str | bool) -> str:
    return keyword if value is True else f"{keyword}={value}"


def _unless(extension: str, refusal: Rejection | None) -> Callable[..., str]:
    """
    A rule: pass the parameter on as it was sent, if an extension is offered.

    :param refusal: raised if it isn't; ``None`` to leave the parameter out.
    """

    def rule(keyword: str, value: str | bool, connection: Connection) -> str:
        if extension in connection.offers:
            return _handed(keyword, value)
        if refusal is not None:
            raise refusal
        return ""

    return rule


def _leftOut(keyword: str, value: str | bool, connection: Connection) -> str:
    """AUTH= says what we haven't checked (RFC 4954 §5); PRDR is between the client and us."""
    return ""


def _size(keyword: str, value: str | bool, connection: Connection) -> str:
    """RFC 1870 §6.1: refuse a message that is too large for the next hop before it is sent."""
    if "SIZE" not in connection.offers or not isinstance(value, str):
        return ""
    size = int(value)
    most = connection.offers["SIZE"]
    if most.isascii() and most.isdigit() and 0 < int(most[:20]) < size:
        raise MessageTooLarge("The message is too large for the next hop")
    return f"SIZE={size + TRACE_OCTETS}"


def _body(keyword: str, value: str | bool, connection: Connection) -> str:
    """RFC 6152 and RFC 3030. 8-bit octets are looked for later if the next hop can't have them."""
    body = str(value).upper()
    if body == "BINARYMIME":
        if not {"BINARYMIME", "CHUNKING"} <= connection.offers.keys():
            raise _NO_BINARY
        return "BODY=BINARYMIME"
    return "BODY=8BITMIME" if body == "8BITMIME" and "8BITMIME" in connection.offers else ""


def _requireTLS(keyword: str, value: str | bool, connection: Connection) -> str:
    """RFC 8689 §4.2.1: only over TLS with a certificate that was verified."""
    if "REQUIRETLS" not in connection.offers or not connection.host.isTLS:
        raise _NO_TLS
    return keyword


def _notify(keyword: str, value: str | bool, connection: Connection) -> str:
    """RFC 3461 §4.1: without DSN a next hop reports failures, and nothing else."""
    if "DSN" in connection.offers:
        return _handed(keyword, value)
    if {"SUCCESS", "NEVER"} & set(str(value).upper().split(",")):
        raise _NO_REPORTS
    return ""


_RULES: dict[str, Callable[[str, str | bool, Connection], str]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _unless("SMTPUTF8", _NO_UTF8),
    "AUTH": _leftOut,
    "PRDR": _leftOut,
    "RET": _unless("DSN", None),
    "ENVID": _unless("DSN", None),
    "NOTIFY": _notify,
    "ORCPT": _unless("DSN", None),
    "REQUIRETLS": _requireTLS,
    "MT-PRIORITY": _unless("MT-PRIORITY", None),  # RFC 6710 §4.1
}

# Those whose keyword isn't their extension's.
_EXTENSIONS = {"BY": "DELIVERBY", "HOLDFOR": "FUTURERELEASE", "HOLDUNTIL": "FUTURERELEASE"}


def handOn(address: Address, connection: Connection) -> bytes:
    """
    The parameters for the next hop's MAIL or RCPT.

    :param address: the client's, with the parameters that it sent; they were validated.
    :returns: empty, or a space and the parameters.
    :raises Rejection: if a promise can't be kept.
    """
    words = []
    for keyword, value in address.args.items():
        rule = _RULES.get(keyword)
        if rule is None:
            text = f"The next hop can't keep what {keyword} asks for"
            extension = _EXTENSIONS.get(keyword, keyword)
            rule = _unless(extension, Rejection(text, 550, "5.3.3"))
        words.append(rule(keyword, value, connection))
    text = "".join(f" {word}" for word in words if word)
    # UTF-8 in ORCPT (RFC 6533 §3) is for those who take SMTPUTF8.
    if not text.isascii() and "SMTPUTF8" not in connection.offers:
        raise _NO_UTF8
    return text.encode("utf-8")


def mailbox(address: Address, utf8: bool, isSender: bool) -> bytes:
    """
    The address in the form for a command, between angle brackets.

    :param address: any; lenient parsing may have let through what the next hop must not see.
    :param utf8: whether the transaction has SMTPUTF8. Without it, the domain is in A-labels.
    :param isSender: whether it is the reverse-path.
    :raises Rejection: if it has no such form.
    """
    text = address.address
    if not utf8 and not text.isascii():
        text = f"{text.rpartition('@')[0]}@{asciiDomain(address.domain)}"
    path = b"<%s>" % text.encode("utf-8", "replace")
    if not utf8 and not path.isascii():
        raise _ASCII_PATH
    parsed = (parseReversePath if isSender else parseForwardPath)(path)
    if not isinstance(parsed, tuple) or parsed[1]:
        raise _BAD_PATH
    return path

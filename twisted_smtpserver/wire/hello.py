"""
The argument of EHLO, HELO and LHLO (RFC 5321 §4.1.1.1).
"""

from __future__ import annotations

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.domain import MAX_DOMAIN
from twisted_smtpserver.wire.text import decodeText


def parseHello(argument: bytes) -> str | Reply:
    """
    Take the name that a client says hello with as it is told: ``(none)``, ``my_laptop`` and
    ``[10.0.0.1`` are as good as a domain.

    RFC 5321 §4.1.2 would have a domain or an address literal, but many devices say something else,
    and a server must not refuse a message for that (§4.1.4). It is a claim: the code that writes it
    anywhere has to escape it.

    :param argument: what follows the verb and a space.
    :returns: the name as sent; or :data:`~twisted_smtpserver.replies.BAD_HELLO` if it is empty,
        longer than 255 octets, no UTF-8, or has a blank or an unprintable character in it.
    """
    name = decodeText(argument) if 0 < len(argument) <= MAX_DOMAIN else None
    if name is None or " " in name or not name.isprintable():
        return replies.BAD_HELLO
    return name

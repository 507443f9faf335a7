"""
The argument of EHLO, HELO and LHLO (RFC 5321 §4.1.1.1).
"""

from __future__ import annotations

import re

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.domain import (
    MAX_DOMAIN,
    MAX_LABEL,
    Problem,
    parseDomain,
    parseLiteral,
)

# More than the grammar of a domain: RFC 5321 §4.1.2 forbids the underscore, but many a Windows host
# has one in the name it says hello with, and an IP address without brackets is as common. The name
# is for traces only (§4.1.4), so nothing is gained by turning those away.
_NAME = re.compile(rb"[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*(?:\.[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*)*\.?")


def parseHello(argument: bytes) -> str | Reply:
    """
    Parse the name that a client says hello with: one domain name, which may end in a dot, or one
    address literal.

    :param argument: what follows the verb and a space.
    :returns: the name as sent; or :data:`~twisted_smtpserver.replies.BAD_HELLO`.
    """
    if len(argument) > MAX_DOMAIN or not _isName(argument):
        return replies.BAD_HELLO
    return argument.decode("utf-8")


def _isName(argument: bytes) -> bool:
    if _NAME.fullmatch(argument) is not None:
        return max(map(len, argument.split(b"."))) <= MAX_LABEL
    if argument.startswith(b"["):
        return not isinstance(parseLiteral(argument), Problem)
    # A client must not send U-labels here (RFC 6531 §3.7.1); some do, and a valid one is harmless.
    return not argument.isascii() and not isinstance(
        parseDomain(argument.removesuffix(b".")), Problem
    )

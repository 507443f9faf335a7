"""
ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2).
"""

from __future__ import annotations

import re

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.text import decodeText

#: The most parameters that one command may have. All the extensions there are define fewer.
MAX_PARAMETERS = 32

TOO_MANY_PARAMETERS = Reply(501, "5.5.4", f"More than {MAX_PARAMETERS} parameters")

# esmtp-param; RFC 6531 §3.3 adds UTF-8 to the value.
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?")


def parseParameters(octets: bytes) -> dict[str, str | bool] | Reply:
    """
    Parse what follows the path in MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).

    Whether a keyword is known, and what its value may be, is for the extensions to say. More than
    one space between parameters is tolerated: it can't be misread.

    :param octets: the octets behind the path.
    :returns: a new dict, empty if there are no parameters, of the values as sent by the keywords in
        upper case; ``True`` stands for a keyword without a value. Or the refusal, 501 5.5.4: bad
        syntax, a keyword given twice, more than :data:`MAX_PARAMETERS`.
    """
    parameters: dict[str, str | bool] = {}
    if not octets:
        return parameters
    for octetsOfOne in octets.split(b" "):
        if not octetsOfOne:
            continue
        found = _PARAMETER.fullmatch(octetsOfOne)
        if found is None:
            return replies.MALFORMED_PARAMETER
        keyword = found[1].decode("ascii").upper()
        value = True if found[2] is None else decodeText(found[2])
        if value is None:
            return replies.MALFORMED_PARAMETER
        if keyword in parameters:
            return replies.DUPLICATE_PARAMETER
        if len(parameters) == MAX_PARAMETERS:
            return TOO_MANY_PARAMETERS
        parameters[keyword] = value
    return parameters

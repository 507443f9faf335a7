"""
Command lines (RFC 5321 §4.1.1): the verb and its argument, before anyone asks what they mean.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply

# HT is in here, too: trailing white space is gone when this is used.
_CONTROLS = bytes(range(32)) + b"\x7f"

_VERB = re.compile(rb"[A-Za-z]{1,16}")

# The two spellings that clients use, so that a verb on the hot path is neither decoded nor matched.
_KNOWN_VERBS = {
    spelling: verb
    for verb in (
        *("EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT"),
        *("AUTH", "STARTTLS", "VRFY", "EXPN", "HELP", "XCLIENT", "XFORWARD"),
    )
    for spelling in (verb.encode("ascii"), verb.lower().encode("ascii"))
}

# Where devices send a HT in place of a space, and other servers take it. Not within quotes: there,
# that would make another mailbox of this one.
_BLANKS_ALLOWED = (b"MAIL ", b"RCPT ")


class Command(NamedTuple):  # not a frozen dataclass, which takes four times as long to make
    """
    One command of the client.

    :ivar verb: the verb in upper case, ``"MAIL"`` for example; ASCII letters only.
    :ivar argument: the octets behind the verb and one space, without trailing white space. There
        is no ASCII control among them; they may be UTF-8 (RFC 6531) or not. Not in the ``repr``,
        because it is a secret in the case of AUTH.
    """

    verb: str
    argument: bytes

    def __repr__(self) -> str:
        return f"Command(verb={self.verb!r})"


def parseCommand(line: bytes) -> Command | Reply:
    """
    Split a command line into verb and argument (RFC 5321 §4.1.1).

    :param line: the line without its CRLF.
    :returns: the command; or :data:`~twisted_smtpserver.replies.MALFORMED_LINE` if there is an
        ASCII control in it (HT may be part of trailing white space, and stand for a space in MAIL
        and RCPT), or
        :data:`~twisted_smtpserver.replies.UNRECOGNIZED` if it doesn't begin with a verb of 1 to 16
        letters.
    """
    line = line.rstrip(b" \t")
    if b"\t" in line and line[:5].upper() in _BLANKS_ALLOWED and b'"' not in line:
        line = line.replace(b"\t", b" ")
    # Two lengths and no regular expression: half the time for a MAIL line of usual length.
    if len(line.translate(None, _CONTROLS)) != len(line):
        return replies.MALFORMED_LINE
    spelling, _, argument = line.partition(b" ")
    verb = _KNOWN_VERBS.get(spelling)
    if verb is None:
        if _VERB.fullmatch(spelling) is None:
            return replies.UNRECOGNIZED
        verb = spelling.decode("ascii").upper()
    return Command(verb, argument)

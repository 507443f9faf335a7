"""
The argument of BDAT (RFC 3030 §2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply

# As many digits as a SIZE has at most (RFC 1870 §5). Literals of the grammar know no case (RFC 5234
# §2.3).
_CHUNK = re.compile(rb"([0-9]{1,20})( LAST)?", re.IGNORECASE)


# In whatever a looser parser may take for white space.
_BEGINNING = re.compile(rb"[\x00-\x20\x7f-\xff]*BDAT(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """
    What BDAT announces.

    :ivar size: the octets that follow the command's CRLF, 0 or more.
    :ivar last: whether they are the last of the message.
    """

    size: int
    last: bool


def mayAnnounceChunk(line: bytes) -> bool:
    """
    Tell whether somebody who is less strict may take a line that is no command for BDAT. What comes
    next may be a chunk then.

    :param line: the line, or its beginning.
    """
    return _BEGINNING.match(line) is not None


def parseBdat(argument: bytes) -> Chunk | Reply:
    """
    Parse the argument of BDAT (RFC 3030 §2).

    :param argument: the octets behind ``BDAT`` and one space.
    :returns: the chunk that follows; or :data:`~twisted_smtpserver.replies.MALFORMED_CHUNK`,
        upon which the connection has to be closed: nobody knows where the chunk ends.
    """
    found = _CHUNK.fullmatch(argument)
    if found is None:
        return replies.MALFORMED_CHUNK
    return Chunk(int(found[1]), found[2] is not None)

"""
How complex a message may be before nothing here parses it any further.

``stream.message()`` refuses what is beyond (:class:`~twisted_smtpserver.MessageTooComplex`);
:func:`~twisted_smtpserver.message.parsed.parseMessage` leaves it unparsed, and says so.
"""

from __future__ import annotations

#: Octets of one header section: the message's, that of a part; or of a delivery status.
MAX_HEADER = 256 * 1024

#: Octets of one header field, its continuation lines included.
MAX_FIELD = 64 * 1024

#: Fields of all header sections together.
MAX_FIELDS = 5000

#: Octets of a field that decides how the message is parsed: Content-Type and its like.
MAX_CONTENT_FIELD = 8 * 1024

#: Parameters of one such field.
MAX_PARAMETERS = 100

#: Comments within comments, in such a field (RFC 5322 §3.2.2).
MAX_COMMENT_NESTING = 20

#: Mailboxes of one field of addresses.
MAX_MAILBOXES = 2000

#: Mailboxes of all such fields of a message, those of messages within it included.
MAX_ALL_MAILBOXES = 5000

#: Parts of the message, messages within it included.
MAX_PARTS = 1000

#: Multiparts and messages within each other.
MAX_NESTING = 30

#: Lines of the whole message.
MAX_LINES = 1_000_000

#: Octets that ``text`` and ``html`` of a parsed message are made of, each.
MAX_TEXT = 2**20

"""The view of a message in the database: columns that need no reading of its octets."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

from twisted_smtpserver.message.parsed import Mailbox, ParsedMessage, parseMessage
from twisted_smtpserver.stores.postgres.record import inJSON

#: Messages of more octets aren't parsed as a whole: of those the view has the header only.
PARSED_SIZE = 2**20

# Parsing holds the interpreter's lock: several threads at it would keep the reactor from its turn.
_ONE_AT_A_TIME = threading.Lock()

#: How many octets of such a message are searched for its header.
HEADER_SIZE = 64 * 1024


@dataclass(frozen=True)
class View:
    """
    A message's columns for asking, in JSON.

    :ivar headers: the header fields in order, each a list of name and value, decoded.
    :ivar parsed: subject, from, to, text … as a reader would see them.
    """

    headers: str
    parsed: str

    @classmethod
    def of(cls, content: IO[bytes], size: int) -> View:
        """
        :param content: the message, in a file that can be seeked.
        :param size: how many octets it has.
        """
        content.seek(0)
        isWhole = size <= PARSED_SIZE
        octets = content.read(PARSED_SIZE if isWhole else HEADER_SIZE)
        if not isWhole:
            octets = octets.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        with _ONE_AT_A_TIME:
            message = parseMessage(octets)
        headers = [list(field) for field in message.headers]
        return cls(inJSON(headers), inJSON(_parsed(message) | {"isWhole": isWhole}))


def _parsed(message: ParsedMessage) -> dict[str, Any]:
    return {
        "subject": message.subject,
        "from": _mailboxes(message.from_),
        "replyTo": _mailboxes(message.replyTo),
        "to": _mailboxes(message.to),
        "cc": _mailboxes(message.cc),
        "date": message.date and message.date.isoformat(),
        "messageId": message.messageId,
        "text": message.text,
        "html": message.html,
        "attachments": [
            {
                "name": attachment.name,
                "contentType": attachment.contentType,
                "contentId": attachment.contentId,
                "size": len(attachment.content),
            }
            for attachment in message.attachments
        ],
        "problems": list(message.problems),
    }


def _mailboxes(mailboxes: Iterable[Mailbox]) -> list[dict[str, str]]:
    return [{"name": mailbox.name, "address": mailbox.address} for mailbox in mailboxes]

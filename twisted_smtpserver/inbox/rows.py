"""Messages as rows of the database, and rows as the objects of the API."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.inbox.contents import insertPieces
from twisted_smtpserver.inbox.mail import inlines, shorten, snippetOf, textOf, typeOf
from twisted_smtpserver.message.mailboxes import Mailbox
from twisted_smtpserver.message.parsed import Attachment, ParsedMessage

#: How many characters of a message can be searched.
MAX_INDEXED = 128 * 1024

# What the index takes for a character, in octets: each begins a trigram.
_INDEX_COST = 7

#: The longest subject, and the longest list of people of one field, in characters; all of it is
#: in the header, and in the source.
MAX_SUBJECT = 1000
MAX_PEOPLE = 50_000

# The same in the list, of which many rows are sent at once.
_ROOM = {"From": 1000, "To": 4000, "Cc": 2000, "Bcc": 2000, "ReplyTo": 500}


@dataclass(frozen=True)
class Envelope:
    """
    What the client said besides the message.

    :ivar user: who was logged in; empty if nobody was.
    :ivar tags: those that it is stored with.
    """

    sender: str = ""
    recipients: tuple[str, ...] = ()
    user: str = ""
    remoteAddress: str = ""
    helo: str = ""
    tls: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """
    A message that is ready to be stored.

    :ivar people: who it is for, and from, by the names that the API has.
    :ivar summary: its row in the list, without its tags.
    :ivar indexed: what searches look at.
    :ivar areInline: which attachments are parts of the text.
    """

    id: str
    created: float
    raw: bytes
    message: ParsedMessage
    envelope: Envelope
    people: dict[str, tuple[Mailbox, ...]]
    summary: dict[str, Any]
    indexed: str
    areInline: list[bool]

    @property
    def stored(self) -> int:
        """About how many octets the message takes in the database."""
        message = self.message
        texts = len(self.indexed) * _INDEX_COST + len(message.text) + len(message.html)
        return len(self.raw) + sum(len(part.content) for part in message.attachments) + texts


def makeEntry(raw: bytes, message: ParsedMessage, envelope: Envelope, created: float) -> Entry:
    """
    Prepare a message for the database.

    :param raw: as it was received.
    :param message: the same, parsed.
    :param envelope: what came with it.
    :param created: when it came, in seconds since 1970.
    """
    identifier, areInline = secrets.token_hex(11), inlines(message)
    people = {
        "To": message.to,
        "Cc": message.cc,
        "Bcc": message.bcc or _hidden(message, envelope),
        "ReplyTo": message.replyTo,
    }
    summary: dict[str, Any] = {
        "ID": identifier,
        "MessageID": message.messageId[:MAX_SUBJECT],
        "Read": False,
        "From": _first(message.from_),
        **{name: shorten(boxes, _ROOM[name]) for name, boxes in people.items()},
        "Subject": message.subject[:MAX_SUBJECT],
        "Created": isoTime(created),
        "Username": envelope.user[: _ROOM["ReplyTo"]],
        "Size": len(raw),
        "Attachments": areInline.count(False),
        "Snippet": snippetOf(message),
    }
    indexed = _indexed(message, people)
    return Entry(
        *(identifier, created, raw, message, envelope, people, summary, indexed), areInline
    )


def _first(boxes: tuple[Mailbox, ...]) -> dict[str, str]:
    return next(iter(shorten(boxes, _ROOM["From"])), {"Name": "", "Address": ""})


def _hidden(message: ParsedMessage, envelope: Envelope) -> tuple[Mailbox, ...]:
    """Recipients that no field names: those of ``Bcc``, which programs remove when they send."""
    named = {box.address.lower() for box in (*message.to, *message.cc)}
    hidden = [address for address in envelope.recipients if address.lower() not in named]
    return tuple(Mailbox("", address) for address in dict.fromkeys(hidden))


def _indexed(message: ParsedMessage, people: dict[str, tuple[Mailbox, ...]]) -> str:
    boxes = (*message.from_, *(box for group in people.values() for box in group))
    names = [part.name for part in message.attachments]
    words = message.text[:MAX_INDEXED] or textOf(message.html[:MAX_INDEXED])
    content = "\n".join([message.subject, *map(str, boxes), *names, words])
    return content.replace("\x00", " ")[:MAX_INDEXED]


def isoTime(seconds: float) -> str:
    """
    A time as Mailpit writes it.

    :param seconds: since 1970.
    """
    time = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def insertEntry(database: sqlite3.Connection, entry: Entry) -> int:
    """
    Write all rows of a message but its tags.

    :param database: in a transaction.
    :param entry: the message.
    :returns: its number.
    """
    message, summary = entry.message, entry.summary
    people = [_flat(boxes) for boxes in (message.from_, *entry.people.values())]
    cursor = database.execute(
        "INSERT INTO message (id, created, size, stored, subject, sender, recipients, cc, bcc,"
        " replyTo, messageId, attachments, inlines, summary)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(entry.id, entry.created, len(entry.raw), entry.stored, summary["Subject"], *people),
            *(summary["MessageID"], summary["Attachments"]),
            *(len(message.attachments) - summary["Attachments"], _dump(summary)),
        ),
    )
    seq = cursor.lastrowid
    assert seq is not None  # what an INSERT leaves
    database.execute(
        "INSERT INTO body VALUES (?, ?, ?, ?, ?)",
        (seq, _dump(message.headers), message.text, message.html, _dump(_detail(entry))),
    )
    insertPieces(database, seq, 0, entry.raw)
    database.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (seq, entry.indexed))
    parts = zip(message.attachments, entry.areInline, strict=True)
    for number, (part, inline) in enumerate(parts, 1):
        _insertPart(database, seq, number, part, inline)
    return seq


def _insertPart(
    database: sqlite3.Connection, seq: int, number: int, part: Attachment, inline: bool
) -> None:
    checksums = {
        name: hashlib.new(name.lower(), part.content, usedforsecurity=False).hexdigest()
        for name in ("MD5", "SHA1", "SHA256")
    }
    database.execute(
        "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(seq, number, part.name, typeOf(part), part.contentId),
            *(inline, len(part.content), _dump(checksums)),
        ),
    )
    insertPieces(database, seq, number, part.content)


def _flat(boxes: tuple[Mailbox, ...]) -> str:
    return ", ".join(map(str, boxes))[:MAX_PEOPLE]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _detail(entry: Entry) -> dict[str, Any]:
    """The values that only the view of a single message has."""
    message, envelope = entry.message, entry.envelope
    date = message.date.timestamp() if message.date is not None else entry.created
    return {
        **{name: shorten(boxes, MAX_PEOPLE) for name, boxes in entry.people.items()},
        "Date": isoTime(date),
        "ReturnPath": envelope.sender,
        "ListUnsubscribe": _unsubscribe(message),
        "Envelope": {
            "From": envelope.sender,
            "To": list(envelope.recipients),
            "RemoteAddress": envelope.remoteAddress,
            "Hello": envelope.helo,
            "TLS": envelope.tls,
        },
    }


def _unsubscribe(message: ParsedMessage) -> dict[str, Any]:
    header = message.headers.get("List-Unsubscribe")
    links = [piece.strip().strip("<>") for piece in header.split(",")[:10] if piece.strip()]
    isLink = all(link.lower().startswith(("mailto:", "http://", "https://")) for link in links)
    return {
        "Header": header,
        "HeaderPost": message.headers.get("List-Unsubscribe-Post"),
        "Links": links if isLink else [],
        "Errors": "" if isLink else "a link is neither mailto: nor http(s):",
    }

"""Messages as rows of the database, and rows as the objects of the API."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.inbox.mail import Mailbox, MailView, Part, textOf

#: How much of a message can be searched, in characters.
MAX_INDEXED = 128 * 1024


@dataclass(frozen=True)
class Envelope:
    """
    What the client said beside the message.

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

    :ivar summary: its row in the list, without its tags.
    :ivar indexed: what searches look at.
    """

    id: str
    created: float
    raw: bytes
    view: MailView
    envelope: Envelope
    summary: dict[str, Any]
    indexed: str

    @property
    def stored(self) -> int:
        """How many octets it takes in the database, about."""
        texts = len(self.indexed) * 4 + len(self.view.text) + len(self.view.html)
        return len(self.raw) + sum(len(part.content) for part in self.view.parts) + texts


def makeEntry(raw: bytes, view: MailView, envelope: Envelope, created: float) -> Entry:
    """
    Prepare a message for the database.

    :param raw: as it was received.
    :param view: what :func:`~twisted_smtpserver.inbox.mail.viewMessage` says of it.
    :param envelope: what came with it.
    :param created: when it came, in seconds since 1970.
    """
    identifier = secrets.token_hex(11)
    bcc = view.bcc or _hidden(view, envelope)
    attachments = sum(not part.isInline for part in view.parts)
    summary: dict[str, Any] = {
        "ID": identifier,
        "MessageID": view.messageId,
        "Read": False,
        "From": view.sender.toJSON(),
        "To": _json(view.to),
        "Cc": _json(view.cc),
        "Bcc": _json(bcc),
        "ReplyTo": _json(view.replyTo),
        "Subject": view.subject,
        "Created": isoTime(created),
        "Username": envelope.user,
        "Size": len(raw),
        "Attachments": attachments,
        "Snippet": view.snippet,
    }
    return Entry(identifier, created, raw, view, envelope, summary, _indexed(view, bcc))


def _hidden(view: MailView, envelope: Envelope) -> tuple[Mailbox, ...]:
    """Recipients that no field names: those of ``Bcc``, which senders take out."""
    named = {box.address.lower() for box in (*view.to, *view.cc)}
    hidden = [address for address in envelope.recipients if address.lower() not in named]
    return tuple(Mailbox("", address) for address in dict.fromkeys(hidden))


def _json(boxes: Iterable[Mailbox]) -> list[dict[str, str]]:
    return [box.toJSON() for box in boxes]


def _indexed(view: MailView, bcc: tuple[Mailbox, ...]) -> str:
    people = (view.sender, *view.to, *view.cc, *bcc, *view.replyTo)
    names = [part.fileName for part in view.parts]
    words = view.text[:MAX_INDEXED] or textOf(view.html[:MAX_INDEXED])
    content = "\n".join([view.subject, *map(str, people), *names, words])
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
    view, summary = entry.view, entry.summary
    people = (_flat(summary[name]) for name in ("To", "Cc", "Bcc", "ReplyTo"))
    inlines = len(view.parts) - summary["Attachments"]
    cursor = database.execute(
        "INSERT INTO message (id, created, size, stored, subject, sender, recipients, cc, bcc,"
        " replyTo, messageId, attachments, inlines, summary)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(entry.id, entry.created, len(entry.raw), entry.stored, view.subject),
            *(str(view.sender), *people, view.messageId, summary["Attachments"], inlines),
            _dump(summary),
        ),
    )
    seq = cursor.lastrowid
    assert seq is not None  # what an INSERT leaves
    database.execute(
        "INSERT INTO body VALUES (?, ?, ?, ?, ?, ?)",
        (seq, entry.raw, _dump(view.headers), view.text, view.html, _dump(_detail(entry))),
    )
    database.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (seq, entry.indexed))
    for number, part in enumerate(view.parts):
        _insertPart(database, seq, number, part)
    return seq


def _insertPart(database: sqlite3.Connection, seq: int, number: int, part: Part) -> None:
    checksums = {
        name: hashlib.new(name.lower(), part.content, usedforsecurity=False).hexdigest()
        for name in ("MD5", "SHA1", "SHA256")
    }
    database.execute(
        "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(seq, number, part.partId, part.fileName, part.contentType, part.contentId),
            *(part.isInline, len(part.content), _dump(checksums), part.content),
        ),
    )


def _flat(boxes: list[dict[str, str]]) -> str:
    return ", ".join(f"{box['Name']} <{box['Address']}>" for box in boxes)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _detail(entry: Entry) -> dict[str, Any]:
    """What only the view of a single message has."""
    view, envelope = entry.view, entry.envelope
    date = view.date.timestamp() if view.date is not None else entry.created
    return {
        "Date": isoTime(date),
        "ReturnPath": envelope.sender,
        "ListUnsubscribe": _unsubscribe(view),
        "Envelope": {
            "From": envelope.sender,
            "To": list(envelope.recipients),
            "RemoteAddress": envelope.remoteAddress,
            "Hello": envelope.helo,
            "TLS": envelope.tls,
        },
    }


def _unsubscribe(view: MailView) -> dict[str, Any]:
    header = view.first("List-Unsubscribe")
    links = [piece.strip().strip("<>") for piece in header.split(",")[:10] if piece.strip()]
    isLink = all(link.lower().startswith(("mailto:", "http://", "https://")) for link in links)
    return {
        "Header": header,
        "HeaderPost": view.first("List-Unsubscribe-Post"),
        "Links": links if isLink else [],
        "Errors": "" if isLink else "a link is neither mailto: nor http(s):",
    }

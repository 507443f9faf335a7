"""
A message as the inbox shows it: made once, when the message arrives.

:func:`viewMessage` is the only place that parses mail. It is total: whatever the octets are, there
is a view, and everything in it is bounded.
"""

from __future__ import annotations

import datetime
import email
import email.header
import email.utils
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from typing import Any

__all__ = ["MailView", "Mailbox", "Part", "viewMessage"]

#: The most addresses of one header field, and the most header fields, that are kept.
MAX_ADDRESSES = 100
MAX_FIELDS = 500

#: The longest header field, and the longest text or HTML, in characters.
MAX_FIELD = 10_000
MAX_TEXT = 4 * 2**20

#: The most parts of a message that get a row of their own.
MAX_PARTS = 200

SNIPPET_LENGTH = 250

#: Controls, bidirectional marks and surrogates: nothing that a page, a path or a header should get.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\Z")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Mailbox:
    """A name and an address, as a header field has them."""

    name: str
    address: str

    def toJSON(self) -> dict[str, str]:
        """The form that the API has."""
        return {"Name": self.name, "Address": self.address}

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


@dataclass(frozen=True)
class Part:
    """
    One part of a message that isn't its text.

    :ivar partId: where it is in the tree, ``"1.2"`` for example.
    :ivar isInline: whether the HTML refers to it.
    """

    partId: str
    fileName: str
    contentType: str
    contentId: str
    isInline: bool
    content: bytes


@dataclass(frozen=True)
class MailView:
    """
    What there is to see of a message.

    :ivar date: when it says that it was written; ``None`` if it doesn't.
    :ivar headers: all fields, unfolded and decoded, in order.
    :ivar tags: those that an ``X-Tags`` field asks for.
    """

    subject: str = ""
    sender: Mailbox = Mailbox("", "")
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    replyTo: tuple[Mailbox, ...] = ()
    messageId: str = ""
    date: datetime.datetime | None = None
    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""
    html: str = ""
    parts: tuple[Part, ...] = field(default=(), repr=False)

    def first(self, name: str) -> str:
        """
        The value of a header field; empty if there is none.

        :param name: in any case.
        """
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def snippet(self) -> str:
        """The beginning of the text, in one line."""
        text = self.text[:4000] or textOf(self.html[:40_000])
        return printable(" ".join(text.split()))[:SNIPPET_LENGTH]


def printable(text: str) -> str:
    """
    One line that can be shown anywhere.

    :param text: anything.
    """
    return _UNPRINTABLE.sub(" ", text)


def textOf(html: str) -> str:
    """
    The words of a page, for searching.

    :param html: the page, or a piece of it.
    """
    collector = _Words()
    try:
        collector.feed(html)
        collector.close()
    except (AssertionError, ValueError):  # declarations that html.parser doesn't understand
        pass
    return " ".join(collector.words)


class _Words(HTMLParser):
    """Collects what a page shows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("script", "style", "title", "template"):
            self._hidden = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.words.append(data.strip())


def viewMessage(octets: bytes) -> MailView:
    """
    Look at a message.

    :param octets: as it was received.
    """
    message = email.message_from_bytes(octets)
    headers = tuple(_headers(message))
    bodies, parts = _walk(message)
    fields = MailView(headers=headers)
    return MailView(
        subject=printable(fields.first("Subject")),
        sender=next(iter(_mailboxes(fields.first("From"))), Mailbox("", "")),
        to=_mailboxes(fields.first("To")),
        cc=_mailboxes(fields.first("Cc")),
        bcc=_mailboxes(fields.first("Bcc")),
        replyTo=_mailboxes(fields.first("Reply-To")),
        messageId=printable(fields.first("Message-ID")).strip().strip("<>"),
        date=_date(fields.first("Date")),
        headers=headers,
        text=bodies.get("text/plain", ""),
        html=bodies.get("text/html", ""),
        parts=tuple(parts),
    )


def _headers(message: Message) -> Iterator[tuple[str, str]]:
    for name, value in list(message.raw_items())[:MAX_FIELDS]:
        yield printable(name)[:100], _decodeField(str(value)[:MAX_FIELD])


def _decodeField(value: str) -> str:
    raw = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", raw)
    try:
        return printable(str(email.header.make_header(email.header.decode_header(unfolded))))
    except (ValueError, LookupError, email.errors.MessageError):
        return printable(unfolded)


def _mailboxes(value: str) -> tuple[Mailbox, ...]:
    pairs = email.utils.getaddresses([value]) if value else []
    return tuple(Mailbox(name, address) for name, address in pairs[:MAX_ADDRESSES] if address)


def _date(value: str) -> datetime.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)).astimezone(
            datetime.timezone.utc
        )
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _walk(message: Message) -> tuple[dict[str, str], list[Part]]:
    bodies: dict[str, str] = {}
    parts: list[Part] = []
    for number, part in _leaves(message, ""):
        kind = part.get_content_type().lower()
        kind = kind if _TYPE.match(kind) else "application/octet-stream"
        isFile = bool(part.get_filename()) or part.get_content_disposition() == "attachment"
        content = _content(part)
        if kind in ("text/plain", "text/html") and not isFile:
            if len(bodies.get(kind, "")) < MAX_TEXT:
                bodies[kind] = (bodies.get(kind, "") + _text(part, content))[:MAX_TEXT]
        elif len(parts) < MAX_PARTS:
            parts.append(_part(number, kind, part, content))
    return bodies, parts


def _leaves(message: Message, number: str) -> Iterator[tuple[str, Message]]:
    waiting = [(number, message)]
    while waiting:
        place, part = waiting.pop(0)
        children = part.get_payload() if part.get_content_maintype() == "multipart" else None
        if isinstance(children, list):
            waiting[:0] = [
                (f"{place}.{index}".lstrip("."), child)
                for index, child in enumerate(children[:MAX_PARTS], 1)
                if isinstance(child, Message)
            ]
        else:
            yield place or "1", part


def _content(part: Message) -> bytes:
    if part.get_content_maintype() == "message" and part.is_multipart():
        inner: Any = part.get_payload(0)
        return inner.as_bytes() if isinstance(inner, Message) else b""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message, content: bytes) -> str:
    charset = part.get_content_charset() or "utf-8"
    try:
        text = content.decode(charset, "replace")
    except (LookupError, ValueError):
        text = content.decode("utf-8", "replace")
    return _SURROGATES.sub("\ufffd", text.replace("\r\n", "\n"))


def _part(number: str, kind: str, part: Message, content: bytes) -> Part:
    identifier = printable(str(part.get("Content-ID", ""))).strip().strip("<>")[:250]
    disposition = part.get_content_disposition()
    return Part(
        partId=number,
        fileName=_fileName(part) or ("message.eml" if kind == "message/rfc822" else ""),
        contentType=kind,
        contentId=identifier,
        isInline=disposition == "inline" or (disposition is None and bool(identifier)),
        content=content,
    )


def _fileName(part: Message) -> str:
    name = _decodeField(part.get_filename() or "")
    return name.replace("\\", "/").rpartition("/")[2].strip(". ")[:200]

"""
A message as its reader would see it: decoded, bounded, and whatever it claims to be.

:func:`parseMessage` is for octets that came from anywhere: a stream, a file, a database. It never
raises: what is broken is shown as well as can be, and what is too complex is left whole.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from email.generator import BytesGenerator
from email.message import Message
from email.policy import compat32
from io import BytesIO
from typing import NamedTuple

from twisted_smtpserver.message import bounds
from twisted_smtpserver.message.contents import decodeContent
from twisted_smtpserver.message.dates import parseDate
from twisted_smtpserver.message.mailboxes import Mailbox, parsingMailboxes
from twisted_smtpserver.message.parameters import parseParameterized
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.structure import Part, Scanner
from twisted_smtpserver.message.words import cleanText, decodedSlices, decodeWords
from twisted_smtpserver.replies import CONTROLS

__all__ = ["Attachment", "Field", "Headers", "Mailbox", "ParsedMessage", "parseMessage"]

_ADDRESS_FIELDS = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc"})

# Octets of header fields that are decoded at once.
_MANY_OCTETS = 4096

_MAX_NAME = 255  # octets of a file's name on most systems
_NOT_IN_NAME = re.compile(rf'[<>:"|?*]|{CONTROLS}')


class Field(NamedTuple):
    """
    A header field.

    :ivar name: as it is written.
    :ivar value: on one line, encoded words decoded, without controls.
    """

    name: str
    value: str


class Headers(tuple[Field, ...]):
    """The header fields, in order: a tuple of :class:`Field` that can be asked for names."""

    __slots__ = ()

    def get(self, name: str, default: str = "") -> str:
        """
        :param name: a field's, in any case.
        :param default: for when there is none.
        :returns: the value of the first of that name.
        """
        return next(iter(self.getAll(name)), default)

    def getAll(self, name: str) -> list[str]:
        """
        :param name: the field's name, in any case.
        :returns: the values of all of that name.
        """
        wanted = name.lower()
        return [field.value for field in self if field.name.lower() == wanted]


@dataclass(frozen=True)
class Attachment:
    """
    A part of a message that isn't its text.

    :ivar name: its file name, decoded, without folders and without what can't be in one; empty if
        it has none, or none that is good for a file (``".."``).
    :ivar contentType: ``image/png`` for example, in lower case, as the message claims.
    :ivar contentId: what ``cid:`` links in the HTML name it by, without the angle brackets; empty
        if there is none.
    :ivar isInline: whether it is meant to be shown with the text (RFC 2183 §2.1).
    :ivar content: its octets, with the transfer encoding undone. Those of a message
        (``message/rfc822``) can be given to :func:`parseMessage`.
    """

    name: str
    contentType: str
    contentId: str
    isInline: bool
    content: bytes

    def __repr__(self) -> str:
        return f"<Attachment {self.name!r} {self.contentType}, {len(self.content)} octets>"


@dataclass(frozen=True)
class ParsedMessage:
    """
    A message, decoded. All text is one that UTF-8 can encode; a field that the message doesn't have
    is empty. Of fields that a message must have once, the first counts.

    Everything here is the sender's claim: ``from_`` isn't ``session.envelope.mailFrom``, and may
    name anybody.

    :ivar headers: all header fields of the message, not those of its parts.
    :ivar subject: ``Subject``.
    :ivar from_: ``From``: the authors. It ends in an underscore because ``from`` is a word of
        Python's.
    :ivar sender: ``Sender``: who sent it for them.
    :ivar replyTo: ``Reply-To``.
    :ivar to: ``To``.
    :ivar cc: ``Cc``.
    :ivar bcc: ``Bcc``, which a message that is sent shouldn't have.
    :ivar date: ``Date``, aware of its time zone (UTC if that is unknown); ``None`` if there is
        none, or none that makes sense.
    :ivar messageId: ``Message-ID``, without the angle brackets.
    :ivar text: the plain text, its lines ended by LF; of several parts, one after the other.
    :ivar html: the HTML, in the same way. It is a stranger's: never show it without a sandbox.
    :ivar attachments: all parts but those two.
    :ivar problems: what couldn't be shown as it is, in words; usually empty.
    """

    headers: Headers
    subject: str
    from_: tuple[Mailbox, ...]
    sender: tuple[Mailbox, ...]
    replyTo: tuple[Mailbox, ...]
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    date: datetime.datetime | None
    messageId: str
    text: str
    html: str
    attachments: tuple[Attachment, ...]
    problems: tuple[str, ...]

    def __repr__(self) -> str:
        sender = str(self.from_[0]) if self.from_ else ""
        return f"<ParsedMessage from {sender!r}: {self.subject!r}>"


def parseMessage(message: bytes | bytearray | memoryview | Message) -> ParsedMessage:
    """
    Parse a message, whatever it is. It takes linear time: 10 to 30 ms for a megabyte. Where that is
    too long, as on the reactor's thread, use ``await stream.parsed()``.

    :param message: its octets, line ends CRLF or LF; or an :class:`email.message.EmailMessage`.
    :returns: what is in it. Nothing is lost to bounds: a part that is too deep or one of too many
        (:mod:`~twisted_smtpserver.message.bounds`) is in an attachment as it came.
    """
    return finish(parsing(_octets(message)))


def parsing(octets: bytes | bytearray) -> Generator[None, None, ParsedMessage]:
    """
    The same in slices.

    :param octets: the message.
    :returns: (in the end, after a ``yield`` for each slice) what is in it.
    """
    work = _Parsing(octets)
    del octets
    return (yield from work.run())


class _Parsing:
    """
    Makes one :class:`ParsedMessage`.

    :param octets: the message.
    """

    def __init__(self, octets: bytes | bytearray) -> None:
        self._octets = octets
        self._problems: dict[str, None] = {}  # each once, in order
        self._texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
        self._room = dict.fromkeys(self._texts, bounds.MAX_TEXT)
        self._attachments: list[Attachment] = []

    def run(self) -> Generator[None, None, ParsedMessage]:
        root = yield from Scanner(self._octets, self._note, openMessages=False).run()
        for part in _leaves(root):
            yield from self._leaf(part)
            yield
        # To give large blocks of memory back takes milliseconds: these, before the result is known.
        self._octets = b""
        yield
        headers = Headers((yield from _decodedFields(root)))
        addresses = {}
        for name in _ADDRESS_FIELDS:
            value = root.get(name) or ""
            addresses[name] = yield from parsingMailboxes(value)
        return ParsedMessage(
            headers=headers,
            subject=headers.get("subject"),
            from_=addresses["from"],
            sender=addresses["sender"],
            replyTo=addresses["reply-to"],
            to=addresses["to"],
            cc=addresses["cc"],
            bcc=addresses["bcc"],
            date=parseDate(headers.get("date")),
            messageId=_identifier(headers.get("message-id")),
            text="\n".join(self._texts["text/plain"]),
            html="\n".join(self._texts["text/html"]),
            attachments=tuple(self._attachments),
            problems=tuple(self._problems),
        )

    def _note(self, problem: str) -> None:
        self._problems.setdefault(problem)

    def _leaf(self, part: Part) -> Generator[None, None, None]:
        """Take a part that has none: text that is to be read, or an attachment."""
        kind = part.contentType
        disposition = parseParameterized(part.get("content-disposition") or "")
        encoding = parseParameterized(part.get("content-transfer-encoding") or "").value
        name = disposition.parameters.get("filename", kind.parameters.get("name", ""))
        with memoryview(self._octets) as whole, whole[part.body : part.end] as body:
            content = yield from decodeContent(body, encoding)
        if kind.value in self._texts and disposition.value != "attachment" and not name:
            yield from self._text(kind.value, content, kind.parameters.get("charset", ""))
            if self._room[kind.value] >= 0:
                return
        self._attachments.append(
            Attachment(
                name=fileName(name),
                contentType=kind.value,
                contentId=_identifier(decodeWords(part.get("content-id") or "")),
                isInline=disposition.value == "inline",
                content=content,
            )
        )

    def _text(self, kind: str, content: bytes, charset: str) -> Generator[None, None, None]:
        """Add to the message's text, as long as there is room; then the part is attached, too."""
        room = self._room[kind]
        if len(content) > room:
            self._note(f"more than {bounds.MAX_TEXT} octets of {kind}; the rest is attached")
            content = content[: max(room, 0)]
            self._room[kind] = -1
        else:
            self._room[kind] -= len(content)
        pieces: list[str] = []
        carried = ""
        for piece in decodedSlices(content, charset):
            piece = carried + piece  # noqa: PLW2901  # a CRLF may be cut in two
            carried = "\r" if piece.endswith("\r") else ""
            pieces.append(_readable(piece.removesuffix("\r")))
            yield
        text = "".join([*pieces, _readable(carried)])
        if text:
            self._texts[kind].append(text)


def _readable(text: str) -> str:
    """Text whose lines end in LF."""
    # No database takes a NUL, and no program shows it (U+FFFD is what HTML's parsers make of it).
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _decodedFields(part: Part) -> Generator[None, None, list[Field]]:
    decoded, octets = [], 0
    for name, value in part.fields:
        decoded.append(Field(name, decodeWords(value)))
        octets += len(value)
        if octets > _MANY_OCTETS:
            octets = 0
            yield
    return decoded


def _leaves(part: Part) -> Iterator[Part]:
    if not part.parts:
        yield part
    for inner in part.parts:
        yield from _leaves(inner)


def fileName(name: str) -> str:
    """
    Make a name of a stranger's good for a file in a folder of ours.

    :param name: as the message has it: it may name other folders, or devices.
    :returns: the last part of it, of 255 octets at most; empty if nothing is left.
    """
    last = cleanText(name).replace("\\", "/").rpartition("/")[2]
    last = _NOT_IN_NAME.sub("_", last).strip(" .")
    stem, dot, ending = last.rpartition(".")
    if len(last.encode()) > _MAX_NAME:
        ending = f"{dot}{ending[:20]}" if stem else ""
        room = _MAX_NAME - len(ending.encode())
        last = (stem or last).encode()[:room].decode("utf-8", "ignore") + ending
    return last


def _identifier(value: str) -> str:
    """What stands in angle brackets, if there are any."""
    start, end = value.find("<"), value.find(">")
    return (value[start + 1 : end] if 0 <= start < end else value).strip()


def _octets(message: bytes | bytearray | memoryview | Message) -> bytes | bytearray:
    """A message's octets; those of an EmailMessage are made, if it can be."""
    if isinstance(message, (bytes, bytearray)):
        return message
    if isinstance(message, memoryview):
        return bytes(message)
    for policy in (message.policy, compat32):
        written = BytesIO()
        try:
            BytesGenerator(written, mangle_from_=False, policy=policy).flatten(message)
        except Exception:  # a message that was put together wrongly; the older way takes more
            continue
        return written.getvalue()
    return b""

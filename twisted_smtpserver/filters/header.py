"""
The header section of a message (RFC 5322 §2.2). Reading it never fails. Fields can be changed one
by one; all other octets stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.header import Header as EncodedHeader

from twisted_smtpserver.errors import MessageTooComplex
from twisted_smtpserver.message.bounds import MAX_HEADER
from twisted_smtpserver.replies import printable

__all__ = ["MAX_FIELDS", "Field", "Header", "makeField", "parseHeader"]

#: The most fields of a header section that is filtered.
MAX_FIELDS = 2000

#: The most characters of a value that :func:`makeField` keeps: folding more takes long.
MAX_TEXT = 2000

# LF ends a line here, with or without CR: if the server accepts a bare LF, some reader takes it for
# a line end. Blanks before the colon are obsolete, but must be understood (RFC 5322 §4.5.8).
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_NAME = re.compile(rb"[!-9;-~]+\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """
    One field of a header.

    :ivar key: its name in lower case.
    :ivar raw: all of its octets, with the name, the folding and the line end.
    """

    key: bytes
    raw: bytes

    @property
    def name(self) -> str:
        """The name as it is written."""
        return self.raw[: len(self.key)].decode("ascii")

    @property
    def value(self) -> bytes:
        """All octets behind the colon, with the folding, without the last line end."""
        return self.raw[self.raw.index(b":") + 1 :].rstrip(b"\r\n")

    @property
    def text(self) -> str:
        """
        The value on one line, without blanks around it. Octets that aren't UTF-8 are replaced;
        encoded words (RFC 2047) stay as they are.
        """
        unfolded = self.value.replace(b"\r\n", b"").replace(b"\n", b"")
        return unfolded.strip().decode("utf-8", "replace")

    def isCalled(self, name: str) -> bool:
        """
        Whether the field has this name.

        :param name: in any case.
        """
        return self.key == _key(name)


def _key(name: str) -> bytes:
    return name.lower().encode("ascii", "replace")


class Header:
    """
    The fields of a message's header section, in order.

    :param fields: the fields.
    :ivar changed: whether anything was changed.
    """

    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        self.changed = False

    def __iter__(self) -> Iterator[Field]:
        return iter(tuple(self._fields))

    def __len__(self) -> int:
        return len(self._fields)

    def all(self, name: str) -> list[str]:
        """
        The texts of all fields of a name, in order.

        :param name: in any case.
        """
        key = _key(name)
        return [field.text for field in self._fields if field.key == key]

    def get(self, name: str) -> str:
        """
        The text of the first field of a name, ``""`` if there is none.

        :param name: in any case.
        """
        key = _key(name)
        return next((field.text for field in self._fields if field.key == key), "")

    def toBytes(self) -> bytes:
        """All fields as octets, without the empty line behind them."""
        return b"".join(field.raw for field in self._fields)

    def copy(self) -> Header:
        """Another header with the same fields."""
        copied = Header(list(self._fields))
        copied.changed = self.changed
        return copied

    # -- Changes -----------------------------------------------------------------------------------

    def prepend(self, octets: bytes) -> None:
        """
        Put fields before all others.

        :param octets: complete fields with CRLF.
        :raises ValueError: if they aren't complete fields.
        """
        self._fields[:0] = _complete(octets)
        self.changed = True

    def insert(self, index: int, octets: bytes) -> None:
        """
        Put fields before another one, or behind all.

        :param index: how many fields stay in front; any number.
        :param octets: as for :meth:`prepend`.
        :raises ValueError: as :meth:`prepend`.
        """
        fields = _complete(octets)
        self._fields[index:index] = fields
        self.changed = True

    def assign(self, other: Header) -> None:
        """
        Be like another header.

        :param other: not to be used any more.
        """
        self._fields = other._fields
        self.changed = other.changed

    def remove(self, isUnwanted: Callable[[Field], bool]) -> int:
        """
        Remove fields.

        :param isUnwanted: takes a field, and returns whether to remove it.
        :returns: how many fields were removed.
        """
        kept = [field for field in self._fields if not isUnwanted(field)]
        removed = len(self._fields) - len(kept)
        if removed:
            self._fields = kept
            self.changed = True
        return removed

    def replace(self, name: str, number: int, octets: bytes) -> bool:
        """
        Replace a field, or remove it.

        :param name: the field's name, in any case.
        :param number: which field of that name, 1 for the first.
        :param octets: complete fields for its place, or none.
        :returns: whether there is such a field.
        :raises ValueError: as for :meth:`prepend`.
        """
        fields = _complete(octets)
        key = _key(name)
        places = [place for place, field in enumerate(self._fields) if field.key == key]
        if not 1 <= number <= len(places):
            return False
        place = places[number - 1]
        self._fields[place : place + 1] = fields
        self.changed = True
        return True


def parseHeader(octets: bytes) -> tuple[Header, int]:
    """
    Read the header section of a message. Any octets have one: it ends at the first line that is
    neither a field nor the continuation of a field.

    :param octets: the message from its beginning: all of it, or more than
        :data:`~twisted_smtpserver.message.bounds.MAX_HEADER` octets.
    :returns: the header, and its length in octets. Behind it come an empty line and the body, or a
        body without an empty line, or nothing.
    :raises MessageTooComplex: if the header is longer than that, or has more than
        :data:`MAX_FIELDS` fields.
    """
    fields: list[Field] = []
    end = 0
    lines = octets if octets.endswith(b"\n") else octets + b"\n"
    while match := _FIELD.match(lines, end):
        end = min(match.end(), len(octets))
        fields.append(Field(match[1].lower(), octets[match.start() : end]))
        if end > MAX_HEADER or len(fields) > MAX_FIELDS:
            raise MessageTooComplex("its header section is too long")
    if len(octets) > MAX_HEADER and octets.find(b"\n", end) < 0:
        raise MessageTooComplex("its header section is too long")  # what was cut may be a field
    return Header(fields), end


def makeField(name: str, value: str) -> bytes:
    """
    Make a field. Whatever the value is, the result is one field.

    :param name: its name.
    :param value: its text. Controls and line ends become spaces; other characters than ASCII are
        encoded (RFC 2047); long values are folded, and cut at :data:`MAX_TEXT` characters.
    :returns: the field with its CRLF.
    :raises ValueError: if the name can't be one.
    """
    if not _NAME.match(name.encode("utf-8", "replace")):
        raise ValueError(f"{name!r} can't be the name of a header field")
    text = printable(value[:MAX_TEXT]).encode("utf-8", "replace").decode("utf-8")
    folded = EncodedHeader(text, header_name=name, maxlinelen=78).encode(linesep="\r\n")
    return f"{name}: {folded}\r\n".encode("ascii")


def makeFields(fields: Mapping[str, str]) -> bytes:
    """
    Make several fields.

    :param fields: their values by their names.
    :raises ValueError: as for :func:`makeField`.
    """
    return b"".join(makeField(name, value) for name, value in fields.items())


def foldedField(name: bytes, value: bytes) -> bytes:
    """
    Make a field of another program's value, which may be folded. No value can end the field.

    :param name: its name.
    :param value: the octets behind the colon. A line that doesn't begin with a blank gets one;
        blank lines are left out.
    :returns: the field with its CRLF.
    :raises ValueError: if the name can't be one.
    """
    if not _NAME.match(name):
        raise ValueError(f"{name!r} can't be the name of a header field")
    first, *rest = value.replace(b"\0", b"").replace(b"\r", b"\n").split(b"\n")
    folded = [line if line[:1] in b" \t" else b"\t" + line for line in rest if line.strip()]
    return name + b":" + b"\r\n".join([first, *folded]) + b"\r\n"


def _complete(octets: bytes) -> list[Field]:
    header, end = parseHeader(octets)
    if end != len(octets) or (octets and not octets.endswith(b"\r\n")):
        raise ValueError("header fields must be complete lines such as b'X-Name: value\\r\\n'")
    return list(header)

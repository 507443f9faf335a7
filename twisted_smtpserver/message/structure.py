"""
Where the parts of a message begin and end (RFC 5322 §2.1, RFC 2046 §5.1): offsets, and the header
fields as they are written.

One pass over the octets, whatever the nesting: each line that begins like a boundary is looked up
among those that are open. The work goes in slices, with a ``yield`` after each, so that the caller
may do something else in between; and everything that the sender could stretch has a bound
(:mod:`~twisted_smtpserver.message.bounds`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from twisted_smtpserver.message import bounds
from twisted_smtpserver.message.parameters import Parameterized, parseContentType

#: Octets that are searched at once.
SLICE = 128 * 1024

# How many fields are looked at in a row, and boundaries that are there several times; and how many
# lines that begin like a boundary.
_MANY = 200
_MANY_LINES = 1000

# Fields as the email package sees them: the first line has a colon, those that continue it begin
# with a blank.
_FIELD = re.compile(rb"([!-9;-~]*)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_LINE_END = re.compile(rb"\r?\n")
_FIELD_END = re.compile(rb"\n(?![ \t])")
_HEADER_END = re.compile(rb"\n\r?\n")
_ENVELOPES = (b"From ", b">From ")
_CR = 13

#: The fields that decide how a part is parsed.
CONTENT_FIELDS = frozenset({"content-type", "content-disposition", "content-transfer-encoding"})

# No line that is longer can be a boundary, which is a parameter of a bounded field.
_MAX_BOUNDARY_LINE = bounds.MAX_CONTENT_FIELD + 80


@dataclass(eq=False)
class Part:
    """
    A message, or a part of one. The offsets are in the octets that were scanned.

    :ivar contentType: parsed.
    :ivar fields: names and values as they are written, octets above ASCII as surrogates.
    :ivar body: where the body begins.
    :ivar end: where it ends; the line break before a boundary is the boundary's.
    :ivar parts: those of a multipart, or the one message that a message has in it.
    :ivar preamble: where a multipart's preamble ends, without the line break.
    :ivar epilogue: where its epilogue begins; ``None`` if no boundary closed it.
    :ivar hasSeparator: whether a blank line ended the header section.
    """

    contentType: Parameterized = field(default_factory=lambda: parseContentType(None))
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: int = 0
    end: int = 0
    parts: list[Part] = field(default_factory=list)
    preamble: int = 0
    epilogue: int | None = None
    hasSeparator: bool = True

    def get(self, name: str) -> str | None:
        """
        :param name: a field's, in lower case.
        :returns: the value of the first one.
        """
        return next((value for key, value in self.fields if key.lower() == name), None)


@dataclass(frozen=True)
class _Delimiter:
    """A boundary's line: where it begins, with the line break before it; and what it does."""

    start: int
    next: int
    multipart: Part
    isClose: bool


class Scanner:
    """
    Scan a message once.

    :param octets: the message; it mustn't change meanwhile.
    :param exceeded: called with what there is too much of, in words. If it returns, what can't be
        taken apart stays whole.
    :param openMessages: whether messages within the message are taken apart, too.
    """

    def __init__(
        self,
        octets: bytes | bytearray,
        exceeded: Callable[[str], None],
        openMessages: bool,
    ) -> None:
        self._octets = octets
        self._length = len(octets)
        self._exceeded = exceeded
        self._openMessages = openMessages
        self._path: list[Part] = []  # the message, the part of it …: those that are not over yet
        self._multiparts: list[tuple[bytes, Part]] = []  # those among them, with their boundaries
        self._boundaries: dict[bytes, Part] = {}  # of two that are the same, the inner one counts
        self._starts: tuple[bytes, ...] = ()  # of their lines
        self._parts = 0
        self._fields = 0

    def run(self) -> Generator[None, None, Part]:
        """
        :returns: (in the end, after a ``yield`` for each slice) the message.
        """
        root = part = yield from self._header(0)
        while True:
            if self._isOpened(part):
                part = yield from self._header(part.body)
                continue
            following = yield from self._follow(part)
            if following is None:
                return root
            part = following

    # -- Multiparts --------------------------------------------------------------------------------

    def _isOpened(self, part: Part) -> bool:
        """Whether the part is a message, which begins where its body does. Enters multiparts."""
        kind = part.contentType.value
        boundary = part.contentType.parameters.get("boundary", "")
        isMultipart = kind.startswith("multipart/") and boundary != ""
        isMessage = (
            self._openMessages and kind.startswith("message/") and kind != "message/delivery-status"
        )
        if not isMultipart and not isMessage:
            return False
        if len(self._path) > bounds.MAX_NESTING:
            self._exceeded(f"more than {bounds.MAX_NESTING} parts within each other")
            return False
        if isMultipart:
            self._open([*self._multiparts, (boundary.encode("utf-8", "surrogateescape"), part)])
        return isMessage

    def _follow(self, part: Part) -> Generator[None, None, Part | None]:
        """The part that comes after another one, whose body has begun; ``None`` at the end."""
        position = part.body
        while True:
            delimiter = yield from self._find(position)
            if delimiter is None:
                self._close(self._length, 0)
                return None
            position = delimiter.next
            multipart = delimiter.multipart
            if not multipart.parts:
                multipart.preamble = max(delimiter.start, multipart.body)
            # All that is inside of this multipart ends here, closed or not.
            self._close(delimiter.start, self._path.index(multipart) + 1)
            if not delimiter.isClose:
                position = yield from self._repeated(delimiter)
                return (yield from self._part(position, multipart))
            multipart.epilogue = position
            self._forget(multipart)

    def _repeated(self, delimiter: _Delimiter) -> Generator[None, None, int]:
        """Where a part begins, behind a boundary that may be there several times."""
        looked = 0
        while True:
            again = self._delimiter(delimiter.next, delimiter.next)
            isSame = again is not None and again.multipart is delimiter.multipart
            if again is None or not isSame or again.isClose:
                return delimiter.next
            delimiter = again
            looked += 1
            if looked % _MANY == 0:
                yield

    def _close(self, end: int, depth: int) -> None:
        for part in self._path[depth:]:
            part.end = max(end, part.epilogue or part.body)
            self._forget(part)
        del self._path[depth:]

    def _forget(self, multipart: Part) -> None:
        self._open([pair for pair in self._multiparts if pair[1] is not multipart])

    def _open(self, multiparts: list[tuple[bytes, Part]]) -> None:
        self._multiparts = multiparts
        self._boundaries = dict(multiparts)
        self._starts = tuple(b"--" + boundary for boundary in self._boundaries)

    def _part(self, position: int, multipart: Part) -> Generator[None, None, Part | None]:
        if self._parts >= bounds.MAX_PARTS:
            self._exceeded(f"more than {bounds.MAX_PARTS} parts")
            rest = Parameterized("application/octet-stream")
            multipart.parts.append(Part(rest, body=position, end=self._length))
            self._close(self._length, 0)
            return None
        return (yield from self._header(position))

    def _find(self, position: int) -> Generator[None, None, _Delimiter | None]:
        """The next line, from the one at ``position`` on, that is a boundary's."""
        octets, looked = self._octets, 0
        if not self._boundaries:
            return None
        delimiter = self._delimiter(position, position)
        while delimiter is None:
            end = min(position + SLICE, self._length)
            found = octets.find(b"\n--", position, end + 2)
            looked += 1
            if found < 0 and end >= self._length:
                return None
            if found < 0 or looked % _MANY_LINES == 0:
                yield
            if found < 0:
                position = end
                continue
            position = found + 1
            if not octets.startswith(self._starts, position):  # as most that look like boundaries
                continue
            isCRLF = found > 0 and octets[found - 1] == _CR
            delimiter = self._delimiter(position, found - isCRLF)
        return delimiter

    def _delimiter(self, line: int, start: int) -> _Delimiter | None:
        """What the line at an offset is, if it is a boundary's (RFC 2046 §5.1.1)."""
        octets = self._octets
        if not self._boundaries or not octets.startswith(b"--", line):
            return None
        end = octets.find(b"\n", line, line + _MAX_BOUNDARY_LINE)
        if end < 0:
            end = self._length
            if end - line > _MAX_BOUNDARY_LINE:
                return None
        text = bytes(octets[line + 2 : end]).rstrip(b" \t\r")
        following = min(end + 1, self._length)
        multipart = self._boundaries.get(text)
        if multipart is not None:
            return _Delimiter(start, following, multipart, False)
        multipart = self._boundaries.get(text[:-2]) if text.endswith(b"--") else None
        return None if multipart is None else _Delimiter(start, following, multipart, True)

    # -- Header sections ---------------------------------------------------------------------------

    def _header(self, position: int) -> Generator[None, None, Part]:
        """Parse the header section at an offset; the part is added to the one that is open."""
        part = Part()
        start, looked = position, 0
        if self._octets.startswith(_ENVELOPES, position):  # of a mailbox file: no field
            position = self._lineAfter(position)
        while True:
            end = _LINE_END.match(self._octets, position)
            if end is not None or self._delimiter(position, position) is not None:
                part.hasSeparator = end is not None
                position = end.end() if end is not None else position
                break
            if position - start > bounds.MAX_HEADER:
                self._exceeded(f"a header of more than {bounds.MAX_HEADER} octets")
                position = yield from self._search(_HEADER_END, position)
                break
            following = yield from self._field(part, position)
            if following is None:
                part.hasSeparator = position >= self._length
                break
            position = following
            looked += 1
            if looked % _MANY == 0:
                yield
        part.body = position
        self._enter(part)
        yield
        return part

    def _enter(self, part: Part) -> None:
        parent = self._path[-1] if self._path else None
        isDigest = parent is not None and parent.contentType.value == "multipart/digest"
        contentType = part.get("content-type")
        if contentType is None and isDigest:  # RFC 2046 §5.1.5
            contentType = "message/rfc822"
        part.contentType = parseContentType(contentType)
        if part.contentType.excess:
            self._exceeded(part.contentType.excess)
        self._parts += 1
        if parent is not None:
            parent.parts.append(part)
        self._path.append(part)

    def _field(self, part: Part, position: int) -> Generator[None, None, int | None]:
        """Parse the field at an offset; where the next may be, or ``None`` if there is none."""
        limit = min(position + bounds.MAX_FIELD, self._length)
        found = _FIELD.match(self._octets, position, limit)
        if found is None:
            # What continues no field belongs to none.
            isBlank = not part.fields and self._octets[position : position + 1] in (b" ", b"\t")
            return self._lineAfter(position) if isBlank else None
        name = found[1].decode("ascii")
        value = found[2].decode("ascii", "surrogateescape").lstrip(" \t\r\n").rstrip("\r\n")
        following = found.end()
        if following == limit < self._length:
            self._exceeded(f"a header field of {bounds.MAX_FIELD} octets or more")
            following = yield from self._search(_FIELD_END, limit - 1)
        if len(value) > bounds.MAX_CONTENT_FIELD and name.lower() in CONTENT_FIELDS:
            self._exceeded(f"a field {name} of more than {bounds.MAX_CONTENT_FIELD} octets")
            value = value[: bounds.MAX_CONTENT_FIELD]
        self._fields += 1
        if self._fields > bounds.MAX_FIELDS:
            self._exceeded(f"more than {bounds.MAX_FIELDS} header fields")
        elif name:
            part.fields.append((name, value))
        return following

    def _lineAfter(self, position: int) -> int:
        end = self._octets.find(b"\n", position, position + bounds.MAX_FIELD)
        return end + 1 if end >= 0 else min(position + bounds.MAX_FIELD, self._length)

    def _search(self, pattern: re.Pattern[bytes], position: int) -> Generator[None, None, int]:
        """Where something that is no longer than four octets ends, or the message does."""
        while position < self._length:
            limit = min(position + SLICE, self._length)
            found = pattern.search(self._octets, position, limit)
            # At the limit it can't be seen what follows.
            if found is not None and (found.end() < limit or limit == self._length):
                return found.end()
            position = limit if limit == self._length else limit - 4
            yield
        return self._length

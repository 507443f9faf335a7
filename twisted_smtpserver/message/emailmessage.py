"""
A message as the standard library has it, made without the library's parser: that keeps an object
for every line, and has no bounds.

Of what is large no text is made before somebody reads it: the interpreter copies all of a long
``str`` to make it longer, or wider.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from email import errors
from email.message import EmailMessage
from email.policy import SMTP

from twisted_smtpserver.errors import MessageTooComplex
from twisted_smtpserver.message import bounds
from twisted_smtpserver.message.latetext import LateMessage, textOf
from twisted_smtpserver.message.libraryheaders import LONG_ADDRESSES, BoundedHeaders
from twisted_smtpserver.message.parameters import parseParameterized
from twisted_smtpserver.message.structure import Part, Scanner

# Octets that are looked at once.
_SLICE = 256 * 1024

# Codecs that take quadratic time, and that no mail is written in.
_SLOW_CHARSETS = frozenset({"punycode", "idna"})

_NEWLINES = (b"\r", b"\n")
_BLANK_LINE = re.compile(r"\n\r?\n")
_ADDRESS_FIELDS = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc"})


def building(octets: bytes) -> Generator[None, None, EmailMessage]:
    """
    Make a message.

    :param octets: the message's; it refers to them.
    :returns: (in the end, after a ``yield`` for each slice) the message.
    :raises MessageTooComplex: if it is beyond a bound.
    """
    try:
        yield from _countLines(octets)
        root = yield from Scanner(octets, refuse, openMessages=True).run()
        return (yield from _Building(octets).message(root))
    except MessageTooComplex as error:
        refusal = error.with_traceback(None)  # it would keep the octets
    del octets
    raise refusal


def refuse(what: str) -> None:
    """
    Refuse a message.

    :param what: the bound that it is beyond, in words.
    :raises MessageTooComplex: always.
    """
    raise MessageTooComplex(what)


def _countLines(octets: bytes) -> Generator[None, None, None]:
    lines = 0
    for start in range(0, len(octets), _SLICE):
        lines += octets.count(b"\n", start, start + _SLICE)
        if lines > bounds.MAX_LINES:
            refuse(f"more than {bounds.MAX_LINES} lines")
        yield


class _Building:
    """
    Makes the objects, front to back.

    :param octets: the message's.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._headers = BoundedHeaders()
        self._policy = SMTP.clone(header_factory=self._headers)
        self._mailboxes = 0

    def message(self, part: Part) -> Generator[None, None, LateMessage]:
        """
        Make a message or a part.

        :param part: where it is.
        """
        _check(part)
        message = LateMessage(self._policy)
        for name, value in part.fields:
            message.set_raw(name, value)
            if name.lower() in _ADDRESS_FIELDS:
                yield from self._addresses(name, value)
        kind = part.contentType.value
        if kind == "multipart/digest":
            message.set_default_type("message/rfc822")
        if not part.hasSeparator:
            message.defects.append(errors.MissingHeaderBodySeparatorDefect())
        yield
        if part.parts and kind.startswith("multipart/"):
            yield from self._multipart(message, part)
        elif part.parts:
            message.attach((yield from self.message(part.parts[0])))
        elif kind == "message/delivery-status":
            yield from self._deliveryStatus(message, part)
        else:
            message.setText(self._octets, part.body, part.end)
            if kind.startswith("multipart/"):
                message.defects.append(
                    errors.StartBoundaryNotFoundDefect()
                    if part.contentType.parameters.get("boundary")
                    else errors.NoBoundaryInMultipartDefect()
                )
        return message

    def _addresses(self, name: str, value: str) -> Generator[None, None, None]:
        count = value.count(",")
        self._mailboxes += count
        if count >= bounds.MAX_MAILBOXES:
            refuse(f"more than {bounds.MAX_MAILBOXES} addresses in {name.lower()}")
        if self._mailboxes >= bounds.MAX_ALL_MAILBOXES:
            refuse(f"more than {bounds.MAX_ALL_MAILBOXES} addresses")
        if len(value) > LONG_ADDRESSES:
            yield from self._headers.readAddresses(name, value)

    def _multipart(self, message: LateMessage, part: Part) -> Generator[None, None, None]:
        octets = self._octets
        # A blank line that is all of a preamble, or epilogue, isn't none.
        if part.body < part.preamble or octets.startswith(_NEWLINES, part.body):
            message.preamble = textOf(octets, part.body, part.preamble)
        for inner in part.parts:
            message.attach((yield from self.message(inner)))
        if part.epilogue is None:
            message.defects.append(errors.CloseBoundaryNotFoundDefect())
            return
        isLast = part.epilogue == len(octets) and octets.endswith(b"\n")
        if part.epilogue < part.end or isLast or octets.startswith(_NEWLINES, part.epilogue):
            message.epilogue = textOf(octets, part.epilogue, part.end)

    def _deliveryStatus(self, message: EmailMessage, part: Part) -> Generator[None, None, None]:
        """Blocks of fields (RFC 3464 §2), of which the library makes messages."""
        if part.end - part.body > bounds.MAX_HEADER:
            refuse(f"a delivery status of more than {bounds.MAX_HEADER} octets")
        text = self._octets[part.body : part.end].decode("ascii", "surrogateescape")
        blocks = _BLANK_LINE.split(text, maxsplit=bounds.MAX_PARTS)
        if len(blocks) > bounds.MAX_PARTS:
            refuse(f"more than {bounds.MAX_PARTS} parts")
        for block in filter(str.strip, blocks):
            octets = f"{block}\r\n".encode("ascii", "surrogateescape")
            scanned = yield from Scanner(octets, refuse, openMessages=False).run()
            status = EmailMessage(self._policy)
            for name, value in scanned.fields:
                status.set_raw(name, value)
            status.set_payload(octets[scanned.body :].decode("ascii", "surrogateescape"))
            message.attach(status)


def _check(part: Part) -> None:
    """
    Refuse what would take long when it is read.

    :raises MessageTooComplex: if it would.
    """
    for name, value in part.fields:
        isDisposition = name.lower() == "content-disposition"
        if isDisposition and (excess := parseParameterized(value).excess):
            refuse(excess)
    if part.contentType.parameters.get("charset", "").strip().lower() in _SLOW_CHARSETS:
        refuse("a charset that no mail has")

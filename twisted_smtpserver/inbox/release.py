"""Releasing a message of the inbox to a real server: by hand, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.inbox.answers import Problem
from twisted_smtpserver.inbox.contents import MessageGone
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.wire.newlines import NewlineFilter
from twisted_smtpserver.wire.path import parseForwardPath, parseReversePath
from twisted_smtpserver.wire.text import escape

_log = Logger()

#: The most recipients of one release.
MAX_RECIPIENTS = 100

#: How much of the next hop's refusal is shown, in characters.
_MAX_REASON = 500


async def release(
    store: Any, read: Callable[[], AsyncIterator[bytes]], sender: str, recipients: Sequence[object]
) -> None:
    """
    Hand a message to a store, as if it came by SMTP.

    :param store: a handler that asks for everything in ``onData``, such as
        :class:`~twisted_smtpserver.stores.forward.Forward`.
    :param read: reads the message.
    :param sender: its reverse-path; empty for the null one.
    :param recipients: its recipients.
    :raises Problem: if the server refuses it, or can't be reached.
    """
    try:
        parameters = await _parametersOf(read(), sender, recipients)
        session = _makeSession(sender, recipients, parameters)
        await maybeDeferred(store.onData, withCRLF(read()), session)
    except MessageGone:
        raise Problem(404, "The message was deleted") from None
    except Rejection as refused:
        reason = refused.text[:_MAX_REASON]
        raise Problem(502, f"The other server refused it: {refused.code} {reason}") from None
    _log.info(
        "A message from {sender} was released to {recipients}",
        sender=escape(sender),
        recipients=", ".join(escape(str(box)) for box in session.envelope.rcptTo),
    )


async def withCRLF(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """
    A message as it may be sent (RFC 5321 §2.3.8): CRLF at the end of each line. The inbox may have
    accepted another, and what ends lines in LF could end a message early elsewhere.

    :param pieces: the message.
    """
    newlines = NewlineFilter("normalize")
    last = b""
    async for octets in pieces:
        piece = newlines.feed(octets)
        last = piece[-2:] or last
        yield piece
    ending = newlines.end()
    yield ending if (ending or last) == b"\r\n" else ending + b"\r\n"


async def _parametersOf(
    pieces: AsyncIterator[bytes], sender: str, recipients: Sequence[object]
) -> dict[str, str | bool]:
    """The parameters of MAIL for the message (RFC 6152, RFC 6531)."""
    isUTF8 = not all(str(box).isascii() for box in (sender, *recipients))
    isHeader, is8bit, seam = True, False, b""
    async for octets in pieces:
        is8bit = is8bit or not octets.isascii()
        if isHeader:
            header, end, _ = (seam + octets).partition(b"\r\n\r\n")
            isUTF8 = isUTF8 or not header.isascii()
            isHeader, seam = not end, header[-3:]
    parameters: dict[str, str | bool] = {"BODY": "8BITMIME"} if is8bit else {}
    return parameters | {"SMTPUTF8": True} if isUTF8 else parameters


def _makeSession(
    sender: str, recipients: Sequence[object], parameters: dict[str, str | bool]
) -> Session:
    if not 0 < len(recipients) <= MAX_RECIPIENTS:
        raise Problem(400, f"To is a list of 1 to {MAX_RECIPIENTS} addresses")
    session = Session()
    session.openingCommand, session.hostNameAppearsAs = "EHLO", "inbox"
    session.clientHostname = "localhost"
    envelope = session.newEnvelope()
    envelope.mailFrom = _address(parseReversePath, sender, parameters)
    envelope.rcptTo += [_address(parseForwardPath, box, {}) for box in recipients]
    envelope.bodyType = str(parameters.get("BODY", "7BIT"))
    envelope.smtpUtf8 = "SMTPUTF8" in parameters
    return session


def _address(parse: Any, text: object, parameters: dict[str, str | bool]) -> Address:
    parsed = parse(f"<{text}>".encode("utf-8", "replace")) if isinstance(text, str) else None
    if parsed is None or isinstance(parsed, Reply) or parsed[1]:
        raise Problem(400, "An address isn't well-formed")
    return Address(parsed[0], parameters)

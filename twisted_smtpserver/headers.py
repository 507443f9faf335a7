"""
Trace header fields (RFC 5321 §4.4): written so that nothing a client says can forge one, and
counted.

Each piece that comes from the client either has the form the grammar wants in its place, or it goes
into a comment with everything replaced that could end it.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import socket
import time
from collections.abc import Iterable
from functools import lru_cache

from twisted_smtpserver.replies import CONTROLS
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.domain import Problem, parseDomain, parseLiteral, toAscii
from twisted_smtpserver.wire.hostname import isHostName
from twisted_smtpserver.wire.ip import addressLiteral

#: Where header lines are folded if possible, and where they must end, in octets without the CRLF
#: (RFC 5322 §2.1.1).
FOLD_AT = 78
MAX_LINE = 998

#: How much of a message :class:`HopCounter` looks at, in octets.
COUNTED_OCTETS = 2**20

# RFC 5322 §3.2.3; what else is allowed is added where RFC 6532 §3.2 applies.
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_ATOM = re.compile(rf"[{_ATEXT}]+\Z")
_DOT_STRING = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(\.[{_ATEXT}\u0080-\U0010ffff]+)*\Z")
_NOT_IN_DOMAIN = re.compile(r"[^A-Za-z0-9._\-:\[\]\u0080-\U0010ffff]")
# Controls, line separators, and surrogates, which have no UTF-8 form.
_UNPRINTABLE = re.compile(rf"{CONTROLS}|[\ud800-\udfff]")

# The longest thing that is put on one line, so that no line can outgrow MAX_LINE.
_MAX_PIECE = 900
_MAX_COMMENT = 200  # characters of up to four octets


def receivedHeader(
    session: Session,
    envelope: Envelope | None = None,
    hostName: str | None = None,
    date: datetime.datetime | None = None,
) -> bytes:
    """
    Build the ``Received:`` field for a message (RFC 5321 §4.4, RFC 3848, RFC 6531 §3.7.3).

    ``for`` is there only with a single recipient: it must not tell one what others there are. What
    isn't ASCII stays so only in a transaction with SMTPUTF8.

    :param session: the session; the client is the one of ``session.remoteAddress``.
    :param envelope: the transaction's envelope; ``session.envelope`` by default.
    :param hostName: our own name; that of this machine by default.
    :param date: when the message came; now by default.
    :returns: the folded field with its final CRLF, no line longer than 998 octets.
    """
    envelope = session.envelope if envelope is None else envelope
    utf8 = envelope.smtpUtf8
    when = _today(int(time.time())) if date is None else email.utils.format_datetime(date)
    clauses = [
        *_fromClause(session, utf8),
        *_tlsComment(session),
        f"by {_domain(hostName or socket.gethostname(), utf8)}",
        f"with {session.transmissionType}",
    ]
    if _ATOM.match(envelope.id):
        clauses.append(f"id {envelope.id}")
    if len(envelope.rcptTo) == 1:
        recipient = f"for <{_mailbox(envelope.rcptTo[0], utf8)}>"
        if len(recipient.encode("utf-8")) <= _MAX_PIECE:
            clauses.append(recipient)
    clauses[-1] += ";"
    return _fold("Received:", [*clauses, when])


@lru_cache(maxsize=1)
def _today(seconds: int) -> str:
    """The date as RFC 5321 §4.4 prefers it: in local time, with its offset."""
    now = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return email.utils.format_datetime(now.astimezone())


def returnPathHeader(envelope: Envelope) -> bytes:
    """
    Build the ``Return-Path:`` field, which final delivery adds (RFC 5321 §4.4).

    :param envelope: the transaction's envelope.
    :returns: the field with its final CRLF; ``Return-Path: <>`` for the null reverse-path, and
        where there is no sender yet.
    """
    sender = envelope.mailFrom
    mailbox = "" if sender is None else _mailbox(sender, envelope.smtpUtf8)
    path = f"<{mailbox}>".encode()
    # No mailbox that strict parsing accepts is so long. A bounce to half an address is worse than
    # none.
    return b"Return-Path: %b\r\n" % (path if len(path) <= _MAX_PIECE else b"<>")


class HopCounter:
    """
    Counts the ``Received:`` fields of a message, to detect loops (RFC 5321 §6.3).

    Feed it the message as it comes. It looks at the header section only, and at no more than
    :data:`COUNTED_OCTETS`; from there on :meth:`feed` costs nothing.

    :ivar count: the fields so far.
    :ivar finished: whether the header section is over.
    """

    __slots__ = ("_carried", "_left", "count", "finished")

    _FIELD = re.compile(rb"\nreceived:", re.IGNORECASE)
    _FIELD_LENGTH = len(b"\nreceived:")
    _END = re.compile(rb"\n\r?\n")

    def __init__(self) -> None:
        self.count = 0
        self.finished = False
        self._left = COUNTED_OCTETS
        # The beginning of a line that can't be judged yet, the LF before it included.
        self._carried = b"\n"

    def feed(self, octets: bytes) -> None:
        """
        :param octets: the next octets, cut anywhere.
        """
        if self.finished:
            return
        data = self._carried + octets[: self._left]
        self._left -= len(octets)
        end = self._END.search(data)
        if end is not None:
            data = data[: end.start()]
        self.finished = end is not None or self._left <= 0
        self.count += len(self._FIELD.findall(data))
        line = data[data.rfind(b"\n") :] if b"\n" in data else b""
        # A line that is long enough was judged just now, and must not be again.
        self._carried = line if len(line) < self._FIELD_LENGTH else b""


def _fromClause(session: Session, utf8: bool) -> list[str]:
    """Who sent the message: the name that the client gave and what is known of its address."""
    hello = session.hostNameAppearsAs or ""
    name = _name(hello, utf8)
    literal = addressLiteral(session.remoteAddress)
    # The reverse name is the client's to choose, too, as all that is in its DNS.
    reverse = "" if session.clientHostname.startswith("[") else _name(session.clientHostname, utf8)
    connection = [f"({reverse} {literal})" if reverse else f"({literal})"] if literal else []
    if name:
        return [f"from {name}", *connection]
    return [
        f"from {reverse or literal or 'unknown'}",
        *connection,
        f"(hello {_comment(hello, utf8)})",
    ]


def _name(text: str, utf8: bool) -> str:
    """A host name or address literal in the form for a header; ``""`` if it is neither."""
    name = text.removesuffix(".")
    if isHostName(name):  # which RFC 5322 §3.4.1 allows as a domain
        return name
    octets = name.encode("utf-8", "replace")
    parsed = parseLiteral(octets) if name.startswith("[") else parseDomain(octets)
    return "" if isinstance(parsed, Problem) else _domain(parsed, utf8)


def _tlsComment(session: Session) -> list[str]:
    tls = session.tls
    if tls is None or not tls.version:
        return []
    cipher = f" with cipher {_comment(tls.cipher, False)}" if tls.cipher else ""
    return [f"(using {_comment(tls.version, False)}{cipher})"]


def _domain(domain: str, utf8: bool) -> str:
    """A domain or literal, with everything replaced that can't be in one."""
    return _NOT_IN_DOMAIN.sub("?", _clean(domain if utf8 else toAscii(domain), utf8))


def _mailbox(address: Address, utf8: bool) -> str:
    """The mailbox, quoted again from its parts: lenient parsing accepts what needs quotes."""
    if not address.local and address.domain is None:
        return ""
    local = _clean(address.local, utf8)
    if not _DOT_STRING.match(local):
        local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    return local if address.domain is None else f"{local}@{_domain(address.domain, utf8)}"


def _comment(text: str, utf8: bool) -> str:
    """Text that can't end the comment it is in (RFC 5322 §3.2.2), and isn't long."""
    # A quote means nothing in a comment, but not every reader of headers knows.
    return re.sub(r'[()\\"]', "?", _clean(text[:_MAX_COMMENT], utf8))


def _clean(text: str, utf8: bool) -> str:
    """Text with everything replaced that can't be in a header field."""
    text = _UNPRINTABLE.sub("?", text)
    return text if utf8 else text.encode("ascii", "replace").decode("ascii")


def _fold(name: str, pieces: Iterable[str]) -> bytes:
    """Put pieces on lines (RFC 5322 §2.2.3); each is short enough for one of its own."""
    lines = [name.encode("ascii")]
    for piece in pieces:
        octets = piece.encode("utf-8")
        if len(lines[-1]) + 1 + len(octets) <= FOLD_AT:
            lines[-1] += b" " + octets
        else:
            lines.append(b"\t" + octets)
    return b"\r\n".join(lines) + b"\r\n"

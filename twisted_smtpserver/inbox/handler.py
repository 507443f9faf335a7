"""The SMTP side: mail for anybody goes into the inbox."""

from __future__ import annotations

import errno
import sqlite3
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from twisted.logger import Logger

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.filters import Message
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.inbox.desk import Desk
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.store import TooLargeForInbox
from twisted_smtpserver.message.files import storageRefusal
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.message.largebytes import readAll
from twisted_smtpserver.session import Address, Session

_log = Logger()

#: How much of an incoming message stays in memory, in octets; the rest is in a temporary file.
SPOOLED = 256 * 1024


class _Stage:
    """
    What an inbox has to say before there is a message.

    :param desk: the inbox.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def onMailFrom(self, address: Address, session: Session) -> None:
        """Accept any sender, unless a chaos trigger refuses it."""
        self._desk.chaos.sender()

    def onRcptTo(self, address: Address, session: Session) -> None:
        """Accept any recipient, unless a chaos trigger refuses it."""
        self._desk.chaos.recipient()


class InboxHandler(_Stage, SMTPHandler):
    """
    Stores every message, for any recipient.

    :param desk: stores the messages.
    """

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """
        Store a message.

        :returns: the text for the client, which has the message's id.
        :raises Rejection: if it can't be stored.
        """
        with SpooledTemporaryFile(max_size=SPOOLED) as spool:
            await stream.saveTo(cast(BinaryIO, spool))
            spool.seek(0)
            try:
                summary = await self._desk.add(partial(readAll, spool), envelopeOf(session))
            except TooLargeForInbox:
                self._desk.rejected += 1
                raise Rejection("Message too large for the inbox", 552, "5.3.4") from None
            except (sqlite3.Error, OSError) as error:
                self._desk.rejected += 1
                _log.error(
                    "Message {id} can't be stored in the inbox: {error}",
                    id=session.envelope.id,
                    error=error,
                )
                raise _refusal(error) from error
        return f"Message stored as {summary['ID']}"


def _refusal(error: Exception) -> Rejection:
    """The refusal for the client, which says nothing about our disks (RFC 3463 §3.4)."""
    if isinstance(error, OSError):
        return storageRefusal(error)
    isFull = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
    return storageRefusal(OSError(errno.ENOSPC if isFull else errno.EIO, ""))


class InboxCopy(_Stage):
    """
    A filter for :class:`~twisted_smtpserver.filters.Filtered`: what another handler stores is in
    the inbox, too. If it can't be, the log says so, and the message goes its way.

    :param desk: the inbox.
    """

    async def onMessage(self, message: Message, session: Session) -> None:
        """
        Store a copy.

        :param message: it stays as it is.
        :param session: whose transaction it is.
        """
        try:
            await self._desk.add(partial(_read, message), envelopeOf(session))
        except (TooLargeForInbox, sqlite3.Error, OSError) as error:
            _log.warn(
                "Message {id} can't be copied to the inbox: {error}",
                id=session.envelope.id,
                error=str(error) or "it is larger than --inbox-size",
            )


def _read(message: Message) -> bytes:
    with message.open() as file:
        return readAll(file)


class AnyLoginHandler(InboxHandler):
    """The same handler for clients that insist on a login: it accepts every login."""

    def onAuth(self, credentials: Credentials, session: Session) -> str:
        """Accept the login, unless a chaos trigger refuses it."""
        self._desk.chaos.login()
        return credentials.username or "anonymous"


class ChaosLogin:
    """
    A stage before those that know the users: fails logins by chance.

    :param desk: whose chaos.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def onAuth(self, credentials: Credentials, session: Session) -> None:
        """Let the next stage decide, unless a chaos trigger refuses the login."""
        self._desk.chaos.login()


def envelopeOf(session: Session) -> Envelope:
    """
    What the client said besides the message.

    :param session: with a transaction.
    """
    envelope = session.envelope
    sender = envelope.mailFrom
    return Envelope(
        sender=sender.address if sender is not None else "",
        recipients=tuple(address.address for address in envelope.recipients),
        user=_name(session.user),
        remoteAddress=session.remoteAddress or "",
        helo=session.hostNameAppearsAs or "",
        tls=str(getattr(session.tls, "version", "") or ""),
    )


def _name(user: Any) -> str:
    if isinstance(user, bytes):
        return user.decode("utf-8", "replace")
    return user if isinstance(user, str) else ""

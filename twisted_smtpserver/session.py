"""
What a handler sees: the session, its envelope, the addresses in it.

These objects hold facts. The server fills them in; a handler reads them, and may write to
:attr:`Session.data`, :attr:`Session.disabledCommands` and :attr:`Session.user`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from twisted_smtpserver.wire.authresults import NOTHING_KNOWN, Authentication
from twisted_smtpserver.wire.text import escape

if TYPE_CHECKING:
    from twisted_smtpserver.tls.info import TLSInfo
    from twisted_smtpserver.wire.path import Path, PathParts


@dataclass(frozen=True, slots=True)
class EnvelopeDSN:
    """
    The parameters of RFC 3461 on MAIL.

    :ivar ret: ``"FULL"``, ``"HDRS"`` or ``None`` (§4.3).
    :ivar envid: the envelope identifier, xtext decoded, or ``None`` (§4.4).
    """

    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class RecipientDSN:
    """
    The parameters of RFC 3461 on RCPT.

    :ivar notify: of ``"NEVER"``, ``"SUCCESS"``, ``"FAILURE"``, ``"DELAY"``; empty when the client
        said nothing (§4.1).
    :ivar orcpt: the original recipient as ``"type;address"``, xtext decoded, or ``None`` (§4.2).
    """

    notify: tuple[str, ...] = ()
    orcpt: str | None = None


class Address:
    """
    A reverse-path or forward-path with its parameters (RFC 5321 §4.1.2).

    :ivar address: the mailbox as text, ``"joe@example.com"``; ``""`` for the null reverse-path. A
        local part that needs quotes has them. The domain is as in :attr:`domain`.
    :ivar local: the local part without quotes.
    :ivar domain: in lower case, U-labels, literals in brackets; ``None`` for ``<>`` and
        ``<Postmaster>``.
    :ivar raw: the path as the client sent it.
    :ivar args: the ESMTP parameters: keywords in upper case, values as sent, ``True`` for a
        parameter without a value.
    :ivar values: the same parameters' typed values, as their extensions parsed them.
    :ivar dsn: RFC 3461's parameters of a recipient; ``None`` unless the DSN extension is on.
    """

    __slots__ = ("address", "args", "domain", "dsn", "local", "raw", "values")

    def __init__(self, path: Path | PathParts, args: dict[str, str | bool] | None = None) -> None:
        self.local: str
        self.domain: str | None
        self.address: str
        self.raw: str
        self.local, self.domain, self.address, self.raw, _ = path
        self.args: dict[str, str | bool] = {} if args is None else args
        self.values: dict[str, Any] = {}
        self.dsn: RecipientDSN | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        """What makes two addresses the same: the local part exactly, the domain in any case."""
        return self.local, self.domain

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"<Address {escape(self.address)}>"


class Envelope:
    """
    One mail transaction (RFC 5321 §3.3): who sends what to whom.

    :ivar id: unique for each transaction, fit for a file name, and in the log.
    :ivar mailFrom: the sender; ``None`` until a MAIL was accepted.
    :ivar rcptTo: every accepted recipient in order, duplicates included.
    :ivar bodyType: ``"7BIT"``, ``"8BITMIME"`` or ``"BINARYMIME"`` (RFC 6152, RFC 3030).
    :ivar smtpUtf8: whether MAIL had SMTPUTF8 (RFC 6531).
    :ivar requireTLS: whether MAIL had REQUIRETLS (RFC 8689).
    :ivar dsn: RFC 3461's parameters of MAIL; ``None`` unless the DSN extension is on.
    :ivar perRecipient: whether ``onData`` is asked for one result for each recipient.
    :ivar authentication: what filters found out of who sent the message (RFC 8601): spf, dkim,
        dmarc, arc; empty unless there are such filters.
    """

    __slots__ = (
        "_fate",
        "authentication",
        "bodyType",
        "dsn",
        "id",
        "mailFrom",
        "perRecipient",
        "rcptTo",
        "requireTLS",
        "smtpUtf8",
    )

    def __init__(self, identifier: str = "", perRecipient: bool = False) -> None:
        self.id: str = identifier
        self.mailFrom: Address | None = None
        self.rcptTo: list[Address] = []
        self.bodyType: str = "7BIT"
        self.smtpUtf8: bool = False
        self.requireTLS: bool = False
        self.dsn: EnvelopeDSN | None = None
        self.perRecipient: bool = perRecipient
        self.authentication: Authentication = NOTHING_KNOWN
        # Empty as long as the message may be stored, or taken back. Copies share it.
        self._fate: dict[str, bool] = {}

    @property
    def recipients(self) -> list[Address]:
        """The accepted recipients in order, each once."""
        unique: dict[tuple[str, str | None], Address] = {}
        for address in self.rcptTo:
            unique.setdefault(address.key, address)
        return list(unique.values())

    def beginCommit(self) -> None:
        """
        Say that the message is about to be stored for good. A handler that stores where the server
        can't see it, in threads of its own or in another program, calls this right before what it
        can't undo; in any thread, and as often as it likes.

        From here on a server that stops waits for the handler's answer, for ``handlerTimeout`` at
        most. Without it, the client would be told 421, and would send again what is stored.

        :raises twisted.internet.defer.CancelledError: if it is too late: the client was told that
            the message isn't accepted. Then it must not be stored.
        """
        # In one step, which no other thread gets between.
        if not self._fate.setdefault("isCommitted", True):
            raise CancelledError("the client was told that the message isn't accepted")

    def withdraw(self) -> bool:
        """
        (The server's call.) Refuse the message.

        :returns: whether that is possible: :meth:`beginCommit` wasn't called, and raises now.
        """
        return not self._fate.setdefault("isCommitted", False)

    def __repr__(self) -> str:
        return f"<Envelope {self.id} from {self.mailFrom!r} to {len(self.rcptTo)} recipients>"


class _NoEnvelope(Envelope):
    """
    What there is between transactions: one for all sessions, so nothing can be put into it.
    """

    __slots__ = ()

    # A tuple, so that no code appends to it.
    rcptTo = property(lambda self: [])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"there is no transaction whose {name} could be set")

    def __reduce__(self) -> str:
        return "_NO_ENVELOPE"  # copies and pickles are the same one, too


_NO_ENVELOPE = Envelope()
_NO_ENVELOPE.withdraw()
_NO_ENVELOPE.__class__ = _NoEnvelope  # not before it is filled


class Session:
    """
    One connection, as its handlers see it.

    :ivar id: random, in every log event of the session.
    :ivar localAddress: our side's address; ``None`` on a unix socket, as :attr:`localPort`.
    :ivar remoteAddress: the client, as claimed by PROXY or XCLIENT if they are trusted; ``None``
        on a unix socket, or if XCLIENT says that it isn't known. The same holds for
        :attr:`remotePort`.
    :ivar peerAddress: the address of the socket's other end, whatever was claimed; its port is
        :attr:`peerPort`.
    :ivar proxyTLVs: the PROXY v2 header's extra fields.
    :ivar clientHostname: the client's forward-confirmed reverse name, else ``"[address]"``.
    :ivar openingCommand: ``"HELO"``, ``"EHLO"`` or ``"LHLO"``; ``None`` before the hello.
    :ivar hostNameAppearsAs: the name the client gave in its hello; ``None`` before it.
    :ivar secure: whether the connection is protected by TLS.
    :ivar tls: a :class:`~twisted_smtpserver.tls.TLSInfo` where TLS ends here, else ``None``.
    :ivar user: what ``onAuth`` returned; ``None`` before a login.
    :ivar authMethod: the SASL mechanism of that login, ``"PLAIN"`` for example, or ``"XCLIENT"``;
        ``None`` before a login.
    :ivar envelope: the current transaction's; between transactions an empty one that can't be
        changed.
    :ivar error: the text of the last refusal sent.
    :ivar hasOwnCommands: whether :attr:`disabledCommands` differs from the server's option.
    :ivar transactions: how many transactions were begun, with success or not.
    :ivar messages: how many messages were accepted.
    :ivar octets: how many octets of message content came in.
    :ivar errors: how many commands were refused.
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "_disabledCommands",
        "_received",
        "_serverDisabled",
        "_trustedAddress",
        "_xClient",
        "_xForward",
        "authMethod",
        "clientHostname",
        "envelope",
        "error",
        "errors",
        "hasOwnCommands",
        "hostNameAppearsAs",
        "id",
        "lmtp",
        "localAddress",
        "localPort",
        "messages",
        "octets",
        "openingCommand",
        "peerAddress",
        "peerPort",
        "proxyTLVs",
        "remoteAddress",
        "remotePort",
        "secure",
        "tls",
        "transactions",
        "user",
    )

    def __init__(self, lmtp: bool = False, disabledCommands: frozenset[str] = frozenset()) -> None:
        self.id: str = secrets.token_hex(8)
        self.lmtp: bool = lmtp
        self.localAddress: str | None = None
        self.localPort: int | None = None
        self.remoteAddress: str | None = None
        self.remotePort: int | None = None
        self.peerAddress: str | None = None
        self.peerPort: int | None = None
        self.proxyTLVs: tuple[tuple[int, bytes], ...] = ()
        self.clientHostname: str = ""
        self.openingCommand: str | None = None
        self.hostNameAppearsAs: str | None = None
        self.secure: bool = False
        self.tls: TLSInfo | None = None
        self.user: Any = None
        self.authMethod: str | None = None
        # Made on demand: most connections never need one.
        self._data: dict[Any, Any] | None = None
        self._xClient: dict[str, Any] | None = None
        self._xForward: dict[str, Any] | None = None
        self.error: str | None = None
        self._disabledCommands = self._serverDisabled = disabledCommands
        self.hasOwnCommands: bool = False
        self.messages: int = 0
        self.octets: int = 0
        self.errors: int = 0
        self.envelope: Envelope = _NO_ENVELOPE
        self.transactions: int = 0
        self._received: int = 0
        self._trustedAddress: str | None = None

    @property
    def data(self) -> dict[Any, Any]:
        """A place for the application's own values; it lives as long as the connection."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def xClient(self) -> dict[str, Any]:
        """
        The attributes that XCLIENT set, by their names in upper case; ``None`` for what it said
        isn't known.
        """
        if self._xClient is None:
            self._xClient = {}
        return self._xClient

    @property
    def xForward(self) -> dict[str, Any]:
        """The attributes that XFORWARD set for the next message; else as :attr:`xClient`."""
        if self._xForward is None:
            self._xForward = {}
        return self._xForward

    @property
    def disabledCommands(self) -> frozenset[str]:
        """
        Verbs refused with 502 in this session: what is set here replaces the server's option, and
        ``None`` brings that back.
        """
        return self._disabledCommands

    @disabledCommands.setter
    def disabledCommands(self, verbs: Collection[str] | None) -> None:
        if verbs is None:
            self._disabledCommands = self._serverDisabled
        else:
            self._disabledCommands = frozenset(map(str.upper, verbs))
        self.hasOwnCommands = self._disabledCommands is not self._serverDisabled

    def newEnvelope(self) -> Envelope:
        """Begin a transaction: an envelope with an id of its own takes the last one's place."""
        self.transactions += 1
        envelope = self.envelope = Envelope(f"{self.id}-{self.transactions}", self.lmtp)
        return envelope

    def forgetEnvelope(self) -> None:
        """There is no transaction: a MAIL was refused, or it is over."""
        self.envelope = _NO_ENVELOPE

    def forgetClaimedLogin(self) -> None:
        """XCLIENT's LOGIN came in clear, from whomever."""
        if self._xClient is not None:
            self._xClient.pop("LOGIN", None)

    def forgetXForward(self) -> None:
        """XFORWARD came from somebody else, or its transaction is over."""
        self._xForward = None

    @property
    def trustedAddress(self) -> str | None:
        """
        The address by which trust is judged: the client's, but never one that XCLIENT claimed.
        """
        return self._trustedAddress if self._xClient else self.remoteAddress

    def beginClaim(self) -> None:
        """XCLIENT came: from here on the client's address may be a claim."""
        self._trustedAddress = self.trustedAddress

    @property
    def transaction(self) -> int:
        """The number of the current message: 1 for the first of the connection."""
        return self._received + 1

    def countMessage(self) -> None:
        """The current message came in whole, and was answered."""
        self._received += 1

    @property
    def transmissionType(self) -> str:
        """
        The word for the ``with`` clause of a ``Received:`` header (RFC 3848, RFC 6531 §4.3).
        """
        if self.openingCommand == "HELO":
            return "SMTP"  # no extension was offered, so RFC 3848 has no other word for it
        word = "LMTP" if self.lmtp else "ESMTP"
        if self.envelope.smtpUtf8:
            word = "UTF8LMTP" if self.lmtp else "UTF8SMTP"
        if self.secure:
            word += "S"
        return word if self.user is None else word + "A"

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.clientHostname} {escape(self.hostNameAppearsAs or '-')}>"

"""
The keyword arguments of :class:`~twisted_smtpserver.SMTPServerFactory`, for type checkers and
editors: they complete the names, and find those that are misspelled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypedDict

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.newlines import BareNewlines

__all__ = ["HookKeywords", "Keywords", "OptionKeywords"]

_PEM = str | bytes | os.PathLike[str] | None


class OptionKeywords(TypedDict, total=False):
    """The options: :class:`~twisted_smtpserver.Options` says what each does."""

    secure: bool
    secured: bool
    tls: object
    key: _PEM
    cert: _PEM
    ca: _PEM
    ciphers: str | None
    minVersion: Literal["TLSv1.2", "TLSv1.3"]
    passphrase: str | bytes | None
    selfSigned: bool
    requestCert: bool
    rejectUnauthorized: bool
    handshakeTimeout: float
    sniOptions: Mapping[str, Any] | None
    tlsRequired: bool
    name: str
    banner: str
    heloResponse: str
    size: int
    hideSize: bool
    authMethods: Sequence[str]
    authOptional: bool
    authRequiredMessage: str
    allowInsecureAuth: bool
    maxAuthAttempts: int
    authFailureDelay: float
    loginDelay: float
    scramIterations: int
    scramSaltKey: bytes | None
    disabledCommands: Collection[str]
    hide: Collection[str]
    extensions: Sequence[Any]
    disableReverseLookup: bool
    resolver: object
    state: object
    logger: Logger | bool | None
    metrics: object
    maxClients: int | None
    maxClientsPerAddress: int | None
    maxRecipients: int
    maxRefusedRecipients: int
    maxMessages: int
    maxCommandLength: int
    bareNewlines: BareNewlines
    maxAllowedUnauthenticatedCommands: int | bool
    maxUnrecognizedCommands: int
    maxJunkCommands: int
    maxErrors: int
    errorDelay: float
    useProxy: bool | Collection[str]
    useXClient: bool | Collection[str]
    useXForward: bool | Collection[str]
    ignoredHosts: Collection[str]
    lmtp: bool
    lenientAddressParsing: bool
    socketTimeout: float
    minDataRate: int
    maxSessionTime: float
    handlerTimeout: float
    closeTimeout: float
    greetingDelay: float
    noDelay: bool
    immediateWrites: bool
    jointReads: bool


class HookKeywords(TypedDict, total=False):
    """The hooks: :mod:`twisted_smtpserver.interfaces` says when each is called."""

    onConnect: Callable[[Session], Any]
    onSecure: Callable[[Session], Any]
    onClose: Callable[[Session], Any]
    onHello: Callable[[str, Session], Any]
    onAuth: Callable[[Credentials, Session], Any]
    scramSecret: Callable[[str, str, Session], Any]
    onMailFrom: Callable[[Address, Session], Any]
    onRcptTo: Callable[[Address, Session], Any]
    onData: Callable[[IncomingMessage, Session], Any]
    onTransactionEnd: Callable[[Envelope, str, Session], Any]
    onError: Callable[[Failure, Session | None], Any]


class Keywords(OptionKeywords, HookKeywords, total=False):
    """The keywords of options and hooks together."""

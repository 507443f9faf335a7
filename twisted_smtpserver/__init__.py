"""
SMTP and LMTP servers for Twisted applications.

The public names, by room: the server itself (:class:`SMTPServerFactory`, :class:`SMTPService`,
:class:`Options`); what a handler is made of (:class:`SMTPHandler`, :class:`Chain`,
:func:`blocking`, :mod:`twisted_smtpserver.interfaces`); what it is given (:class:`Session`,
:class:`Envelope`, :class:`Address`, :class:`IncomingMessage`, :class:`TLSInfo`); what it returns
(:class:`Accepted`, :class:`Authenticated`) and raises (:class:`Rejection` and its family);
ready-made handlers (:class:`Maildir`, :class:`Discard`, :class:`CredHandler`); and
:class:`Extension`, to add to the protocol.
"""

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.errors import (
    AuthenticationFailed,
    BareNewline,
    ConfigurationError,
    ConnectionLost,
    ConsumerStopped,
    MessageIncomplete,
    MessageTooComplex,
    MessageTooLarge,
    Rejection,
    SMTPServerError,
    TransactionReset,
)
from twisted_smtpserver.extensions import Extension
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.handlers import Chain, CredHandler, Discard, Maildir, SMTPHandler
from twisted_smtpserver.headers import receivedHeader, returnPathHeader
from twisted_smtpserver.hooks import blocking
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.message.parsed import ParsedMessage, parseMessage
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.results import Accepted
from twisted_smtpserver.sasl.credentials import Authenticated
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.tls.info import TLSInfo
from twisted_smtpserver.wire import dotdata, scanning

#: Whether the compiled form is at work: the core by mypyc, and the scanner of message octets in C.
isCompiled: bool = scanning.isCompiled and not dotdata.__file__.endswith(".py")

__version__ = "0.1.0"

__all__ = [
    "Accepted",
    "Address",
    "Authenticated",
    "AuthenticationFailed",
    "BareNewline",
    "Chain",
    "ConfigurationError",
    "ConnectionLost",
    "ConsumerStopped",
    "CredHandler",
    "Credentials",
    "Discard",
    "Envelope",
    "Extension",
    "IncomingMessage",
    "Maildir",
    "MessageIncomplete",
    "MessageTooComplex",
    "MessageTooLarge",
    "Options",
    "ParsedMessage",
    "Rejection",
    "Reply",
    "SMTPHandler",
    "SMTPServerError",
    "SMTPServerFactory",
    "SMTPService",
    "Session",
    "TLSInfo",
    "TransactionReset",
    "__version__",
    "blocking",
    "isCompiled",
    "parseMessage",
    "receivedHeader",
    "returnPathHeader",
]

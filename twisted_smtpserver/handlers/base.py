"""
The handler to subclass.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.handlers.check import CheckedHandler
from twisted_smtpserver.hooks import defaultHook
from twisted_smtpserver.interfaces import (
    IConnectionHandler,
    IDataHandler,
    IEnvelopeHandler,
    IErrorHandler,
    IHelloHandler,
    ITransactionHandler,
)
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session


@implementer(
    IConnectionHandler,
    IHelloHandler,
    IEnvelopeHandler,
    IDataHandler,
    ITransactionHandler,
    IErrorHandler,
)
class SMTPHandler(CheckedHandler):
    """
    A handler that accepts everything and keeps nothing. Override the hooks that you need, or assign
    functions to them: ``handler.onRcptTo = f``.

    :mod:`twisted_smtpserver.interfaces` tells what each hook may return and raise.

    ``onAuth`` and ``scramSecret`` have no default, because to have them says something: the server
    offers AUTH, and then requires it for mail, exactly when its handler has an ``onAuth``.
    """

    @defaultHook
    def onConnect(self, session: Session) -> Any:
        """Accept the connection."""

    @defaultHook
    def onSecure(self, session: Session) -> Any:
        """Accept whatever TLS was negotiated."""

    @defaultHook
    def onHello(self, hostname: str, session: Session) -> Any:
        """Accept the name."""

    @defaultHook
    def onMailFrom(self, address: Address, session: Session) -> Any:
        """Accept the sender."""

    @defaultHook
    def onRcptTo(self, address: Address, session: Session) -> Any:
        """Accept the recipient."""

    @defaultHook
    def onData(self, stream: IncomingMessage, session: Session) -> Any:
        """Accept the message without reading it: the server throws it away."""

    @defaultHook
    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
        """Do nothing."""

    @defaultHook
    def onClose(self, session: Session) -> Any:
        """Do nothing."""

    @defaultHook
    def onError(self, failure: Failure, session: Session | None) -> Any:
        """Do nothing: the server logs the failure in any case."""

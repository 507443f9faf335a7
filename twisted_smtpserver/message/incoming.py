"""
The message that ``onData`` is given, for annotations.

:class:`~twisted_smtpserver.interfaces.IMessageStream` says what it does. That is a zope interface,
which type checkers don't understand without a plugin; this is the same for them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred

from twisted_smtpserver.message.parsed import ParsedMessage

__all__ = ["IncomingMessage"]


class IncomingMessage(Protocol):
    """
    A message while it arrives::

        async def onData(self, stream: IncomingMessage, session: Session) -> str:
            octets = await stream.read(limit=2**20)

    See :class:`~twisted_smtpserver.interfaces.IMessageStream`, also for what can be raised.
    """

    @property
    def byteLength(self) -> int:
        """How many octets of content have come in so far."""

    @property
    def sizeExceeded(self) -> bool:
        """Whether the message has outgrown the ``size`` option."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the octets in chunks of any size."""

    def read(self, limit: int = ...) -> Deferred[bytes]:
        """The whole rest of the message, of at most ``limit`` octets."""

    def pipeTo(self, consumer: Any) -> Deferred[int]:
        """Write the octets to an ``IConsumer``; how many they were."""

    def saveTo(self, target: str | os.PathLike[str] | IO[bytes]) -> Deferred[int]:
        """Save the octets durably, at a path or to an open file; how many they were."""

    def message(self, limit: int = ...) -> Deferred[EmailMessage]:
        """The message as the standard library has it."""

    def parsed(self, limit: int = ...) -> Deferred[ParsedMessage]:
        """The message decoded: subject, addresses, date, text, HTML, attachments."""

    def prepend(self, octets: bytes) -> None:
        """Put octets, usually header fields, before the message."""

"""
What the connection asks of the factory above it, and its parts of the connection: shapes only.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from twisted_smtpserver.connection.counts import ClientCounts
from twisted_smtpserver.connection.timeouts import CommonTimer, IdleTimeout
from twisted_smtpserver.dialogue import ports
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.options import Options
from twisted_smtpserver.session import Session


class Factory(ports.Server, Protocol):
    """The factory that made a connection."""

    @property
    def firstLooks(self) -> CommonTimer[IdleTimeout]:
        """When to look for the first time whether a connection was waited for too long."""

    @property
    def lifetimes(self) -> CommonTimer[Any]:
        """When each connection has lasted too long."""

    @property
    def counts(self) -> ClientCounts:
        """The connections by the client's address."""

    @property
    def contextFactory(self) -> Any:
        """What TLS begins with; ``None`` without a certificate."""

    def lookUp(self, address: str | None) -> str | Deferred[str]:
        """The client's name, or a Deferred of it."""

    def watch(self, transport: Any) -> None:
        """Let a connection be read together with the others, or by itself."""

    def connectionGone(self, connection: Any) -> None:
        """A connection was lost."""


class Listener(Protocol):
    """Who hears what is said on a connection."""

    def lineCame(self, line: bytes) -> None:
        """A command came, or the answer to a challenge."""

    def lineTooLong(self) -> None:
        """A line came that is too long."""

    def repliesWritten(self, octets: bytes) -> None:
        """Replies are about to be written."""

    def connectionLost(self) -> None:
        """The connection is gone."""


class Connection(ports.Connection, Protocol):
    """The connection, as its parts see it."""

    @property
    def dialogue(self) -> Dialogue:
        """The conversation."""

    @property
    def session(self) -> Session:
        """The client's session."""

    @property
    def options(self) -> Options:
        """The server's options."""

    @property
    def factory(self) -> Factory:
        """The factory."""

    @property
    def timeout(self) -> IdleTimeout:
        """The timer."""

    @property
    def transport(self) -> Any:
        """Twisted's transport."""

    @property
    def isClosing(self) -> bool:
        """Whether the peer isn't listened to any more."""

    @property
    def isHeld(self) -> bool:
        """Whether lines wait."""

    @property
    def pending(self) -> object:
        """The outcome that commands wait for; ``None`` if there is none."""

    def enter(self, address: str | None) -> bool:
        """Count the connection as one of its client's; whether there aren't too many."""

    def opened(self) -> None:
        """The opening is over."""

    def drop(self, why: str) -> None:
        """Close without a word."""

    def awaitHandshake(self) -> None:
        """A TLS handshake is due."""

    def beginHandshake(self) -> None:
        """Speak TLS from here on."""

    def proceed(self, outcome: Outcome) -> None:
        """The pending outcome is known."""

    def hold(self) -> None:
        """Let lines wait."""

    def release(self) -> None:
        """Go on with the next line."""

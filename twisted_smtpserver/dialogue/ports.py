"""
What the dialogue asks of its neighbors: the one file that looks upwards, and only at shapes.

:class:`Connection` is the connection below the octets, :class:`Server` the factory, and
:class:`Transfer` a message on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.dialogue.step import Step, Verbs
from twisted_smtpserver.errors import MessageIncomplete
from twisted_smtpserver.interfaces import IMetrics
from twisted_smtpserver.log.serverlog import ServerLog
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.states import Event, Phase

#: What each command has to pass, in order; with a dialogue, which stands in a file above this one.
Gates = Sequence["Callable[[Any, str], Reply | None]"]


class Timeout(Protocol):
    """A connection's timer."""

    def resetTimeout(self) -> None:
        """The client said something: the wait starts again."""


class Connection(Protocol):
    """The connection that carries a dialogue."""

    def respond(self, outcome: Outcome) -> None:
        """Write an outcome that came later than its command."""

    def beginRaw(self, sink: Callable[[bytes], object], due: int = 0) -> None:
        """From here on octets aren't lines; see :class:`PipelinedLines`."""

    def endRaw(self, rest: bytes) -> None:
        """Lines again, beginning with the rest."""

    def startTLS(self) -> Outcome:
        """Answer STARTTLS, and begin the handshake."""

    def channelBinding(self) -> bytes | None:
        """What SCRAM's -PLUS binds a login to; ``None`` where TLS has nothing for it."""

    @property
    def timeout(self) -> Timeout:
        """The connection's timer."""

    @property
    def isRaw(self) -> bool:
        """Whether octets aren't lines."""

    @property
    def isGone(self) -> bool:
        """Whether the connection is closed, by whomever."""

    def awaitClient(self) -> None:
        """It is the client's turn, or that of a handler that doesn't read."""

    def pauseContent(self) -> None:
        """The handler doesn't read: stop the client."""

    def resumeContent(self) -> None:
        """The handler reads again."""


class OctetsReceiver(Protocol):
    """The dialogue, as octets that aren't lines see it."""

    @property
    def connection(self) -> Connection:
        """What carries it."""

    def octetsCame(self, count: int, isLast: bool = False) -> bool:
        """Octets came; whether to go on."""

    def attempt(self, step: Callable[[], Outcome]) -> Outcome:
        """Do a step that may fail."""


class Transfer(Protocol):
    """A message on its way."""

    @property
    def isFinishing(self) -> bool:
        """Whether the whole message is there, and the handler's result isn't."""

    def abandon(self, error: MessageIncomplete) -> None:
        """The rest of the message will never come."""

    def detach(self) -> None:
        """All is over."""

    def timedOut(self) -> None:
        """The handler took too long."""

    def withdraw(self) -> None:
        """The server stops, and can't wait for the handler."""


class LoginFailures(Protocol):
    """The server's memory of failed logins."""

    def failed(self, address: str | None, username: str, now: float) -> float | Deferred[float]:
        """Count a failed login; how long to put the refusal off, in seconds, maybe later."""

    def succeeded(self, address: str | None, username: str) -> None:
        """Forget what a user mistyped."""


class Extensions(Protocol):
    """The server's :class:`~twisted_smtpserver.extensions.base.ExtensionSet`."""

    @property
    def seesSenders(self) -> bool:
        """Whether one wants to see each MAIL, with parameters or not."""

    @property
    def seesRecipients(self) -> bool:
        """Whether one wants to see each RCPT."""

    def keywords(self, session: Session) -> list[str]:
        """The lines of the answer to EHLO."""

    def applyMail(self, address: Address, envelope: Envelope, session: Session) -> Reply | None:
        """What MAIL's parameters come to: a refusal, or other words for the 250."""

    def applyRcpt(self, address: Address, envelope: Envelope, session: Session) -> Reply | None:
        """A refusal of RCPT's parameters."""


class Server(Protocol):
    """The server that a dialogue is one of."""

    @property
    def handler(self) -> object:
        """The user's handler."""

    @property
    def options(self) -> Options:
        """The server's options."""

    @property
    def log(self) -> ServerLog:
        """The log's events."""

    @property
    def metrics(self) -> IMetrics | None:
        """What counts."""

    @property
    def clock(self) -> IReactorTime:
        """What timers run on."""

    @property
    def verbs(self) -> Verbs:
        """The commands, by verb."""

    @property
    def gates(self) -> Gates:
        """What each command has to pass, in order."""

    @property
    def steps(self) -> Mapping[tuple[Phase, Event], Step]:
        """The state machine, and what each of its transitions leads to."""

    @property
    def extensions(self) -> Extensions:
        """The extensions."""

    @property
    def greeting(self) -> Reply:
        """The greeting."""

    @property
    def authNeeded(self) -> Reply:
        """What MAIL is answered before a login that is required."""

    @property
    def loginFailures(self) -> LoginFailures:
        """The failed logins."""

    @property
    def runInThread(self) -> Callable[..., Deferred[Any]]:
        """Runs a function in a thread."""

    @property
    def runInSlices(self) -> Callable[..., Deferred[Any]]:
        """Does long work in slices."""

    def reportError(self, failure: Failure, session: Session | None = None, hook: str = "") -> str:
        """Log a bug; the incident's id."""

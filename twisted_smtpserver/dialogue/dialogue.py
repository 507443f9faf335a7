"""
The conversation with one client: commands in, the handler asked, replies out.

:class:`Dialogue` takes a line through the gates to its verb, waits if the handler takes its time,
and writes the reply. It knows the states and the transaction, but nothing of how the connection
came about: that is :mod:`~twisted_smtpserver.connection.protocol`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from twisted_smtpserver import limits, replies
from twisted_smtpserver.commands.gates import GATES, HELLOS
from twisted_smtpserver.connection.octets import OctetReceiver
from twisted_smtpserver.connection.replying import Outcome
from twisted_smtpserver.errors import ConnectionLost, TransactionReset
from twisted_smtpserver.extensions.base import Verb
from twisted_smtpserver.hooks import findHook, invoke
from twisted_smtpserver.interfaces import IDialogue
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Event, Phase
from twisted_smtpserver.wire.bdat import mayAnnounceChunk
from twisted_smtpserver.wire.commands import Command, parseCommand

if TYPE_CHECKING:
    from twisted_smtpserver.factory import SMTPServerFactory

_MAX_AUTH_LINE = 12288  # RFC 4954 §4

#: How long the last word may take when the server can't wait any more, in seconds.
LAST_WORD_TIME = 1.0

_TLS_RECORD = b"\x16\x03"  # RFC 8446 §5.1: a handshake record

_NOBODY: Mapping[Any, Verb] = MappingProxyType({})

_IDLE_PHASES = (Phase.CONNECTED, Phase.GREETED, Phase.READY, Phase.REFUSED)


@implementer(IDialogue)
class Dialogue(OctetReceiver):
    """
    See :class:`~twisted_smtpserver.interfaces.IDialogue`.

    :ivar utf8Replies: whether replies may be UTF-8 (RFC 6531 §3.7.4.1).
    :ivar unwelcome: what a client whose connection was refused is told.
    """

    __slots__ = (
        "MAX_LENGTH",
        "_admitted",
        "_disabledCommands",
        "_lineTaker",
        "_shortcuts",
        "_stopping",
        "authNeeded",
        "closeReason",
        "extensions",
        "refusedRecipients",
        "utf8Replies",
        "verbs",
    )

    # These only matter when something goes wrong.
    unwelcome: Reply = replies.NOT_WELCOME
    unwelcomeCommands = 0
    deferredRecipients = 0
    unauthenticatedCommands = 0
    unrecognizedCommands = 0
    junkCommands = 0
    failedLogins = 0
    clientErrors = 0
    handshakeDue = False
    # A refusal that isn't counted: it was already, or it is counted elsewhere.
    _exempt: Reply | None = None

    def __init__(self, factory: SMTPServerFactory) -> None:
        super().__init__()
        self.factory = factory
        self.options = factory.options
        self.extensions = factory.extensions
        self.verbs = factory.verbs
        self.clock = factory.clock
        self.firstLooks = factory.firstLooks
        self.writesImmediately = factory.options.immediateWrites
        self.authNeeded = factory.authNeeded
        self.MAX_LENGTH = max(_MAX_AUTH_LINE, factory.options.maxCommandLength) - len(b"\r\n")
        self.session = Session(factory.options.lmtp, frozenset(factory.options.disabledCommands))
        self._disabledCommands = self.session.disabledCommands
        # Verbs that pass all gates in this phase, and short ways to some; see gates.makeSteps.
        self._admitted: Mapping[str, Verb] = _NOBODY
        self._shortcuts: Mapping[bytes, Verb] = _NOBODY
        self._lineTaker: Callable[[bytes], Outcome] | None = None
        self._stopping = False
        self.closeReason: str | None = None
        self.refusedRecipients = 0
        self.utf8Replies = False

    # -- Lines ------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """A command, or the answer to a challenge."""
        shortcut = self._shortcuts.get(line[:5])
        outcome = None
        try:
            if (
                shortcut is not None
                and self._lineTaker is None
                # Not through the property: for each line that makes a difference.
                and self.session._disabledCommands is self._disabledCommands
            ):
                self._plain = False
                outcome = shortcut(self, line)
            if outcome is None:
                outcome = self._take(line)
        except Exception as error:
            # An extension's verb may be anybody's code; the server lives on.
            outcome = self.refuse(error, "")
        if (
            type(outcome) is Reply
            and outcome.code < 400
            and not (self._plain or self.utf8Replies or self._stopping or self._closing)
            and self.closeReason is None
        ):
            self._output += outcome.wire  # as nearly always; settle() would come to the same
        else:
            self.settle(outcome)

    def _take(self, line: bytes) -> Outcome:
        taker = self._lineTaker
        if b"\n" in line or line[:2] == _TLS_RECORD:
            self.checkLine(line)
        elif taker is not None:
            self._lineTaker = None
            return taker(line)
        elif len(line) + 2 > self.options.maxCommandLength and not _isAuth(line):
            self.lineTooLong(line)
        else:
            return self._command(line)
        return None

    def _command(self, line: bytes) -> Outcome:
        command = parseCommand(line)
        if not isinstance(command, Command):
            self._plain = False
            self._checkChunk(line)
            return self.countUnrecognized(command)
        verb, argument = command
        self._plain = verb in HELLOS
        function = self._admitted.get(verb)
        if (
            function is None
            or self.session.disabledCommands is not self._disabledCommands
            or (self.phase <= Phase.READY and self.loginMissing)
        ):
            for gate in GATES:
                refusal = gate(self, verb)
                if refusal is not None:
                    return self._refusedCommand(command, refusal)
            function = self.verbs[verb]
        outcome = function(self, argument)
        if outcome is None and self.line_mode and not self.handshakeDue:
            # Nothing more is to come, and the next command's reply would be taken for this one's.
            raise TypeError(f"the verb {verb} returned no reply")
        return outcome

    def _refusedCommand(self, command: Command, refusal: Reply) -> Outcome:
        onRefusal = getattr(self.verbs.get(command.verb), "refused", None)
        return refusal if onRefusal is None else onRefusal(self, command.argument, refusal)

    def _checkChunk(self, line: bytes) -> None:
        """What follows a line that may have been meant as BDAT must not be taken for commands."""
        if mayAnnounceChunk(line):
            self.closeAfterReply("malformed BDAT")

    def lineTooLong(self, beginning: bytes) -> None:
        """RFC 5321 §4.5.3.1.4, RFC 4954 §4."""
        self._plain = False
        self._checkChunk(beginning)
        inExchange, self._lineTaker = self._lineTaker is not None, None
        isAuth = inExchange or _isAuth(beginning)
        self.settle(replies.AUTH_LINE_TOO_LONG if isAuth else replies.LINE_TOO_LONG)

    def checkLine(self, octets: bytes) -> None:
        """See :meth:`~twisted_smtpserver.connection.lines.OrderedReceiver.checkLine`."""
        if octets[:2] == _TLS_RECORD:
            self._plain = False
            self.closeAfterReply("TLS handshake in clear")
            self.settle(replies.NOT_TLS)
        else:
            super().checkLine(octets)

    def bareNewlineReceived(self) -> None:
        """Who ends lines in LF only may see other lines than we do: no further."""
        self._plain = False
        self.closeAfterReply("bare newline in a command")
        self.settle(replies.BARE_NEWLINE_IN_COMMAND)

    def takeLine(self, taker: Callable[[bytes], Outcome]) -> None:
        """
        The next line isn't a command.

        :param taker: called with it; returns what a verb returns.
        """
        self._lineTaker = taker

    def countUnrecognized(self, refusal: Reply) -> Reply:
        """
        One more line that is no command.

        :param refusal: what it is to be answered.
        :returns: that, or 421 if there were too many.
        """
        self.unrecognizedCommands += 1
        if self.unrecognizedCommands >= self.options.maxUnrecognizedCommands:
            return replies.TOO_MANY_ERRORS
        return refusal

    def countJunk(self, reply: Reply) -> Reply:
        """
        One more command that brought no message any further.

        :param reply: what it is to be answered.
        :returns: that, or 421 if there were too many since the last message.
        """
        self.junkCommands += 1
        return reply if self.junkCommands <= self.options.maxJunkCommands else replies.TOO_MUCH_JUNK

    @property
    def loginMissing(self) -> bool:
        """Whether a login is required, and hasn't come."""
        return (
            self.session.user is None
            and not self.options.authOptional
            and findHook(self.factory.handler, "onAuth") is not None
            and "AUTH" not in self.session.disabledCommands
        )

    # -- Replies ----------------------------------------------------------------------------------

    def settle(self, outcome: Outcome) -> None:
        """
        Write the reply to a command, now or when it is known.

        :param outcome: a Reply, a list of several, or a Deferred of those; ``None`` if another call
            follows.
        """
        if type(outcome) is Reply:  # first: to ask whether it is a Deferred takes longer
            if outcome.code < 400 and not self._plain:
                self.send(outcome.encode(True) if self.utf8Replies else outcome.wire)
            else:
                if outcome.code >= 500 and self.closeReason is None and not self._closing:
                    outcome = self._countError(outcome)
                    if outcome is None:
                        return
                self._write(outcome)
        elif isinstance(outcome, Deferred):
            self._wait(outcome)
            return
        elif isinstance(outcome, CoroutineType):
            self._run(outcome)
            return
        elif outcome is not None:
            for reply in self._checked(outcome):
                self._write(reply)
        if self.utf8Replies and self.phase is Phase.READY:
            self.utf8Replies = False  # the transaction that asked for them is over
        if self.closeReason is not None:
            self.close()
        elif self._stopping:
            self.shutDown()

    def _run(self, verb: CoroutineType[Any, Any, Outcome]) -> None:
        """A verb of an extension's that is an ``async def``."""
        try:
            outcome = invoke(lambda: verb)
        except Exception as error:
            outcome = self.refuse(error, "")
        self.settle(outcome)

    def _countError(self, refusal: Reply) -> Reply | None:
        """
        One more refused command.

        :param refusal: its answer.
        :returns: what it is answered now; ``None`` if that comes later.
        """
        if self._exempt is refusal:
            self._exempt = None
            return refusal
        self.clientErrors += 1
        most = self.options.maxErrors
        if self.clientErrors >= most:
            return replies.TOO_MANY_ERRORS
        delay = (self.clientErrors - most // 2) * self.options.errorDelay
        if delay <= 0 or self.phase is Phase.REFUSED:
            return refusal
        self._exempt = refusal
        # It must not be mistaken for a handler that takes too long.
        delay = min(delay, limits.MAX_ERROR_DELAY, self.options.handlerTimeout / 2)
        self._wait(deferLater(self.clock, delay, lambda: refusal))
        return None

    def refuseRecipient(self, error: Exception) -> Reply:
        """
        The reply for a recipient that the handler refused. Those have a limit of their own: a list
        with many dead addresses isn't an attack.

        :param error: what the handler raised.
        """
        reply = self.refuse(error, "onRcptTo")
        if reply.code >= 500:
            self.refusedRecipients += 1
            self._exempt = reply
            return reply
        self.deferredRecipients += 1
        isMuch = self.deferredRecipients >= limits.MAX_DEFERRED_RECIPIENTS
        # One that has recipients may bring its message first.
        return replies.TOO_MANY_REFUSED if isMuch and not self.session.envelope.rcptTo else reply

    def _checked(self, outcome: Outcome) -> list[Reply]:
        if isinstance(outcome, list) and all(isinstance(reply, Reply) for reply in outcome):
            return outcome
        return [self.refuse(TypeError(f"a verb returned {type(outcome).__name__}"), "")]

    def _write(self, reply: Reply) -> None:
        if reply.code >= 400:
            self.session.errors += 1
            self.session.error = reply.text
            if reply.code == 421:
                self.closeAfterReply(reply.text)
        if self._plain and reply.enhanced is not None:
            reply = Reply(reply.code, None, *reply.lines)
        self.send(reply.encode(True) if self.utf8Replies else reply.wire)

    def shutDown(self) -> None:
        """The server stops: say so, at once or when the transaction is over."""
        self._stopping = True
        if self.phase in _IDLE_PHASES and self._waitToken is None and self.closeReason is None:
            self.closeAfterReply("server shut down")
            self._plain = self.phase is Phase.CONNECTED
            self.settle(replies.SHUTTING_DOWN)

    def cutOff(self) -> None:
        """The server stops, and has waited long enough."""
        self.closeAfterReply("server shut down")
        self.send(replies.SHUTTING_DOWN.encode())
        self.close()
        self.setTimer(LAST_WORD_TIME, self.transport.abortConnection)

    def closeAfterReply(self, reason: str) -> None:
        """
        The next reply is the last.

        :param reason: for the session's summary.
        """
        if self.closeReason is None:
            self.closeReason = reason

    # -- The connection ---------------------------------------------------------------------------

    def startTLS(self) -> Reply | None:
        """
        STARTTLS was accepted: say so and begin the handshake.

        :returns: a refusal after all, or ``None``.
        """
        raise NotImplementedError  # the connection's business: see the subclass

    def startOver(
        self, claim: Callable[[], object], admitted: Callable[[object], Outcome]
    ) -> Outcome:
        """
        XCLIENT was accepted: forget the hello, the login and the transaction, and ask
        ``onConnect`` about the client that is claimed.

        :param claim: writes what is claimed to the session.
        :param admitted: called if ``onConnect`` didn't refuse; returns what a verb returns.
        """
        raise NotImplementedError

    def greeting(self) -> Reply:
        """The next reply, a greeting."""
        raise NotImplementedError

    # -- The phase and the transaction -------------------------------------------------------------

    def move(self, event: Event) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.move`."""
        self.phase, self._admitted, self._shortcuts = self.factory.steps[self.phase, event]

    def reset(self) -> None:
        """RFC 5321 §4.1.1.5: forget the transaction, if there is one."""
        if self.transfer is not None:
            self.transfer.abandon(TransactionReset("the client gave the message up"))
        self._endTransaction("reset")
        self.move(Event.RESET)

    def refuseTransaction(self) -> None:
        """DATA itself was refused: the transaction is over."""
        self._endTransaction("refused")
        self.move(Event.END)

    def messageDone(self, octets: int, answers: list[Reply]) -> None:
        """
        A message came in whole, and these are its final replies.

        :param octets: the length of its content.
        """
        session, events = self.session, self.factory.events
        envelope = session.envelope
        # Mostly there is one, and to look at that takes less than to begin with any().
        isAccepted = answers[0].code < 400 or any(reply.isPositive for reply in answers)
        if isAccepted:
            session.messages += 1
            self.junkCommands = 0
        session.octets += octets
        events.messageEnded(session, envelope, octets, answers)
        if self.isLost:
            events.replyLost(session, envelope, answers)
        self._endTransaction("accepted" if isAccepted else "refused")
        session.countMessage()
        self.move(Event.END)

    def _endTransaction(self, outcome: str) -> None:
        session = self.session
        if self.transfer is not None:
            self.transfer.stream.detach()
            self.transfer = None
        envelope = session.envelope
        session.forgetEnvelope()
        if envelope.mailFrom is not None:
            self.tell("onTransactionEnd", envelope, outcome, session)
        session.forgetXForward()  # it was about this message (Postfix's XFORWARD_README)

    def transactionLost(self) -> None:
        """The client left in the middle of it."""
        if self.transfer is not None:
            self.transfer.abandon(ConnectionLost("the client left before the message ended"))
        self._endTransaction("lost")


def _isAuth(line: bytes) -> bool:
    return line[:5].upper() in (b"AUTH ", b"AUTH")

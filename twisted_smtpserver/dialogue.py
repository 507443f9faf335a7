"""
The conversation with one client: commands in, the handler asked, replies out.

:class:`Dialogue` takes a line through the gates to its verb, waits if the handler takes its time,
and writes the reply. It knows the states and the transaction, but nothing of how the connection
came about: that is :mod:`~twisted_smtpserver.protocol`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver import replies
from twisted_smtpserver.errors import ConnectionLost, Rejection, TransactionReset, asRejection
from twisted_smtpserver.framing import BODY_UNREAD, OrderedReceiver
from twisted_smtpserver.gates import GATES
from twisted_smtpserver.hooks import Hook, findHook, invoke
from twisted_smtpserver.interfaces import IDialogue
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import TRANSITIONS, Event, Phase
from twisted_smtpserver.transfer import MessageTransfer
from twisted_smtpserver.wire.commands import Command, parseCommand

if TYPE_CHECKING:
    from twisted_smtpserver.factory import SMTPServerFactory

#: What a hook's refusal is, where it leaves something open.
REFUSALS = {
    "onConnect": Reply(554, None, "No service for you here"),
    "onSecure": Reply(554, "5.7.0", "This TLS session is not acceptable"),
    "onHello": Reply(550, None, "Hello refused"),
    "onAuth": replies.AUTH_FAILED,
    "onMailFrom": Reply(550, "5.7.1", "Sender refused"),
    "onRcptTo": Reply(550, "5.1.1", "Recipient refused"),
    "onData": Reply(450, "4.3.0", "Message refused, try again later"),
}

# Replies to these have no enhanced status code (RFC 2034 §4).
_HELLOS = frozenset({"EHLO", "HELO", "LHLO"})

_MAX_AUTH_LINE = 12288  # RFC 4954 §4

_TLS_RECORD = b"\x16\x03"  # RFC 8446 §5.1: a handshake record

#: How long a client that isn't welcome may stay, in seconds.
UNWELCOME_TIME = 10.0

_IDLE_PHASES = (Phase.CONNECTED, Phase.GREETED, Phase.READY, Phase.REFUSED)

Outcome = Any  # Reply, list[Reply], Deferred of those, or None if the reply comes later


@implementer(IDialogue)
class Dialogue(OrderedReceiver):
    """
    See :class:`~twisted_smtpserver.interfaces.IDialogue`.

    :ivar transfer: the message on its way, if there is one.
    :ivar utf8Replies: whether replies may be UTF-8 (RFC 6531 §3.7.4.1).
    :ivar unwelcome: what a client whose connection was refused is told.
    """

    factory: SMTPServerFactory
    session: Session

    phase = Phase.CONNECTED
    transfer: MessageTransfer | None = None
    utf8Replies = False
    unwelcome: Reply = replies.NOT_WELCOME
    unwelcomeCommands = 0
    unauthenticatedCommands = 0
    unrecognizedCommands = 0
    failedLogins = 0
    closeReason: str | None = None
    isLost = False

    _plain = True  # no enhanced status code in the next reply
    _stopping = False
    _waitToken: object = None
    _pending: Deferred[Any] | None = None
    _givingUp = False
    _lineTaker: Callable[[bytes], Outcome] | None = None

    def __init__(self, factory: SMTPServerFactory) -> None:
        self.factory = factory
        self.options = factory.options
        self.extensions = factory.extensions
        self.verbs = factory.verbs
        self.clock = factory.clock
        self.authNeeded = factory.authNeeded
        self.MAX_LENGTH = max(_MAX_AUTH_LINE, factory.options.maxCommandLength) - len(b"\r\n")
        self.session = Session(factory.options.lmtp)
        self.session.disabledCommands = factory.options.disabledCommands

    # -- Lines ------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """A command, or the answer to a challenge."""
        self.clientSpoke()
        taker = self._lineTaker
        if b"\n" in line or line[:2] == _TLS_RECORD:
            self.checkLine(line)
        elif taker is not None:
            self._lineTaker = None
            self.settle(self._guarded(taker, line))
        elif len(line) + 2 > self.options.maxCommandLength and not _isAuth(line):
            self.lineTooLong(line)
        else:
            self.settle(self._guarded(self._command, line))

    def _guarded(self, function: Callable[[bytes], Outcome], line: bytes) -> Outcome:
        try:
            return function(line)
        except Exception as error:
            # An extension's verb may be anybody's code; the server lives on.
            return self.refuse(error, "")

    def _command(self, line: bytes) -> Outcome:
        command = parseCommand(line)
        if not isinstance(command, Command):
            self._plain = False
            return self.countUnrecognized(command)
        verb = command.verb
        self._plain = verb in _HELLOS
        for gate in GATES:
            refusal = gate(self, verb)
            if refusal is not None:
                return self._refusedCommand(command, refusal)
        return self.verbs[verb](self, command.argument)

    def _refusedCommand(self, command: Command, refusal: Reply) -> Outcome:
        onRefusal = getattr(self.verbs.get(command.verb), "refused", None)
        return refusal if onRefusal is None else onRefusal(self, command.argument, refusal)

    def lineTooLong(self, beginning: bytes) -> None:
        """RFC 5321 §4.5.3.1.4, RFC 4954 §4."""
        self._plain = False
        inExchange, self._lineTaker = self._lineTaker is not None, None
        isAuth = inExchange or _isAuth(beginning)
        self.settle(replies.AUTH_LINE_TOO_LONG if isAuth else replies.LINE_TOO_LONG)

    def checkLine(self, octets: bytes) -> None:
        """See :meth:`~twisted_smtpserver.framing.OrderedReceiver.checkLine`."""
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
        if isinstance(outcome, Deferred):
            self._wait(outcome)
            return
        if type(outcome) is Reply:
            self._write(outcome)
        elif outcome is not None:
            for reply in self._checked(outcome):
                self._write(reply)
        if self.utf8Replies and self.phase is Phase.READY:
            self.utf8Replies = False  # the transaction that asked for them is over
        if self.closeReason is not None:
            self.close()
        elif self._stopping:
            self.shutDown()

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
        self.send(reply.encode(self.utf8Replies))

    def shutDown(self) -> None:
        """The server stops: say so, at once or when the transaction is over."""
        self._stopping = True
        if self.phase in _IDLE_PHASES and self._waitToken is None and self.closeReason is None:
            self.closeAfterReply("server shut down")
            self._plain = self.phase is Phase.CONNECTED
            self.settle(replies.SHUTTING_DOWN)

    def closeAfterReply(self, reason: str) -> None:
        """
        The next reply is the last.

        :param reason: for the session's summary.
        """
        if self.closeReason is None:
            self.closeReason = reason

    # -- The handler -------------------------------------------------------------------------------

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

    def hook(self, name: str) -> Hook | None:
        """The handler's hook of a name, if it has one."""
        return findHook(self.factory.handler, name)

    def ask(
        self,
        name: str,
        arguments: tuple[object, ...],
        accepted: Callable[[Any], Outcome],
        failed: Callable[[Exception], Outcome] | None = None,
    ) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.ask`."""
        hook = findHook(self.factory.handler, name)
        if hook is None:
            return accepted(None)
        try:
            result = invoke(hook, *arguments)
            if not isinstance(result, Deferred):
                return accepted(result)
        except Exception as error:
            return self.refuse(error, name) if failed is None else failed(error)
        judge = partial(self.refuse, stage=name) if failed is None else failed
        answer: Deferred[Outcome] = _following(result)
        answer.addCallback(accepted)
        answer.addErrback(lambda failure: judge(self._asError(failure)))
        return answer

    def refuse(self, error: BaseException, stage: str) -> Reply:
        """
        The reply for what a hook raised.

        :param error: a refusal, or a bug, which is logged.
        :param stage: the hook's name.
        """
        try:
            rejection = asRejection(error)
            if rejection is not None:
                return rejection.toReply(REFUSALS.get(stage, replies.NO_RESULT))
        except Exception as mistake:  # a code that is none, a text that isn't text
            error = mistake
        incident = self.factory.reportError(Failure(error), self.session)
        code, enhanced = (454, "4.7.0") if stage == "onAuth" else (451, "4.3.0")
        return Reply(code, enhanced, f"Internal error, incident {incident}")

    def tell(self, name: str, *arguments: object) -> None:
        """Call a hook that has no say; nobody waits for it."""
        hook = self.hook(name)
        if hook is None:
            return
        try:
            result = invoke(hook, *arguments)
        except Exception as error:
            self.factory.reportError(Failure(error), self.session)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self.factory.reportError, self.session)

    # -- Waiting -----------------------------------------------------------------------------------

    def _wait(self, outcome: Deferred[Outcome]) -> None:
        """Hold the next commands until the handler has answered."""
        token = self._waitToken = object()
        self._pending = outcome
        self.hold()
        self.setTimer(self.options.handlerTimeout, self._handlerTimedOut)
        outcome.addErrback(self._failed)
        outcome.addCallback(self._arrived, token)

    def _failed(self, failure: Failure) -> Reply:
        return self.refuse(self._asError(failure), "")

    def _asError(self, failure: Failure) -> Exception:
        if self._givingUp:
            return _TimedOut()
        # A Deferred may carry a bare BaseException such as GeneratorExit: that is a bug, too.
        error = failure.value
        return error if isinstance(error, Exception) else RuntimeError(repr(error))

    def _arrived(self, outcome: Outcome, token: object) -> None:
        if self._waitToken is token:  # otherwise it is too late: the client was told already
            self._waitToken = self._pending = None
            self._proceed(outcome)

    def _handlerTimedOut(self) -> None:
        self.giveUp()
        if self._waitToken is not None:  # it will fire later, if ever
            self._waitToken = None
            self._proceed(replies.HANDLER_TIMED_OUT)

    def giveUp(self) -> None:
        """Cancel what is waited for, if anything is."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        self._givingUp = True
        try:
            pending.cancel()
        except Exception as error:  # from the canceller of a handler's Deferred
            self.factory.reportError(Failure(error), self.session)
        finally:
            self._givingUp = False

    def _proceed(self, outcome: Outcome) -> None:
        if self._closing:
            if self.isLost:
                self.stopTimer()
            return
        self.waitForClient()
        # The reply, and those to the lines that waited for it, leave in one write.
        corked, self._corked = self._corked, True
        try:
            self.settle(outcome)
            if self._waitToken is None:
                self.release()
        finally:
            self._corked = corked
            if not corked:
                self._flush()

    def waitForClient(self) -> None:
        """It is the client's turn: let it not take too long."""
        if self._closing:
            return
        if self.phase is Phase.REFUSED:
            self.setTimer(UNWELCOME_TIME, self._idle)
        else:
            self.setTimer(self.options.socketTimeout, self._idle)

    def clientSpoke(self) -> None:
        """It did its turn, or some of it. A client that isn't welcome gains nothing by that."""
        if self.phase is not Phase.REFUSED:
            self.resetTimer()

    def _idle(self) -> None:
        self._plain = False
        self.settle(replies.IDLE_TOO_LONG)

    # -- The phase and the transaction -------------------------------------------------------------

    def move(self, event: Event) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.move`."""
        self.phase = TRANSITIONS[self.phase, event]

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
        session = self.session
        envelope = session.envelope
        isAccepted = any(reply.isPositive for reply in answers)
        session.messages += isAccepted
        session.octets += octets
        self.factory.events.messageEnded(session, envelope, octets, answers)
        if self.isLost:
            self.factory.events.replyLost(session, envelope, answers)
        self._endTransaction("accepted" if isAccepted else "refused")
        session.countMessage()
        self.move(Event.END)

    def _endTransaction(self, outcome: str) -> None:
        self.transfer = None
        envelope = self.session.envelope
        self.session.forgetEnvelope()
        if envelope.mailFrom is not None:
            self.tell("onTransactionEnd", envelope, outcome, self.session)
        self.session.xForward = {}  # it was about this message (Postfix's XFORWARD_README)

    def transactionLost(self) -> None:
        """The client left in the middle of it."""
        if self.transfer is not None:
            self.transfer.abandon(ConnectionLost("the client left before the message ended"))
        self._endTransaction("lost")

    # -- Octets that are no lines ------------------------------------------------------------------

    def receiveOctets(
        self, count: int, sink: Callable[[bytes], object], done: Callable[[], Outcome]
    ) -> Outcome:
        """
        Take so many octets as they are.

        :param count: how many.
        :param sink: called with them as they come.
        :param done: called after the last one; returns what a verb returns.
        :returns: what the verb that calls this must return.
        """
        if count == 0:
            return done()

        def take(octets: bytes) -> None:
            nonlocal count
            self.clientSpoke()
            if len(octets) < count:
                count -= len(octets)
                sink(octets)
                return
            sink(octets if len(octets) == count else octets[:count])
            self.endRaw(octets[count:])
            self.settle(self._guarded(lambda _: done(), b""))

        self.beginRaw(take)
        return None

    def pauseBody(self, expired: Callable[[], object]) -> None:
        """
        The handler doesn't read: stop the client.

        :param expired: called when the handler hasn't gone on within ``handlerTimeout``.
        """
        self.stopReading(BODY_UNREAD)
        self.setTimer(self.options.handlerTimeout, expired)

    def resumeBody(self) -> None:
        """The handler reads again."""
        self.goOnReading(BODY_UNREAD)
        if self._waitToken is None:
            self.waitForClient()


class _TimedOut(Rejection):
    """A hook took longer than ``handlerTimeout``."""

    defaultReply = replies.HANDLER_TIMED_OUT


def _following(result: Deferred[Any]) -> Deferred[Any]:
    """
    A Deferred with the result of another one, which it cancels when it is canceled; and then it
    fires at once, whatever the other one does, and however late.
    """
    isLate = False

    def cancel(answer: Deferred[Any]) -> None:
        nonlocal isLate
        isLate = True
        try:
            result.cancel()
        finally:
            answer.errback(CancelledError())

    def forward(value: Any) -> None:
        if not isLate:
            answer.callback(value)  # a Failure goes on as one

    answer: Deferred[Any] = Deferred(cancel)
    result.addBoth(forward)
    return answer


def _isAuth(line: bytes) -> bool:
    return line[:5].upper() in (b"AUTH ", b"AUTH")

"""
The conversation with one client: a line in, an outcome out.

:class:`Dialogue` owns the phase, the session and the transaction. It takes a line through the gates
to its verb, which asks the handler and returns an outcome. It knows no socket and writes nothing:
that is the :mod:`~twisted_smtpserver.connection`'s, of which it knows what stands in
:mod:`~twisted_smtpserver.dialogue.ports`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import classImplements

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.conduct import Conduct
from twisted_smtpserver.dialogue.octets import RATE_WINDOW, CountedOctets, Pace
from twisted_smtpserver.dialogue.outcome import LATER, Outcome, withoutEnhanced
from twisted_smtpserver.dialogue.ports import Connection, Server, Transfer
from twisted_smtpserver.dialogue.refusals import (
    REFUSALS,
    REJECTING,
    HookTimedOut,
    following,
    incidentReply,
)
from twisted_smtpserver.dialogue.step import BEGINNING, Step
from twisted_smtpserver.dialogue.timing import timed
from twisted_smtpserver.errors import ConnectionLost, TransactionReset, asRejection
from twisted_smtpserver.hooks import Hook, attribute, resultOf
from twisted_smtpserver.hooks.blocked import BLOCKING_TIME, hookBlocked
from twisted_smtpserver.interfaces import IDialogue
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Event, Phase
from twisted_smtpserver.wire.bdat import mayAnnounceChunk
from twisted_smtpserver.wire.commands import Command, parseCommand

_TLS_RECORD = b"\x16\x03"  # RFC 8446 §5.1: a handshake record

#: Answers to these have no enhanced status code (RFC 2034 §4).
HELLOS = frozenset({"EHLO", "HELO", "LHLO"})
_HELLO_LINES = frozenset({b"EHLO", b"HELO", b"LHLO"})

# To look a member up in its enumeration takes longer than the move itself.
_END: Final = Event.END

_IDLE_PHASES = (Phase.CONNECTED, Phase.GREETED, Phase.READY, Phase.REFUSED)


class Dialogue:
    """
    See :class:`~twisted_smtpserver.interfaces.IDialogue`.

    :param connection: what carries it.
    :param server: what it is a conversation with.
    :ivar closeReason: why the next reply is the last, for the session's line in the log.
    :ivar isLost: whether the connection is gone.
    :ivar isSpecial: whether more is to be done with a reply than to write it; see :meth:`replied`.
    :ivar utf8Replies: whether replies may be UTF-8 (RFC 6531 §3.7.4.1).
    :ivar reachedHandler: whether ``onConnect`` was called, so that ``onClose`` will be.
    :ivar pace: of the message under way; ``None`` until it takes its time.
    :ivar refusedRecipients: how many recipients the handler refused.
    :ivar unwelcome: the reply to a client whose connection was refused.
    """

    __slots__ = (
        "_conduct",
        "_isStopping",
        "_junk",
        "_lineTaker",
        "_step",
        "closeReason",
        "connection",
        "isLost",
        "isSpecial",
        "options",
        "pace",
        "phase",
        "reachedHandler",
        "refusedRecipients",
        "server",
        "session",
        "transfer",
        "unwelcome",
        "utf8Replies",
    )

    def __init__(self, connection: Connection, server: Server) -> None:
        options = server.options
        self.connection = connection
        self.server = server
        self.options = options
        disabled = options.disabledCommands
        assert isinstance(disabled, frozenset)  # Options has made it one, for all connections
        self.session = Session(options.lmtp, disabled)
        self._conduct: Conduct | None = None
        self._junk = 0  # commands that brought no message any further, since the last message
        self.refusedRecipients = 0
        self.phase = Phase.CONNECTED
        self.transfer: Transfer | None = None
        self.isLost = False
        self.reachedHandler = False
        self.isSpecial = False
        self.utf8Replies = False
        self.closeReason: str | None = None
        self.unwelcome: Reply = replies.NOT_WELCOME
        self._step: Step = BEGINNING
        self._lineTaker: Callable[[bytes], Outcome] | None = None
        self._isStopping = False
        self.pace: Pace | None = None

    # -- Lines ------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> Outcome:
        """
        Find the outcome of a command, or of the answer to a challenge.

        :param line: the line without its CRLF.
        """
        step = self._step
        shortcut = step.shortcuts.get(line[:5])
        try:
            if (
                shortcut is not None
                and self._lineTaker is None
                and not self.session.hasOwnCommands
                and not (step.mayLackLogin and self.loginMissing)
            ):
                outcome = shortcut(self, line)
                if outcome is not None:
                    return outcome
            return self._takeLine(line)
        except BaseException as error:
            # An extension's verb may be a user's code, which may raise anything.
            refusal = self.refuse(error, "")
            return refusal.plain if line[:4].upper() in _HELLO_LINES else refusal

    def linesReceived(self, lines: bytes, start: int, most: int) -> tuple[int, int, Outcome]:
        """
        Take several lines at once, where there is a short way for that: recipients.

        :param lines: what came in.
        :param start: where in it the next line begins.
        :param most: how many lines to take.
        :returns: how many were taken that are answered by ``RECIPIENT_OK``; where the line behind
            them begins; and the outcome of one more in between, or ``LATER`` if there is none.
        """
        run = self._step.run
        if run is None or self.isSpecial or self._lineTaker or self.session.hasOwnCommands:
            return 0, start, LATER
        return run(self, lines, start, most)

    def _takeLine(self, line: bytes) -> Outcome:
        malformed = self.checkLine(line)
        if malformed is not None:
            return malformed
        taker = self._lineTaker
        if taker is not None:
            self._lineTaker = None
            return taker(line)
        if len(line) + 2 > self.options.maxCommandLength and not _isAuth(line):
            return self.lineTooLong(line)
        command = parseCommand(line)
        if isinstance(command, Reply):
            self._checkChunk(line)
            return self.conduct.countUnrecognized(command)
        outcome = self._command(command)
        return withoutEnhanced(outcome) if command.verb in HELLOS else outcome

    def _command(self, command: Command) -> Outcome:
        verb, argument = command
        step = self._step
        function = step.admitted.get(verb)
        if (
            function is None
            or self.session.hasOwnCommands
            # No gate requires a login for AUTH, which is the way to log in.
            or (step.mayLackLogin and verb != "AUTH" and self.loginMissing)
        ):
            for gate in self.server.gates:
                refusal = gate(self, verb)
                if refusal is not None:
                    return self._refused(command, refusal)
            function = self.server.verbs[verb]
        return function(self, argument)

    def _refused(self, command: Command, refusal: Reply) -> Outcome:
        onRefusal = getattr(self.server.verbs.get(command.verb), "refused", None)
        if onRefusal is None:
            return refusal
        outcome: Outcome = onRefusal(self, command.argument, refusal)
        return outcome

    def checkLine(self, octets: bytes) -> Reply | None:
        """
        Look for a TLS record or a bare LF, which no line of SMTP has.

        :param octets: a line, or its beginning.
        :returns: the last reply to a client that speaks something else.
        """
        if octets[:2] == _TLS_RECORD:
            self.closeAfterReply("TLS handshake in clear")
            return replies.NOT_TLS
        return self.bareNewline() if b"\n" in octets else None

    def bareNewline(self) -> Reply:
        """A peer that ends lines with a bare LF may disagree with us on line boundaries; close."""
        self.closeAfterReply("bare newline in a command")
        return replies.BARE_NEWLINE_IN_COMMAND

    def lineTooLong(self, beginning: bytes) -> Reply:
        """Refuse an overlong line, which was skipped (RFC 5321 §4.5.3.1.4, RFC 4954 §4)."""
        self._checkChunk(beginning)
        inExchange, self._lineTaker = self._lineTaker is not None, None
        isAuth = inExchange or _isAuth(beginning)
        return replies.AUTH_LINE_TOO_LONG if isAuth else replies.LINE_TOO_LONG

    def _checkChunk(self, line: bytes) -> None:
        """Close after what may be a BDAT: message content would be taken for commands."""
        if mayAnnounceChunk(line):
            self.closeAfterReply("malformed BDAT")

    @property
    def awaitsAnswer(self) -> bool:
        """Whether the next line is the answer to a challenge."""
        return self._lineTaker is not None

    def takeLine(self, taker: Callable[[bytes], Outcome]) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.takeLine`."""
        self._lineTaker = taker

    def countJunk(self, reply: Reply) -> Reply:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.countJunk`."""
        self._junk += 1
        return reply if self._junk <= self.options.maxJunkCommands else replies.TOO_MUCH_JUNK

    @property
    def conduct(self) -> Conduct:
        """What the client did wrong."""
        if self._conduct is None:
            self._conduct = Conduct(self.options)
        return self._conduct

    @property
    def loginMissing(self) -> bool:
        """Whether the client must log in, and hasn't yet."""
        return (
            self.session.user is None
            and not self.options.authOptional
            and attribute(self.server.handler, "onAuth", None) is not None  # mostly there is none
            and self.hook("onAuth") is not None
            and "AUTH" not in self.session.disabledCommands
        )

    # -- Octets -----------------------------------------------------------------------------------

    def receiveOctets(
        self, count: int, sink: Callable[[bytes], object], done: Callable[[], Outcome]
    ) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.receiveOctets`."""
        if count == 0:
            return done()
        if self.transfer is None:  # they are those of a refused command
            self.pace = None
        elif self.pace is not None:
            self.pace.resume(self.seconds())
        self.connection.beginRaw(CountedOctets(self, count, sink, done).take, count)
        return LATER

    def octetsCame(self, count: int, isLast: bool = False) -> bool:
        """
        Count a message's octets, which must come at a certain pace.

        :param count: how many came.
        :param isLast: whether the client owes no more of them for now.
        :returns: whether to go on; if not, the client was too slow, and got its last reply.
        """
        self.connection.timeout.resetTimeout()
        if self.pace is None and isLast:  # most messages come in one piece: they have no pace
            return True
        now = self.seconds()
        if self.pace is None:
            window = max(RATE_WINDOW, self.options.socketTimeout)
            self.pace = Pace(self.options.minDataRate, window, now)
        if self.pace.isTooSlow(count, now):
            self.connection.respond(replies.TOO_SLOW)
            return False
        if isLast:  # until the next chunk the client owes no octets
            self.pace.pause(now)
        return True

    def pauseContent(self) -> None:
        """The handler doesn't read: stop the client, and the clock of its pace."""
        if self.pace is not None:
            self.pace.pause(self.seconds())
        self.connection.pauseContent()

    def resumeContent(self) -> None:
        """The handler reads again: let the client send what it owes."""
        if self.pace is not None and self.connection.isRaw:
            self.pace.resume(self.seconds())
        self.connection.resumeContent()

    # -- The handler ------------------------------------------------------------------------------

    def ask(
        self,
        name: str,
        arguments: tuple[object, ...],
        accepted: Callable[[Any], Outcome],
        failed: Callable[[BaseException], Outcome] | None = None,
    ) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.ask`."""
        # As hook(), without the call: most handlers have no such hook, and this ends here.
        hook = attribute(self.server.handler, name, None)
        if hook is None or (
            attribute(attribute(hook, "__func__", hook), "isDefaultHook", None) is True
        ):
            return accepted(None)
        if self.server.metrics is not None:
            accepted, failed = timed(
                self.server.metrics, name, accepted, failed or self._refuseAt(name)
            )
        try:
            began = perf_counter()
            result = hook(*arguments)
            if perf_counter() - began > BLOCKING_TIME:
                hookBlocked(name, perf_counter() - began)
            if result is None:
                return accepted(None)
            result = resultOf(result)
            # None is a coroutine's usual result; and Deferred is abstract: isinstance() is slow.
            if result is None or not isinstance(result, Deferred):
                return accepted(_notFalse(result, name))
        except BaseException as error:
            return self._hookFailed(name, arguments, error, failed)
        answer: Deferred[Outcome] = following(result)
        answer.addCallback(_notFalse, name)
        answer.addCallback(accepted)
        answer.addErrback(self._hookFailedLater, name, arguments, failed)
        return answer

    def _hookFailedLater(
        self,
        failure: Failure,
        name: str,
        arguments: tuple[object, ...],
        failed: Callable[[BaseException], Outcome] | None,
    ) -> Outcome:
        return self._hookFailed(name, arguments, failure.value or HookTimedOut(), failed)

    def _refuseAt(self, stage: str) -> Callable[[BaseException], Outcome]:
        return lambda error: self.refuse(error, stage)

    def _hookFailed(
        self,
        name: str,
        arguments: tuple[object, ...],
        error: BaseException,
        failed: Callable[[BaseException], Outcome] | None,
    ) -> Outcome:
        """The outcome of a hook that failed; logs a refusal that no other line tells of."""
        outcome = self.refuse(error, name) if failed is None else failed(error)
        if isinstance(error, HookTimedOut):
            self.noteTimeout(name)
        elif name in REJECTING:
            reply = outcome[0] if isinstance(outcome, list) else outcome
            assert isinstance(reply, Reply)
            self.server.log.rejected(self.session, REJECTING[name], arguments[0], reply)
        return outcome

    def hook(self, name: str) -> Hook | None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.hook`."""
        # As findHook(), without its calls: most lines come here.
        hook: Hook | None = attribute(self.server.handler, name, None)
        if hook is None:
            return None
        function = attribute(hook, "__func__", hook)
        return None if attribute(function, "isDefaultHook", None) is True else hook

    def refuse(self, error: BaseException, stage: str) -> Reply:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.refuse`."""
        try:
            rejection = asRejection(error)
            if rejection is not None:
                if rejection.policy and self.server.metrics is not None:
                    self.server.metrics.refusedByPolicy(rejection.policy)
                isSender = stage == "onMailFrom"
                return rejection.toReply(REFUSALS.get(stage, replies.NO_RESULT), isSender)
        except Exception as mistake:  # a code that is none, a text that isn't text
            error = mistake
        return incidentReply(stage, self.server.reportError(Failure(error), self.session, stage))

    def refuseSender(self, error: BaseException) -> Outcome:
        """
        The outcome of a sender that the handler refused: there is no transaction.

        :param error: what the handler raised.
        """
        self.session.forgetEnvelope()
        return self.refuse(error, "onMailFrom")

    def refuseRecipient(self, error: BaseException) -> Outcome:
        """
        The outcome of a recipient that the handler refused. Those have a limit of their own: a list
        with many dead addresses isn't an attack.

        :param error: what the handler raised.
        """
        reply = self.refuse(error, "onRcptTo")
        if reply.code >= 500:
            self.refusedRecipients += 1
            return [reply]
        isMuch = self.conduct.countDeferred()
        # A client that has recipients may bring its message first.
        return replies.TOO_MANY_REFUSED if isMuch and not self.session.envelope.rcptTo else reply

    def notify(self, name: str, *arguments: object) -> None:
        """
        Call a hook whose result doesn't matter, without waiting for it.

        :param name: the hook's name.
        """
        hook = self.hook(name)
        if hook is None:
            return
        try:
            result = resultOf(hook(*arguments))
        except BaseException as error:
            self.server.reportError(Failure(error), self.session, name)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self.server.reportError, self.session, name)

    def noteTimeout(self, hook: str) -> None:
        """A hook took longer than ``handlerTimeout``, unless it was the client that left."""
        if not self.isLost:
            self.server.log.hookTimedOut(self.session, hook)

    # -- Replies ----------------------------------------------------------------------------------

    def counted(self, refusal: Reply) -> Outcome:
        """
        Count a refusal that is about to be sent.

        :param refusal: with a code of 5yz.
        :returns: the same, now or after a while, or 421.
        """
        if self.closeReason is not None:
            return [refusal]
        delay = self.conduct.countError()
        if delay is None:
            # In the place of an answer to a hello, it has no enhanced status code either.
            reply = replies.TOO_MANY_ERRORS
            return [reply.plain if refusal.enhanced is None else reply]
        if delay <= 0 or self.phase is Phase.REFUSED:
            return [refusal]
        return self.later(delay, [refusal])

    def noteRefusal(self, refusal: Reply) -> None:
        """
        A refusal is sent: the session knows it, and 421 is the last one.

        :param refusal: with a code of 4yz or 5yz.
        """
        self.session.errors += 1
        self.session.error = refusal.text
        if self.server.metrics is not None:
            self.server.metrics.refused(refusal.code)
        if refusal.code == 421:
            self.closeAfterReply(refusal.text)

    def replied(self) -> None:
        """An outcome was written: replies in UTF-8 end with the transaction that asked for them."""
        if self.utf8Replies and self.phase is Phase.READY:
            self.utf8Replies = False
            self.isSpecial = self._isStopping or self.closeReason is not None

    def replyInUtf8(self) -> None:
        """The transaction that begins has SMTPUTF8."""
        self.utf8Replies = self.isSpecial = True

    def closeAfterReply(self, reason: str) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.closeAfterReply`."""
        if self.closeReason is None:
            self.closeReason = reason
            self.isSpecial = True

    def shutDown(self, isBusy: bool) -> Reply | None:
        """
        The server stops.

        :param isBusy: whether an outcome is pending.
        :returns: what to say to a client that has nothing under way; ``None`` to one that has: call
            it again when an outcome was written.
        """
        self._isStopping = self.isSpecial = True
        if isBusy or self.phase not in _IDLE_PHASES or self.closeReason is not None:
            return None
        self.closeAfterReply("server shut down")
        isGreeted = self.phase is not Phase.CONNECTED
        return replies.SHUTTING_DOWN if isGreeted else replies.SHUTTING_DOWN.plain

    @property
    def isStopping(self) -> bool:
        """Whether the server stops."""
        return self._isStopping

    # -- For verbs --------------------------------------------------------------------------------

    def seconds(self) -> float:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.seconds`."""
        return self.server.clock.seconds()

    def later(self, seconds: float, outcome: Outcome) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.later`."""
        # A handlerTimeout that ends sooner cancels it; but it isn't the handler that took so long.
        waiting: Deferred[Outcome] = deferLater(self.server.clock, seconds, lambda: outcome)
        waiting.addErrback(lambda failure: outcome)
        return waiting

    def runInThread(self, function: Callable[[], Any]) -> Deferred[Any]:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.runInThread`."""
        return self.server.runInThread(function)

    def attempt(self, step: Callable[[], Outcome]) -> Outcome:
        """
        Do a step of a verb that didn't come to its end at once.

        :param step: returns what a verb returns; if it fails, that is the outcome.
        """
        try:
            return step()
        except BaseException as error:
            return self.refuse(error, "")

    def greeting(self) -> Reply:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.greeting`."""
        return self.server.greeting

    def startTLS(self) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.startTLS`."""
        return self.connection.startTLS()

    def startOver(
        self, claim: Callable[[], object], admitted: Callable[[object], Outcome]
    ) -> Outcome:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.startOver`."""
        self.forgetClient()
        claim()
        return self.ask("onConnect", (self.session,), admitted, self._xclientRefused)

    def channelBinding(self) -> bytes | None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.channelBinding`."""
        return self.connection.channelBinding()

    @property
    def failedLogins(self) -> int:
        """See :attr:`~twisted_smtpserver.interfaces.IDialogue.failedLogins`."""
        return self.conduct.failedLogins

    def loginFailed(
        self, method: str, username: str, isGuess: bool = True
    ) -> float | Deferred[float]:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.loginFailed`."""
        session, server, now = self.session, self.server, self.seconds()
        if isGuess:
            self.conduct.failedLogins += 1
        server.log.loginFailed(session, method, username)
        if not isGuess:
            return 0
        return server.loginFailures.failed(session.remoteAddress, username, now)

    def loginUndecided(self) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.loginUndecided`."""
        if self.server.metrics is not None:
            self.server.metrics.loginEnded("error")

    def loginSucceeded(self, username: str) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.loginSucceeded`."""
        if self.server.metrics is not None:
            self.server.metrics.loginEnded("success")
        self.server.loginFailures.succeeded(self.session.remoteAddress, username)

    # -- Welcome or not ---------------------------------------------------------------------------

    def welcome(self) -> Outcome:
        """Ask the handler whether the client is welcome, and greet it."""
        self.reachedHandler = True
        outcome = self.ask("onConnect", (self.session,), self._connected, self.connectRefused)
        # RFC 2034 §4: there is no enhanced status code in a greeting, nor in what replaces it.
        return outcome if outcome is self.server.greeting else withoutEnhanced(outcome)

    def _connected(self, result: object) -> Outcome:
        if self.session.tls is not None:
            return self.ask("onSecure", (self.session,), self._greet, self.tlsRefused)
        return self._greet(result)

    def _greet(self, result: object) -> Reply:
        self.move(Event.WELCOMED)
        return self.server.greeting

    def connectRefused(self, error: BaseException) -> Reply:
        """``onConnect`` refused: send that in place of the greeting."""
        self.move(Event.REFUSED)
        return self.refuse(error, "onConnect")

    def tlsRefused(self, error: BaseException) -> Reply:
        """``onSecure`` refused: answer all commands with that from here on."""
        self.move(Event.REFUSED)
        self.unwelcome = self.refuse(error, "onSecure")
        return self.unwelcome

    def tlsRefusedAfterStartTLS(self, error: BaseException) -> Outcome:
        """``onSecure`` refused after STARTTLS: the next command is the first to be answered so."""
        refusal = self.tlsRefused(error)
        return refusal if refusal.code == 421 else LATER

    def _xclientRefused(self, error: BaseException) -> Reply:
        refusal = self.connectRefused(error)
        self.connection.awaitClient()
        # This one answers a command, so unlike the greeting it has an enhanced status code.
        enhanced = refusal.enhanced or replies.defaultEnhanced(refusal.code)
        return Reply(refusal.code, enhanced, *refusal.lines)

    def secured(self) -> Outcome:
        """TLS is up after STARTTLS: what was said in clear counts no more (RFC 3207 §4.2)."""
        self.forgetClient()
        self.session.forgetClaimedLogin()
        return self.ask("onSecure", (self.session,), lambda _: LATER, self.tlsRefusedAfterStartTLS)

    def forgetClient(self) -> None:
        """Forget what was said before TLS (RFC 3207 §4.2), or before XCLIENT."""
        session = self.session
        self.reset()
        self.move(Event.RESTARTED)
        session.openingCommand = session.hostNameAppearsAs = None
        session.user = session.authMethod = None
        session.forgetXForward()

    # -- The phase and the transaction -------------------------------------------------------------

    def move(self, event: Event) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IDialogue.move`."""
        step = self._step = self.server.steps[self.phase, event]
        self.phase = step.phase

    def reset(self) -> None:
        """RFC 5321 §4.1.1.5: forget the transaction, if there is one."""
        if self.transfer is not None:
            self.transfer.abandon(TransactionReset("the client gave the message up"))
        self._endTransaction("reset")
        self.move(Event.RESET)

    def refuseTransaction(self) -> None:
        """DATA itself was refused: the transaction is over."""
        self._endTransaction("refused")
        self.move(_END)

    def messageDone(self, octets: int, answers: list[Reply]) -> None:
        """
        End the transaction: its message has come in whole.

        :param octets: the length of its content.
        :param answers: its final replies.
        """
        session, log = self.session, self.server.log
        envelope = session.envelope
        # Mostly there is one, and to look at that takes less than to begin with any().
        isAccepted = answers[0].code < 400 or any(reply.isPositive for reply in answers)
        if isAccepted:
            session.messages += 1
            self._junk = 0
        session.octets += octets
        log.messageEnded(session, envelope, octets, answers)
        if self.isLost:
            log.replyLost(session, envelope, answers)
        self._endTransaction("accepted" if isAccepted else "refused")
        session.countMessage()
        self.move(_END)

    def _endTransaction(self, outcome: str) -> None:
        session = self.session
        if self.transfer is not None:
            self.transfer.detach()
            self.transfer = None
        envelope = session.envelope
        session.forgetEnvelope()
        if (
            envelope.mailFrom is not None
            and attribute(self.server.handler, "onTransactionEnd", None) is not None
        ):
            self.notify("onTransactionEnd", envelope, outcome, session)
        session.forgetXForward()  # it was about this transaction (Postfix's XFORWARD_README)

    def connectionLost(self) -> None:
        """The client left: end a message that it was sending."""
        if self.transfer is not None:
            self.transfer.abandon(ConnectionLost("the client left before the message ended"))
        self._endTransaction("lost")


classImplements(Dialogue, IDialogue)


def _notFalse(result: Any, hook: str) -> Any:
    """Refuse ``False``: no hook refuses by returning it."""
    if result is False and hook != "onAuth":  # who returns that there accepts nobody
        raise ValueError(f"{hook} returned False, which accepts: raise Rejection to refuse")
    return result


def _isAuth(line: bytes) -> bool:
    return line[:5].upper() in (b"AUTH ", b"AUTH")


#: A command: given the dialogue and the command's argument, it returns an outcome.
Verb = Callable[[Dialogue, bytes], Outcome]

#: A short way to a verb: given the dialogue and the line; ``None`` where it doesn't apply.
Shortcut = Callable[[Dialogue, bytes], "Outcome | None"]

#: Something a command has to pass: ``None`` lets the verb pass, a Reply refuses it.
Gate = Callable[[Dialogue, str], "Reply | None"]

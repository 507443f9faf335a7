"""
Asking the handler, and waiting for its answer.

:class:`Asker` calls hooks. One that answers at once costs a function call; for one that does not,
the client's next commands wait, with a bound, and are never run out of order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.connection.lines import OrderedReceiver
from twisted_smtpserver.errors import Rejection, asRejection
from twisted_smtpserver.hooks import Hook, findHook, invoke, isDefault
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase

if TYPE_CHECKING:
    from twisted_smtpserver.factory import SMTPServerFactory
    from twisted_smtpserver.options import Options

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

#: The hooks whose refusals have an event of their own, with the command that it names.
_REJECTING = {"onMailFrom": "MAIL", "onRcptTo": "RCPT"}

_LOGIN_HOOKS = ("onAuth", "scramSecret")

#: How long a client that isn't welcome may stay, in seconds.
UNWELCOME_TIME = 10.0

Outcome = Any  # Reply, list[Reply], Deferred of those, or None if the reply comes later


class Asker(OrderedReceiver):
    """
    An :class:`~twisted_smtpserver.connection.lines.OrderedReceiver` that knows a handler.

    :ivar factory: the server, which has the handler.
    :ivar options: its options.
    :ivar session: the client's session.
    :ivar phase: where the conversation stands.
    :ivar isLost: whether the connection is gone.
    """

    factory: SMTPServerFactory
    options: Options
    session: Session

    __slots__ = ("_plain", "_waitToken", "factory", "isLost", "options", "phase", "session")

    def __init__(self) -> None:
        super().__init__()
        self.phase = Phase.CONNECTED
        self.isLost = False
        self._plain = True  # no enhanced status code in the next reply
        self._waitToken: object = None

    # These only matter when a handler takes its time.
    _pending: Deferred[Any] | None = None
    _givingUp = False
    _lastWords: Outcome = None

    def settle(self, outcome: Outcome) -> None:
        """
        Write the reply to a command, now or when it is known.

        :param outcome: a Reply, a list of several, or a Deferred of those; ``None`` if another call
            follows.
        """
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
        # findHook() in short: for most hooks of most handlers it is over here.
        hook = getattr(self.factory.handler, name, None)
        if hook is None or isDefault(hook):
            return accepted(None)
        try:
            result = invoke(hook, *arguments)
            if result is None or not isinstance(result, Deferred):
                return accepted(result)
        except Exception as error:
            return self._judge(name, arguments, error, failed)
        answer: Deferred[Outcome] = _following(result)
        answer.addCallback(accepted)
        answer.addErrback(
            lambda failure: self._judge(name, arguments, self._asError(failure), failed)
        )
        return answer

    def _judge(
        self,
        name: str,
        arguments: tuple[object, ...],
        error: Exception,
        failed: Callable[[Exception], Outcome] | None,
    ) -> Outcome:
        """The outcome of a hook that failed, and a line for the log where there is no other."""
        outcome = self.refuse(error, name) if failed is None else failed(error)
        if isinstance(error, _TimedOut):
            self.noteTimeout(name)
        elif name in _REJECTING:
            self.factory.events.rejected(self.session, _REJECTING[name], arguments[0], outcome)
        return outcome

    def noteTimeout(self, hook: str) -> None:
        """A hook took longer than ``handlerTimeout``, unless it was the client that left."""
        if not self.isLost:
            self.factory.events.hookTimedOut(self.session, hook)

    def refuse(self, error: BaseException, stage: str) -> Reply:
        """
        The reply for what a hook raised.

        :param error: a refusal, or a bug, which is logged.
        :param stage: the hook's name.
        """
        try:
            rejection = asRejection(error)
            if rejection is not None:
                isSender = stage == "onMailFrom"
                return rejection.toReply(REFUSALS.get(stage, replies.NO_RESULT), isSender)
        except Exception as mistake:  # a code that is none, a text that isn't text
            error = mistake
        incident = self.factory.reportError(Failure(error), self.session, stage)
        code, enhanced = (454, "4.7.0") if stage in _LOGIN_HOOKS else (451, "4.3.0")
        return Reply(code, enhanced, f"Internal error, incident {incident}")

    def tell(self, name: str, *arguments: object) -> None:
        """Call a hook that has no say; nobody waits for it."""
        hook = findHook(self.factory.handler, name)
        if hook is None:
            return
        try:
            result = invoke(hook, *arguments)
        except Exception as error:
            self.factory.reportError(Failure(error), self.session, name)
        else:
            if isinstance(result, Deferred):
                result.addErrback(self.factory.reportError, self.session, name)

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
        error = self._asError(failure)
        if isinstance(error, _TimedOut):
            self.noteTimeout("a verb")
        return self.refuse(error, "")

    def _asError(self, failure: Failure) -> Exception:
        if self._givingUp:
            return _TimedOut()
        # A Deferred may carry a bare BaseException such as GeneratorExit: that is a bug, too.
        error = failure.value
        return error if isinstance(error, Exception) else RuntimeError(repr(error))

    def _arrived(self, outcome: Outcome, token: object) -> None:
        if self._waitToken is not token:
            return  # it is too late: the client was told already
        if self._givingUp:
            self._lastWords = outcome
            return
        self._waitToken = self._pending = None
        self._proceed(outcome)

    def _handlerTimedOut(self) -> None:
        # Unless what is canceled has a better one. The next command must not run before that is
        # over: it would be taken for the one that is given up.
        self._lastWords = replies.HANDLER_TIMED_OUT
        self.giveUp()
        self._waitToken = None
        self._proceed(self._lastWords)

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
        finally:
            self._corked = corked
            if self._waitToken is None:
                self.release()
            if self._output and not corked:
                self._flush()

    def waitForClient(self) -> None:
        """It is the client's turn: let it not take too long."""
        if self._closing:
            return
        if self.phase is Phase.REFUSED:
            # Such a client gains nothing by saying more.
            self.setTimer(UNWELCOME_TIME, self._idle, isFixed=True)
        else:
            self.setTimer(self.options.socketTimeout, self._idle)

    def _idle(self) -> None:
        self._plain = False
        self.settle(replies.IDLE_TOO_LONG)


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

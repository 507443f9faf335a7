"""An outcome that comes later: the next commands wait for it, in order and within a bound."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.connection.ports import Connection
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.dialogue.refusals import HookTimedOut


class Pending:
    """
    The one outcome that a connection waits for. Handlers that answer at once need none.

    :param connection: the connection.
    """

    __slots__ = ("_connection", "_isCanceling", "_lastReply", "_outcome")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._isCanceling = False
        self._lastReply: Outcome = replies.HANDLER_TIMED_OUT
        self._outcome: Deferred[Outcome] | None = None

    def begin(self, outcome: Deferred[Outcome]) -> None:
        """
        Hold the connection, and wait. The outcome may be there at once.

        :param outcome: the outcome.
        """
        self._outcome = outcome
        connection = self._connection
        connection.hold()
        dialogue = connection.dialogue
        # If a hook has said the last word meanwhile, the timer is for that to be delivered.
        if not connection.isClosing or dialogue.isLost:
            connection.timeout.setTimeout(dialogue.options.handlerTimeout, self.timedOut)
        outcome.addErrback(self._failed)
        outcome.addCallback(self._arrived)

    def _failed(self, failure: Failure) -> Outcome:
        dialogue = self._connection.dialogue
        error: BaseException = failure.value or HookTimedOut()
        if self._isCanceling:
            dialogue.noteTimeout("a verb")
            error = HookTimedOut()
        return dialogue.refuse(error, "")

    def _arrived(self, outcome: Outcome) -> None:
        if self._isCanceling:
            self._lastReply = outcome
        else:
            self._outcome = None
            self._connection.proceed(outcome)

    def timedOut(self) -> None:
        """``handlerTimeout`` is over: cancel, and respond as the canceled code says, if it does."""
        # Cancel first: a late outcome must not be taken for the next command's.
        self.cancel()
        self._connection.proceed(self._lastReply)

    def cancel(self) -> None:
        """Cancel the outcome."""
        outcome, self._outcome = self._outcome, None
        assert outcome is not None  # once it has come, nobody waits for it
        self._isCanceling = True
        try:
            outcome.cancel()
        except BaseException as error:  # from the canceller of a handler's Deferred
            server, session = self._connection.factory, self._connection.session
            server.reportError(Failure(error), session)

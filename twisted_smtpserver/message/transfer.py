"""
One message on its way: from DATA or the first BDAT to the final reply.

Three things happen at their own pace: the client sends octets, the handler reads them, and the
handler returns a result. The final reply waits for the last octet *and* the result. A message that
failed in the stream (too large, bare newlines) is never accepted, whatever the result.
"""

from __future__ import annotations

from time import perf_counter
from types import CoroutineType
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import LATER, Outcome
from twisted_smtpserver.errors import BareNewline, MessageIncomplete, Rejection
from twisted_smtpserver.hooks.blocked import BLOCKING_TIME, hookBlocked
from twisted_smtpserver.hooks.calling import asDeferred
from twisted_smtpserver.hooks.coroutines import CoroutineRunner, runCoroutine
from twisted_smtpserver.hooks.firing import whenFired
from twisted_smtpserver.hooks.task import HookTask
from twisted_smtpserver.message.stream import MessageStream, forgottenRead
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.results import messageReplies, messageReply, perRecipientBlock
from twisted_smtpserver.states import Event
from twisted_smtpserver.wire.dotdata import DotDecoder
from twisted_smtpserver.wire.newlines import NewlineFilter

_DATA: Final = Event.DATA  # to look it up takes longer than the move itself


class MessageTransfer:
    """
    Brings together the octets, the handler and the reply. It is the stream's
    :class:`~twisted_smtpserver.message.stream.Flow`.

    :param dialogue: the conversation that the message is part of; its envelope is complete.
    """

    __slots__ = (
        "_began",
        "_decoder",
        "_dialogue",
        "_done",
        "_envelope",
        "_final",
        "_first",
        "_isWanted",
        "_perRecipient",
        "_recipients",
        "_refusal",
        "_result",
        "_running",
        "_wholeAt",
        "stream",
    )

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        envelope = self._envelope = dialogue.session.envelope
        # A copy: the client expects replies for these recipients, even if the handler changes the
        # envelope.
        self._perRecipient = envelope.perRecipient
        self._recipients = tuple(envelope.rcptTo) if self._perRecipient else ()
        server = dialogue.server
        self.stream = MessageStream(
            self, dialogue.options.size, server.runInThread, server.runInSlices
        )
        self._decoder: DotDecoder | NewlineFilter | None = None
        # The handler's call, while it runs.
        self._running: Deferred[Any] | CoroutineRunner | HookTask | None = None
        self._done = False
        # When the handler was called, and when the message was whole, if that is to be counted.
        self._began = self._wholeAt = 0.0
        self._result: Any = None
        self._refusal: Reply | None = None
        self._isWanted = False
        # The outcomes that wait for the handler: the reply to DATA, and the final one.
        self._first: Deferred[Outcome] | None = None
        self._final: Deferred[Outcome] | None = None

    # -- The beginning -----------------------------------------------------------------------------

    def beginData(self) -> Outcome:
        """
        Respond to DATA.

        :returns: 354 or the handler's refusal; or a Deferred that the handler's next step fires.
        """
        self._decoder = DotDecoder(self._dialogue.options.bareNewlines)
        self._callHandler()
        if self._done or self._isWanted:
            return self._answerData()
        self._first = Deferred(self._firstCanceled)
        return self._first

    def beginChunks(self) -> None:
        """Call the handler for the first BDAT; the octets follow in any case (RFC 3030 §2)."""
        isBinary = self._envelope.bodyType == "BINARYMIME"
        self._dialogue.pace = None
        self._decoder = NewlineFilter("accept" if isBinary else self._dialogue.options.bareNewlines)
        self._callHandler()

    def _callHandler(self) -> None:
        dialogue = self._dialogue
        dialogue.transfer = self
        hook = dialogue.hook("onData")
        if hook is None:
            self._returned(None)
            return
        try:
            began = self._began = perf_counter()
            result = hook(self.stream, dialogue.session)
            if not isinstance(result, CoroutineType):  # which has yet to run, and is watched then
                if perf_counter() - began > BLOCKING_TIME:
                    hookBlocked("onData", perf_counter() - began)
                if result is not None and not isinstance(result, Deferred):
                    result = asDeferred(result)
        except BaseException as error:
            self._raised(error)
            return
        if isinstance(result, CoroutineType):
            self._running = runCoroutine(result, self._returned, self._raised)
        elif result is None:
            self._returned(None)
        elif isinstance(result, Deferred):
            self._running = result
            whenFired(result, self._fired)
        else:
            self._returned(result)
        if self._done and self._running is not None:
            # The handler ended the connection itself.
            running, self._running = self._running, None
            self._cancel(running)

    def _answerData(self) -> Reply:
        # A refusal before the handler read answers DATA itself: the client sends no message.
        if self._refusal is not None and not self._isWanted:
            self._dialogue.refuseTransaction()
            return self._refusal
        self._dialogue.move(_DATA)
        self._dialogue.pace = None
        self._dialogue.connection.beginRaw(self._dotted)
        return replies.START_INPUT

    def _firstCanceled(self, first: Deferred[Outcome]) -> None:
        # The handler took too long; or the client left, and the transaction is over already.
        self._first = None
        self.timedOut()
        if not self._dialogue.isLost:
            self._dialogue.refuseTransaction()
        first.callback(replies.HANDLER_TIMED_OUT)

    @property
    def isFinishing(self) -> bool:
        """Whether the message has come in whole, and the handler's result hasn't."""
        return self._final is not None

    # -- The handler -------------------------------------------------------------------------------

    def _fired(self, result: Any) -> None:
        if isinstance(result, Failure):
            self._raised(cast(BaseException, result.value))
        else:
            self._returned(result)

    def _returned(self, result: Any) -> None:
        if self._done:
            return
        forgotten = self.stream.forgotten()
        if forgotten:
            # The handler hasn't stored what it was reading: no 250.
            self._refusal = self._dialogue.refuse(forgottenRead(forgotten), "onData")
        self._result = result
        self._end()

    def _raised(self, error: BaseException) -> None:
        if self._done:  # this is the error of our own cancellation
            return
        self._envelope.withdraw()
        self.stream.forgotten()  # ignore what becomes of a reading that the handler left
        if isinstance(error, MessageIncomplete):
            self._refusal = replies.NO_RESULT
        elif error is not self.stream.failure:  # _failureReply() finds the stream's own
            self._refusal = self._dialogue.refuse(error, "onData")
        self._end()

    def _end(self) -> None:
        """The handler has ended: respond to what waits for it."""
        self._handlerDone()
        self._running = None
        self.stream.discard()
        if self._first is not None:
            first, self._first = self._first, None
            first.callback(self._answerData())
        elif self._final is not None:
            final, self._final = self._final, None
            final.callback(self._finalReplies())

    def _handlerDone(self) -> None:
        self._done = True
        metrics = self._dialogue.server.metrics
        if metrics is not None and self._began:
            metrics.hookEnded("onData", perf_counter() - self._began)

    def detach(self) -> None:
        """Separate the stream from this transfer, so that neither keeps the other in memory."""
        self.stream.detach()

    def stop(self) -> None:
        """Cancel the handler, and ignore its result from here on."""
        if self._done:
            return
        self._handlerDone()
        self._envelope.withdraw()
        running, self._running = self._running, None
        self.stream.discard()
        if running is not None:
            self._cancel(running)

    def _cancel(self, running: Deferred[Any] | CoroutineRunner | HookTask) -> None:
        try:
            running.cancel()
        except BaseException as error:  # from the canceller of the handler's Deferred
            self._dialogue.server.reportError(Failure(error), self._dialogue.session)

    def timedOut(self) -> None:
        """The handler took too long: before it read, with the stream paused, or at the end."""
        self._dialogue.noteTimeout("onData")
        self._refusal = replies.HANDLER_TIMED_OUT
        self.stop()

    def withdraw(self) -> None:
        """The server stops and can't wait for the handler: refuse the message."""
        assert self._final is not None
        final, self._final = self._final, None
        self._refusal = replies.SHUTTING_DOWN
        self.stop()
        final.callback(self._finalReplies())

    def abandon(self, error: MessageIncomplete) -> None:
        """
        Stop: the rest of the message will never come.

        :param error: raised to the handler, if it still reads.
        """
        if self._done:
            return
        self.stream.fail(error)
        self.stop()

    # -- The stream's calls: what the handler does with it -----------------------------------------

    def wanted(self) -> None:
        """(The stream's call.) The handler reads: the client may send."""
        self._isWanted = True
        if self._first is not None:
            first, self._first = self._first, None
            first.callback(self._answerData())

    def pause(self) -> None:
        """(The stream's call.) Stop the client: the handler doesn't keep up."""
        self._dialogue.pauseContent()

    def resume(self) -> None:
        """(The stream's call.) Let the client send again."""
        self._dialogue.resumeContent()

    # -- The client's side: octets -----------------------------------------------------------------

    def _dotted(self, octets: bytes) -> None:
        dialogue, decoder = self._dialogue, self._decoder
        assert isinstance(decoder, DotDecoder)
        content, rest = decoder.feed(octets)
        if rest is None:
            if dialogue.octetsCame(len(octets)):
                self._feed(content, decoder.bareNewline)
            return
        connection = dialogue.connection
        connection.timeout.resetTimeout()
        self._feed(content, decoder.bareNewline, isLast=True)
        connection.endRaw(rest)
        connection.respond(self._finish())

    def chunk(self, octets: bytes) -> None:
        """
        Take octets of a BDAT, which carry content without dots.

        :param octets: the octets.
        """
        decoder = self._decoder
        assert isinstance(decoder, NewlineFilter)
        self._feed(decoder.feed(octets), decoder.bareNewline)

    def lastChunk(self) -> Outcome:
        """
        End the message: the last BDAT is complete.

        :returns: the final replies: one, or one for each recipient.
        """
        decoder = self._decoder
        assert isinstance(decoder, NewlineFilter)
        self._feed(decoder.end(), decoder.bareNewline, isLast=True)
        return self._finish()

    def _feed(self, content: bytes, hasBareNewline: bool, isLast: bool = False) -> None:
        if hasBareNewline:  # first, so that the handler never reads it
            self.stream.fail(BareNewline())
        if content:
            self.stream.feed(content, isLast)
        elif isLast:
            self.stream.end()

    def chunkReply(self, size: int) -> Reply:
        """
        Respond to a BDAT that isn't the last, without waiting for the handler.

        :param size: the chunk's length, in octets.
        """
        return self._failureReply() or Reply(250, "2.0.0", f"{size} octets received")

    # -- The end -----------------------------------------------------------------------------------

    def _finish(self) -> Outcome:
        """The message has come in whole: respond, now or when the handler has a result."""
        if self._dialogue.transfer is not self:
            return LATER  # the handler ended the connection while it read the last octets
        if self._done:
            return self._finalReplies()
        self._final = Deferred(self._finalCanceled)
        metrics = self._dialogue.server.metrics
        if metrics is not None:
            self._wholeAt = perf_counter()
            metrics.messageStoring()
        return self._final

    def _finalCanceled(self, final: Deferred[Outcome]) -> None:
        self._final = None
        self.timedOut()
        final.callback(self._finalReplies())

    def _finalReplies(self) -> Reply | list[Reply]:
        answers = self._answers()
        metrics = self._dialogue.server.metrics
        if metrics is not None and self._wholeAt:
            metrics.messageStored(perf_counter() - self._wholeAt)
        self._dialogue.messageDone(self.stream.byteLength, answers)
        if self._perRecipient:
            # An LMTP client expects one reply for each recipient; PRDR announces them by a 353.
            return answers if self._dialogue.session.lmtp else perRecipientBlock(answers)
        # A single reply is faster, but a refusal would count as a refused command.
        return answers[0] if answers[0].code < 400 else answers

    def _answers(self) -> list[Reply]:
        hasFailed = self._refusal is not None or self.stream.failure is not None
        refusal = self._failureReply() if hasFailed else None
        if refusal is None:
            try:
                if self._perRecipient:
                    return messageReplies(self._result, self._recipients, self._refuseOne)
                return [messageReply(self._result, self._envelope.rcptTo, self._refuseOne)]
            except Exception as error:
                # No 250 at all if the result doesn't say which recipients it is for.
                refusal = self._dialogue.refuse(error, "onData")
        return [refusal] * (len(self._recipients) or 1)

    def _failureReply(self) -> Reply | None:
        """The refusal for all recipients, if the message can't be accepted any more."""
        if self._refusal is not None:
            return self._refusal
        failure = self.stream.failure
        if failure is None:
            return None
        if self.stream.sizeExceeded:
            # Before other reasons: which one came first depends on how the octets were cut.
            return replies.TOO_LARGE
        return failure.toReply(replies.NO_RESULT) if isinstance(failure, Rejection) else None

    def _refuseOne(self, error: BaseException) -> Reply:
        return self._dialogue.refuse(error, "onData")

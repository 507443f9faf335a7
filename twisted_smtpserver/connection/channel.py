"""
The transmission channel of one connection (RFC 5321 §2.1), from its beginning to its end.

:class:`Channel` joins the parts: the lines come from
:class:`~twisted_smtpserver.connection.lines.PipelinedLines`, what they mean is the business of the
:class:`~twisted_smtpserver.dialogue.dialogue.Dialogue`, and :meth:`Channel.respond` writes all its
replies.
"""

from __future__ import annotations

from functools import lru_cache
from types import CoroutineType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.connection.lines import BODY_UNREAD, PipelinedLines
from twisted_smtpserver.connection.opening import Opening
from twisted_smtpserver.connection.ports import Factory
from twisted_smtpserver.connection.replying import Pending
from twisted_smtpserver.connection.timeouts import IdleTimeout
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import LATER, Outcome
from twisted_smtpserver.hooks import resultOf
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import MAX_CHALLENGE_LINE, Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.tls.context import channelBinding, describeTLS, handshakeTrouble

#: The most octets that one read takes from a socket. More is better: the reactor's work for a read
#: costs as much as our work on 32 KiB. But from 128 KiB on, the C library maps new memory for each
#: read, which costs more than larger reads save.
READ_SIZE = 124 * 1024

#: The most octets that one read takes where they are TLS records: one of the largest, or some 700
#: of the smallest. Each record costs the same.
TLS_READ_SIZE = 17 * 1024

#: How long a client whose connection was refused may stay, in seconds.
UNWELCOME_TIME = 10.0

#: How long the last reply may take when the server can't wait any more, in seconds.
LAST_WORD_TIME = 1.0

_HAS_RECIPIENTS: Final = Phase.RCPT  # a lookup for each line otherwise

_PIPELINED_STARTTLS = Reply(
    503, "5.5.1", "STARTTLS must be the last command before the handshake"
)  # RFC 3207 §5


class Channel(PipelinedLines):
    """
    What :class:`~twisted_smtpserver.connection.protocol.SMTPProtocol` does.

    :param factory: the factory.
    :ivar opening: the steps before the greeting; ``None`` afterwards.
    :ivar pending: the outcome that the next commands wait for; ``None`` if there is none.
    :ivar factory: the factory.
    """

    __slots__ = (
        "_block",
        "_handshakeDue",
        "_startedAt",
        "factory",
        "opening",
        "pending",
    )

    def __init__(self, factory: Factory) -> None:
        longest = _longestLine(factory.options.maxCommandLength)
        timeout = IdleTimeout(factory.clock, factory.firstLooks, self)
        super().__init__(timeout, Dialogue(self, factory), longest)
        self.factory = factory
        self.opening: Opening | None = None
        self.pending: Pending | None = None
        self._block: int | str | None = None  # see counts.ClientCounts
        self._handshakeDue = False
        self._startedAt = 0.0

    @property
    def options(self) -> Options:
        """The options that the connection began with."""
        return self.dialogue.options

    @property
    def session(self) -> Session:
        """The client's session."""
        return self.dialogue.session

    # -- The beginning ----------------------------------------------------------------------------

    def connectionMade(self, transport: Any, isPlain: bool) -> None:
        """
        The connection is open.

        :param transport: Twisted's.
        :param isPlain: whether it is one that :mod:`~twisted_smtpserver.connection.writethrough`
            can write to.
        """
        options = self.options
        self.transport = transport
        self.writesThrough = isPlain and options.immediateWrites
        if options.noDelay and (isPlain or getattr(transport.getPeer(), "host", None) is not None):
            _setNoDelay(transport)
        if ISSLTransport.providedBy(transport):
            _readAtOnce(getattr(transport, "transport", None), TLS_READ_SIZE)
        else:
            _readAtOnce(transport, READ_SIZE)
        self._startedAt = self.factory.clock.seconds()
        self.factory.lifetimes.begin(self, self._startedAt)
        self.opening = Opening(self)
        self.opening.begin()

    def enter(self, address: str | None) -> bool:
        """
        Count the connection as one of its client's.

        :param address: the client's address.
        :returns: whether the client may have this connection.
        """
        if self.options.maxClientsPerAddress is None:
            return True
        try:
            self._block = self.factory.counts.enter(address)
        except OverflowError:
            self.factory.log.refusedConnection(str(address), "maxClientsPerAddress")
            return False
        return True

    def opened(self) -> None:
        """The client was greeted or refused: drop the opening."""
        self.opening = None

    # -- Commands and replies ---------------------------------------------------------------------

    def linesReceived(self, octets: bytes, start: int, end: int, most: int) -> int:
        """See :meth:`~twisted_smtpserver.connection.lines.PipelinedLines.linesReceived`."""
        dialogue = self.dialogue
        if self.listener is not None:  # it hears each line
            self.listener.lineCame(octets[start:end])
        elif dialogue.phase is _HAS_RECIPIENTS:
            taken, following, outcome = dialogue.linesReceived(octets, start, most)
            if following > start:
                self.wentTo(following)
                if taken:
                    self.respond(replies.RECIPIENT_OK, taken)
                if outcome is LATER:
                    return taken
                self.respond(outcome)
                return taken + 1
        self.respond(dialogue.lineReceived(octets[start:end]))
        return 1

    def lineTooLong(self, beginning: bytes) -> None:
        """See :meth:`~twisted_smtpserver.connection.lines.PipelinedLines.lineTooLong`."""
        if self.listener is not None:
            self.listener.lineTooLong()
        self.respond(self.dialogue.lineTooLong(beginning))

    def checkLine(self, octets: bytes) -> None:
        """See :meth:`~twisted_smtpserver.connection.lines.PipelinedLines.checkLine`."""
        refusal = self.dialogue.checkLine(octets)
        if refusal is not None:
            self.respond(refusal)

    def bareNewlineReceived(self) -> None:
        """A LF came that isn't part of a CRLF."""
        self.respond(self.dialogue.bareNewline())

    def inputHeld(self) -> None:
        """Refuse a client that talks before the greeting (RFC 5321 §4.3.1)."""
        if self.opening is not None and self.isHeld:
            self.respond(replies.EARLY_TALKER.plain)
        else:
            super().inputHeld()

    def respond(self, outcome: Outcome, times: int = 1) -> None:
        """
        Write the outcome of a command, now or when it is known. All replies come this way.

        :param outcome: see :data:`~twisted_smtpserver.dialogue.outcome.Outcome`.
        :param times: of how many commands it is the outcome; of more than one, if it is a positive
            reply.
        """
        dialogue = self.dialogue
        if type(outcome) is Reply and outcome.code < 400 and not dialogue.isSpecial:
            # The common case, made short; the code below would do the same.
            if not self.isClosing:
                self.output += outcome.wire * times
                if not self.isCorked:
                    self.flush()
            return
        if type(outcome) is Reply and outcome.code >= 500 and not self.isClosing:
            outcome = dialogue.counted(outcome)
        if isinstance(outcome, CoroutineType):  # an extension's verb that is an async def
            coroutine = outcome
            outcome = dialogue.attempt(lambda: resultOf(coroutine))
        if isinstance(outcome, Deferred):
            pending = self.pending = Pending(self)
            pending.begin(outcome)
            return
        if outcome is not LATER:
            self._write(self._checked(outcome) * times)
        dialogue.replied()
        if dialogue.closeReason is not None:
            self.close()
        elif dialogue.isStopping:
            self.shutDown()

    def _checked(self, outcome: Outcome) -> list[Reply]:
        if isinstance(outcome, Reply):
            return [outcome]
        if isinstance(outcome, list) and all(isinstance(reply, Reply) for reply in outcome):
            return outcome
        error = TypeError(f"a verb returned {type(outcome).__name__}, which is not a reply")
        return [self.dialogue.refuse(error, "")]

    def _write(self, answers: list[Reply]) -> None:
        if self.isClosing:  # no reply is sent any more, so the session's error stays
            return
        dialogue = self.dialogue
        for reply in answers:
            if reply.code >= 400:
                dialogue.noteRefusal(reply)
            self.send(reply.encode(dialogue.utf8Replies))

    # -- Waiting ----------------------------------------------------------------------------------

    def proceed(self, outcome: Outcome) -> None:
        """
        Respond with the pending outcome, which is known now, and go on with the next commands.

        :param outcome: the outcome.
        """
        self.pending = None
        if self.isClosing:
            if self.dialogue.isLost:
                self.timeout.cancelTimeout()
            return
        self.awaitClient()
        # One write for this reply and the replies to the lines that waited for it.
        isCorked, self.isCorked = self.isCorked, True
        try:
            self.respond(outcome)
        finally:
            self.isCorked = isCorked
            if not self._isWaiting:  # respond() may have begun to wait again
                self.release()
            if self.output and not isCorked:
                self.flush()

    @property
    def _isWaiting(self) -> bool:
        return self.pending is not None

    def awaitClient(self) -> None:
        """Set the timeout for the client, or for a handler that has stopped reading."""
        if self.isClosing:
            return
        options, dialogue, timeout = self.options, self.dialogue, self.timeout
        if self.stopped & BODY_UNREAD:
            assert dialogue.transfer is not None
            timeout.setTimeout(options.handlerTimeout, dialogue.transfer.timedOut)
        elif dialogue.phase is Phase.REFUSED:
            # Fixed: a refused client gains no time by sending more.
            timeout.setTimeout(UNWELCOME_TIME, isFixed=True)
        else:
            timeout.setTimeout(options.socketTimeout)

    def idleTooLong(self) -> None:
        """See :class:`~twisted_smtpserver.connection.timeouts.Idle`."""
        self.respond(replies.IDLE_TOO_LONG)

    def pauseContent(self) -> None:
        """See :class:`~twisted_smtpserver.dialogue.ports.Connection`."""
        self.stopReading(BODY_UNREAD)
        self.awaitClient()

    def resumeContent(self) -> None:
        """See :class:`~twisted_smtpserver.dialogue.ports.Connection`."""
        self.goOnReading(BODY_UNREAD)
        if self.pending is None:
            self.awaitClient()

    # -- TLS --------------------------------------------------------------------------------------

    def startTLS(self) -> Outcome:
        """
        Respond to STARTTLS (RFC 3207 §4).

        :returns: a refusal; or ``LATER``, after the 220 was written.
        """
        if self.waitingInput:
            # The octets behind it came in clear: an attacker on the way may have added them.
            self.dialogue.closeAfterReply("octets behind STARTTLS")
            return _PIPELINED_STARTTLS
        self.respond(replies.READY_FOR_TLS)
        self.flush()
        self.beginHandshake()
        return LATER

    def beginHandshake(self) -> None:
        """Start TLS."""
        self.awaitHandshake()
        _readAtOnce(self.transport, TLS_READ_SIZE)
        self.transport.startTLS(self.factory.contextFactory)

    def awaitHandshake(self) -> None:
        """Wait for the handshake, with a timeout."""
        self._handshakeDue = True
        self.timeout.setTimeout(self.options.handshakeTimeout, self._noHandshake)

    def _noHandshake(self) -> None:
        self.drop("no TLS handshake in time")

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        if not self._handshakeDue or self.isClosing:
            return
        self._handshakeDue = False
        session = self.session
        session.secure = True
        session.tls = describeTLS(self.transport)
        if self.factory.metrics is not None:
            self.factory.metrics.secured(session.tls.version)
        if self.opening is not None:
            self.opening.secured()
            return
        self.respond(self.dialogue.secured())
        if self.pending is None:
            self.awaitClient()

    def channelBinding(self) -> bytes | None:
        """See :class:`~twisted_smtpserver.dialogue.ports.Connection`."""
        return channelBinding(self.transport)

    # -- The end ----------------------------------------------------------------------------------

    def drop(self, why: str) -> None:
        """
        Close without a reply, because the client couldn't read one yet.

        :param why: the reason, for the log.
        """
        self.dialogue.closeReason = why
        self.abort()

    @property
    def _hasNoDialogue(self) -> bool:
        """Whether a handshake or a PROXY header is due, so that no 421 can be sent."""
        return self._handshakeDue or (self.opening is not None and self.opening.hasNoDialogue)

    def lastedTooLong(self) -> None:
        """``maxSessionTime`` is over: close with a 421, where one can be sent."""
        if self.isClosing:
            return
        if self._handshakeDue or self.dialogue.phase is Phase.CONNECTED:
            self.drop("session lasted too long")
            return
        self.dialogue.closeAfterReply("session lasted too long")
        if self.pending is None:  # otherwise the reply that is due is the last one
            self.respond(replies.SESSION_TOO_LONG)

    def shutDown(self) -> None:
        """The server stops: send 421, at once or when the transaction is over."""
        if self._hasNoDialogue:
            self.drop("server shut down")
            return
        reply = self.dialogue.shutDown(isBusy=self.pending is not None)
        if reply is not None:
            self.respond(reply)

    def cutOff(self) -> None:
        """``closeTimeout`` is over: close, after one last reply. What is being stored has time."""
        transfer = self.dialogue.transfer
        if self.isStoring and not self.session.envelope.withdraw():
            return  # its handler can't take it back
        self.dialogue.closeAfterReply("server shut down")
        if transfer is not None and self.isStoring:
            # First, so that no message is stored after its 421.
            transfer.withdraw()
        else:
            self.respond(replies.SHUTTING_DOWN)
        self.timeout.setTimeout(LAST_WORD_TIME, self.transport.abortConnection)

    @property
    def isStoring(self) -> bool:
        """Whether a message has come in whole, and its handler is at work."""
        transfer = self.dialogue.transfer
        return transfer is not None and transfer.isFinishing

    def connectionLost(self, reason: Failure) -> None:
        """
        The connection is closed or lost.

        :param reason: Twisted's word for why.
        """
        if self.listener is not None:
            self.listener.connectionLost()
        self.forgetInput()
        dialogue, factory = self.dialogue, self.factory
        dialogue.isLost = True
        # Before the handler's code is called, which may raise anything.
        factory.lifetimes.end(self)
        factory.counts.leave(self._block)
        try:
            self._stop()
        finally:
            seconds = factory.clock.seconds() - self._startedAt
            why = dialogue.closeReason or _describe(reason, self._handshakeDue)
            if self._handshakeDue and factory.metrics is not None:
                factory.metrics.handshakeFailed()
            if dialogue.reachedHandler:
                dialogue.notify("onClose", self.session)
            factory.log.sessionEnded(self.session, why, seconds)

    def _stop(self) -> None:
        """Cancel all that is under way, but not a message that has come in whole."""
        transfer, pending = self.dialogue.transfer, self.pending
        if transfer is not None and transfer.isFinishing:
            assert pending is not None
            # The timer that runs may be the one for our last reply.
            self.timeout.setTimeout(self.options.handlerTimeout, pending.timedOut)
        else:
            self.timeout.cancelTimeout()
            self.dialogue.connectionLost()
            self.pending = None
            if pending is not None:
                pending.cancel()
        if self.opening is not None:
            self.opening.cancel()


@lru_cache(maxsize=16)  # one number for all connections
def _longestLine(maxCommandLength: int) -> int:
    """The octets of the longest line, of AUTH or of another command, without its CRLF."""
    return max(MAX_CHALLENGE_LINE, maxCommandLength) - len(b"\r\n")


def _describe(reason: Failure, inHandshake: bool) -> str:
    if inHandshake:
        trouble = handshakeTrouble(reason.value)
        return f"TLS handshake failed: {trouble}" if trouble else "TLS handshake failed"
    if isinstance(reason.value, ConnectionDone):
        return "client left"
    return f"connection lost: {reason.type.__name__ if reason.type else 'unknown'}"


def _readAtOnce(transport: Any, octets: int) -> None:
    if hasattr(transport, "bufferSize"):
        transport.bufferSize = octets


def _setNoDelay(transport: Any) -> None:
    setNoDelay = getattr(transport, "setTcpNoDelay", None)
    if setNoDelay is not None:
        setNoDelay(True)

"""
Lines in, answers out, in order: what SMTP has in common with any such protocol.

:class:`PipelinedLines` knows nothing of commands. It cuts the input into lines, of which a dialogue
knows what they mean, or hands raw octets to a sink; lets the rest wait while an answer is pending;
works in slices, so that no client keeps the others waiting; joins the answers to one read into one
write; and bounds what waits on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_smtpserver.connection import writethrough
from twisted_smtpserver.connection.ports import Listener
from twisted_smtpserver.connection.timeouts import CLOSING_TIME, IdleTimeout
from twisted_smtpserver.connection.turns import Turn, laterTurn
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import Outcome

#: Octets that wait behind a pending answer before the socket is paused. Below it the socket stays
#: open, because Twisted learns that the peer left only from a socket that it reads.
MAX_WAITING = 65536

#: Octets of answers that are joined into one write before it goes out anyway.
MAX_JOINED = 8192

#: Lines and chunks of one client that are dealt with before it is the others' turn.
SLICE_LINES = 128

#: Octets of lines that are dealt with before it is the others' turn.
SLICE_OCTETS = 4096

# Why the socket is paused; there may be several reasons at a time.
WAITING_INPUT = 1
BODY_UNREAD = 2
REPLIES_UNREAD = 4

Sink = Callable[[bytes], object]


class PipelinedLines:
    """
    What Twisted's :class:`~twisted.protocols.basic.LineReceiver` does, so that it can be held, and
    within bounds. It is the transport's producer: it makes the answers.

    :param timeout: the connection's timer.
    :param dialogue: what a line means.
    :param longest: the octets of the longest line, without its CRLF.
    :ivar isClosing: whether the peer's octets are ignored from here on.
    :ivar isHeld: whether an answer is pending, and lines wait for it.
    :ivar isCorked: whether answers are collected; the method that set it writes them.
    :ivar stopped: why the socket is paused: 0, or a sum of the reasons above.
    :ivar output: the collected answers.
    :ivar writesThrough: whether answers are offered to the socket before they are queued.
    :ivar listener: who hears what is said, for a transcript; ``None`` for nobody.
    """

    # Each line reads most of these. A slot is found faster than a default on the class, and takes
    # a third of the memory.
    __slots__ = (
        "_buffer",
        "_due",
        "_inputEnded",
        "_lineStart",
        "_longest",
        "_sink",
        "_turn",
        "dialogue",
        "isClosing",
        "isCorked",
        "isHeld",
        "listener",
        "output",
        "paused",
        "stopped",
        "timeout",
        "transport",
        "writesThrough",
    )

    def __init__(self, timeout: IdleTimeout, dialogue: Dialogue, longest: int) -> None:
        self._buffer = b""
        self._due = 0  # how many octets the sink still gets, if that is known
        self._inputEnded = False
        self._longest = longest
        self._lineStart = 0  # where in the buffer the next line begins
        self._sink: Sink | None = None
        self.stopped = 0
        self._turn: Turn | None = None  # this client's next turn
        self.dialogue = dialogue
        self.isClosing = False
        self.isCorked = False
        self.isHeld = False
        self.listener: Listener | None = None
        self.output = b""
        self.paused = False
        self.timeout = timeout
        self.transport: Any = None  # there is one from the connection's beginning to its end
        self.writesThrough = False

    # -- For subclasses to fill in ---------------------------------------------------------------

    def respond(self, outcome: Outcome, times: int = 1) -> None:
        """
        Write what became of a line, now or when it is known.

        :param outcome: what the dialogue returned.
        :param times: of how many lines it is the outcome.
        """
        raise NotImplementedError

    def linesReceived(self, octets: bytes, start: int, end: int, most: int) -> int:
        """
        Take a line that came together with others; and those after it, if that is quicker.

        :param octets: what came in.
        :param start: where in it the line begins.
        :param end: where it ends.
        :param most: how many lines may be taken.
        :returns: how many were. If it was another number than one, :meth:`wentTo` was told.
        """
        raise NotImplementedError

    def lineTooLong(self, beginning: bytes) -> None:
        """An overlong line was skipped, up to and with its CRLF."""
        raise NotImplementedError

    def bareNewlineReceived(self) -> None:
        """A LF came that isn't part of a CRLF."""
        raise NotImplementedError

    # -- Input -----------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take octets; answers to all of them leave in one write."""
        if self.paused or self.isCorked:
            if not self.isClosing:
                self._buffer += data
                self.inputHeld()
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self.isCorked = True
        try:
            end, sink = len(data) - 2, self._sink
            if sink is not None and not self._due:
                sink(data)
                if self._buffer:
                    self._consume()
            elif (
                data.find(b"\r\n") == end
                and 0 <= end <= self._longest
                and sink is None
                and self.listener is None
            ):
                # One line, as nearly always when the client waits for each answer.
                self.respond(self.dialogue.lineReceived(data[:end]))
                # As resetTimeout() does it, without the call.
                timeout = self.timeout
                now = timeout.clock.seconds()
                if now < timeout.since:
                    timeout.clockSetBack()
                timeout.since = now
                if self._buffer:  # a transport in memory may bring octets at any time
                    self._consume()
            else:
                self._buffer = data
                self._consume()
        finally:
            self.isCorked = False
            if self.output:
                self.flush()
        if self._buffer or self.stopped or self._inputEnded:
            self.checkWaiting()

    def _consume(self) -> None:
        """Cut the buffer into lines, or hand it to the sink, until the input is held."""
        # Lines are found by their place in the buffer, and what is left is cut off once.
        lines = octets = 0
        hasLine = False
        transport = self.transport
        while not self.paused:
            if transport.disconnecting:  # closed elsewhere, by a hook for example
                self.isClosing = self.paused = True
                self._replaceBuffer(b"")
                break
            buffer, start = self._buffer, self._lineStart
            if start == len(buffer):
                break
            if lines >= SLICE_LINES or octets >= SLICE_OCTETS:
                self._yield()
                break
            if self._sink is not None:
                lines += self._consumeRaw(self._sink, buffer, start)
                continue
            end = buffer.find(b"\r\n", start)
            if (len(buffer) - 1 if end < 0 else end) - start > self._longest:
                self.lineLengthExceeded(buffer[start:])
            elif end < 0:
                break
            else:
                self._lineStart = end + 2
                hasLine = True
                octets += end - start
                lines += self.linesReceived(buffer, start, end, SLICE_LINES - lines)
                if len(self.output) >= MAX_JOINED:
                    self.flush()
        if self._lineStart:
            self._replaceBuffer(self._buffer[self._lineStart :])
        if hasLine:  # half a line doesn't count: it could take forever
            self.timeout.resetTimeout()

    def _consumeRaw(self, sink: Sink, buffer: bytes, start: int) -> int:
        """
        Hand octets to the sink; of a counted chunk, no more than are due.

        :returns: how many counted chunks that was, 0 or 1.
        """
        if not self._due:
            self._replaceBuffer(b"")
            sink(buffer[start:])
            return 0
        end = min(len(buffer), start + self._due)
        self._lineStart = end
        self._due -= end - start
        if not self._due:
            self._sink = None
        # All of it isn't copied.
        sink(buffer if end - start == len(buffer) else buffer[start:end])
        return 1

    def _yield(self) -> None:
        """Let it be the others' turn; go on when the reactor comes round."""
        self.paused = True
        self._turn = laterTurn(self.timeout.clock, self.takeTurn)

    def takeTurn(self) -> bool:
        """
        (The clock's call.) Go on with what was left for the next turn.

        :returns: whether there was something left.
        """
        turn, self._turn = self._turn, None
        if turn is None:
            return False
        if turn.active():  # a test, or the connection's end, didn't wait for it
            turn.cancel()
        self._goOn()
        return True

    def wentTo(self, start: int) -> None:
        """
        Go on behind lines that :meth:`linesReceived` took.

        :param start: where the next line begins, in what it was given.
        """
        self._lineStart = start

    def _replaceBuffer(self, octets: bytes) -> None:
        self._buffer = octets
        self._lineStart = 0

    def inputHeld(self) -> None:
        """Octets came that must wait."""
        self.checkWaiting()

    def checkWaiting(self) -> None:
        """Bound what is left in the buffer."""
        if self.isClosing:
            return
        waiting = self._buffer
        if self.paused:
            if len(waiting) > MAX_WAITING:
                self.stopReading(WAITING_INPUT)
            return
        if self.isCorked:  # _consume() deals with it next
            return
        self.goOnReading(WAITING_INPUT)
        if waiting and self._sink is None:
            self.checkLine(waiting)
        if self._inputEnded:
            self.close()

    def checkLine(self, octets: bytes) -> None:
        """
        Look for a bare LF in a line, or in the beginning of one whose CRLF hasn't come.

        :param octets: the line without its CRLF, or what there is of it.
        """
        # Don't wait for the CRLF: a peer that ends lines with a bare LF never sends one.
        if b"\n" in octets:
            self.bareNewlineReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Skip an overlong line; the octets after it are still lines."""
        beginning = line[:16]
        self.checkLine(beginning)
        if self.isClosing:
            return
        self._replaceBuffer(line)
        self.beginRaw(_Skipping(self, beginning).take)

    def beginRaw(self, sink: Sink, due: int = 0) -> None:
        """
        Give octets to a sink from here on, instead of lines.

        :param sink: called with the octets, until it calls :meth:`endRaw`.
        :param due: how many octets, if that is known; lines follow them without a call of
            :meth:`endRaw`.
        """
        self._sink = sink
        self._due = due

    def endRaw(self, rest: bytes) -> None:
        """
        Read lines again. Only the sink calls this.

        :param rest: the octets behind the raw ones.
        """
        self._sink = None
        self._buffer = rest
        self._lineStart = 0

    def inputEnded(self) -> None:
        """The peer sends no more, but may still read: answer its last lines, then close."""
        self._inputEnded = True
        if not self.isClosing:
            self.checkWaiting()

    def forgetInput(self) -> None:
        """Throw away unread input: the connection is lost."""
        self.isClosing = self.paused = True
        self._replaceBuffer(b"")
        self.takeTurn()

    @property
    def isRaw(self) -> bool:
        """Whether octets aren't lines."""
        return self._sink is not None

    @property
    def isGone(self) -> bool:
        """Whether the connection is closed, by us or elsewhere."""
        return self.isClosing or bool(self.transport.disconnecting)

    @property
    def waitingInput(self) -> bytes:
        """The octets that wait behind the current line."""
        octets: bytes = self._buffer[self._lineStart :]
        return octets

    # -- Output ----------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Write, now or together with the other answers to the same read."""
        if self.isClosing:
            return
        self.output += octets
        if not self.isCorked or len(self.output) >= MAX_JOINED:
            self.flush()

    def flush(self) -> None:
        """Write the answers that were collected."""
        if self.listener is not None:
            self.listener.repliesWritten(self.output)
        octets, self.output = self.output, b""
        if self.writesThrough:
            writethrough.write(self.transport, octets)
        else:
            self.transport.write(octets)

    def close(self) -> None:
        """Deliver the answers, then close; the peer's octets are ignored from here on."""
        if self.isClosing:
            return
        self.isClosing = self.paused = True
        self._replaceBuffer(b"")
        transport = self.transport
        if self.output:
            self.flush()
        transport.unregisterProducer()
        if self.stopped:
            transport.resumeProducing()  # TLS's end is two messages, and the peer's must be read
        hasNothingToSay = self.writesThrough and writethrough.isDrained(transport)
        transport.loseConnection()
        # A peer that doesn't read, or never answers TLS's close, must not keep the connection open.
        # If everything was delivered, that won't happen, and the running timer is enough.
        if not (hasNothingToSay and self.timeout.redirect(transport.abortConnection)):
            self.timeout.setTimeout(CLOSING_TIME, transport.abortConnection)

    def abort(self) -> None:
        """Close at once, whatever was said."""
        # The timer goes on: a handler may be at work, even after the connection was lost.
        self.isClosing = self.paused = True
        self.transport.abortConnection()

    # -- Hold ------------------------------------------------------------------------------------

    def hold(self) -> None:
        """An answer is pending: let the lines after it wait."""
        self.isHeld = self.paused = True

    def release(self) -> None:
        """The answer was sent: go on with the next line."""
        self.isHeld = False
        self._goOn()

    def _goOn(self) -> None:
        if self.isClosing or self.isHeld or self.stopped & REPLIES_UNREAD or self._turn:
            return
        self.paused = False
        if not self.isCorked and (self._buffer or self.stopped or self._inputEnded):
            self.dataReceived(b"")

    def stopReading(self, reason: int) -> None:
        """Pause the socket, for one more reason."""
        if not self.stopped:
            self.transport.pauseProducing()
        self.stopped |= reason

    def goOnReading(self, reason: int) -> None:
        """Resume the socket, if this was the last reason to pause it."""
        if self.stopped & reason:
            self.stopped &= ~reason
            if not self.stopped and not self.isClosing:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """(The transport's call.) Our answers pile up unread: take no more lines."""
        self.paused = True
        self.stopReading(REPLIES_UNREAD)

    def resumeProducing(self) -> None:
        """(The transport's call.) The peer reads again."""
        self.goOnReading(REPLIES_UNREAD)
        self._goOn()

    def stopProducing(self) -> None:
        """(The transport's call.) The connection is gone; ``connectionLost`` follows."""


class _Skipping:
    """
    The sink of an overlong line.

    :param lines: what gets the octets behind it.
    :param beginning: of the line.
    """

    __slots__ = ("_beginning", "_carry", "_lines")

    def __init__(self, lines: PipelinedLines, beginning: bytes) -> None:
        self._lines = lines
        self._beginning = beginning
        self._carry = b""

    def take(self, octets: bytes) -> None:
        """Look for the line's end."""
        line, end, rest = (self._carry + octets).partition(b"\r\n")
        self._carry = line[-1:] if line.endswith(b"\r") else b""
        if b"\n" in line:
            self._lines.bareNewlineReceived()
        elif end:
            self._lines.endRaw(rest)
            self._lines.lineTooLong(self._beginning)

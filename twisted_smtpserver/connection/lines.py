"""
Lines in, replies out, one at a time: what SMTP has in common with any such protocol.

:class:`OrderedReceiver` knows nothing of commands. It cuts the input into lines, or hands raw
octets to a sink; keeps the rest waiting while an answer is pending; joins all answers to one read
into one write; and bounds what waits on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.protocols.basic import LineReceiver

from twisted_smtpserver.connection import writethrough as immediate

if TYPE_CHECKING:
    from twisted_smtpserver.limits import CommonTimer

#: Octets that wait behind a pending answer before the socket is paused. Below it the socket stays
#: open, because Twisted learns that the peer left only from a socket that it reads.
MAX_WAITING = 65536

#: Octets of answers that are joined into one write before it goes out anyway.
MAX_JOINED = 8192

#: How long a closing connection may take to deliver its last octets, in seconds.
CLOSING_TIME = 10.0

# A wait that has less than this left is over: sums of floating-point numbers aren't exact.
_TICK = 1e-6

# Why the socket is paused; there may be several reasons at a time.
WAITING_INPUT = 1
BODY_UNREAD = 2
REPLIES_UNREAD = 4

Sink = Callable[[bytes], None]


def _nothing() -> None:
    """Nobody waits. (Not None, lest it be asked for each time.)"""


class OrderedReceiver(LineReceiver):
    """
    A :class:`~twisted.protocols.basic.LineReceiver` that can be held, with bounds and one timer.

    :ivar clock: what the timer runs on.
    :ivar firstLooks: the timer that it has together with others, for :data:`CLOSING_TIME` seconds.
    """

    # Most of these are looked at for each line. As slots they are found at once, and take a third
    # of the memory; as defaults on the class they would be looked for in the instance first.
    __slots__ = (
        "_buffer",
        "_closing",
        "_corked",
        "_expired",
        "_held",
        "_inputEnded",
        "_lineStart",
        "_looksAt",
        "_output",
        "_sink",
        "_stopped",
        "_timer",
        "_timerSeconds",
        "_waitIsFixed",
        "_waitsSince",
        "clock",
        "firstLooks",
        "line_mode",
        "paused",
        "transport",
        "writesImmediately",
    )

    clock: IReactorTime
    firstLooks: CommonTimer[OrderedReceiver]

    def __init__(self) -> None:
        self._buffer = b""
        self._closing = False
        self._corked = False  # answers are collected, and whoever said so will write them
        self._expired: Callable[[], object] = _nothing
        self._held = False
        self._inputEnded = False
        self._lineStart = 0  # where in the buffer the next line begins
        self._looksAt = inf  # when we look whether the wait is over
        self._output = b""
        self._sink: Sink | None = None
        self._stopped = 0
        self._timer: IDelayedCall | None = None
        self._timerSeconds = 0.0
        self._waitIsFixed = False
        self._waitsSince = 0.0
        self.line_mode = 1
        self.paused = False
        # Which Twisted has as Optional; it is there from start() to the end.
        self.transport: Any = None
        #: Whether to offer answers to the socket before they are queued.
        self.writesImmediately = True

    # -- For subclasses to fill in ---------------------------------------------------------------

    def lineTooLong(self, beginning: bytes) -> None:
        """An overlong line was skipped, up to and with its CRLF."""
        raise NotImplementedError

    def bareNewlineReceived(self) -> None:
        """A LF came that is no part of a CRLF."""
        raise NotImplementedError

    # -- Input -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; to be called from ``connectionMade``."""
        self.writesImmediately = self.writesImmediately and immediate.isPossible(self.transport)
        # So that the transport tells us when our answers aren't read.
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take octets; answers to all of them leave in one write."""
        # Instead of LineReceiver's own, which cuts the buffer anew for each line.
        if self.paused or self._corked:
            if not self._closing:
                self._buffer += data
                self.inputHeld()
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self._corked = True
        try:
            end = len(data) - 2
            if not self.line_mode:
                self.rawDataReceived(data)
                if self._buffer:
                    self._consume()
            elif data.find(b"\r\n") == end and 0 <= end <= self.MAX_LENGTH:
                # One line, as nearly always when the client waits for each answer.
                self.lineReceived(data[:end])
                self.clientSpoke()
                if self._buffer:  # a transport in memory may bring octets at any time
                    self._consume()
            else:
                self._buffer = data
                self._consume()
        finally:
            self._corked = False
            if self._output:
                self._flush()
        if self._buffer or self._stopped or self._inputEnded:
            self._checkWaiting()

    def _consume(self) -> None:
        """Cut the buffer into lines, or hand it to the sink, until somebody holds us."""
        # Lines are found by their place in the buffer, and what is left is cut off once.
        hasLine = False
        transport = self.transport
        while not self.paused:
            if transport.disconnecting:  # closed by somebody else, a hook for example
                self._closing = self.paused = True
                self._replaceBuffer(b"")
                break
            buffer, start = self._buffer, self._lineStart
            if not self.line_mode:
                if start == len(buffer):
                    break
                self._replaceBuffer(b"")
                self.rawDataReceived(buffer[start:])
                continue
            end = buffer.find(b"\r\n", start)
            if (len(buffer) - 1 if end < 0 else end) - start > self.MAX_LENGTH:
                self.lineLengthExceeded(buffer[start:])
            elif end < 0:
                break
            else:
                self._lineStart = end + 2
                hasLine = True
                self.lineReceived(buffer[start:end])
                if len(self._output) >= MAX_JOINED:
                    self._flush()
        if self._lineStart:
            self._replaceBuffer(self._buffer[self._lineStart :])
        if hasLine:  # half a line doesn't count, or it might take forever
            self.clientSpoke()

    def _replaceBuffer(self, octets: bytes) -> None:
        self._buffer = octets
        self._lineStart = 0

    def inputHeld(self) -> None:
        """Octets came that must wait."""
        self._checkWaiting()

    def _checkWaiting(self) -> None:
        """Bound what is left in the buffer."""
        if self._closing:
            return
        waiting = self._buffer
        if self.paused:
            if len(waiting) > MAX_WAITING:
                self.stopReading(WAITING_INPUT)
            return
        if self._corked:  # it isn't left: its turn is next
            return
        self.goOnReading(WAITING_INPUT)
        if waiting and self.line_mode:
            self.checkLine(waiting)
        if self._inputEnded:
            self.close()

    def checkLine(self, octets: bytes) -> None:
        """
        Look for a bare LF in a line, or in the beginning of one whose CRLF hasn't come.

        :param octets: the line without its CRLF, or what there is of it.
        """
        # Not only when the CRLF comes: who ends lines in LF only would wait for an answer until the
        # timeout.
        if b"\n" in octets:
            self.bareNewlineReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Skip an overlong line; the octets behind it are still lines."""
        beginning = line[:16]
        self.checkLine(beginning)
        if self._closing:
            return
        self._replaceBuffer(line)
        carry = b""

        def skip(octets: bytes) -> None:
            nonlocal carry
            line, end, rest = (carry + octets).partition(b"\r\n")
            carry = line[-1:] if line.endswith(b"\r") else b""
            if b"\n" in line:
                self.bareNewlineReceived()
            elif end:
                self.endRaw(rest)
                self.lineTooLong(beginning)

        self.beginRaw(skip)

    def rawDataReceived(self, data: bytes) -> None:
        """Hand octets to the sink."""
        assert self._sink is not None
        self._sink(data)

    def beginRaw(self, sink: Sink) -> None:
        """
        From here on octets aren't lines.

        :param sink: called with them, until it calls :meth:`endRaw`.
        """
        self._sink = sink
        self.line_mode = 0

    def endRaw(self, rest: bytes) -> None:
        """
        Lines again. To be called by the sink only.

        :param rest: the octets behind the raw ones.
        """
        self._sink = None
        self.line_mode = 1
        self._buffer = rest
        self._lineStart = 0

    @property
    def waitingInput(self) -> bytes:
        """The octets that wait behind the current line."""
        octets: bytes = self._buffer[self._lineStart :]
        return octets

    # -- Output ----------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """Write, now or together with the other answers to the same read."""
        if self._closing:
            return
        self._output += octets
        if not self._corked or len(self._output) >= MAX_JOINED:
            self._flush()

    def _flush(self) -> None:
        octets, self._output = self._output, b""
        if self.writesImmediately:
            immediate.write(self.transport, octets)
        else:
            self.transport.write(octets)

    def close(self) -> None:
        """Deliver what was said, then close; what the peer says from here on is ignored."""
        if self._closing:
            return
        self._closing = self.paused = True
        self._replaceBuffer(b"")
        transport = self.transport
        if self._output:
            self._flush()
        transport.unregisterProducer()
        hasNothingToSay = self.writesImmediately and immediate.isDrained(transport)
        transport.loseConnection()
        # A peer that doesn't read, or that never answers TLS's close, must not keep us.
        if hasNothingToSay and self._looksAt < inf:
            self._expired = transport.abortConnection  # it won't come to that
        else:
            self.setTimer(CLOSING_TIME, transport.abortConnection)

    def abort(self) -> None:
        """Close at once, whatever was said."""
        # The timer goes on: a handler may be at work, even after the connection was lost.
        self._closing = self.paused = True
        self.transport.abortConnection()

    # -- Hold ------------------------------------------------------------------------------------

    def hold(self) -> None:
        """An answer is pending: let the lines behind it wait."""
        self._held = self.paused = True

    def release(self) -> None:
        """The answer was sent: go on with the next line."""
        self._held = False
        self._goOn()

    def _goOn(self) -> None:
        if self._closing or self._held or self._stopped & REPLIES_UNREAD:
            return
        self.paused = False
        if not self._corked and (self._buffer or self._stopped or self._inputEnded):
            self.dataReceived(b"")

    def stopReading(self, reason: int) -> None:
        """Pause the socket, for one more reason."""
        if not self._stopped:
            self.transport.pauseProducing()
        self._stopped |= reason

    def goOnReading(self, reason: int) -> None:
        """Resume the socket, if this was the last reason to pause it."""
        if self._stopped & reason:
            self._stopped &= ~reason
            if not self._stopped and not self._closing:
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

    # -- The timer -------------------------------------------------------------------------------
    # There is one, because there is always exactly one thing that is waited for.

    def setTimer(
        self, seconds: float, expired: Callable[[], object], isFixed: bool = False
    ) -> None:
        """
        Wait for something else from here on.

        :param expired: called when it didn't come in time.
        :param isFixed: whether :meth:`clientSpoke` makes no difference.
        """
        now = self._waitsSince = self.clock.seconds()
        if self._looksAt > now + seconds:
            self.stopTimer()
            # Not for longer than the shortest waits that may follow, or it had to be set anew for
            # those. Most sessions are over by then; that is why they have that timer in common.
            if seconds < CLOSING_TIME:
                self._timer = self.clock.callLater(seconds, self.look)
                self._looksAt = now + seconds
            else:
                self._looksAt = self.firstLooks.begin(self)
        self._timerSeconds = seconds
        self._waitIsFixed = isFixed
        self._expired = expired

    def look(self) -> None:
        """(The timer's call.) See whether the wait is over; if it isn't, look again later."""
        due, self._looksAt, self._timer = self._looksAt, inf, None
        end = self._waitsSince + self._timerSeconds
        now = self.clock.seconds()
        # Where the reactor is late, what is due between then and now comes first: what is waited
        # for may be among it. That is why the time that the look was for counts, too.
        if min(due, now) < end - _TICK:
            self._looksAt = max(end, now)
            self._timer = self.clock.callLater(self._looksAt - now, self.look)
            return
        expired, self._expired = self._expired, _nothing
        expired()

    def clientSpoke(self) -> None:
        """It came, or some of it: the wait starts anew."""
        # To note that costs a fifth of putting the timer off, which can be done when it expires.
        if self._waitIsFixed:
            return
        now = self.clock.seconds()
        if now < self._waitsSince and self._looksAt < inf:  # the clock was set back
            self.setTimer(self._timerSeconds, self._expired)
        self._waitsSince = now

    def stopTimer(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._looksAt < inf:
            self.firstLooks.end(self)
        self._looksAt = inf
        self._expired = _nothing

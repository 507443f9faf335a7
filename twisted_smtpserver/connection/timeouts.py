"""
How long a connection waits.

:class:`IdleTimeout` is the one timer of a connection; its methods have the names of Twisted's
:class:`~twisted.protocols.policies.TimeoutMixin`. :class:`CommonTimer` is one timer for many waits
of the same length.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_T = TypeVar("_T")

#: How long a closing connection may take to deliver its last octets, in seconds.
CLOSING_TIME = 10.0

# A wait that has less than this left is over: sums of floating-point numbers aren't exact.
_TICK = 1e-6


def _nothing() -> None:
    """Nothing is waited for."""


class Idle(Protocol):
    """What a timer is the timer of."""

    def idleTooLong(self) -> None:
        """The client said nothing for too long."""


class IdleTimeout:
    """
    The timer of a connection. One timer: the connection always waits for exactly one thing.

    :ivar clock: what the timer runs on.
    :ivar since: when the wait began, or when the peer last sent something.
    :param firstLooks: the timer that all connections share for their first :data:`CLOSING_TIME`
        seconds.
    :param idle: the connection.
    """

    __slots__ = (
        "_firstLooks",
        "_fixedEnd",
        "_idle",
        "_looksAt",
        "_seconds",
        "_timedOut",
        "_timer",
        "clock",
        "since",
    )

    def __init__(
        self, clock: IReactorTime, firstLooks: CommonTimer[IdleTimeout], idle: Idle
    ) -> None:
        self.clock = clock
        self._firstLooks = firstLooks
        self._fixedEnd: float | None = None
        self._idle = idle
        self._looksAt = inf  # when to see whether the wait is over
        self._seconds = 0.0
        self.since = 0.0
        # None for the connection's idleTooLong(): a bound method for each takes 64 octets.
        self._timedOut: Callable[[], object] | None = _nothing
        self._timer: IDelayedCall | None = None

    def setTimeout(
        self,
        seconds: float,
        timedOut: Callable[[], object] | None = None,
        isFixed: bool = False,
    ) -> None:
        """
        Start another wait, which replaces the current one.

        :param seconds: how long.
        :param timedOut: called when the wait is over; ``None`` for the connection's
            :meth:`~Idle.idleTooLong`.
        :param isFixed: whether :meth:`resetTimeout` has no effect.
        """
        now = self.since = self.clock.seconds()
        if self._looksAt > now + seconds:
            self.cancelTimeout()
            # A long wait shares one timer for its first seconds: a shorter wait that follows then
            # needs no new timer, and most sessions end before that timer fires.
            if seconds < CLOSING_TIME:
                self._timer = self.clock.callLater(seconds, self.look)
                self._looksAt = now + seconds
            else:
                self._looksAt = self._firstLooks.begin(self, now)
        self._seconds = seconds
        self._fixedEnd = now + seconds if isFixed else None
        self._timedOut = timedOut

    def resetTimeout(self) -> None:
        """Start the wait again: the peer sent something."""
        # Noting the time costs a fifth of resetting a timer; look() resets it where needed.
        now = self.clock.seconds()
        if now < self.since:
            self.clockSetBack()
        self.since = now

    def clockSetBack(self) -> None:
        """Start the wait again: the clock was set back, and it would last that much longer."""
        if self._looksAt < inf and self._fixedEnd is None:
            self.setTimeout(self._seconds, self._timedOut)

    def redirect(self, timedOut: Callable[[], object]) -> bool:
        """
        Let the current wait end in another call, at its own time.

        :param timedOut: called when the wait is over.
        :returns: whether there is a wait; without one nothing changes.
        """
        if self._looksAt == inf:
            return False
        self._timedOut = timedOut
        return True

    def cancelTimeout(self) -> None:
        """End the wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._looksAt < inf:
            self._firstLooks.end(self)
        self._looksAt = inf
        self._timedOut = _nothing

    def look(self) -> None:
        """(The timer's call.) See whether the wait is over; if it isn't, look again later."""
        due, self._looksAt, self._timer = self._looksAt, inf, None
        end = self.since + self._seconds if self._fixedEnd is None else self._fixedEnd
        now = self.clock.seconds()
        # A late reactor calls this before it reads, and what the connection waits for may have
        # come. So the time that this call was due at counts, too.
        if min(due, now) < end - _TICK:
            self._looksAt = max(end, now)
            self._timer = self.clock.callLater(self._looksAt - now, self.look)
            return
        timedOut, self._timedOut = self._timedOut, _nothing
        if timedOut is None:
            self._idle.idleTooLong()
        else:
            timedOut()


class CommonTimer(Generic[_T]):
    """
    One timer for many waits of the same length.

    :param getClock: returns the clock; called when a wait begins.
    :param seconds: the length of each wait.
    :param expired: called with a thing whose wait is over.
    """

    def __init__(
        self, getClock: Callable[[], IReactorTime], seconds: float, expired: Callable[[_T], object]
    ) -> None:
        self._getClock = getClock
        self._seconds = seconds
        self._expired = expired
        # When each wait began: by that they are in order.
        self._begun: OrderedDict[_T, float] = OrderedDict()
        self._latest = 0.0
        self._timer: IDelayedCall | None = None

    def begin(self, thing: _T, now: float) -> float:
        """
        Begin the wait for a thing.

        :param thing: a thing without a wait.
        :param now: the time by the clock.
        :returns: when the wait is over.
        """
        if now < self._latest and self._timer is not None:  # the clock was set back
            # Start the earlier waits again, so that they stay in order.
            self._begun = OrderedDict.fromkeys(self._begun, now)
            self._timer.reset(self._seconds)
        self._latest = self._begun[thing] = now
        if self._timer is None:
            self._timer = self._getClock().callLater(self._seconds, self._expire)
        return now + self._seconds

    def end(self, thing: _T) -> None:
        """End the wait for a thing."""
        self._begun.pop(thing, None)
        if not self._begun and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        clock = self._getClock()
        now = clock.seconds()
        thing, began = next(iter(self._begun.items()))
        isDue = began + self._seconds <= now
        if isDue:
            del self._begun[thing]
            began = next(iter(self._begun.values()), now)
        # Set the timer for the others first: they must expire even if this call raises.
        left = max(0.0, began + self._seconds - now)
        self._timer = clock.callLater(left, self._expire) if self._begun else None
        if isDue:
            self._expired(thing)

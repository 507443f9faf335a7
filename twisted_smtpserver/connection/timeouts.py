"""
What a connection waits for, and for how long.

:class:`IdleTimeout` is the one timer of a connection; its methods are called as those of Twisted's
:class:`~twisted.protocols.policies.TimeoutMixin`. :class:`CommonTimer` is one timer for many things
that are waited for equally long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_T = TypeVar("_T")

#: How long a closing connection may take to deliver its last octets, in seconds.
CLOSING_TIME = 10.0

# A wait that has less than this left is over: sums of floating-point numbers aren't exact.
_TICK = 1e-6


def _nothing() -> None:
    """Nothing is waited for."""


class IdleTimeout:
    """
    The timer of a connection. One is enough: a connection always waits for exactly one thing.

    :ivar clock: what the timer runs on.
    :ivar since: when the wait began, or the peer last said something.
    :param firstLooks: the timer that all connections share for their first :data:`CLOSING_TIME`
        seconds.
    """

    __slots__ = (
        "_firstLooks",
        "_fixedEnd",
        "_looksAt",
        "_seconds",
        "_timedOut",
        "_timer",
        "clock",
        "since",
    )

    def __init__(self, clock: IReactorTime, firstLooks: CommonTimer[IdleTimeout]) -> None:
        self.clock = clock
        self._firstLooks = firstLooks
        self._fixedEnd: float | None = None
        self._looksAt = inf  # when to see whether the wait is over
        self._seconds = 0.0
        self.since = 0.0
        self._timedOut: Callable[[], object] = _nothing
        self._timer: IDelayedCall | None = None

    def setTimeout(
        self, seconds: float, timedOut: Callable[[], object], isFixed: bool = False
    ) -> None:
        """
        Wait for something else from here on.

        :param seconds: how long.
        :param timedOut: called if it didn't come in time.
        :param isFixed: whether :meth:`resetTimeout` makes no difference.
        """
        now = self.since = self.clock.seconds()
        if self._looksAt > now + seconds:
            self.cancelTimeout()
            # Don't set a timer for longer than the shortest waits that may follow: they would need
            # a new one. Most sessions are over by then, which is why they share that timer.
            if seconds < CLOSING_TIME:
                self._timer = self.clock.callLater(seconds, self.look)
                self._looksAt = now + seconds
            else:
                self._looksAt = self._firstLooks.begin(self)
        self._seconds = seconds
        self._fixedEnd = now + seconds if isFixed else None
        self._timedOut = timedOut

    def resetTimeout(self) -> None:
        """The peer said something: the wait starts anew."""
        # Noting the time costs a fifth of resetting a timer; look() does that when it must.
        now = self.clock.seconds()
        if now < self.since:
            self.clockSetBack()
        self.since = now

    def clockSetBack(self) -> None:
        """The clock was set back: the wait that has begun would last that much longer."""
        if self._looksAt < inf and self._fixedEnd is None:
            self.setTimeout(self._seconds, self._timedOut)

    def redirect(self, timedOut: Callable[[], object]) -> bool:
        """
        Let the current wait end in something else, at whatever time it ends.

        :param timedOut: called then.
        :returns: whether there is a wait; without one nothing changes.
        """
        if self._looksAt == inf:
            return False
        self._timedOut = timedOut
        return True

    def cancelTimeout(self) -> None:
        """Wait for nothing."""
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
        # A late reactor first deals with what was due between then and now, which may be what the
        # connection waits for. So the time that this look was for counts, too.
        if min(due, now) < end - _TICK:
            self._looksAt = max(end, now)
            self._timer = self.clock.callLater(self._looksAt - now, self.look)
            return
        timedOut, self._timedOut = self._timedOut, _nothing
        timedOut()


class CommonTimer(Generic[_T]):
    """
    One timer for many things that are all waited for equally long.

    :param getClock: says what it runs on; asked when something begins.
    :param seconds: how long each is waited for.
    :param expired: called with what hasn't ended until then.
    """

    def __init__(
        self, getClock: Callable[[], IReactorTime], seconds: float, expired: Callable[[_T], object]
    ) -> None:
        self._getClock = getClock
        self._seconds = seconds
        self._expired = expired
        self._dues: OrderedDict[_T, float] = OrderedDict()
        self._latest = 0.0
        self._timer: IDelayedCall | None = None

    def begin(self, thing: _T) -> float:
        """
        The wait begins, for something that isn't waited for yet.

        :returns: when it is over.
        """
        clock = self._getClock()
        due = clock.seconds() + self._seconds
        if due < self._latest and self._timer is not None:  # the clock was set back
            # What began before is waited for anew, so that nothing is due before its forerunner.
            self._dues = OrderedDict.fromkeys(self._dues, due)
            self._timer.reset(self._seconds)
        self._latest = self._dues[thing] = due
        if self._timer is None:
            self._timer = clock.callLater(self._seconds, self._expire)
        return due

    def end(self, thing: _T) -> None:
        """It has ended by itself, or was ended by us."""
        self._dues.pop(thing, None)
        if not self._dues and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        clock = self._getClock()
        now = clock.seconds()
        thing, due = next(iter(self._dues.items()))
        isDue = due <= now
        if isDue:
            del self._dues[thing]
            due = next(iter(self._dues.values()), now)
        # First of all the timer for the others: whatever happens to this one, they expire, too.
        self._timer = clock.callLater(max(0.0, due - now), self._expire) if self._dues else None
        if isDue:
            self._expired(thing)

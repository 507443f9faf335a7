"""
Whose turn it is, among the connections that have sent more than is dealt with in one turn.

Each time the reactor comes round, only a few of them go on. So a connection that sends a line and
waits for the answer waits for a few of those that flood us, not for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["AT_ONCE", "Turn", "laterTurn"]

#: How many connections go on each time the reactor comes round.
AT_ONCE = 2


class _Turns:
    """The turns of all connections that share a clock, which it mustn't keep alive for long."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Turn, Callable[[], object]] = OrderedDict()
        self._call: IDelayedCall | None = None

    def add(self, function: Callable[[], object], clock: IReactorTime) -> Turn:
        turn = Turn(self)
        self._waiting[turn] = function
        self._comeRound(clock)
        return turn

    def __contains__(self, turn: Turn) -> bool:
        return turn in self._waiting

    def remove(self, turn: Turn) -> None:
        del self._waiting[turn]
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None

    def _comeRound(self, clock: IReactorTime) -> None:
        if self._waiting and self._call is None:
            self._call = clock.callLater(0, self._go, clock)

    def _go(self, clock: IReactorTime) -> None:
        self._call = None
        try:
            for _ in range(min(AT_ONCE, len(self._waiting))):
                _, function = self._waiting.popitem(last=False)
                function()
        finally:  # one that raises keeps no other from going on
            self._comeRound(clock)


class Turn:
    """
    A connection's next turn. It has what is needed of Twisted's ``IDelayedCall``.

    :param turns: those that wait.
    """

    __slots__ = ("_turns",)

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns

    def active(self) -> bool:
        """Whether it is still to come."""
        return self in self._turns

    def cancel(self) -> None:
        """Let it not come; it must be still to come."""
        self._turns.remove(self)


_ALL: WeakKeyDictionary[IReactorTime, _Turns] = WeakKeyDictionary()


def laterTurn(clock: IReactorTime, function: Callable[[], object]) -> Turn:
    """
    Wait for a turn.

    :param clock: the connection's, which says when the reactor comes round.
    :param function: called when the turn has come.
    """
    turns = _ALL.get(clock)
    if turns is None:
        turns = _ALL[clock] = _Turns()
    return turns.add(function, clock)

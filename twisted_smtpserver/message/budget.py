"""Memory that many messages have together."""

from __future__ import annotations

from twisted.internet.defer import Deferred

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """
    Octets that several messages may keep in memory together.

    :param limit: how many.
    :ivar limit: the same.
    :ivar used: how many are in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: list[Deferred[None]] = []
        self._isWaking = False

    def take(self, count: int) -> bool:
        """
        Ask for some.

        :param count: how many octets.
        :returns: whether they were there. If so, they must be given back.
        """
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def giveBack(self, count: int) -> None:
        """
        Give some back.

        :param count: how many octets.
        """
        self.used -= count
        if self._waiting and not self._isWaking:
            self._wake()

    def room(self) -> Deferred[None]:
        """
        Wait until less is in use than the limit. It may be canceled.

        :returns: a Deferred that fires then; those who wait are served in order.
        """
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._isWaking:
            self._wake()
        return waiting

    def _wake(self) -> None:
        # Each may take some at once, or give some back: then this loop sees to it.
        self._isWaking = True
        try:
            while self._waiting and self.used < self.limit:
                self._waiting.pop(0).callback(None)
        finally:
            self._isWaking = False

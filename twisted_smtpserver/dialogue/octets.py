"""
Octets that aren't lines: their least rate, and counted chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.dialogue.ports import OctetsReceiver

#: The window over which a message's rate is judged, in seconds; ``socketTimeout`` if that is
#: longer.
RATE_WINDOW = 300.0


class Pace:
    """
    Tells a slow link from a client that wants to keep us busy.

    The rate is judged over windows, and at the end of each only: within one, the client may pause
    as long as it likes. An attacker gains nothing by a fast beginning.

    :param rate: the least rate, in octets a second; 0 for no limit.
    :param window: the length of a window, in seconds.
    :param now: the time.
    """

    __slots__ = ("_octets", "_pausedAt", "_rate", "_since", "_window")

    def __init__(self, rate: int, window: float, now: float) -> None:
        self._rate = rate
        self._window = window
        self._since = now
        self._octets = 0
        self._pausedAt: float | None = None

    def isTooSlow(self, octets: int, now: float) -> bool:
        """
        Count octets that came.

        :param octets: how many.
        :param now: the time.
        :returns: whether a window ended, and too few octets came in it.
        """
        self._octets += octets
        if self._pausedAt is not None:
            return False
        seconds = now - self._since
        if seconds < self._window:
            return False
        isTooSlow = self._octets < self._rate * seconds
        self._since = now
        self._octets = 0
        return isTooSlow

    def pause(self, now: float) -> None:
        """Stop the clock: the client owes nothing, or the server doesn't read."""
        if self._pausedAt is None:
            self._pausedAt = now

    def resume(self, now: float) -> None:
        """Start the clock again: the client owes octets."""
        if self._pausedAt is not None:
            self._since += now - self._pausedAt
            self._pausedAt = None


class CountedOctets:
    """
    Octets that a command announced by their number (RFC 3030 §2).

    :param dialogue: the conversation.
    :param count: how many octets, at least 1.
    :param sink: called with them as they come.
    :param done: called after the last one; returns what a verb returns.
    """

    __slots__ = ("_dialogue", "_done", "_left", "_sink")

    def __init__(
        self,
        dialogue: OctetsReceiver,
        count: int,
        sink: Callable[[bytes], object],
        done: Callable[[], Outcome],
    ) -> None:
        self._dialogue = dialogue
        self._left = count
        self._sink = sink
        self._done = done

    def take(self, octets: bytes) -> None:
        """
        Pass octets to the sink; after the last one, respond.

        :param octets: the octets, no more than are left.
        """
        dialogue = self._dialogue
        self._left -= len(octets)
        if not dialogue.octetsCame(len(octets), isLast=not self._left):
            return
        self._sink(octets)
        if not self._left:
            dialogue.connection.respond(dialogue.attempt(self._done))

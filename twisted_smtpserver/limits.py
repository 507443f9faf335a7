"""
Bounds that take counting over a session, or over all of a client's sessions.

The cheaper ones stand where the thing is that they bound.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

#: How long the rate of a message is judged at a time, in seconds; longer, if a client may be silent
#: for longer.
RATE_WINDOW = 300.0

#: The longest that the reply to an error is put off, in seconds.
MAX_ERROR_DELAY = 10.0


class Pace:
    """
    Tells a slow link from a client that wants to keep us busy.

    The rate is judged over windows, and at the end of each only: within one, the client may pause
    as long as it likes. An attacker gains nothing by a fast beginning.

    :param rate: the least that must come, in octets a second; 0 for whatever comes.
    :param window: how long one is judged, in seconds.
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
        """The client owes nothing, or it is us who don't read: that time doesn't count."""
        if self._pausedAt is None:
            self._pausedAt = now

    def resume(self, now: float) -> None:
        """It is the client's turn again."""
        if self._pausedAt is not None:
            self._since += now - self._pausedAt
            self._pausedAt = None


class ClientCounts:
    """
    Counts connections by address; for IPv6 by /64, which is the least that one client has.

    :param limit: how many there may be of one; ``None`` for no limit, and then nothing is counted.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        # Bounded, because only what is open has an entry.
        self._counts: dict[int | str, int] = {}

    def enter(self, address: str | None) -> int | str | None:
        """
        A connection came.

        :param address: the client's; ``None`` on a unix socket, which isn't counted.
        :returns: what to say when it :meth:`leaves <leave>`; ``None`` if it isn't counted.
        :raises OverflowError: if there are too many.
        """
        if self._limit is None or address is None:
            return None
        block = addressBlock(address)
        count = self._counts.get(block, 0)
        if count >= self._limit:
            raise OverflowError
        self._counts[block] = count + 1
        return block

    def leave(self, block: int | str | None) -> None:
        """
        A connection is gone.

        :param block: what :meth:`enter` returned.
        """
        if block is None:
            return
        count = self._counts[block] - 1
        if count:
            self._counts[block] = count
        else:
            del self._counts[block]


def addressBlock(address: str) -> int | str:
    """
    What stands for a client when it is counted.

    :param address: an IP address, with or without a zone.
    :returns: a number for an IPv6 address's /64 (one customer has that many at least), the
        address itself for IPv4; also for IPv4 written as IPv6.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # a transport with another idea of a host
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:  # a dual-stack listener shows IPv4 clients so
        return str(parsed.ipv4_mapped)
    return int(parsed) >> 64

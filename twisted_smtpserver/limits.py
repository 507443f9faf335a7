"""
Bounds that take counting over a session, or over all of a client's sessions.

The cheaper ones stand where the thing is that they bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_T = TypeVar("_T")

#: How long the rate of a message is judged at a time, in seconds; longer, if a client may be silent
#: for longer.
RATE_WINDOW = 300.0

#: The longest that the reply to an error is put off, in seconds.
MAX_ERROR_DELAY = 10.0

#: So many refused commands into a session, refused senders and recipients aren't logged one by one
#: any more.
MAX_LOGGED_REFUSALS = 100

#: So many recipients of a session may be refused for a while (4yz), by a greylist for example: an
#: honest client may send to a long list. Then the connection is closed.
MAX_DEFERRED_RECIPIENTS = 10_000

#: So many failed logins of one address aren't delayed: people mistype. They are as many as a
#: connection has by default (``maxAuthAttempts``).
FREE_LOGIN_FAILURES = 3

#: The longest that ``loginDelay`` grows to, in seconds.
MAX_LOGIN_DELAY = 10.0

#: After this time without another one an address's failed logins are forgotten, in seconds.
LOGIN_MEMORY = 900.0

#: Of so many addresses failed logins are remembered; of more, who failed longest ago is forgotten.
MAX_LOGIN_ADDRESSES = 20_000


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


class LoginFailures:
    """
    Remembers which clients failed to log in lately: how long the next refusal is put off grows with
    their failures, over all their connections.

    It is the refusal that comes late, and nobody is locked out: whoever shares an address with an
    attacker, and knows his password, notices nothing.

    :param delay: that of the first failure that has one, in seconds; it doubles with each more.
    :param maxAddresses: how many clients are remembered.
    """

    def __init__(self, delay: float, maxAddresses: int = MAX_LOGIN_ADDRESSES) -> None:
        self._delay = delay
        self._maxAddresses = maxAddresses
        # By client, who failed longest ago first: when it was, the failures, the user's name, and
        # how many of them were in a row with that name. Of names, which may be long, the hash does.
        self._clients: OrderedDict[int | str, tuple[float, int, int, int]] = OrderedDict()

    def failed(self, address: str | None, username: str, now: float) -> float:
        """
        Count a failed login.

        :param address: the client's; ``None`` on a unix socket, which isn't counted.
        :param username: whom it claimed to be.
        :param now: the time.
        :returns: how long to put the refusal off, in seconds.
        """
        if not self._delay or address is None:
            return 0
        self._forget(now)
        block, name = addressBlock(address), hash(username)
        _, count, lastName, inARow = self._clients.pop(block, (now, 0, name, 0))
        count += 1
        self._clients[block] = (now, count, name, inARow + 1 if name == lastName else 1)
        if len(self._clients) > self._maxAddresses:
            self._clients.popitem(last=False)
        return self.delayOf(count)

    def delayOf(self, failures: int) -> float:
        """
        How long to put the refusal off, in seconds.

        :param failures: how many there were, this one included.
        """
        doublings = failures - FREE_LOGIN_FAILURES - 1
        if doublings < 0:
            return 0
        # More doublings would be too much for a float, and make no difference.
        return min(self._delay * 2.0 ** min(doublings, 64), MAX_LOGIN_DELAY)

    def succeeded(self, address: str | None, username: str) -> None:
        """
        Forget what a user mistyped before he got it right: the last failures, as far as they were
        with his name.

        No more than that, or whoever has an account here could try those of others all day, with a
        login of his own in between.

        :param address: as for :meth:`failed`.
        :param username: who logged in.
        """
        if not self._clients or address is None:
            return
        block = addressBlock(address)
        now, count, lastName, inARow = self._clients.get(block, (0.0, 0, 0, 0))
        if not inARow or lastName != hash(username):
            return
        if count > inARow:
            self._clients[block] = (now, count - inARow, lastName, 0)
        else:
            del self._clients[block]

    def _forget(self, now: float) -> None:
        while self._clients:
            block, (last, *_) = next(iter(self._clients.items()))
            if now - last < LOGIN_MEMORY:
                break
            del self._clients[block]


class SharedLoginFailures:
    """
    Likewise, over all servers.

    :param delay: as for :class:`LoginFailures`.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`.
    """

    def __init__(self, delay: float, state: Any) -> None:
        self._delay = delay
        self._state = state
        # Counts while the state doesn't know.
        self._own = LoginFailures(delay)

    def failed(self, address: str | None, username: str, now: float) -> float | Deferred[float]:
        """See :meth:`LoginFailures.failed`."""
        if not self._delay or address is None:
            return 0
        return Deferred.fromCoroutine(self._failed(address, username, now))

    async def _failed(self, address: str, username: str, now: float) -> float:
        key = str(addressBlock(address))
        count = await self._state.loginFailed(key, username, LOGIN_MEMORY)
        if count is None:
            return self._own.failed(address, username, now)
        return self._own.delayOf(count)

    def succeeded(self, address: str | None, username: str) -> None:
        """See :meth:`LoginFailures.succeeded`."""
        self._own.succeeded(address, username)
        if self._delay and address is not None:
            # Nobody waits for it.
            key = str(addressBlock(address))
            Deferred.fromCoroutine(self._state.loginSucceeded(key, username))


def addressBlock(address: str) -> int | str:
    """
    What stands for a client when it is counted.

    :param address: an IP address, with or without a zone.
    :returns: a number for an IPv6 address's /64 (one customer has that many at least), the
        address itself for IPv4; also for IPv4 written as IPv6.
    """
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    return int(parsed) >> 64


def addressNetwork(address: str) -> int | str:
    """
    What stands for the network that a client is in. Who has one address of it may have them all.

    :param address: as for :func:`addressBlock`.
    :returns: a number for an IPv6 address's /48, which is what sites get; for IPv4 the /24.
    """
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed).rpartition(".")[0]
    return int(parsed) >> 80


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # a transport with another idea of a host
        return None
    # A dual-stack listener shows IPv4 clients as IPv6.
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return parsed if mapped is None else mapped

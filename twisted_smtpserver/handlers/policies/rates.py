"""How often a client may connect, send and name recipients."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Literal

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.handlers.policies.fairtable import FairTable
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.wire.ip import addressBlock, addressNetwork

# When it began, and how many connections, messages and recipients there were.
_Counts = tuple[float, int, int, int]
_PLACES: dict[str, Literal[1, 2, 3]] = {"connections": 1, "messages": 2, "recipients": 3}

# How many clients whose time is over one call forgets.
_FORGOTTEN_AT_ONCE = 10


def nameOfUser(user: Any) -> str | None:
    """
    The key under which a user is counted.

    :param user: what ``onAuth`` returned.
    :returns: the name, if that is what it returned; else ``None``.
    """
    if isinstance(user, bytes):
        return user.decode("utf-8", "backslashreplace")
    return user if isinstance(user, str) else None


class RateLimit(SMTPHandler):
    """
    Limits what one client does in a time: an address, or a /64 of IPv6. The messages and recipients
    of each user who has logged in are limited, too, over all addresses. Clients on a unix socket
    aren't limited, but their users are.

    A client over the limit gets a temporary refusal, and may try again when the time is over.

    :param connections: how many connections; ``None`` for no limit, here and below.
    :param messages: how many MAIL commands.
    :param recipients: how many RCPT commands.
    :param seconds: in this time, which begins with the client's first connection.
    :param maxClients: how many clients are remembered, and how many users; beyond that, the oldest
        one of the network (/24 of IPv4, /48 of IPv6) that has the most of them is forgotten.
    :param clock: the time, in seconds.
    :param nameOf: says by which name a user is counted, given what ``onAuth`` returned; ``None``
        not to count one. By default, text and octets are names, and other objects have none.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`, for example a
        :class:`~twisted_smtpserver.shared.RedisState`, that counts for all servers that share it.
        While it can't be asked, this server counts for itself.
    :param name: tells this limit from others in the same state; servers that count together give
        the same one. By default what it counts and the time.
    """

    def __init__(
        self,
        *,
        connections: int | None = None,
        messages: int | None = None,
        recipients: int | None = None,
        seconds: float = 3600,
        maxClients: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
        nameOf: Callable[[Any], str | None] = nameOfUser,
        state: Any = None,
        name: str = "",
    ) -> None:
        self._limits = {"connections": connections, "messages": messages, "recipients": recipients}
        self._seconds = seconds
        self._clock = clock
        self._nameOf = nameOf
        self._state = state
        self._name = name or f"{seconds:g}s"
        # By client: when its time began, and its counts.
        self._clients: FairTable[_Counts] = FairTable(maxClients)
        self._users: FairTable[_Counts] = FairTable(maxClients)

    def onConnect(self, session: Session) -> Any:
        """Refuse a connection beyond the rate: 421, which closes it."""
        return self._check(session, "connections", 421)

    def onMailFrom(self, address: Address, session: Session) -> Any:
        """Refuse a message beyond the rate: 450."""
        return self._check(session, "messages", 450)

    def onRcptTo(self, address: Address, session: Session) -> Any:
        """Refuse a recipient beyond the rate: 450."""
        return self._check(session, "recipients", 450)

    def _check(self, session: Session, what: str, code: int) -> Any:
        limit = self._limits[what]
        if limit is None:
            return None
        name = None if session.user is None else self._nameOf(session.user)
        if self._state is not None:
            return self._checkTogether(session.remoteAddress, name, what, limit, code)
        _judge(self._countHere(session.remoteAddress, name, what), limit, what, code)
        return None

    async def _checkTogether(
        self, address: str | None, name: str | None, what: str, limit: int, code: int
    ) -> None:
        keys = [] if address is None else [str(addressBlock(address))]
        keys += [] if name is None else [f"user {name}"]
        for key in keys:
            count = await self._state.count(f"{what}:{self._name}:{key}", self._seconds)
            if count is None:
                _judge(self._countHere(address, name, what), limit, what, code)
                return
            _judge(count, limit, what, code)

    def _countHere(self, address: str | None, name: str | None, what: str) -> int:
        """How many there are of the client, or of the user: the larger number."""
        most = 0
        if address is not None:
            most = self._count(self._clients, addressBlock(address), addressNetwork(address), what)
        if name is not None:
            most = max(most, self._count(self._users, name, name, what))
        return most

    def _count(
        self,
        table: FairTable[_Counts],
        client: Hashable,
        network: Hashable,
        what: str,
    ) -> int:
        now = self._clock()
        # A few at a time: all of them could take long.
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = table.oldest()
            if oldest is None or now - oldest[1][0] < self._seconds:
                break
            table.remove(oldest[0])
        known = table.get(client)
        if known is not None and now - known[0] >= self._seconds:
            table.remove(client)
            known = None
        if known is None:
            known = (now, 0, 0, 0)
            table.add(client, network, known)
        place = _PLACES[what]
        count = known[place] + 1
        table.replace(client, (*known[:place], count, *known[place + 1 :]))
        return count


def _judge(count: int, limit: int, what: str, code: int) -> None:
    if count > limit:
        raise Rejection(f"Too many {what}, try again later", code, "4.7.0", policy="rate")

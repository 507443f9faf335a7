"""How often a client may come."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.limits import addressBlock
from twisted_smtpserver.session import Address, Session


class RateLimit(SMTPHandler):
    """
    Bounds what one client does in a time: an address, or a /64 of IPv6. Clients on a unix socket
    are left alone.

    Who is over the limit gets a temporary refusal, and may come again when the time is over.

    :param connections: how many; ``None`` for no limit. The rest likewise.
    :param messages: MAIL commands.
    :param recipients: RCPT commands.
    :param seconds: in this time, which begins with the client's first connection.
    :param maxClients: how many clients are remembered; beyond that, who came first is forgotten.
    :param clock: the time, in seconds.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`, for example a
        :class:`~twisted_smtpserver.shared.RedisState`, that counts for all servers that share it.
        While it doesn't know, this server counts by itself.
    :param name: tells this limit from others in the same state; servers that shall count together
        give the same one. By default what it counts and the time.
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
        state: Any = None,
        name: str = "",
    ) -> None:
        self._limits = {"connections": connections, "messages": messages, "recipients": recipients}
        self._seconds = seconds
        self._maxClients = maxClients
        self._clock = clock
        self._state = state
        self._name = name or f"{seconds:g}s"
        # By client: when its time began, and its counts. The oldest comes first.
        self._clients: OrderedDict[int | str, tuple[float, dict[str, int]]] = OrderedDict()

    def onConnect(self, session: Session) -> Any:
        """421, which closes."""
        return self._check(session, "connections", 421)

    def onMailFrom(self, address: Address, session: Session) -> Any:
        """450."""
        return self._check(session, "messages", 450)

    def onRcptTo(self, address: Address, session: Session) -> Any:
        """450."""
        return self._check(session, "recipients", 450)

    def _check(self, session: Session, what: str, code: int) -> Any:
        limit = self._limits[what]
        if limit is None or session.remoteAddress is None:
            return None
        block = addressBlock(session.remoteAddress)
        if self._state is not None:
            return self._checkTogether(block, what, limit, code)
        _judge(self._countHere(block, what), limit, what, code)
        return None

    async def _checkTogether(self, block: int | str, what: str, limit: int, code: int) -> None:
        count = await self._state.count(f"{what}:{self._name}:{block}", self._seconds)
        _judge(self._countHere(block, what) if count is None else count, limit, what, code)

    def _countHere(self, block: int | str, what: str) -> int:
        counts = self._countsOf(block)
        counts[what] = counts.get(what, 0) + 1
        return counts[what]

    def _countsOf(self, block: int | str) -> dict[str, int]:
        now = self._clock()
        while self._clients:
            oldest = next(iter(self._clients))
            began, _ = self._clients[oldest]
            if now - began < self._seconds and len(self._clients) <= self._maxClients:
                break
            del self._clients[oldest]
        return self._clients.setdefault(block, (now, {}))[1]


def _judge(count: int, limit: int, what: str, code: int) -> None:
    if count > limit:
        raise Rejection(f"Too many {what}, try again later", code, "4.7.0")

"""How often a client may come."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.wire.ip import addressBlock


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
    ) -> None:
        self._limits = {"connections": connections, "messages": messages, "recipients": recipients}
        self._seconds = seconds
        self._maxClients = maxClients
        self._clock = clock
        # By client: when its time began, and its counts. The oldest comes first.
        self._clients: OrderedDict[int | str, tuple[float, dict[str, int]]] = OrderedDict()

    def onConnect(self, session: Session) -> None:
        """421, which closes."""
        self._count(session, "connections", 421)

    def onMailFrom(self, address: Address, session: Session) -> None:
        """450."""
        self._count(session, "messages", 450)

    def onRcptTo(self, address: Address, session: Session) -> None:
        """450."""
        self._count(session, "recipients", 450)

    def _count(self, session: Session, what: str, code: int) -> None:
        limit = self._limits[what]
        if limit is None or session.remoteAddress is None:
            return
        counts = self._countsOf(addressBlock(session.remoteAddress))
        counts[what] = counts.get(what, 0) + 1
        if counts[what] > limit:
            raise Rejection(f"Too many {what}, try again later", code, "4.7.0")

    def _countsOf(self, block: int | str) -> dict[str, int]:
        now = self._clock()
        while self._clients:
            oldest = next(iter(self._clients))
            began, _ = self._clients[oldest]
            if now - began < self._seconds and len(self._clients) <= self._maxClients:
                break
            del self._clients[oldest]
        return self._clients.setdefault(block, (now, {}))[1]

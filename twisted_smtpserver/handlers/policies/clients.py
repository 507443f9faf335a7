"""How many connections a client has, over all servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from twisted_smtpserver import replies
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.ip import addressBlock


class ClientsPerAddress(SMTPHandler):
    """
    Bounds the connections of one address, or of one /64 of IPv6, where several servers count them
    together. The factory puts it before the handler, for ``maxClientsPerAddress`` with ``state``.

    After XCLIENT the connection still counts for the address that it began with.

    :param limit: how many there may be.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`.
    """

    def __init__(self, limit: int, state: Any) -> None:
        self._limit = limit
        self._state = state

    async def onConnect(self, session: Session) -> None:
        """Refuse a connection beyond the limit: 421, which closes it."""
        if session.remoteAddress is None or self in session.data:
            return
        key = str(addressBlock(session.remoteAddress))
        # The state's answer is awaited even if the client leaves: otherwise the state might count a
        # connection that is never taken back.
        asked = Deferred.fromCoroutine(self._state.enter(key, self._limit))
        session.data[self] = key, asked
        if await _observe(asked) is False:
            raise Rejection(replies.TOO_MANY_FROM_ADDRESS.text, 421, "4.7.0", policy="clients")

    def onClose(self, session: Session) -> None:
        """Stop counting the connection."""
        key, asked = session.data.pop(self, (None, None))
        if asked is not None:
            asked.addCallback(self._leave, key)

    def _leave(self, entered: bool | None, key: str) -> None:
        if entered:
            Deferred.fromCoroutine(self._state.leave(key))


def _observe(asked: Deferred[bool | None]) -> Deferred[bool | None]:
    """A Deferred with the same result, whose cancellation leaves the other one alone."""
    observer: Deferred[bool | None] = Deferred()

    def tell(result: bool | None) -> bool | None:
        observer.callback(result)
        return result

    asked.addCallback(tell)
    return observer

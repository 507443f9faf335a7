"""Which sender addresses a user may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.session import Address, Session


def isOwn(user: Any, address: Address) -> bool:
    """
    :param user: what ``onAuth`` returned.
    :param address: a sender's.
    :returns: whether the user's name is the address.
    """
    name = user.decode("utf-8", "replace") if isinstance(user, bytes) else user
    if not isinstance(name, str):
        return False
    local, _, domain = name.rpartition("@")
    return local == address.local and domain.lower() == address.domain


class SenderMatchesLogin(SMTPHandler):
    """
    Lets users who have logged in send only as themselves (RFC 6409 §6.1); as ``<>``, too, because
    their programs send receipts so. Those who haven't are no business of this stage's.

    :param owns: whether a user, as ``onAuth`` returned it, may send as an address; it may return a
        Deferred, or be an ``async def``. By default the user's name has to be the address.
    """

    def __init__(self, owns: Callable[[Any, Address], Any] = isOwn) -> None:
        self._owns = owns

    async def onMailFrom(self, address: Address, session: Session) -> None:
        """Refuse another sender than the user's: 553 5.7.1."""
        if session.user is None or not address.address:
            return
        owns = self._owns(session.user, address)
        if hasattr(owns, "__await__"):
            owns = await owns
        if not owns:
            raise Rejection("You may not send as this address", 553, "5.7.1", policy="sender")

"""What a handler remembers of a transaction, from its first recipient until its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from twisted_smtpserver.session import Address, Session

__all__ = ["Transactions"]

_T = TypeVar("_T")


class Transactions(Generic[_T]):
    """
    One value for the current transaction of each session.

    :param make: makes the value for a new transaction.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._known: WeakKeyDictionary[Session, tuple[Address | None, _T]] = WeakKeyDictionary()

    def of(self, session: Session) -> _T:
        """
        :returns: the value of the session's current transaction, made if need be. That of the
            transaction before is forgotten.
        """
        sender = session.envelope.mailFrom  # another object in each transaction
        known = self._known.get(session)
        if known is None or known[0] is not sender:
            known = self._known[session] = (sender, self._make())
        return known[1]

    def pop(self, session: Session) -> _T | None:
        """
        Forget a session's transaction.

        :returns: its value; ``None`` if there is none.
        """
        known = self._known.pop(session, None)
        return None if known is None else known[1]

"""Delays clients that name many recipients."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.session import Address, Session

#: The longest delay by default, in seconds.
LONGEST = 20.0


class Tarpit(SMTPHandler):
    """
    Answers each RCPT later than the one before, after the first ones, so clients that guess names
    or send to many have to wait. It accepts everything, and comes first in a chain.

    :param after: this many recipients of a session aren't delayed.
    :param seconds: how much later each reply comes than the one before.
    :param longest: the longest delay, in seconds; less than the server's ``handlerTimeout``.
    :param reactor: the reactor for the delays; by default the global one.
    """

    def __init__(
        self, after: int = 20, seconds: float = 0.5, longest: float = LONGEST, reactor: Any = None
    ) -> None:
        self._after = after
        self._seconds = seconds
        self._longest = longest
        self._reactor = reactor

    def onRcptTo(self, address: Address, session: Session) -> Any:
        """Accept, after the delay if there is one."""
        count = session.data[self] = session.data.get(self, 0) + 1
        if count <= self._after:
            return None
        delay = min((count - self._after) * self._seconds, self._longest)
        return deferLater(self._clock(), delay, lambda: None)

    def _clock(self) -> Any:
        if self._reactor is None:
            self._reactor = theReactor()
        return self._reactor

"""
Octets that are no lines: the content of messages, and the chunks of BDAT.

They have to come at some pace, unless it is the handler that doesn't read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted_smtpserver import limits, replies
from twisted_smtpserver.connection.lines import BODY_UNREAD
from twisted_smtpserver.connection.replying import Asker, Outcome

if TYPE_CHECKING:
    from twisted_smtpserver.message.transfer import MessageTransfer


class OctetReceiver(Asker):
    """
    An :class:`~twisted_smtpserver.connection.replying.Asker` that takes messages.

    :ivar transfer: the message on its way, if there is one.
    """

    __slots__ = ("_pace", "transfer")

    def __init__(self) -> None:
        super().__init__()
        self.transfer: MessageTransfer | None = None
        self._pace: limits.Pace | None = None  # there is one while a message takes its time

    def receiveOctets(
        self, count: int, sink: Callable[[bytes], object], done: Callable[[], Outcome]
    ) -> Outcome:
        """
        Take so many octets as they are.

        :param count: how many.
        :param sink: called with them as they come.
        :param done: called after the last one; returns what a verb returns.
        :returns: what the verb that calls this must return.
        """
        if count == 0:
            return done()
        if self.transfer is None:  # they are those of a refused command
            self.beginPace()
        elif self._pace is not None:
            self._pace.resume(self.clock.seconds())

        def take(octets: bytes) -> None:
            nonlocal count
            came = min(len(octets), count)
            if came == count and self._pace is None:
                self.clientSpoke()
            elif not self.octetsCame(came):
                return
            if came < count:
                count -= came
                sink(octets)
                return
            sink(octets if len(octets) == count else octets[:count])
            self.endRaw(octets[count:])
            if self._pace is not None:  # until the next chunk the client owes no octets
                self._pace.pause(self.clock.seconds())
            try:
                outcome = done()
            except Exception as error:
                outcome = self.refuse(error, "")
            self.settle(outcome)

        self.beginRaw(take)
        return None

    def beginPace(self) -> None:
        """Octets of a message are to come; not too slowly."""
        # Most messages come in one piece: the pace of the others is taken from the second on.
        self._pace = None

    def octetsCame(self, count: int) -> bool:
        """
        Some did.

        :param count: how many.
        :returns: whether to go on; otherwise the client was too slow, and was told so.
        """
        self.clientSpoke()
        now = self.clock.seconds()
        if self._pace is None:
            window = max(limits.RATE_WINDOW, self.options.socketTimeout)
            self._pace = limits.Pace(self.options.minDataRate, window, now)
        if not self._pace.isTooSlow(count, now):
            return True
        self._plain = False
        self.settle(replies.TOO_SLOW)
        return False

    def pauseBody(self) -> None:
        """The handler doesn't read: stop the client, and let it not take too long."""
        self.stopReading(BODY_UNREAD)
        if self._pace is not None:
            self._pace.pause(self.clock.seconds())
        self._waitForReader()

    def _waitForReader(self) -> None:
        assert self.transfer is not None
        self.setTimer(self.options.handlerTimeout, self.transfer.timedOut)

    def waitForClient(self) -> None:
        """See :meth:`~twisted_smtpserver.connection.replying.Asker.waitForClient`."""
        if self._stopped & BODY_UNREAD and not self._closing:
            self._waitForReader()  # another command came in between
        else:
            super().waitForClient()

    def resumeBody(self) -> None:
        """The handler reads again."""
        self.goOnReading(BODY_UNREAD)
        if self._pace is not None and not self.line_mode:
            self._pace.resume(self.clock.seconds())
        if self._waitToken is None:
            self.waitForClient()

"""The inbox in the reactor's thread: the store behind a queue, chaos, and those who listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from twisted_smtpserver.inbox.chaos import Chaos
from twisted_smtpserver.inbox.contents import Content
from twisted_smtpserver.inbox.events import Events
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.store import MessageStore
from twisted_smtpserver.message.files import RunInThread


class Listening(Protocol):
    """What listens: an :class:`~twisted_smtpserver.SMTPService`, for example."""

    ports: list[IListeningPort]


class Desk:
    """
    What the handler and the page share.

    One message is parsed, or one search runs, at a time: however many clients there are, it takes
    one thread, and the memory of one message.

    :param clock: the reactor.
    :param chaos: the triggers.
    :param runInThread: where the database is waited for.
    :ivar store: set by :meth:`open`.
    :ivar accepted: how many messages were stored since the start, and :ivar acceptedOctets: their
        size; :ivar rejected: how many couldn't be stored; :ivar deleted: how many were deleted by
        somebody.
    """

    store: MessageStore

    def __init__(
        self, clock: Any, chaos: Chaos | None = None, runInThread: RunInThread = deferToThread
    ) -> None:
        self.chaos = chaos or Chaos()
        self.events = Events(clock)
        self.accepted = self.acceptedOctets = self.rejected = self.deleted = 0
        #: The SMTP servers that fill the inbox. The page shows their addresses.
        self.servers: list[Listening] = []
        #: The handler that releases messages; ``None`` if the inbox doesn't offer that.
        self.relay: Any = None
        self._clock = clock
        self._started = clock.seconds()
        self._runInThread = runInThread
        self._turn = DeferredLock()

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self._clock.seconds() - self._started)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """
        Call a method of the store in a thread, when it is its turn.

        :param function: what to call.
        :param arguments: its arguments.
        """
        return self._turn.run(self._runInThread, function, *arguments)

    def piece(self, content: Content, position: int) -> Deferred[bytes]:
        """
        Read a piece of what is to be downloaded.

        :param content: it.
        :param position: where the piece begins.
        :returns: a Deferred of its octets;
            :class:`~twisted_smtpserver.inbox.contents.MessageGone` if the message was deleted.
        """
        return self.run(self.store.contents.piece, content, position)

    async def pieces(self, content: Content) -> AsyncIterator[bytes]:
        """
        Read all of it.

        :param content: what to read.
        :raises MessageGone: if the message was deleted.
        """
        position = 0
        while position < content.size:
            octets = await self.piece(content, position)
            position += len(octets)
            yield octets

    def later(self, seconds: float) -> Deferred[None]:
        """
        Wait.

        :param seconds: how long.
        """
        return deferLater(self._clock, seconds)

    async def add(self, read: Callable[[], bytes], envelope: Envelope) -> dict[str, Any]:
        """
        Store a message, and tell those who listen.

        :param read: gives its octets; called in the thread.
        :param envelope: what came with it.
        :returns: its row in the list.
        :raises TooLargeForInbox: if there is no room for it.
        """
        summary: dict[str, Any] = await self.run(lambda: self.store.add(read(), envelope))
        self.accepted += 1
        self.acceptedOctets += summary["Size"]
        self.events.publish("new", summary)
        return summary

"""
Reads from all connections in one step of the reactor's.

For each event Twisted's reactor makes a context for the log, looks up what to call, and is ready
for any mistake; and for each round of events it looks after timers and threads. That takes longer
than a short command. A :class:`Hub` is a single reader for the reactor, and has an epoll of its own
beneath it, on which the connections' sockets are. Several events cost the reactor as much as one.

Nothing else changes: the connections are Twisted's, writing is the reactor's business, what a
handler logs has its connection's prefix, and a connection is lost in the ways that the reactor has.
"""

from __future__ import annotations

import select
from time import perf_counter
from typing import Any, Final

from twisted.internet.base import BasePort
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.python import context, log
from twisted.python.failure import Failure

#: How many events are dealt with before it is the turn of what else the reactor has to do: timers,
#: threads, other sockets.
MOST_EVENTS = 64

#: How often the hub looks for events that came meanwhile, before that.
MOST_LOOKS = 8

#: After how long it doesn't look again, in seconds.
MOST_SECONDS = 0.002

_EPOLLIN: Final[int] = getattr(select, "EPOLLIN", 1)  # where there is none, there is no hub


def isPossible(reactor: Any) -> bool:
    """
    Whether there can be a hub.

    :param reactor: it must be Twisted's own for epoll: what is done in its place is known.
    """
    kind = type(reactor)
    return (kind.__module__, kind.__name__) == ("twisted.internet.epollreactor", "EPollReactor")


class Hub:
    """
    The reactor, as a connection's transport sees it: it asks for its reads here.

    :param reactor: the reactor, which gets all other calls.
    :ivar reactor: the same.
    """

    __slots__ = ("_epoll", "_readers", "reactor")

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._epoll: Any = select.epoll()
        self._readers: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reactor, name)

    def __repr__(self) -> str:
        return f"<Hub of {', '.join(map(repr, self._readers.values())) or 'no connections'}>"

    def take(self, transport: Any) -> None:
        """
        Take a connection over from the reactor, and those that its port will accept.

        :param transport: Twisted's own TCP connection.
        """
        _move(transport, self)

    def giveBack(self, transport: Any) -> None:
        """
        Let the reactor read from a connection, and from those that its port will accept.

        :param transport: one that was taken.
        """
        _move(transport, self.reactor)

    # -- The transports' calls ---------------------------------------------------------------------

    def addReader(self, reader: Any) -> None:
        """See :class:`twisted.internet.interfaces.IReactorFDSet`."""
        fd: int = reader.fileno()
        if self._readers.get(fd) is reader:
            return
        if isinstance(reader, BasePort):  # it accepts so many in a turn of the reactor, no more
            self.reactor.addReader(reader)
            return
        try:
            self._epoll.register(fd, _EPOLLIN)
        except OSError:  # /proc/sys/fs/epoll/max_user_watches, for example
            self.reactor.addReader(reader)
            return
        self._readers[fd] = reader
        # Each time: trial takes away what a test leaves with the reactor, without a word.
        self.reactor.addReader(self)

    def removeReader(self, reader: Any) -> None:
        """See :class:`twisted.internet.interfaces.IReactorFDSet`."""
        fd: int = reader.fileno()
        isClosed = fd < 0
        if isClosed:  # by somebody else; the system has taken it off the epoll
            fd = self._numberOf(reader)
        if self._readers.get(fd) is not reader:  # a port, which the reactor watches
            self.reactor.removeReader(reader)
            return
        del self._readers[fd]
        if not isClosed:
            self._epoll.unregister(fd)
        if not self._readers:
            self.reactor.removeReader(self)

    def _numberOf(self, reader: Any) -> int:
        return next((fd for fd, other in self._readers.items() if other is reader), -1)

    # -- The reactor's calls -----------------------------------------------------------------------

    def fileno(self) -> int:
        """See :class:`twisted.internet.interfaces.IFileDescriptor`."""
        fd: int = self._epoll.fileno()
        return fd

    def logPrefix(self) -> str:
        """See :class:`twisted.internet.interfaces.ILoggingContext`."""
        return "Hub"

    def doRead(self) -> None:
        """See :class:`twisted.internet.interfaces.IReadDescriptor`."""
        began = perf_counter()
        # What log.callWithLogger() does for each event, in fewer steps.
        contexts: list[Any] = context.theContextTracker.currentContext().contexts
        forLog: dict[Any, Any] = context.get(log.ILogContext)
        left = MOST_EVENTS
        for _ in range(MOST_LOOKS):
            events: list[tuple[int, int]] = self._epoll.poll(0, left)
            for fd, event in events:
                reader = self._readers.get(fd)
                if reader is None:  # gone, by what another one did
                    continue
                contexts.append({log.ILogContext: {**forLog, "system": reader.logPrefix()}})
                try:
                    self._read(reader, event)
                except BaseException:  # in its connectionLost(); the other connections go on
                    log.err()
                finally:
                    contexts.pop()
            left -= len(events)
            # After a single event there is mostly no other one yet.
            if len(events) < 2 or left <= 0 or perf_counter() - began > MOST_SECONDS:
                return

    def _read(self, reader: Any, event: int) -> None:
        """Do what the reactor does at an event, which can only be about reading."""
        why: Any = None
        if not event & _EPOLLIN:  # there is nothing left to be read
            why = ConnectionDone()
        else:
            try:
                why = reader.doRead()
            except BaseException as error:
                why = error
                log.err()
        if why:
            self._lose(reader, why)

    def _lose(self, reader: Any, why: BaseException) -> None:
        self.removeReader(reader)
        if type(why) is ConnectionDone and IHalfCloseableDescriptor.providedBy(reader):
            reader.readConnectionLost(Failure(why))
        else:
            self.reactor.removeWriter(reader)
            reader.connectionLost(Failure(why))

    def connectionLost(self, reason: Failure) -> None:
        """See :class:`twisted.internet.interfaces.IFileDescriptor`; the reactor stops."""
        for reader in list(self._readers.values()):
            log.callWithLogger(reader, reader.connectionLost, reason)


def _move(transport: Any, reactor: Any) -> None:
    transport.stopReading()
    transport.reactor = reactor
    transport.startReading()
    # The next ones needn't be moved: a port gives its connections the reactor that it has.
    if transport.server is not None:  # as it is for one that was handed over by another process
        transport.server.reactor = reactor

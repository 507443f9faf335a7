"""
Connections of a web server that don't block each other or the reactor.

twisted.web answers all requests that come in one piece at once, and goes on while the client takes
none of the answers. Here one request is answered at each turn of the reactor, of all connections
together; and a connection has the next one when its client has taken the last answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

#: What is read of a connection at once, in octets: of the smallest chunks, each costs 2 µs.
READ_SIZE = 8 * 1024


class Turns:
    """
    Requests that wait for their turn.

    :param clock: the reactor.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, call: Callable[[], None]) -> None:
        """
        Let a request wait.

        :param call: answers it.
        """
        if not self._waiting:
            self._clock.callLater(0, self._turn)
        self._waiting.append(call)

    def _turn(self) -> None:
        call = self._waiting.popleft()
        if self._waiting:
            self._clock.callLater(0, self._turn)
        call()


class PacedConnection(ProtocolWrapper):
    """
    A connection; its factory is a
    :class:`~twisted_smtpserver.web.bounded.BoundedConnections`.

    :param factory: it.
    :param wrappedProtocol: twisted.web's.
    """

    def __init__(self, factory: Any, wrappedProtocol: Any) -> None:
        super().__init__(factory, wrappedProtocol)
        self._bounds = factory
        self._request: Callable[[], None] | None = None
        self._isUntaken = False
        self._isBusy = False
        self._impatience = _Patience(self)  # with a client that takes nothing
        self._arrival = _Patience(self)  # with a request that never ends

    def makeConnection(self, transport: Any) -> None:
        """
        Begin.

        :param transport: the socket's.
        """
        transport.bufferSize = READ_SIZE
        super().makeConnection(transport)

    @property
    def clock(self) -> Any:
        """The reactor, which keeps the time."""
        return self._bounds.clock

    @property
    def idleTime(self) -> float:
        """How long anything may take the client, in seconds."""
        return float(self._bounds.idleTime)

    def dataReceived(self, data: bytes) -> None:
        """
        The client says something.

        :param data: it.
        """
        if not self._isBusy:
            self._arrival.begin()
        super().dataReceived(data)

    def answer(self, call: Callable[[], None]) -> None:
        """
        Answer the connection's request, which has come in whole, when it is its turn.

        :param call: does so.
        """
        self._isBusy = True
        self._arrival.end()
        self._request = call
        if not self._isUntaken:
            self._bounds.turns.add(self._answer)

    def _answer(self) -> None:
        if self._request is not None and not self._isUntaken:  # or the client has left
            call, self._request = self._request, None
            call()

    def answered(self) -> None:
        """The answer is complete."""
        self._isBusy = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let the transport say when it has enough.

        :param producer: twisted.web's side of the connection.
        :param streaming: ``True``: it is an :class:`IPushProducer`.
        """
        super().registerProducer(_Watched(producer, self), streaming)

    def untaken(self) -> None:
        """The client doesn't read its answer: give it some time to go on."""
        self._isUntaken = True
        self._impatience.begin()

    def taken(self) -> None:
        """The client has read its answer."""
        self._isUntaken = False
        self._impatience.end()
        if self._request is not None:
            self._bounds.turns.add(self._answer)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """
        End.

        :param reason: why.
        """
        self._request = None
        self._impatience.end()
        self._arrival.end()
        super().connectionLost(reason)


class _Patience:
    """
    Ends a connection after a while.

    :param connection: it.
    """

    def __init__(self, connection: PacedConnection) -> None:
        self._connection = connection
        self._call: Any = None

    def begin(self) -> None:
        """Start the timer, unless it runs already."""
        if self._call is None:
            connection = self._connection
            abort = connection.abortConnection
            self._call = connection.clock.callLater(connection.idleTime, abort)

    def end(self) -> None:
        """The reason is gone: stop waiting."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()


@implementer(IPushProducer)
class _Watched:
    """Tells a connection what its transport tells the producer."""

    def __init__(self, producer: Any, connection: PacedConnection) -> None:
        self._producer = producer
        self._connection = connection

    def pauseProducing(self) -> None:
        self._connection.untaken()
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._connection.taken()
        self._producer.resumeProducing()

    def stopProducing(self) -> None:
        self._producer.stopProducing()

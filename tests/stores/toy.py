"""
A store as a user might write it, and a service that it stores to: the smallest for which everything
in the suite is true.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from tests.support.faultyproxy import factoryOf
from twisted_smtpserver import Rejection, SMTPHandler
from twisted_smtpserver.headers import receivedHeader
from twisted_smtpserver.stores.base import BackOff, Unavailable, outcomes, within


class Service:
    """Keeps messages. They come in strings; an empty one ends a message and is answered."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.isFull = False
        self._connections: set[ServiceProtocol] = set()
        self._port: Any = None

    def start(self) -> int:
        """Listen."""
        factory = factoryOf(lambda: ServiceProtocol(self._connections, self.keep))
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        return int(self._port.getHost().port)

    async def kill(self) -> None:
        """Be gone."""
        for connection in list(self._connections):
            connection.transport.abortConnection()
        await self._port.stopListening()

    def keep(self, message: bytes) -> bytes:
        """Take a message; the answer."""
        if self.isFull:
            return b"full"
        if b"To: nobody" in message:
            return b"refused"
        self.kept.append(message)
        return b"kept"


class ServiceProtocol(Int32StringReceiver):
    """The service's side."""

    MAX_LENGTH = 2**20
    transport: Any

    def __init__(self, all_: set[ServiceProtocol], keep: Callable[[bytes], bytes]) -> None:
        self._all = all_
        self._keep = keep
        self._strings: list[bytes] = []

    def connectionMade(self) -> None:
        """One more."""
        self._all.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        """One less."""
        self._all.discard(self)

    def stringReceived(self, string: bytes) -> None:
        """Part of a message, or its end."""
        if string:
            self._strings.append(string)
            return
        message = b"".join(self._strings)
        self._strings = []
        self.sendString(self._keep(message))


class Channel(Int32StringReceiver):
    """The store's side; a consumer for ``pipeTo``."""

    transport: Any = None

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()

    def stringReceived(self, string: bytes) -> None:
        """The answer."""
        self.answer.callback(string)

    def connectionLost(self, reason: Any = None) -> None:
        """No answer will come."""
        if not self.answer.called:
            self.answer.errback(Failure(Unavailable("the connection was lost")))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The socket tells the client's one when to pause."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """All is written."""
        self.transport.unregisterProducer()

    def write(self, octets: bytes) -> None:
        """Part of the message."""
        self.sendString(octets)


class ToyStore(SMTPHandler):
    """Stores to a :class:`Service`, over a connection for each message."""

    def __init__(self, port: int, deadline: float) -> None:
        self._port = port
        self._deadline = deadline
        self._backOff = BackOff(reactor, first=0.01, most=0.05)

    def onRcptTo(self, address: Any, session: Any) -> None:
        """One name isn't known."""
        if address.local == "nobody":
            raise Rejection("No such user")

    async def onData(self, stream: Any, session: Any) -> str:
        """Store a message."""
        with outcomes(self, session.envelope):
            self._backOff.check()
            stream.prepend(receivedHeader(session))
            channel = Channel()
            try:
                await self._wait(self._connect(channel))
                await self._deliver(channel, stream, session.envelope)
            except Unavailable:
                self._backOff.failed()
                raise
            finally:
                channel.answer.addErrback(lambda _: None)
                if channel.transport:
                    channel.transport.abortConnection()
            self._backOff.succeeded()
        return f"Message stored as {session.envelope.id}"

    def _connect(self, channel: Channel) -> Deferred[Any]:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._port)
        return connectProtocol(endpoint, channel)

    async def _deliver(self, channel: Channel, stream: Any, envelope: Any) -> None:
        await stream.pipeTo(channel)
        envelope.beginCommit()
        channel.sendString(b"")
        answer = await self._wait(channel.answer)
        if answer != b"kept":
            raise Unavailable(f"the service said {answer!r}")

    def _wait(self, awaited: Deferred[Any]) -> Deferred[Any]:
        return within(reactor, self._deadline, awaited, "the service")

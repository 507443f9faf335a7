"""Connections to the next hops: opened when needed, kept for the next message, bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol

from twisted_smtpserver.stores.base import BackOff, Unavailable, reasonOf, within
from twisted_smtpserver.stores.forward.answers import Answer
from twisted_smtpserver.stores.forward.client import Client
from twisted_smtpserver.stores.forward.host import Host
from twisted_smtpserver.stores.forward.opening import Opening

#: How long a connection is kept for the next message, in seconds. Servers close idle ones after
#: minutes; some after less.
IDLE_TIME = 20.0

#: How many idle connections to one host are kept.
MAX_IDLE = 20

#: After how many messages a connection is closed: the next hop may balance its load by connections.
MAX_MESSAGES = 100


@dataclass(frozen=True)
class Settings:
    """
    The settings for all hosts.

    :ivar reactor: Twisted's.
    :ivar hostName: our name.
    :ivar password: for the hosts with a user.
    :ivar makeTLS: makes a creator of TLS connections for a host's name.
    :ivar deadline: for connecting and for each reply, in seconds.
    :ivar maxConnections: the most simultaneous connections to one host.
    :ivar backOff: makes a :class:`BackOff`.
    """

    reactor: Any
    hostName: str
    password: str = field(repr=False)
    makeTLS: Callable[[str], Any]
    deadline: float
    maxConnections: int
    backOff: Callable[[], BackOff]


class Connection:
    """
    An open connection to a next hop.

    :param client: after its opening.
    :param pool: where it belongs.
    :param offers: what the next hop offers.
    :ivar host: the next hop.
    :ivar offers: what the next hop offers.
    :ivar messages: how many transactions there were.
    """

    def __init__(self, client: Client, pool: HostPool, offers: Mapping[str, str]) -> None:
        self.host = pool.host
        self.offers = offers
        self.messages = 0
        self._client = client
        self._pool = pool
        self._idleEnd: Any = None

    @property
    def isUsable(self) -> bool:
        """Whether commands can be sent."""
        return self._client.isUsable

    @property
    def transport(self) -> Any:
        """The consumer for a message."""
        return self._client.transport

    @property
    def lost(self) -> Deferred[None]:
        """A Deferred that fires when the connection is lost."""
        return self._client.lost

    async def say(self, line: bytes, octets: bytes = b"") -> Answer:
        """
        Send a command and wait for its reply. If that fails, or is canceled, the connection is
        closed: nobody would know any more what the next reply is about.

        :param line: without its CRLF.
        :param octets: what follows it.
        :raises Unavailable: if no reply comes in time.
        """
        answer: Answer = await self.answer(self._client.command(line, octets))
        return answer

    def begin(self, line: bytes) -> Deferred[Answer]:
        """
        Send a command. Wait for its reply with :meth:`answer`.

        :param line: without its CRLF.
        """
        return self._client.command(line)

    def expect(self) -> Deferred[Answer]:
        """Expect one more reply. Wait for it with :meth:`answer`."""
        return self._client.expect()

    async def answer(self, awaited: Deferred[Any], times: int = 1) -> Any:
        """
        Wait for the next hop. If it fails the connection is closed, as in
        :meth:`say`.

        :param awaited: what for.
        :param times: how many deadlines it may take.
        """
        try:
            return await self._pool.bounded(awaited, times)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Close at once."""
        self._client.abort()

    def quit(self) -> None:
        """Send QUIT, and close when that was answered, or after the deadline."""
        self._stopIdling()
        if self.isUsable:
            said = Deferred.fromCoroutine(self.say(b"QUIT"))
            said.addBoth(lambda _: self.abort())

    def release(self) -> None:
        """The transaction is over: keep the connection for the next one, or close it."""
        self.messages += 1
        if not self._pool.keep(self):
            self.quit()

    def beginIdling(self) -> None:
        """(The pool's call.) The connection isn't used any more."""
        self._idleEnd = self._pool.reactor.callLater(IDLE_TIME, self._idleForLong)

    def _idleForLong(self) -> None:
        self._idleEnd = None
        self._pool.forget(self)
        self.quit()

    def endIdling(self) -> bool:
        """
        (The pool's call.) It is needed again.

        :returns: whether it can still be used.
        """
        self._stopIdling()
        return self.isUsable

    def _stopIdling(self) -> None:
        if self._idleEnd is not None:
            self._idleEnd.cancel()
            self._idleEnd = None


class HostPool:
    """
    The connections to one host.

    :param host: the next hop.
    :param settings: what holds for all hosts.
    :ivar host: the next hop.
    """

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host
        self.reactor = settings.reactor
        self._settings = settings
        self._backOff = settings.backOff()
        self._idle: list[Connection] = []
        self._open: set[Client] = set()
        self._connecting = 0
        self._closed = False

    def takeIdle(self) -> Connection | None:
        """A connection that was kept and still works, if there is one."""
        while self._idle:
            connection = self._idle.pop()  # the one that was used last
            if connection.endIdling():
                return connection
        return None

    async def connect(self) -> Connection:
        """
        Open a connection.

        :raises Unavailable: if that can't be done, was tried in vain just now, or there are too
            many.
        """
        try:
            self._backOff.check()
            most = self._settings.maxConnections
            if len(self._open) + self._connecting >= most:
                raise Unavailable(f"{most} connections are open, which is the limit")
            connection = await self._connect()
        except Unavailable as error:
            raise Unavailable(f"{self.host}: {error}") from None
        self._backOff.succeeded()
        return connection

    async def _connect(self) -> Connection:
        settings = self._settings
        tls = settings.makeTLS(self.host.name) if self.host.isTLS else None
        endpoint = self.host.endpoint(self.reactor, tls, settings.deadline)
        client = Client()
        self._connecting += 1
        try:
            await self.bounded(endpoint.connect(_Once(client)))
        except (
            ConnectError,
            OSError,
            Unavailable,
        ) as error:  # a name that isn't known is the second
            self._backOff.failed()
            raise Unavailable(reasonOf(error)) from None
        finally:
            self._connecting -= 1
        self._open.add(client)
        client.lost.addCallback(lambda _: self._open.discard(client))
        try:
            opening = Opening(self.host, settings.hostName, settings.password, tls, self.bounded)
            return Connection(client, self, await opening.run(client))
        except BaseException as error:
            client.abort()
            if isinstance(error, Unavailable):
                self._backOff.failed()
            raise

    def bounded(self, awaited: Deferred[Any], times: int = 1) -> Deferred[Any]:
        """
        Bound a wait for the next hop.

        :param awaited: what is waited for.
        :param times: by how many deadlines.
        """
        seconds = self._settings.deadline * times
        return within(self.reactor, seconds, awaited, str(self.host))

    def keep(self, connection: Connection) -> bool:
        """
        Keep a connection for the next message.

        :returns: whether it is kept.
        """
        isWorn = not connection.isUsable or connection.messages >= MAX_MESSAGES
        if isWorn or self._closed or len(self._idle) >= MAX_IDLE:
            return False
        self._idle.append(connection)
        connection.beginIdling()
        return True

    def forget(self, connection: Connection) -> None:
        """A connection isn't kept any more."""
        self._idle.remove(connection)

    def close(self) -> Deferred[Any]:
        """
        Close idle connections, and keep none from now on.

        :returns: fires when all connections are gone.
        """
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()
        return DeferredList([_told(client.lost) for client in self._open])


class Pool:
    """
    The connections to several hosts: the first that can be reached is used.

    :param hosts: by priority.
    :param settings: what holds for all of them.
    """

    def __init__(self, hosts: Sequence[Host], settings: Settings) -> None:
        self._pools = [HostPool(host, settings) for host in hosts]

    async def acquire(self) -> Connection:
        """
        A connection to the first host that can be reached.

        :raises Unavailable: if none can be.
        """
        reasons = []
        for pool in self._pools:
            connection = pool.takeIdle()
            if connection is not None:
                return connection
            try:
                return await pool.connect()
            except Unavailable as error:
                reasons.append(str(error))
        raise Unavailable("; ".join(reasons))

    def close(self) -> Deferred[Any]:
        """Close all. See :meth:`HostPool.close`."""
        return DeferredList([pool.close() for pool in self._pools])


class _Once(Factory):
    """Makes one protocol, the one that it is given."""

    noisy = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._client


def _told(lost: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when another one does, which stays as it is."""
    told: Deferred[None] = Deferred()
    lost.addCallback(told.callback)
    return told

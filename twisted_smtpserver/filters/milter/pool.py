"""
Connections to one milter, which may be used again for the next client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.filters.milter.client import MilterConnection
from twisted_smtpserver.filters.milter.symbols import MilterError
from twisted_smtpserver.hooks.reactor import theReactor

#: How many connections are kept open while no client uses them.
MAX_IDLE = 10

#: Notations of sendmail and Postfix, and what Twisted has instead.
_FOREIGN = {"inet": "tcp:127.0.0.1:11332", "local": "unix:/run/milter.sock"}


class _Factory(Factory):
    protocol = MilterConnection
    noisy = False


class Pool:
    """
    Makes connections, and keeps some that are free.

    :param endpoint: where the milter listens: one of Twisted's client endpoints, or its
        description.
    :param timeout: how long a connection and its negotiation may take, in seconds.
    :param reactor: by default the one that is installed.
    :raises ConfigurationError: if the description is wrong.
    """

    def __init__(
        self, endpoint: str | IStreamClientEndpoint, timeout: float, reactor: Any = None
    ) -> None:
        if isinstance(endpoint, str):
            _checkDescription(endpoint)
        self._endpoint = endpoint
        self._timeout = timeout
        self._reactor = reactor
        self._idle: list[MilterConnection] = []
        self._keepsNone = False
        self._all: set[MilterConnection] = set()

    def __repr__(self) -> str:
        return str(self._endpoint)

    @property
    def reactor(self) -> Any:
        """The reactor."""
        if self._reactor is None:
            self._reactor = theReactor()
        return self._reactor

    async def take(self) -> MilterConnection:
        """
        :returns: a free connection, or a new one.
        :raises MilterError: if no connection can be made.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.isQuiet:
                return connection
            connection.drop()
        return await self.connect()

    async def connect(self) -> MilterConnection:
        """
        :returns: a new connection.
        :raises MilterError: if no connection can be made.
        """
        connecting: Deferred[MilterConnection] = Deferred.fromCoroutine(self._connect())
        connecting.addTimeout(self._timeout, self.reactor)
        try:
            return await connecting
        except DeadlineError:
            raise MilterError(f"no connection within {self._timeout:g} s") from None

    async def _connect(self) -> MilterConnection:
        endpoint: Any = self._endpoint
        if isinstance(endpoint, str):
            endpoint = clientFromString(self.reactor, endpoint)
        try:
            connection: MilterConnection = await endpoint.connect(_Factory())
        except CancelledError:
            raise
        except Exception as error:  # an endpoint may raise anything
            raise MilterError(f"can't connect: {error}") from error
        self._all.add(connection)
        connection.lost.addCallback(lambda _: self._all.discard(connection))
        try:
            await connection.negotiate()
        except BaseException:
            connection.drop()
            raise
        return connection

    def giveBack(self, connection: MilterConnection) -> None:
        """
        Keep a connection for the next client, or close it.

        :param connection: a connection that no client uses any more.
        """
        if len(self._idle) < MAX_IDLE and not self._keepsNone:
            connection.isReused = True
            self._idle.append(connection)
        else:
            connection.close()

    async def close(self) -> None:
        """Close free connections, and wait until clients have closed the others."""
        self._keepsNone = True
        while self._idle:
            self._idle.pop().close()
        for connection in tuple(self._all):
            closed: Deferred[None] = Deferred()
            connection.lost.chainDeferred(closed)
            await closed


def _checkDescription(description: str) -> None:
    kind = description.partition(":")[0]
    if kind in _FOREIGN:
        raise ConfigurationError(
            f"{description!r} isn't one of Twisted's endpoints: write {_FOREIGN[kind]}"
        )
    try:
        clientFromString(None, description)
    except Exception as error:  # parsers are plugins
        raise ConfigurationError(
            f"{description!r} isn't an endpoint such as unix:/run/rspamd/milter.sock or"
            f" tcp:127.0.0.1:11332: {error}"
        ) from error

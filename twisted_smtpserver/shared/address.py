"""The address of a Redis server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor

#: The port of Redis.
DEFAULT_PORT = 6379

#: How long a connection may take, in seconds.
CONNECT_TIME = 5

_ADVICE = "write redis://HOST:PORT/DATABASE, rediss://… for TLS, or unix:///PATH"


@dataclass(frozen=True)
class RedisAddress:
    """
    What a URL says.

    :ivar host: the host; empty for a unix socket.
    :ivar port: its port.
    :ivar path: the unix socket's path; empty for a host.
    :ivar database: the number of the database.
    :ivar isSecure: whether to use TLS.
    :ivar username: the user to log in as, if Redis has users.
    :ivar password: the password, if there is one.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    database: int = 0
    isSecure: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> RedisAddress:
        """
        Read a URL.

        :param url: see :class:`~twisted_smtpserver.shared.RedisState`.
        :param password: instead of one in the URL.
        :raises ConfigurationError: if it is invalid. The URL isn't repeated, as it may have a
            password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or DEFAULT_PORT
            return cls._read(parts, port, password)
        except ValueError:
            raise ConfigurationError(f"the URL of Redis isn't valid: {_ADVICE}") from None

    @classmethod
    def _read(cls, parts: SplitResult, port: int, password: str | None) -> RedisAddress:
        login: dict[str, Any] = {
            "username": unquote(parts.username) if parts.username else None,
            "password": password or (unquote(parts.password) if parts.password else None),
        }
        if parts.scheme == "unix" and parts.path and not parts.hostname:
            (number,) = parse_qs(parts.query).get("db", ["0"])
            return cls(path=unquote(parts.path), database=_number(number), **login)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError
        number = parts.path.strip("/") or "0"
        isSecure = parts.scheme == "rediss"
        return cls(parts.hostname, port, "", _number(number), isSecure, **login)

    def connect(self, seconds: float, refused: Callable[[Failure], object]) -> Any:
        """
        Begin to connect.

        :param seconds: how long each answer is awaited.
        :param refused: called if Redis doesn't let us in; then this connection is of no use.
        :returns: one of txredisapi's connections. It connects again when it was lost.
        """
        from txredisapi import RedisFactory  # importing it chooses a reactor

        factory = RedisFactory(
            str(self),
            self.database,
            poolsize=1,  # requests don't wait for each other's answers
            username=self.username,
            password=self.password,
            replyTimeout=seconds,
        )
        # Otherwise it would be logged as an unhandled error.
        factory.deferred.addErrback(refused)
        factory.startConnecting(self._endpoint())
        return factory.handler

    def _endpoint(self) -> IStreamClientEndpoint:
        reactor = theReactor()
        if self.path:
            return UNIXClientEndpoint(reactor, self.path, CONNECT_TIME)
        endpoint = HostnameEndpoint(reactor, self.host, self.port, CONNECT_TIME)
        return (
            wrapClientTLS(optionsForClientTLS(self.host), endpoint) if self.isSecure else endpoint
        )

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}/{self.database}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)

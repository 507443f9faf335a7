"""The addresses of brokers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from twisted_smtpserver.errors import ConfigurationError

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True)
class BrokerAddress:
    """
    What a URL says.

    :ivar host: the host.
    :ivar port: its port.
    :ivar virtualHost: the broker's virtual host.
    :ivar isSecure: whether to use TLS.
    :ivar username: the user to log in as.
    :ivar password: the password.
    """

    host: str
    port: int
    virtualHost: str = "/"
    isSecure: bool = False
    username: str = "guest"
    password: str = field(default="guest", repr=False)

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> BrokerAddress:
        """
        Read a URL.

        :param url: ``amqp://user:password@host:port/virtualhost``; ``amqps://…`` for TLS.
        :param password: instead of one in the URL.
        :raises ConfigurationError: if it is invalid. The URL isn't repeated, as it may have a
            password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            if not parts.hostname or "/" in parts.path[1:]:
                raise ValueError
        except (KeyError, ValueError):
            raise ConfigurationError(
                "the URL of the broker isn't valid: write amqp://USER@HOST:PORT/VIRTUALHOST,"
                " amqps://… for TLS"
            ) from None
        return cls(
            host=parts.hostname,
            port=port,
            virtualHost=unquote(parts.path[1:]) or "/",
            isSecure=parts.scheme == "amqps",
            username=unquote(parts.username or "guest"),
            password=password or unquote(parts.password or "guest"),
        )

    def endpoint(self, reactor: Any, seconds: float) -> IStreamClientEndpoint:
        """
        The parameters to connect to it; the certificate is verified.

        :param reactor: the reactor.
        :param seconds: how long that may take.
        """
        endpoint = HostnameEndpoint(reactor, self.host, self.port, seconds)
        return (
            wrapClientTLS(optionsForClientTLS(self.host), endpoint) if self.isSecure else endpoint
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

"""The URL of a next hop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS

from twisted_smtpserver.errors import ConfigurationError

_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 25, "lmtp": 24}

#: The forms of URL, for errors and for help.
FORMS = "smtp://HOST, smtps://HOST, smtp+starttls://HOST, lmtp://HOST or lmtp:unix:PATH"


@dataclass(frozen=True)
class Host:
    """
    A next hop.

    :ivar scheme: ``"smtp"``, ``"smtps"``, ``"smtp+starttls"`` or ``"lmtp"``.
    :ivar name: its host name or address; empty for a unix socket.
    :ivar port: its port; 0 for a unix socket.
    :ivar path: the path of its unix socket; empty if it has none.
    :ivar user: the user to log in as; empty for no login.
    """

    scheme: str
    name: str = ""
    port: int = 0
    path: str = ""
    user: str = ""

    @property
    def isLmtp(self) -> bool:
        """Whether it speaks LMTP."""
        return self.scheme == "lmtp"

    @property
    def isTLS(self) -> bool:
        """Whether the connection must be protected."""
        return self.scheme in ("smtps", "smtp+starttls")

    def endpoint(self, reactor: Any, tls: Any, timeout: float) -> Any:
        """
        Where to connect to.

        :param reactor: Twisted's.
        :param tls: for smtps: the creator of the TLS connection.
        :param timeout: for the connection, in seconds.
        """
        if self.path:
            return UNIXClientEndpoint(reactor, self.path, timeout=timeout)
        endpoint = HostnameEndpoint(reactor, self.name, self.port, timeout=timeout)
        return wrapClientTLS(tls, endpoint) if self.scheme == "smtps" else endpoint

    def __str__(self) -> str:
        if self.path:
            return f"{self.scheme}:unix:{self.path}"
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.scheme}://{name}:{self.port}"


def parseURL(url: str) -> Host:
    """
    Read a URL.

    :param url: of one of the :data:`FORMS`, with a port behind the host if it isn't the usual one
        (25; smtps 465; lmtp 24), and with ``user@`` before it for a login.
    :raises ConfigurationError: if it has another form, or a password in it, which would be shown
        wherever the URL is.
    """
    if url.startswith("lmtp:unix:"):
        path = url.removeprefix("lmtp:unix:")
        if not path.startswith("/"):
            raise ConfigurationError(f"Forward: {url!r}: the path must begin with a slash")
        return Host("lmtp", path=path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"Forward: {_shown(url)} is not a URL: {error}") from None
    if parts.password is not None:
        raise ConfigurationError(
            "Forward: no password in the URL: give password=, or --forward-password-file"
        )
    # The spaces are those of a shell's list: several hosts are several URLs.
    isPlain = not (parts.path.strip("/") or parts.query or parts.fragment) and " " not in url
    if parts.scheme not in _PORTS or not parts.hostname or not isPlain or port == 0:
        raise ConfigurationError(f"Forward: {_shown(url)} isn't of the form {FORMS}")
    user = unquote(parts.username or "")
    return Host(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], user=user)


def _shown(url: str) -> str:
    """The URL without what may be a password."""
    return repr(url.rpartition("@")[2])

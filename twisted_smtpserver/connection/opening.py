"""
How a connection opens.

::

    accepted ── PROXY header ── implicit TLS ── reverse lookup ── onConnect ── greeting
                (useProxy)      (secure)
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.connection.ports import Connection
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.wire.ip import clientLiteral, normalizeAddress
from twisted_smtpserver.wire.proxy import ProxyError, ProxyHeader, ProxyParser

#: How long a PROXY header may take, in seconds. The proxy is near, and sends it at once.
PROXY_TIME = 10.0


class Opening:
    """
    The steps before the greeting. The connection drops this object afterwards.

    :param connection: the connection.
    :ivar hasNoDialogue: whether a PROXY header is due, so that no reply can be sent yet.
    """

    __slots__ = ("_connection", "_lookup", "_options", "_session", "hasNoDialogue")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._options = connection.dialogue.options
        self._session = connection.dialogue.session
        self._lookup: Deferred[str] | None = None
        self.hasNoDialogue = False

    def begin(self) -> None:
        """Start with the first step; the last one greets the client."""
        self._fillAddresses()
        if self._options.useProxy:
            self._awaitProxyHeader()
        else:
            self._secure(b"")

    def _fillAddresses(self) -> None:
        """Tell the session who the socket's two ends are."""
        session, transport = self._session, self._connection.transport
        peer, host = transport.getPeer(), transport.getHost()
        session.peerAddress = session.remoteAddress = _spelled(getattr(peer, "host", None))
        session.peerPort = session.remotePort = getattr(peer, "port", None)
        session.localAddress, session.localPort = _ourEnd(
            getattr(host, "host", None), getattr(host, "port", None)
        )
        session.secure = self._options.secured

    # -- The PROXY header -------------------------------------------------------------------------

    def _awaitProxyHeader(self) -> None:
        connection = self._connection
        if self._session.peerAddress not in self._options.proxyNetworks:
            connection.drop("not in useProxy, so no proxy of ours")
            return
        self.hasNoDialogue = True
        connection.timeout.setTimeout(PROXY_TIME, self._noProxyHeader)
        connection.beginRaw(partial(self._takeProxyHeader, ProxyParser()))

    def _takeProxyHeader(self, parser: ProxyParser, octets: bytes) -> None:
        header = parser.feed(octets)
        if isinstance(header, ProxyError):
            self._connection.drop(header.value)
        elif header is not None:
            self._proxied(header, parser.rest)

    def _noProxyHeader(self) -> None:
        self._connection.drop("no PROXY header in time")

    def _proxied(self, header: ProxyHeader, early: bytes) -> None:
        """The header named the client: count the connection as that client's, and go on."""
        connection = self._connection
        session = self._session
        session.proxyTLVs = header.tlvs
        if header.sourceAddress is not None:
            session.remoteAddress = header.sourceAddress
            session.remotePort = header.sourcePort
            session.localAddress = header.destinationAddress
            session.localPort = header.destinationPort
        self.hasNoDialogue = False
        connection.timeout.cancelTimeout()
        connection.endRaw(b"")
        if connection.enter(session.remoteAddress):
            self._secure(early)
        elif self._options.secure:
            connection.drop("too many connections from one address")
        else:
            connection.respond(replies.TOO_MANY_FROM_ADDRESS.plain)

    # -- Implicit TLS -----------------------------------------------------------------------------

    def _secure(self, early: bytes) -> None:
        """
        Start or await implicit TLS (RFC 8314 §3).

        :param early: the octets behind a PROXY header.
        """
        connection = self._connection
        if ISSLTransport.providedBy(connection.transport):  # an ssl: or tls: endpoint's
            connection.awaitHandshake()
        elif self._options.secure:
            connection.beginHandshake()
            if early:
                # The client's first octets of the handshake, which we have read already.
                connection.transport.protocol.dataReceived(early)
        elif early:
            connection.respond(replies.EARLY_TALKER.plain)
        else:
            self._lookUpClient()

    def secured(self) -> None:
        """The handshake is completed."""
        self._connection.timeout.cancelTimeout()
        self._lookUpClient()

    # -- The client's name ------------------------------------------------------------------------

    def _lookUpClient(self) -> None:
        connection = self._connection
        try:
            found: Any = connection.factory.lookUp(self._session.remoteAddress)
        except Exception:  # it may be a user's
            self._notNamed(Failure())
            return
        if not isinstance(found, str) and isinstance(found, Deferred):
            connection.hold()
            self._lookup = found
            found.addCallbacks(self._found, self._notNamed)
        else:
            self._found(found)

    def _found(self, hostname: Any) -> None:
        if isinstance(hostname, str):
            self._named(hostname)
        else:
            kind = type(hostname).__name__
            self._notNamed(Failure(TypeError(f"lookUp() gave a name that is not str, but {kind}")))

    def _notNamed(self, failure: Failure) -> None:
        """Go on without a name, as if none were looked up: it isn't the client's mistake."""
        connection = self._connection
        if not connection.isClosing:  # otherwise it was canceled, as the client left
            connection.factory.reportError(failure, self._session)
        self._named(clientLiteral(self._session.remoteAddress))

    def _named(self, hostname: str) -> None:
        connection = self._connection
        self._lookup = None
        if connection.isClosing:
            return
        self._session.clientHostname = hostname
        delay = self._options.greetingDelay
        if delay:
            connection.hold()
            connection.timeout.setTimeout(delay, self._welcome)
        else:
            self._welcome()

    def cancel(self) -> None:
        """The client left: stop the lookup."""
        if self._lookup is not None:
            self._lookup.cancel()

    # -- The handler ------------------------------------------------------------------------------

    def _welcome(self) -> None:
        connection = self._connection
        outcome = connection.dialogue.welcome()
        if isinstance(outcome, Deferred):
            outcome.addCallback(self._over)
        else:
            connection.opened()
        connection.respond(outcome)
        if connection.pending is None:
            connection.awaitClient()
            if connection.isHeld:
                connection.release()

    def _over(self, outcome: Outcome) -> Outcome:
        self._connection.opened()
        return outcome


@lru_cache(maxsize=256)  # for the memory: a server has few ends, so its connections share them
def _ourEnd(host: str | None, port: int | None) -> tuple[str | None, int | None]:
    return _spelled(host), port


def _spelled(host: str | None) -> str | None:
    """Normalize an end's IP address; a dual-stack listener shows IPv4 as IPv6."""
    # The kernel has one spelling for IPv4.
    return host if host is None or ":" not in host else normalizeAddress(host) or host

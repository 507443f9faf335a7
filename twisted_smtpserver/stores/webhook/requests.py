"""HTTP requests, by treq: no redirects, bounded answers."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import platformTrust
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.webhook.body import Form, FormProducer
from twisted_smtpserver.stores.webhook.destination import Endpoints

#: For how long a connection is kept for the next request, in seconds: less than servers do, as a
#: request over one that was closed just now fails.
IDLE_TIME = 2

#: Connections that are kept.
MAX_IDLE = 20

#: Octets of an answer that are read before its connection is closed. Only its status counts.
MAX_ANSWER = 65536


class Poster:
    """
    Posts forms.

    :param reactor: Twisted's.
    :param url: where to.
    :param allowPrivate: whether private addresses are allowed.
    :param trust: what certificates must be signed by; ``None`` for the system's authorities.
    :param timeout: for a connection, and for an answer after its status, in seconds.
    """

    def __init__(
        self, reactor: Any, url: str, allowPrivate: bool, trust: Any, timeout: float
    ) -> None:
        self._url = url
        self._reactor = reactor
        self._timeout = timeout
        self._draining: set[_Drain] = set()
        self._pool: Any = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = IDLE_TIME
        self._pool.maxPersistentPerHost = MAX_IDLE
        # A request that failed isn't made again: it may have been heard, and the client hasn't.
        self._pool.retryAutomatically = False
        policy = BrowserLikePolicyForHTTPS(trustRoot=platformTrust() if trust is None else trust)
        endpoints = Endpoints(reactor, policy, allowPrivate, timeout)
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)

    async def post(self, form: Form, headers: dict[str, list[str]]) -> int:
        """
        Post a form.

        :param form: the body.
        :param headers: further headers.
        :returns: the status.
        :raises Unavailable: if there is no answer.
        """
        # A new one each time, because it would keep cookies.
        client = HTTPClient(self._agent)
        try:
            response = await client.post(
                self._url,
                headers=Headers({"Content-Type": [form.contentType], **headers}),
                data=FormProducer(form),
                allow_redirects=False,
                unbuffered=True,
            )
        except (ResponseFailed, RequestTransmissionFailed) as error:
            # The reasons are of the connection: TLS that failed, one that was lost.
            reasons = ", ".join(repr(reason.value) for reason in error.reasons)
            raise Unavailable(reasons) from None
        drain = _Drain(self._reactor, self._timeout)
        self._draining.add(drain)
        drain.done.addCallback(lambda _: self._draining.discard(drain))
        response.deliverBody(drain)
        return int(response.code)

    def close(self) -> Deferred[Any]:
        """
        Close the connections that nobody uses.

        :returns: fires when they are gone.
        """
        # A connection whose answer is being read is on its way there.
        drained = DeferredList([drain.done for drain in self._draining])
        return drained.addCallback(lambda _: self._pool.closeCachedConnections())


class _Drain(Protocol):
    """Reads an answer to its end, so that the connection can be used again."""

    transport: Any

    def __init__(self, reactor: Any, timeout: float) -> None:
        self.done: Deferred[None] = Deferred()
        self._left = MAX_ANSWER
        self._end = reactor.callLater(timeout, self._tooLate)

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.loseConnection()

    def _tooLate(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """(Twisted's call.) The answer has ended, or the connection is lost."""
        if self._end.active():
            self._end.cancel()
        self.done.callback(None)

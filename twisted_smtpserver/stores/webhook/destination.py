"""
Connections to public addresses only.

A webhook's URL may come from a person who must not reach our network: cloud metadata, databases,
other people's programs. It is the address that is connected to that is checked, not the name: a
name may be resolved to one address when it is checked, and to another one afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.wire.ip import isPublic


@implementer(IResolutionReceiver)
class _OnlyPublic:
    """Passes public addresses on, and no others."""

    def __init__(self, receiver: Any, refused: list[str]) -> None:
        self._receiver = receiver
        self._refused = refused

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: Any) -> None:
        host = str(address.host)
        if isPublic(host):
            self._receiver.addressResolved(address)
        else:
            self._refused.append(host)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


@implementer(IHostnameResolver)
class _PublicResolver:
    """Finds public addresses."""

    def __init__(self, resolver: Any, refused: list[str]) -> None:
        self._resolver = resolver
        self._refused = refused

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        return self._resolver.resolveHostName(
            _OnlyPublic(resolutionReceiver, self._refused),
            hostName,
            portNumber,
            addressTypes,
            transportSemantics,
        )


@implementer(IReactorPluggableNameResolver)
class _PublicReactor:
    """A reactor whose names have public addresses only."""

    def __init__(self, reactor: Any, refused: list[str]) -> None:
        self._reactor = reactor
        self.nameResolver = _PublicResolver(reactor.nameResolver, refused)

    def installNameResolver(self, resolver: Any) -> Any:
        """(Of the interface.) Nobody calls this."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IStreamClientEndpoint)
class PublicEndpoint:
    """
    A host, if it has a public address.

    :param reactor: Twisted's.
    :param host: its name.
    :param port: its port.
    :param timeout: for a connection, in seconds.
    """

    def __init__(self, reactor: Any, host: bytes, port: int, timeout: float) -> None:
        self._refused: list[str] = []
        public: Any = _PublicReactor(reactor, self._refused)
        self._endpoint = HostnameEndpoint(public, host, port, timeout=timeout)

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """(Of the interface.) Connect; fails with :class:`Unavailable` if it has none."""
        return self._endpoint.connect(protocolFactory).addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        if self._refused and failure.check(DNSLookupError):
            return Failure(
                Unavailable(
                    f"its address {self._refused[0]} is private: allow that with allowPrivate, or"
                    " --webhook-allow-private, if that is intended"
                )
            )
        return failure


@implementer(IAgentEndpointFactory)
class Endpoints:
    """
    What Twisted's HTTP client connects by.

    :param reactor: Twisted's.
    :param policy: makes TLS for a host (:class:`twisted.web.iweb.IPolicyForHTTPS`).
    :param allowPrivate: whether private addresses are allowed, too.
    :param timeout: for a connection, in seconds.
    """

    def __init__(self, reactor: Any, policy: Any, allowPrivate: bool, timeout: float) -> None:
        self._reactor = reactor
        self._policy = policy
        self._makeEndpoint: Any = HostnameEndpoint if allowPrivate else PublicEndpoint
        self._timeout = timeout

    def endpointForURI(self, uri: Any) -> Any:
        """(Of the interface.)"""
        endpoint = self._makeEndpoint(self._reactor, uri.host, uri.port, timeout=self._timeout)
        if uri.scheme == b"https":
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return _Quiet(endpoint)


@implementer(IStreamClientEndpoint)
class _Quiet:
    """An endpoint whose factories don't log that they start and stop, for each connection."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Any:
        protocolFactory.noisy = False
        return self._endpoint.connect(protocolFactory)

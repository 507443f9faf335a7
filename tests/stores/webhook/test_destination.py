"""Connections to public addresses only."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from zope.interface import alsoProvides

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.webhook.destination import Endpoints
from twisted_smtpserver.wire.ip import isPublic


class IsPublicTests(SynchronousTestCase):
    def test_public(self) -> None:
        """Addresses that anybody may reach."""
        for address in ("8.8.8.8", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"):
            self.assertTrue(isPublic(address), address)

    def test_private(self) -> None:
        """All others, also those that are inside of another one."""
        for address in (
            *("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254"),
            *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1"),
            *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
            *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
            *("2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1%eth0", "localhost", ""),
        ):
            self.assertFalse(isPublic(address), address)


class Resolver:
    """Resolves every name to some addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self.names: list[str] = []

    def resolveHostName(
        self, receiver: Any, hostName: str, portNumber: int = 0, *arguments: Any, **keywords: Any
    ) -> Any:
        self.names.append(hostName)
        receiver.resolutionBegan(self)
        for address in self._addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, portNumber))
        receiver.resolutionComplete()
        return self


class EndpointsTests(SynchronousTestCase):
    def connect(
        self, *addresses: str, url: bytes = b"http://hook.example", allowPrivate: bool = False
    ) -> Deferred[Any]:
        """Connect to a host with these addresses."""
        reactor: Any = MemoryReactorClock()
        self.reactor = reactor
        if not IReactorPluggableNameResolver.providedBy(reactor):  # an older Twisted's
            alsoProvides(reactor, IReactorPluggableNameResolver)
        self.resolver: Any = Resolver(*addresses)
        self.reactor.nameResolver = self.resolver
        policy = BrowserLikePolicyForHTTPS()
        endpoints = Endpoints(self.reactor, policy, allowPrivate, 5)
        endpoint = endpoints.endpointForURI(URI.fromBytes(url))
        factory = Factory.forProtocol(Protocol)
        connecting: Deferred[Any] = endpoint.connect(factory)
        self.assertFalse(factory.noisy)
        return connecting

    @property
    def reached(self) -> list[tuple[str, int]]:
        """What was connected to."""
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def test_public(self) -> None:
        """A public address is connected to, and the name isn't resolved once more."""
        self.assertNoResult(self.connect("8.8.8.8"))
        self.assertEqual(self.reached, [("8.8.8.8", 80)])
        self.assertEqual(self.resolver.names, ["hook.example"])

    def test_https(self) -> None:
        """By HTTPS, too."""
        self.assertNoResult(self.connect("8.8.8.8", url=b"https://hook.example:8443"))
        self.assertEqual(self.reached, [("8.8.8.8", 8443)])

    def test_private(self) -> None:
        """A private one isn't, and the error says what to do if it is meant."""
        for url in (b"http://hook.example", b"https://hook.example"):
            failure = self.failureResultOf(self.connect("10.0.0.1", url=url), Unavailable)
            self.assertIn(
                "its address 10.0.0.1 is private: allow that with allowPrivate", str(failure.value)
            )
            self.assertEqual(self.reached, [])

    def test_mixed(self) -> None:
        """Of several addresses the public ones are."""
        self.assertNoResult(self.connect("127.0.0.1", "8.8.8.8", "::1"))
        self.assertEqual(self.reached, [("8.8.8.8", 80)])

    def test_unknown(self) -> None:
        """A name without any address is another error."""
        self.failureResultOf(self.connect(), DNSLookupError)

    def test_allowed(self) -> None:
        """If they are allowed, private addresses are connected to."""
        self.assertNoResult(self.connect("10.0.0.1", allowPrivate=True))
        self.assertEqual(self.reached, [("10.0.0.1", 80)])

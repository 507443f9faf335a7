"""Tests for :mod:`twisted_smtpserver.resolver`."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IResolver
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_smtpserver import resolver
from twisted_smtpserver.connection.reverselookup import ReverseLookup
from twisted_smtpserver.resolver import DatagramResolver, systemResolver

reactor: Any = _reactor


class NameServer(DatagramProtocol):
    """Answers that it has more to say than fits."""

    transport: Any

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        message = dns.Message()
        message.fromStr(datagram)
        (query,) = message.queries
        payload: Any = dns.Record_A("8.8.4.4") if query.type == dns.A else None
        if query.type == dns.PTR:
            payload = dns.Record_PTR("mail.example")
        answer = dns.Message(message.id, answer=1, recAv=1, trunc=1)
        answer.queries = message.queries
        answer.answers = [dns.RRHeader(query.name.name, query.type, payload=payload)]
        self.transport.write(answer.toStr(), address)


class TruncatedTests(TestCase):
    """Replies that were cut off, by a name server on loopback."""

    def setUp(self) -> None:
        """It would take questions over TCP, too."""
        self.connections: list[Protocol] = []

        def connected() -> Protocol:
            self.connections.append(Protocol())
            return self.connections[-1]

        listening = reactor.listenTCP(0, Factory.forProtocol(connected), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        number = listening.getHost().port
        self.addCleanup(reactor.listenUDP(number, NameServer(), "127.0.0.1").stopListening)
        self.resolver = DatagramResolver(servers=[("127.0.0.1", number)])

    async def test_names(self) -> None:
        """What was in them counts, and no connection is made, however many clients come."""
        lookup = ReverseLookup(self.resolver, reactor)
        found: list[Any] = [lookup.clientHostname(f"8.8.4.{n}") for n in range(4, 24)]
        names = await gatherResults(found)
        self.assertEqual(names[0], "mail.example")
        self.assertEqual(set(names[1:]), {f"[8.8.4.{n}]" for n in range(5, 24)})
        self.assertEqual(self.connections, [])

    def test_noTCP(self) -> None:
        """Nor at any other occasion."""
        self.assertRaises(NotImplementedError, self.resolver.queryTCP, [])


class SystemResolverTests(SynchronousTestCase):
    """The resolver that asks as the system says."""

    def test_made(self) -> None:
        """It is made at the first call, from the system's files, and asks over UDP only."""
        configuration, hosts = self.mktemp(), self.mktemp()
        with open(configuration, "w") as file:
            file.write("nameserver 192.0.2.53\n")
        with open(hosts, "w") as file:
            file.write("192.0.2.25 mail.example\n")
        self.patch(resolver, "_RESOLV_CONF", configuration)
        self.patch(resolver, "_HOSTS", hosts.encode())
        systemResolver.cache_clear()
        self.addCleanup(systemResolver.cache_clear)
        made = systemResolver()
        self.assertTrue(IResolver.providedBy(made))
        self.assertIs(systemResolver(), made)
        _, asking = made.resolvers
        self.addCleanup(asking._parseCall.cancel)
        self.assertIsInstance(asking, DatagramResolver)
        self.assertEqual(list(asking.dynServers), [("192.0.2.53", 53)])
        (answers, _, _) = self.successResultOf(made.lookupAddress("mail.example"))
        self.assertEqual(answers[0].payload.dottedQuad(), "192.0.2.25")

"""
Tests for twisted_smtpserver.connection.reverselookup, with a resolver that needs no network.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IResolver
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import (
    AuthoritativeDomainError,
    DNSNameError,
    DNSQueryTimeoutError,
    DNSServerError,
    DomainError,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_smtpserver.connection import reverselookup
from twisted_smtpserver.connection.reverselookup import ReverseLookup
from twisted_smtpserver.wire.ip import clientLiteral as addressLiteral


class FakeResolver(ResolverBase):
    """
    Answers from a table.

    :ivar records: a query's name and type to payloads, an exception, or a Deferred.
    :ivar asked: the names that were asked for.
    """

    def __init__(self, records=()):
        super().__init__()
        self.records = dict(records)
        self.asked = []

    def _lookup(self, name, cls, type, timeout):  # noqa: A002
        assert timeout == (1, 1)
        name = name.decode("ascii")
        self.asked.append(name)
        answer = self.records.get((name, type), DNSNameError())
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, Exception):
            return fail(answer)
        return succeed(answers(name, *answer))


def answers(name, *payloads):
    """A reply to a question, with records besides the answers that must not count."""
    stray = dns.RRHeader(b"stray.example", dns.A, payload=dns.Record_A("8.8.4.4"))
    return (
        [dns.RRHeader(name.encode(), payload.TYPE, payload=payload) for payload in payloads],
        [stray],
        [stray],
    )


def pointers(*names):
    """PTR records with names as they are in the packet."""
    records = [dns.Record_PTR() for name in names]
    for record, name in zip(records, names, strict=True):
        record.name.name = name
    return records


V4 = "8.8.4.4"
V4_POINTER = ("4.4.8.8.in-addr.arpa", dns.PTR)
V4_HERE = [dns.Record_A(V4)]
V4_AWAY = [dns.Record_A("8.8.8.8")]
V6 = "2606:4700::1111"
V6_POINTER = ("1.1.1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.4.6.0.6.2.ip6.arpa", dns.PTR)


class AddressLiteralTests(SynchronousTestCase):
    def test_forms(self):
        """
        Addresses are written as RFC 5321 §4.1.3 has them, normalized and without zone.
        """
        for address, literal in (
            ("192.0.2.1", "[192.0.2.1]"),
            ("2001:db8::1", "[IPv6:2001:db8::1]"),
            ("2001:DB8:0:0::0001", "[IPv6:2001:db8::1]"),
            ("::ffff:192.0.2.1", "[192.0.2.1]"),
            ("fe80::1%eth0", "[IPv6:fe80::1]"),
            ("/run/lmtp.sock", "localhost"),
            ("", "localhost"),
            (None, "localhost"),
        ):
            self.assertEqual(literal, addressLiteral(address))

    @given(st.text() | st.ip_addresses().map(str))
    @settings(max_examples=200, deadline=None)
    def test_totality(self, address):
        """
        Whatever the address, the literal is one line of harmless characters.
        """
        self.assertRegex(addressLiteral(address), r"\A(localhost|\[[0-9A-Za-z.:]+\])\Z")


class ReverseLookupTests(SynchronousTestCase):
    def setUp(self):
        """A resolver without records, and a clock that stands still."""
        self.clock = Clock()
        self.resolver = FakeResolver()
        self.lookup = ReverseLookup(self.resolver, self.clock)

    def know(self, pointerNames, forward=(), address=V4_POINTER):
        """Add the PTR records of an address, and address records of names."""
        self.resolver.records[address] = pointers(*pointerNames)
        for name, records in dict(forward).items():
            kind = dns.A if address is V4_POINTER else dns.AAAA
            self.resolver.records[name, kind] = records

    def find(self, address=V4):
        """The name of an address whose lookup is over, which leaves no timer behind."""
        result = self.lookup.clientHostname(address, 12345)
        self.assertIsInstance(result, Deferred)
        self.assertEqual([], self.clock.getDelayedCalls())
        return self.successResultOf(result)

    def test_interface(self):
        """
        The resolver of these tests is what the real one is.
        """
        self.assertTrue(verifyObject(IResolver, self.resolver))

    def test_confirmed(self):
        """
        A name whose address records have the address is the client's.
        """
        self.know([b"mx.example.com"], {"mx.example.com": [*V4_AWAY, *V4_HERE]})
        self.assertEqual("mx.example.com", self.find())
        self.assertEqual([V4_POINTER[0], "mx.example.com"], self.resolver.asked)

    def test_confirmedV6(self):
        """
        The same for IPv6, by its own records.
        """
        self.know([b"mx.example.com"], {"mx.example.com": [dns.Record_AAAA(V6)]}, V6_POINTER)
        self.assertEqual("mx.example.com", self.find(V6))
        self.assertEqual("mx.example.com", self.find("2606:4700:0:0:0:0:0:1111"))

    def test_mapped(self):
        """
        An IPv4 client that a dual-stack listener shows as IPv6 is looked up as what it is.
        """
        self.know([b"mx.example.com"], {"mx.example.com": V4_HERE})
        self.assertEqual("mx.example.com", self.find("::ffff:8.8.4.4"))
        self.assertEqual("[8.8.8.8]", self.find("::ffff:8.8.8.8"))
        self.assertEqual("[10.0.0.1]", self.lookup.clientHostname("::ffff:10.0.0.1"))

    def test_normalized(self):
        """
        Names come in lower case and without a final dot.
        """
        self.know([b"MX_1.Example.COM."], {"mx_1.example.com": V4_HERE})
        self.assertEqual("mx_1.example.com", self.find())

    def test_aliases(self):
        """
        The records of an alias count, and the alias itself does not.
        """
        aliases = [dns.Record_CNAME(b"4.0-63.4.8.8.in-addr.arpa"), dns.Record_CNAME(b"4.a.example")]
        self.resolver.records[V4_POINTER] = [*aliases, *pointers(b"mx.example.com")]
        self.resolver.records["mx.example.com", dns.A] = [dns.Record_CNAME(b"a.b"), *V4_HERE]
        self.assertEqual("mx.example.com", self.find())

    def test_lyingPointer(self):
        """
        A name that belongs to somebody else is not the client's.
        """
        self.know([b"mail.bank.example"], {"mail.bank.example": V4_AWAY})
        self.assertEqual("[8.8.4.4]", self.find())

    def test_wrongKindOfRecord(self):
        """
        An address of the other family confirms nothing, not even one with the same text in it.
        """
        self.know([b"a.example"], {"a.example": [dns.Record_AAAA("::ffff:8.8.4.4")]})
        self.assertEqual("[8.8.4.4]", self.find())
        self.assertEqual("[IPv6:2606:4700::1111]", self.find(V6))

    def test_nothingThere(self):
        """
        Without PTR record, and without address record, there is no name.
        """
        self.assertEqual("[8.8.4.4]", self.find())
        self.know([])
        self.assertEqual("[8.8.4.4]", self.find())
        self.know([b"a.example"])
        self.assertEqual("[8.8.4.4]", self.find())
        self.know([b"a.example"], {"a.example": []})
        self.assertEqual("[8.8.4.4]", self.find())

    def test_failures(self):
        """
        A DNS that fails in one of its ways means no name, and no line in the log.
        """
        for error in (
            DNSServerError(),
            DomainError(),
            AuthoritativeDomainError(),
            DNSQueryTimeoutError(1),
            DeferredTimeoutError(),
            CancelledError(),
        ):
            self.resolver.records[V4_POINTER] = error
            self.assertEqual("[8.8.4.4]", self.find())
            self.know([b"a.example"], {"a.example": error})
            self.assertEqual("[8.8.4.4]", self.find())

    def test_unexpectedFailure(self):
        """
        A resolver that is broken means no name, too, but somebody should know.
        """
        self.resolver.records[V4_POINTER] = OSError("No domain name servers available")
        self.assertEqual("[8.8.4.4]", self.find())
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.lookup = ReverseLookup(object(), self.clock)
        self.assertEqual("[8.8.4.4]", self.find())
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))

    def test_manyPointers(self):
        """
        The first two names are tried in their order, and no third.
        """
        names = [b"a.example", b"b.example", b"c.example"]
        self.know(names, {"b.example": V4_HERE, "c.example": V4_HERE})
        self.assertEqual("b.example", self.find())
        self.know(names[:2] * 1000, {"a.example": V4_HERE})
        self.assertEqual("a.example", self.find())
        self.resolver.asked.clear()
        self.know([b"x.example", b"y.example", b"c.example", *names])
        self.assertEqual("[8.8.4.4]", self.find())
        self.assertEqual([V4_POINTER[0], "x.example", "y.example"], self.resolver.asked)

    def test_garbageNames(self):
        """
        What is not a host name is neither looked up nor shown.
        """
        for name in (
            b"",
            b".",
            b"mx example.com",
            b"mx.example.com\r\nX-Header: y",
            b"\x1b[2J.example",
            b"\xff\xfe.example",
            "münchen.example".encode(),
            b"nul\0.example",
            b"-a.example",
            b"[8.8.4.4]",
            b"8.8.4.4",
            b"a" * 64 + b".example",
            b".".join([b"a" * 50] * 5),
        ):
            self.resolver.asked.clear()
            self.know([name])
            self.assertEqual("[8.8.4.4]", self.find(), name)
            self.assertEqual([V4_POINTER[0]], self.resolver.asked)

    def test_garbageIsSkipped(self):
        """
        A host name after one that is none is still tried.
        """
        self.know([b"a b", b"a.example"], {"a.example": V4_HERE})
        self.assertEqual("a.example", self.find())

    def test_notLookedUp(self):
        """
        Addresses that mean something only nearby are answered at once, and nobody is asked.
        """
        for address, literal in (
            ("127.0.0.1", "[127.0.0.1]"),
            ("::1", "[IPv6:::1]"),
            ("10.1.2.3", "[10.1.2.3]"),
            ("192.168.0.1", "[192.168.0.1]"),
            ("172.16.0.1", "[172.16.0.1]"),
            ("fd00::1", "[IPv6:fd00::1]"),
            ("169.254.1.1", "[169.254.1.1]"),
            ("fe80::1%eth0", "[IPv6:fe80::1]"),
            ("0.0.0.0", "[0.0.0.0]"),
            ("::", "[IPv6:::]"),
            ("224.0.0.1", "[224.0.0.1]"),
            ("239.255.255.255", "[239.255.255.255]"),
            ("ff0e::1", "[IPv6:ff0e::1]"),
            ("240.0.0.1", "[240.0.0.1]"),
            ("255.255.255.255", "[255.255.255.255]"),
            ("4000::1", "[IPv6:4000::1]"),
            ("/run/smtp.sock", "localhost"),
            (None, "localhost"),
        ):
            self.assertEqual(literal, self.lookup.clientHostname(address))
        self.assertEqual([], self.resolver.asked)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_notInPublic(self):
        """
        What no public DNS knows only a resolver of one's own is asked about.
        """
        self.patch(reverselookup, "systemResolver", self.fail)
        for address, literal in (
            ("192.0.2.1", "[192.0.2.1]"),
            ("100.64.0.1", "[100.64.0.1]"),
            ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ):
            self.resolver.asked.clear()
            self.successResultOf(self.lookup.clientHostname(address))
            self.assertEqual(1, len(self.resolver.asked))
            self.assertEqual(literal, ReverseLookup(None, self.clock).clientHostname(address))

    def test_slow(self):
        """
        Answers may take their time, up to the limit for all of them together.
        """
        first, second = Deferred(), Deferred()
        self.resolver.records[V4_POINTER] = first
        self.resolver.records["a.example", dns.A] = second
        result = self.lookup.clientHostname(V4)
        self.clock.advance(0.7)
        first.callback(answers(V4_POINTER[0], *pointers(b"a.example")))
        self.clock.advance(0.7)
        self.assertNoResult(result)
        second.callback(answers("a.example", *V4_HERE))
        self.assertEqual("a.example", self.successResultOf(result))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_deadDNS(self):
        """
        After 1.5 seconds nobody waits any more, and the lookup under way is canceled.
        """
        canceled = []
        first, second = Deferred(), Deferred(canceled.append)
        self.resolver.records[V4_POINTER] = first
        self.resolver.records["a.example", dns.A] = second
        result = self.lookup.clientHostname(V4)
        self.clock.advance(1)
        first.callback(answers(V4_POINTER[0], *pointers(b"a.example")))
        self.clock.advance(0.49)
        self.assertNoResult(result)
        self.clock.advance(0.01)
        self.assertEqual("[8.8.4.4]", self.successResultOf(result))
        self.assertEqual([second], canceled)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stubbornResolver(self):
        """
        The limit holds even for a resolver that doesn't stop when it is told to.
        """
        first = Deferred()
        stubborn = Deferred()
        first.addErrback(lambda failure: stubborn)
        self.resolver.records[V4_POINTER] = first
        result = self.lookup.clientHostname(V4)
        self.clock.advance(1.5)
        self.assertEqual("[8.8.4.4]", self.successResultOf(result))
        stubborn.callback(answers(V4_POINTER[0], *pointers(b"a.example")))

    def test_cancel(self):
        """
        A client that leaves takes its lookup with it: no timer and no question is left.
        """
        canceled = []
        pending = Deferred(canceled.append)
        self.resolver.records[V4_POINTER] = pending
        result = self.lookup.clientHostname(V4)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual([pending], canceled)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_anothersCancellation(self):
        """
        A question that was canceled for another connection is an answer like no answer.
        """
        pending = Deferred()
        self.resolver.records[V4_POINTER] = pending
        result = self.lookup.clientHostname(V4)
        pending.cancel()
        self.assertEqual("[8.8.4.4]", self.successResultOf(result))
        self.assertEqual([], self.clock.getDelayedCalls())


class DefaultsTests(SynchronousTestCase):
    def test_resolver(self):
        """
        The system's resolver is taken, and not before there is something to look up.
        """
        fake = FakeResolver({V4_POINTER: pointers(b"a.example"), ("a.example", dns.A): V4_HERE})
        made = []

        def systemResolver():
            made.append(fake)
            return fake

        self.patch(reverselookup, "systemResolver", systemResolver)
        lookup = ReverseLookup(reactor=Clock())
        lookup.clientHostname("127.0.0.1")
        self.assertEqual([], made)
        for _ in range(2):
            self.assertEqual("a.example", self.successResultOf(lookup.clientHostname(V4)))
        self.assertEqual([fake], made)

    def test_reactor(self):
        """
        The reactor is taken without being named.
        """
        from twisted.internet import reactor

        pending = Deferred()
        lookup = ReverseLookup(FakeResolver({V4_POINTER: pending}))
        before = reactor.getDelayedCalls()
        result = lookup.clientHostname(V4)
        (timer,) = set(reactor.getDelayedCalls()) - set(before)
        self.assertAlmostEqual(1.5, timer.getTime() - reactor.seconds(), 0)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertFalse(timer.active())

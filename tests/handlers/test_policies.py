"""Tests for the policies that come with the library."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DNSNameError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, brief, codes
from twisted_smtpserver import Authenticated, Chain
from twisted_smtpserver.handlers.policies import (
    DNSBlockList,
    Greylist,
    RateLimit,
    SenderMatchesLogin,
    Tarpit,
    blocklist,
    greylist,
)
from twisted_smtpserver.testing import Client, RecordingHandler, connect, runInline
from twisted_smtpserver.wire.ip import addressBlock


def via(address: str = "192.0.2.1") -> Any:
    kind = IPv6Address if ":" in address else IPv4Address
    return kind("TCP", address, 40000)


def greeting(client: Client) -> tuple[int, str | None]:
    assert client.greeting is not None
    return brief(client.greeting)


class RateLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0

    def make(self, **options: Any) -> Chain:
        self.policy = RateLimit(clock=lambda: self.now, seconds=100, **options)
        return Chain(self.policy, RecordingHandler())

    def test_connections(self) -> None:
        """So many in a time, 421 to those above; each client has its own count."""
        handler = self.make(connections=2)
        got = [greeting(connect(handler, via())) for _ in range(3)]
        self.assertEqual(got, [(220, None), (220, None), (421, None)])
        self.assertEqual(greeting(connect(handler, via("192.0.2.2"))), (220, None))
        self.now = 100
        self.assertEqual(greeting(connect(handler, via())), (220, None))

    def test_network(self) -> None:
        """A client of IPv6 has a /64."""
        handler = self.make(connections=1)
        got = [greeting(connect(handler, via(f"2001:db8::{n}")))[0] for n in (1, 2)]
        self.assertEqual(got, [220, 421])

    def test_messages(self) -> None:
        """Messages are counted over connections."""
        handler = self.make(messages=1)
        for code in (250, 450):
            client = connect(handler, via())
            client.say(HELLO)
            self.assertEqual(client.say(MAIL).code, code)

    def test_recipients(self) -> None:
        """So are recipients."""
        client = connect(self.make(recipients=2), via())
        client.pipeline(HELLO, MAIL)
        self.assertEqual(codes(client.pipeline(RCPT, RCPT, RCPT)), [250, 250, 450])

    def test_unix(self) -> None:
        """On a unix socket nothing is counted."""
        handler = self.make(connections=1)
        got = [greeting(connect(handler, UNIXAddress(None)))[0] for _ in range(3)]
        self.assertEqual(got, [220] * 3)

    def test_bounded(self) -> None:
        """The table has a bound."""
        handler = self.make(connections=1, maxClients=10)
        for number in range(50):
            connect(handler, via(f"192.0.2.{number}"))
        self.assertEqual(len(self.policy._clients), 10)

    def test_fair(self) -> None:
        """A network that fills the table pushes nobody else out, and gains nothing for itself."""
        handler = self.make(connections=1, maxClients=10)
        connect(handler, via("198.51.100.1"))
        for number in range(50):
            connect(handler, via(f"2001:db8:1:{number:x}::1"))
        self.assertEqual(greeting(connect(handler, via("198.51.100.1")))[0], 421)

    def test_forgets(self) -> None:
        """Clients whose time is over are forgotten, though not all of them at once."""
        handler = self.make(connections=1)
        for number in range(25):
            connect(handler, via(f"192.0.2.{number}"))
        self.now = 100
        self.assertEqual(greeting(connect(handler, via("192.0.2.24"))), (220, None))
        self.assertEqual(len(self.policy._clients), 15)
        self.assertEqual(greeting(connect(handler, via("192.0.2.24")))[0], 421)

    def send(self, handler: Chain, user: Any, peer: Any) -> int:
        """Send as a user, and see how the sender is answered."""
        client = connect(handler, peer)
        client.say(HELLO)
        client.session.user = user
        return client.say(MAIL).code

    def test_users(self) -> None:
        """A user is counted over all addresses, on a unix socket, too; so is each address."""
        handler = self.make(messages=2)
        got = [self.send(handler, "joe", via(f"192.0.2.{n}")) for n in range(3)]
        self.assertEqual(got, [250, 250, 450])
        self.assertEqual(self.send(handler, b"joe", UNIXAddress(None)), 450)
        got = [self.send(handler, f"user{n}", via("198.51.100.1")) for n in range(3)]
        self.assertEqual(got, [250, 250, 450])

    def test_nameOf(self) -> None:
        """Objects have no name by themselves; what has none isn't counted."""
        for options, last in (({}, 250), ({"nameOf": lambda user: user["name"]}, 450)):
            handler = self.make(messages=1, **options)
            got = [self.send(handler, {"name": "joe"}, via(f"192.0.2.{n}")) for n in range(2)]
            self.assertEqual(got, [250, last])


class SenderMatchesLoginTests(SynchronousTestCase):
    def mail(self, user: Any, sender: str, *arguments: Any) -> tuple[int, str | None]:
        handler = Chain(SenderMatchesLogin(*arguments), RecordingHandler())
        client = connect(handler)
        client.say(HELLO)
        client.session.user = user
        return brief(client.say(f"MAIL FROM:<{sender}>"))

    def test_own(self) -> None:
        """The user's name is the address, in any case of the domain; or there is no sender."""
        for user in ("joe@example.org", b"joe@Example.ORG"):
            self.assertEqual(self.mail(user, "joe@EXAMPLE.org")[0], 250)
            self.assertEqual(self.mail(user, "")[0], 250)

    def test_other(self) -> None:
        """Nobody sends as someone else."""
        for user in ("jane@example.org", "Joe@example.org", "joe", Authenticated("joe"), b"\xff"):
            self.assertEqual(self.mail(user, "joe@example.org"), (553, "5.7.1"))

    def test_noLogin(self) -> None:
        """Without a login it isn't this stage's business."""
        self.assertEqual(self.mail(None, "joe@example.org")[0], 250)

    def test_owns(self) -> None:
        """The rule may be one's own, and may take its time."""
        for owns in (lambda user, address: user == 1, lambda user, address: succeed(user == 1)):
            self.assertEqual(self.mail(1, "joe@example.org", owns)[0], 250)
            self.assertEqual(self.mail(2, "joe@example.org", owns)[0], 553)


class TarpitTests(SynchronousTestCase):
    def test_delays(self) -> None:
        """After some recipients each is answered later than the one before, up to a bound."""
        clock = Clock()
        tarpit = Tarpit(after=2, seconds=1, longest=2, reactor=clock)
        client = connect(Chain(tarpit, RecordingHandler()), reactor=clock)
        client.pipeline(HELLO, MAIL)
        self.assertEqual(codes(client.pipeline(RCPT, RCPT, *[RCPT] * 3)), [250, 250])
        for seconds in (1, 2, 2):
            client.wait(seconds - 0.1)
            self.assertEqual(client.answers(), [])
            client.wait(0.1)
            self.assertEqual(codes(client.answers()), [250])

    def test_reactor(self) -> None:
        """By default the reactor's time counts."""
        self.assertIs(Tarpit()._clock(), reactor)


class Lists:
    """
    A resolver that knows some names.

    :ivar asked: what it was asked.
    """

    def __init__(self, **known: Any) -> None:
        self.known = known
        self.asked: list[str] = []

    def lookupAddress(self, name: str) -> Deferred[Any]:
        self.asked.append(name)
        answer = self.known.get(name.rpartition(".")[2], DNSNameError())
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, Exception):
            return fail(answer)
        records = [dns.RRHeader(b"x", dns.A, payload=dns.Record_A(answer))]
        text = dns.RRHeader(b"x", dns.TXT, payload=dns.Record_TXT(b"why"))
        return succeed(([text, *records], [], []))


class DNSBlockListTests(SynchronousTestCase):
    ZONES = ("list.one", "list.two")

    def arrive(self, address: str, lists: Lists, **options: Any) -> Client:
        clock = Clock()
        policy = DNSBlockList(self.ZONES, lists, reactor=clock, **options)
        handler = Chain(policy, RecordingHandler())
        return connect(handler, via(address), reactor=clock, disableReverseLookup=True)

    def test_listed(self) -> None:
        """Who is in one of the lists is refused, and told which."""
        lists = Lists(two="127.0.0.2")
        client = self.arrive("8.8.4.4", lists)
        self.assertEqual(greeting(client), (554, None))
        assert client.greeting is not None
        self.assertIn("list.two", client.greeting.text)
        self.assertEqual(lists.asked, ["4.4.8.8.list.one", "4.4.8.8.list.two"])

    def test_ipv6(self) -> None:
        """IPv6 is asked for by nibbles (RFC 5782 section 2.4); IPv4 as IPv6 is IPv4."""
        lists = Lists(one="127.0.0.2")
        self.assertEqual(greeting(self.arrive("2606:4700::1111", lists))[0], 554)
        self.assertTrue(lists.asked[0].startswith("1.1.1.1.0.0."))
        self.assertTrue(lists.asked[0].endswith(".6.0.6.2.list.one"))
        self.assertEqual(greeting(self.arrive("::ffff:8.8.4.4", lists))[0], 554)
        self.assertIn("4.4.8.8.list.one", lists.asked)

    def test_notListed(self) -> None:
        """Who isn't, isn't; nor does anything else that is answered count."""
        for known in ({}, {"one": "127.255.255.254"}, {"one": "192.0.2.1"}):
            self.assertEqual(greeting(self.arrive("8.8.4.4", Lists(**known)))[0], 220)

    def test_dead(self) -> None:
        """A list that is dead lets everybody pass, after its time."""
        client = self.arrive("8.8.4.4", Lists(one=Deferred(), two=DNSNameError()), seconds=2)
        self.assertEqual(client.greeting, None)
        client.wait(2)
        self.assertEqual(codes(client.answers()), [220])

    def test_unreachable(self) -> None:
        """A list that can't be asked lets everybody pass, too, and the log says why."""
        broken = Lists(two="127.0.0.2")
        self.patch(broken, "lookupAddress", lambda name: 1 // 0)
        for lists in (Lists(one=OSError("Network is unreachable")), broken):
            self.assertEqual(greeting(self.arrive("8.8.4.4", lists))[0], 220)
        self.assertEqual(len(self.flushLoggedErrors(OSError, ZeroDivisionError)), 3)

    def test_notAsked(self) -> None:
        """Of addresses that mean nothing to others, nobody is told."""
        lists = Lists(one="127.0.0.2")
        for address in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "fe80::1", "not an address"):
            self.assertEqual(greeting(self.arrive(address, lists))[0], 220, address)
        self.assertEqual(lists.asked, [])

    def test_defaults(self) -> None:
        """By default it is the system's resolver that is asked, by the reactor's time."""
        lists = Lists()
        self.patch(blocklist, "systemResolver", lambda: lists)
        policy = DNSBlockList(["list.one"])
        client = connect(
            Chain(policy, RecordingHandler()), via("8.8.4.4"), disableReverseLookup=True
        )
        self.assertEqual(greeting(client)[0], 220)
        self.assertIs(policy._reactor, reactor)
        self.assertEqual(lists.asked, ["4.4.8.8.list.one"])


class GreylistTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 10.0**9
        self.path = os.path.abspath(self.mktemp())
        self.open()

    def open(self, **options: Any) -> None:
        self.policy = Greylist(
            self.path,
            delay=60,
            window=1000,
            remember=5000,
            clock=lambda: self.now,
            runInThread=runInline,
            **options,
        )
        self.table: Any = self.policy._table
        self.addCleanup(self.policy.close)

    def rcpt(self, peer: Any = None, sender: str = "joe@example.org", user: Any = None) -> int:
        client = connect(Chain(self.policy, RecordingHandler()), peer)
        client.say(HELLO)
        client.session.user = user
        client.say(f"MAIL FROM:<{sender}>")
        return client.say(RCPT).code

    def rows(self) -> int:
        return self.table._database.execute("SELECT count(*) FROM greylist").fetchone()[0]

    def test_again(self) -> None:
        """The first try is refused for a while; who comes again is known from then on."""
        self.assertEqual(self.rcpt(), 450)
        self.now += 59
        self.assertEqual(self.rcpt(), 450)
        self.now += 1
        self.assertEqual(self.rcpt(), 250)
        self.now += 4999
        self.assertEqual(self.rcpt(), 250)
        self.now += 5001
        self.assertEqual(self.rcpt(), 450)

    def test_others(self) -> None:
        """Another sender or client is new; one of the same /64 isn't."""
        peer = via("2001:db8::1")
        self.rcpt(peer)
        self.now += 60
        self.assertEqual(self.rcpt(via("2001:db8::2")), 250)
        self.assertEqual(self.rcpt(via("2001:db8:0:1::1")), 450)
        self.assertEqual(self.rcpt(peer, ""), 450)

    def test_window(self) -> None:
        """Who comes again too late is new; and the table doesn't keep them."""
        for number in range(10):
            self.rcpt(sender=f"joe{number}@example.org")
        self.assertEqual(self.rows(), 10)
        self.now += 1001
        self.assertEqual(self.rcpt(), 450)
        self.assertEqual(self.rows(), 1)

    def test_restart(self) -> None:
        """The table survives a restart."""
        self.rcpt()
        self.policy.close()
        self.now += 60
        self.open()
        self.assertEqual(self.rcpt(), 250)

    def test_notAsked(self) -> None:
        """Users, and clients on a unix socket, aren't asked to come again."""
        self.assertEqual(self.rcpt(user="joe"), 250)
        self.assertEqual(self.rcpt(UNIXAddress(None)), 250)
        self.assertEqual(self.rows(), 0)

    def test_quotes(self) -> None:
        """What is in an address isn't SQL."""
        self.assertEqual(self.rcpt(sender='"\'; DROP TABLE greylist; --"@example.org'), 450)
        self.assertEqual(self.rows(), 1)

    def test_otherProcess(self) -> None:
        """What another process with the same file has just inserted is no trouble."""
        for _ in range(2):
            self.table._insert(("192.0.2.1", "joe@example.org", "ann@example.com"), self.now)
        self.assertEqual((self.rows(), self.table._count()), (1, 1))

    def counted(self) -> dict[str, int]:
        """How many entries each client has: as it is counted, and as it is."""
        ask = self.table._database.execute
        rows = ask("SELECT client, entries FROM clients").fetchall()
        actual = ask("SELECT client, count(*) FROM greylist GROUP BY client").fetchall()
        self.assertEqual(sorted(rows), sorted(actual))
        (networks,) = ask("SELECT total(entries) FROM networks").fetchone()
        self.assertEqual((networks, self.table._count()), (self.rows(), self.rows()))
        return dict(actual)

    def test_bounded(self) -> None:
        """A client that fills the table pushes out its own entries, those that expire first."""
        self.rcpt()
        self.now += 60
        self.assertEqual(self.rcpt(), 250)
        self.policy.close()
        self.open(maxEntries=5)
        for number in range(20):
            self.now += 1
            self.rcpt(sender=f"joe{number}@example.org")
        self.assertEqual(self.counted(), {"192.0.2.1": 5})
        self.assertEqual(self.rcpt(), 250)

    def test_fair(self) -> None:
        """Neither a client nor its network can push out others' first tries, or known ones."""
        self.policy.close()
        self.open(maxEntries=20)
        first, known = via("198.51.100.1"), via("203.0.113.1")
        self.rcpt(known)
        self.now += 60
        for peer in (known, first):
            self.rcpt(peer)
        for number in range(100):
            self.rcpt(via("2001:db8::1"), f"joe{number}@example.org")
        for number in range(100):
            self.rcpt(via(f"2001:db8:0:{number + 1:x}::"))
        self.assertEqual(sum(self.counted().values()), 20)
        self.now += 60
        for peer in (known, first):
            self.assertEqual(self.rcpt(peer), 250)

    def test_beside(self) -> None:
        """In a network, it is the client with the most entries that loses some."""
        self.policy.close()
        self.open(maxEntries=5)
        beside = via("192.0.2.2")
        self.rcpt(beside)
        for number in range(50):
            self.rcpt(via("192.0.2.1"), f"joe{number}@example.org")
        self.now += 60
        self.assertEqual(self.rcpt(beside), 250)

    def test_expiredAtOnce(self) -> None:
        """Of entries that expire together some are forgotten at a time; none counts any more."""
        self.patch(greylist, "_FORGOTTEN_AT_ONCE", 3)
        for number in range(10):
            self.rcpt(sender=f"joe{number}@example.org")
        self.now += 1001
        self.assertEqual(self.rcpt(sender="joe9@example.org"), 450)
        self.assertEqual(self.rows(), 7)
        self.counted()
        self.now += 60
        self.assertEqual(self.rcpt(sender="joe9@example.org"), 250)

    def test_earlierFile(self) -> None:
        """A file without counts gets them."""
        for client in (via(), via("192.0.2.2"), via("2001:db8::1")):
            self.rcpt(client)
        for name in ("clients", "networks", "total"):
            self.table._database.execute(f"DELETE FROM {name}")
        self.policy.close()
        self.open()
        block = str(addressBlock("2001:db8::1"))
        self.assertEqual(self.counted(), {"192.0.2.1": 1, "192.0.2.2": 1, block: 1})

    def test_smaller(self) -> None:
        """A file with more than is allowed now shrinks bit by bit."""
        self.patch(greylist, "_FORGOTTEN_AT_ONCE", 3)
        for number in range(10):
            self.rcpt(sender=f"joe{number}@example.org")
        self.policy.close()
        self.open(maxEntries=5)
        self.rcpt(sender="ann@example.org")
        self.assertEqual(self.counted(), {"192.0.2.1": 8})

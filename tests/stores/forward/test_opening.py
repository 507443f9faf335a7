"""From the greeting to a connection that takes mail."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.forward.scripted import FakeHost, Hop, makePool
from twisted_smtpserver.stores.base import Unavailable


class Bench(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def begin(self, url: str = "smtp://next.example") -> Hop:
        """Connect."""
        host = FakeHost(url)
        pool = makePool(self.clock, host)
        self.opened: Deferred[Any] = Deferred.fromCoroutine(pool.acquire())
        (hop,) = host.hops
        return hop

    def offers(self) -> dict[str, str]:
        """What the next hop offers."""
        found: dict[str, str] = self.successResultOf(self.opened).offers
        return found

    def assertFails(self, hop: Hop, text: str) -> None:
        error = self.failureResultOf(self.opened, Unavailable).value
        self.assertIn(text, str(error))
        self.assertIn("://next.example", str(error))
        self.assertTrue(hop.isClosed)


class OpeningTests(Bench):
    def test_esmtp(self) -> None:
        """The keywords are in upper case, with their parameters."""
        self.begin().open("size 1000", "8bitmime", "AUTH PLAIN LOGIN")
        offers = {"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN LOGIN"}
        self.assertEqual(self.offers(), offers)

    def test_lmtp(self) -> None:
        """LMTP says LHLO."""
        self.begin("lmtp://next.example").open("PIPELINING", hello=b"LHLO us.example")
        self.assertEqual(self.offers(), {"PIPELINING": ""})

    def test_helo(self) -> None:
        """Whoever doesn't know EHLO is said HELO, and offers nothing."""
        hop = self.begin()
        hop.say("220 old.example")
        hop.say("500 what?")
        self.assertEqual(hop.heard(), [b"EHLO us.example", b"HELO us.example"])
        hop.say("250 old.example")
        self.assertEqual(self.offers(), {})

    def test_noHelo(self) -> None:
        """Not so where a login or TLS is needed, nor with LMTP."""
        for url in ("smtp://joe@next.example", "smtps://next.example", "lmtp://next.example"):
            hop = self.begin(url)
            hop.say("220 old.example", "502 what?")
            self.assertFails(hop, "it answered our hello with: 502 what?")

    def test_refused(self) -> None:
        """A next hop that refuses us isn't used."""
        hop = self.begin()
        hop.say("554 go away")
        self.assertFails(hop, "it greeted with: 554 go away")
        hop = self.begin()
        hop.say("220 hi", "421 too busy")
        self.assertFails(hop, "it answered our hello with: 421 too busy")
        hop = self.begin()
        hop.say("220 hi", "550 no", "550 no")
        self.assertFails(hop, "it answered our hello with: 550 no")

    def test_silent(self) -> None:
        """Silence ends at the deadline."""
        hop = self.begin()
        self.clock.advance(10)
        self.assertFails(hop, "didn't answer within 10 s")


class StartTLSTests(Bench):
    def begin(self, url: str = "smtp+starttls://next.example") -> Hop:
        """Connect."""
        return super().begin(url)

    def test_startTLS(self) -> None:
        """TLS is begun for the host's name, and what was offered in clear counts for nothing."""
        hop = self.begin()
        hop.open("STARTTLS", "SIZE 1")
        self.assertEqual(hop.heard(), [b"STARTTLS"])
        self.assertIsNone(hop.transport.tls)
        hop.say("220 go ahead")
        self.assertEqual(hop.transport.tls, "TLS for next.example")
        self.assertEqual(hop.heard(), [b"EHLO us.example"])
        hop.say("250-next.example", "250 SIZE 2")
        self.assertEqual(self.offers(), {"SIZE": "2"})

    def test_notOffered(self) -> None:
        """Without STARTTLS there is no mail: somebody may have taken it out."""
        hop = self.begin()
        hop.open("SIZE 1")
        self.assertFails(hop, "doesn't offer STARTTLS")

    def test_notReady(self) -> None:
        """Nor if it can't begin TLS."""
        hop = self.begin()
        hop.open("STARTTLS")
        hop.say("454 4.7.0 no entropy")
        self.assertFails(hop, "it answered STARTTLS with: 454")
        self.assertIsNone(hop.transport.tls)

    def test_injected(self) -> None:
        """What came in clear behind the reply isn't taken for what was said under TLS."""
        hop = self.begin()
        hop.open("STARTTLS")
        hop.say("220 go ahead", "250-next.example", "250 AUTH PLAIN")
        self.assertFails(hop, "more before the TLS handshake")
        self.assertIsNone(hop.transport.tls)


class LoginTests(Bench):
    def begin(self, url: str = "smtps://joe@next.example") -> Hop:
        """Connect."""
        return super().begin(url)

    def test_refused(self) -> None:
        """A login that is refused is no reason to try without."""
        hop = self.begin()
        hop.open("AUTH PLAIN")
        hop.say("535 5.7.8 wrong")
        self.assertFails(hop, "it refused our login: 535 5.7.8 wrong")

    def test_plain(self) -> None:
        """PLAIN if it is offered."""
        hop = self.begin()
        hop.open("AUTH LOGIN PLAIN")
        secret = b64encode(b"\0joe\0open sesame")
        self.assertEqual(hop.heard(), [b"AUTH PLAIN " + secret])
        hop.say("235 welcome")
        self.assertIn("AUTH", self.offers())

    def test_login(self) -> None:
        """LOGIN else."""
        hop = self.begin()
        hop.open("auth login")
        self.assertEqual(hop.heard(), [b"AUTH LOGIN"])
        for secret in (b"joe", b"open sesame"):
            hop.say("334 more")
            self.assertEqual(hop.heard(), [b64encode(secret)])
        hop.say("235 welcome")
        self.assertIn("AUTH", self.offers())

    def test_loginRefused(self) -> None:
        """LOGIN that is refused half-way doesn't tell the password."""
        hop = self.begin()
        hop.open("AUTH LOGIN")
        hop.say("334 user")
        hop.heard()
        hop.say("535 no")
        self.assertEqual(hop.heard(), [])
        self.assertFails(hop, "it refused our login: 535 no")

    def test_noMechanism(self) -> None:
        """Nothing that we can do: no mail."""
        for offer in ("AUTH GSSAPI", "PIPELINING"):
            hop = self.begin()
            hop.open(offer)
            self.assertFails(hop, "it offers neither AUTH PLAIN nor AUTH LOGIN")

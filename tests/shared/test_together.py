"""Limits that several servers share: each that takes a ``state``, with one in memory."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, brief, codes
from twisted_smtpserver import Chain, ConfigurationError
from twisted_smtpserver.handlers.policies import Greylist, RateLimit
from twisted_smtpserver.testing import Client, RecordingHandler, connect, makeFactory

PEER = IPv4Address("TCP", "192.0.2.1", 40000)


class MemoryState:
    """
    An ISharedState.

    :ivar isDown: whether it knows nothing.
    :ivar gate: what answers wait for, if anything.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.known: set[str] = set()
        self.isDown = False
        self.gate: Deferred[None] | None = None

    async def count(self, key: str, seconds: float) -> int | None:
        if self.isDown:
            return None
        self.counts[key] += 1
        return self.counts[key]

    async def greylist(self, key: str, *times: float) -> bool | None:
        if self.isDown:
            return None
        isKnown = key in self.known
        self.known.add(key)
        return isKnown

    async def loginFailed(self, key: str, username: str, seconds: float) -> int | None:
        if self.gate is not None:
            await self.gate
        return await self.count(f"login:{key}", seconds)

    async def loginSucceeded(self, key: str, username: str) -> None:
        self.counts[f"login:{key}"] = 0

    async def enter(self, key: str, limit: int) -> bool | None:
        if self.gate is not None:
            await self.gate
        if self.isDown:
            return None
        if self.counts[key] >= limit:
            return False
        self.counts[key] += 1
        return True

    async def leave(self, key: str) -> None:
        self.counts[key] -= 1


class SharedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = MemoryState()

    def greet(self, handler: object, peer: Any = PEER, **options: Any) -> tuple[Client, int]:
        client = connect(handler, peer, **options)
        assert client.greeting is not None
        return client, client.greeting.code


class RateLimitTests(SharedCase):
    def make(self, **options: Any) -> list[Chain]:
        """Two servers."""
        return [Chain(RateLimit(state=self.state, **options), RecordingHandler()) for _ in range(2)]

    def test_together(self) -> None:
        """Two servers count as one; a unix socket isn't counted."""
        servers = self.make(connections=3)
        got = [self.greet(server)[1] for server in servers * 2]
        self.assertEqual(got, [220, 220, 220, 421])
        self.assertEqual(self.greet(servers[0], UNIXAddress(None))[1], 220)

    def test_commands(self) -> None:
        """Messages and recipients are counted by themselves, under names of their own."""
        one, two = self.make(messages=1, recipients=2)
        client, _ = self.greet(one)
        self.assertEqual(codes(client.pipeline(HELLO, MAIL, RCPT)), [250] * 3)
        client, _ = self.greet(two)
        self.assertEqual(codes(client.pipeline(HELLO, MAIL)), [250, 450])
        keys = {"messages:3600s:192.0.2.1", "recipients:3600s:192.0.2.1"}
        self.assertEqual(set(self.state.counts), keys)

    def test_name(self) -> None:
        """A limit with a name of its own isn't mixed up with others."""
        (one, _), (two, _) = self.make(connections=1), self.make(connections=1, name="other")
        self.assertEqual([self.greet(server)[1] for server in (one, two)], [220, 220])

    def test_down(self) -> None:
        """While nobody knows each server counts by itself."""
        self.state.isDown = True
        got = [self.greet(server)[1] for server in self.make(connections=1) * 2]
        self.assertEqual(got, [220, 220, 421, 421])


class GreylistTests(SharedCase):
    def test_together(self) -> None:
        """Who was sent away by one server is let in by the other; without a state, all are."""
        policies = [Greylist(state=self.state, delay=0) for _ in range(2)]
        got = []
        for isDown, policy in ((False, policies[0]), (False, policies[1]), (True, policies[0])):
            self.state.isDown = isDown
            client, _ = self.greet(Chain(policy, RecordingHandler()))
            sender = f"MAIL FROM:<{'new' if isDown else 'joe'}@example.org>"
            got.append(codes(client.pipeline(HELLO, sender, RCPT))[-1])
            policy.close()
        self.assertEqual(got, [450, 250, 250])
        (key,) = self.state.known
        self.assertEqual(key, "192.0.2.1\njoe@example.org\njane@example.com")

    def test_oneOfTwo(self) -> None:
        """It needs a file or a state, and not both."""
        for arguments in ({}, {"path": self.mktemp(), "state": self.state}):
            error = self.assertRaises(ConfigurationError, Greylist, **arguments)
            self.assertEqual(str(error), "Greylist: give the path of a database, or a state")


class LoginDelayTests(SharedCase):
    def make(self) -> Any:
        handler: Any = RecordingHandler()
        handler.onAuth = lambda credentials, session: (
            "joe" if credentials.validatePassword("right") else None
        )
        options: Any = {"authFailureDelay": 0, "loginDelay": 1, "maxAuthAttempts": 100}
        return makeFactory(handler, state=self.state, allowInsecureAuth=True, **options)

    def ask(self, client: Client, password: str = "wrong") -> None:
        secret = base64.b64encode(f"\0joe\0{password}".encode()).decode()
        client.send(f"AUTH PLAIN {secret}\r\n".encode())

    def fail(self, factory: Any, peer: Any = PEER) -> float:  # type: ignore[override]
        """How long a refusal takes."""
        client = connect(factory, peer)
        client.say(HELLO)
        self.ask(client)
        waited = 0.0
        while not (answers := client.answers()):
            client.wait(0.5)
            waited += 0.5
            self.assertLess(waited, 20)
        self.assertEqual(codes(answers), [535])
        return waited

    def test_together(self) -> None:
        """Failures at two servers add up; a login takes them back at both."""
        servers = [self.make(), self.make()]
        self.assertEqual([self.fail(server) for server in servers * 3], [0, 0, 0, 1, 2, 4])
        client = connect(servers[0], PEER)
        client.say(HELLO)
        self.ask(client, "right")
        self.assertEqual(codes(client.answers()), [235])
        self.assertEqual(self.fail(servers[1]), 0)

    def test_down(self) -> None:
        """While nobody knows each server counts by itself."""
        self.state.isDown = True
        servers = [self.make(), self.make()]
        self.assertEqual([self.fail(server) for server in servers * 4], [0] * 6 + [1, 1])

    def test_notCounted(self) -> None:
        """A unix socket's failures aren't counted, nor its logins."""
        self.assertEqual(self.fail(self.make(), UNIXAddress(None)), 0)
        client = connect(self.make(), UNIXAddress(None))
        client.say(HELLO)
        self.ask(client, "right")
        self.assertEqual(self.state.counts, {})

    def test_clientLeft(self) -> None:
        """A client that leaves while the failure is counted is no trouble."""
        self.state.gate = Deferred()
        client = connect(self.make(), PEER)
        client.say(HELLO)
        self.ask(client)
        self.assertEqual(client.answers(), [])
        client.lose()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_noState(self) -> None:
        """What is no state is refused."""
        error = self.assertRaises(ConfigurationError, makeFactory, state="redis://localhost")
        self.assertEqual(str(error), "state: doesn't provide ISharedState, as a RedisState does")


class ClientsPerAddressTests(SharedCase):
    def make(self, handler: Any = None, **options: Any) -> Any:
        options = {"maxClientsPerAddress": 2, "state": self.state, **options}
        return makeFactory(handler or RecordingHandler(), **options)

    def test_together(self) -> None:
        """The third connection is told 421, at whichever server; one that leaves makes room."""
        one, two, three = (self.make() for _ in range(3))
        first, _ = self.greet(one)
        self.assertEqual(self.greet(two)[1], 220)
        third = connect(three, PEER)
        assert third.greeting is not None
        self.assertEqual(brief(third.greeting), (421, None))
        self.assertTrue(third.isClosed)
        self.assertEqual(self.state.counts, {"192.0.2.1": 2})
        first.lose()
        self.assertEqual(self.greet(three)[1], 220)

    def test_handler(self) -> None:
        """The handler behind it works as ever, also one without onData."""
        handler = RecordingHandler()
        client, _ = self.greet(self.make(handler))
        client.say(HELLO)
        self.assertEqual(client.say(MAIL).code, 250)
        self.assertEqual(self.greet(self.make(object.__new__(OnlyNames)))[1], 220)

    def test_down(self) -> None:
        """While nobody knows all are let in, and none is taken back."""
        self.state.isDown = True
        client, code = self.greet(self.make())
        self.assertEqual(code, 220)
        client.lose()
        self.assertEqual(self.state.counts, {})

    def test_unix(self) -> None:
        """A unix socket isn't counted."""
        client, code = self.greet(self.make(), UNIXAddress(None))
        client.lose()
        self.assertEqual((code, self.state.counts), (220, {}))

    def test_leavesMeanwhile(self) -> None:
        """A client that leaves before it is known whether it was counted is taken back, too."""
        gate: Deferred[None] = Deferred()
        self.state.gate = gate
        client = connect(self.make(), PEER)
        client.lose()
        self.assertEqual(self.state.counts, {})
        gate.callback(None)
        self.assertEqual(self.state.counts, {"192.0.2.1": 0})

    def test_xclient(self) -> None:
        """A connection that claims another address is counted once."""
        client, _ = self.greet(self.make(useXClient=True))
        client.say(HELLO)
        self.assertEqual(client.say("XCLIENT ADDR=192.0.2.9").code, 220)
        self.assertEqual(self.state.counts, {"192.0.2.1": 1})
        client.lose()
        self.assertEqual(self.state.counts, {"192.0.2.1": 0})


class OnlyNames:
    """A handler that keeps nothing."""

    def onHello(self, hostname: str, session: object) -> None:
        pass

"""
What must be true of every store, as tests to mix in.

Write a test case for your store like this::

    class ShelfTests(StoreSuite, TestCase):
        async def startService(self):      # also called after killService
            ...
            return port

        async def killService(self): ...
        async def received(self): ...      # the raw messages that are durable there

        def makeStore(self, port):
            return Shelf("127.0.0.1", port, deadline=self.deadline)

Between the store and the service is a relay that cuts, holds and refuses. The server is a real one
on loopback, and so is its client.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from tests.support.faultyproxy import FaultyProxy
from tests.support.smtpclient import Reply, SocketClient, connect
from twisted_smtpserver import SMTPServerFactory

LARGE = 25 * 2**20

#: In the body of each message, and so in no line of the log.
SECRET = "the-secret-of-this-message"

# What some servers add to a message that hasn't it.
_FIELDS = "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <x@client.example>\r\n"

_numbers = itertools.count(1)


if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object  # or the suite itself would be taken for tests, wherever it is imported


class CoreSuite(TestCase):
    """
    What takes a service to show. Mix it into a :class:`twisted.trial.unittest.TestCase`.

    :cvar deadline: what the store is to wait at most for its other side, in seconds.
    :cvar patience: a bound for anything that a test waits for, in seconds.
    :cvar options: options for the server in front of the store.
    :cvar recipients: those that the service takes.
    :cvar refused: a recipient that it refuses for good; ``None`` if it takes anybody.
    :cvar cuts: at how many places each direction is cut.
    :cvar memoryBound: octets by which the peak of the process may grow with a message of 25 MiB.
    """

    timeout = 60.0
    deadline = 1.0
    patience = 30.0
    options: dict[str, Any] = {}
    recipients: tuple[str, ...] = ("ann@store.example",)
    refused: str | None = None
    cuts = 8
    memoryBound = 6 * 2**20

    # -- To be written for each store --------------------------------------------------------------

    async def startService(self) -> int:
        """
        Start what the store stores to.

        :returns: its port on loopback.
        """
        raise NotImplementedError

    async def killService(self) -> None:
        """Kill it, so that nothing is left but what was durable. Called for each start."""
        raise NotImplementedError

    async def releaseService(self) -> None:
        """A test is over. Override it if the service is to run on for the next test."""
        await self.killService()

    async def received(self) -> list[bytes]:
        """The raw messages that are durable there, each as often as it is there."""
        raise NotImplementedError

    def makeStore(self, port: int) -> Any:
        """A store that reaches the service by this port on loopback."""
        raise NotImplementedError

    async def closeStore(self, store: Any) -> None:
        """End what the store has open."""
        await _value(getattr(store, "close", lambda: None)())

    async def fillService(self) -> bool | None:
        """
        Let the service have no space for messages.

        :returns: ``False`` if that can't be done here.
        """
        return False

    async def emptyService(self) -> None:
        """Let it have space again."""

    # -- The bench ---------------------------------------------------------------------------------

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """A service, the relay, the store, the server."""
        self.events: list[str] = []
        observer: Any = lambda event: self.events.append(repr(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.accepted: list[str] = []
        self.proxy = FaultyProxy()
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        self.isRunning = False
        self.addCleanup(self._release)
        await self._up()
        await self.renew(isFirst=True)
        self.addCleanup(self._end)

    async def _up(self) -> None:
        self.proxy.target = await self.startService()
        self.isRunning = True

    async def _down(self) -> None:
        self.isRunning = False
        await self.killService()

    async def _release(self) -> None:
        if self.isRunning:
            await self.releaseService()

    async def renew(self, isFirst: bool = False) -> None:
        """A new store in a new server, which has no connections yet."""
        if not isFirst:
            await self._end()
        self.store = self.makeStore(self.proxy.port)
        options = {"disableReverseLookup": True, "closeTimeout": 5.0, **self.options}
        self.factory = SMTPServerFactory(self.store, logger=False, name="mx.example", **options)
        self.listening: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")

    async def _end(self) -> None:
        await self.listening.stopListening()
        await self.factory.shutdown(1.0)
        await self.closeStore(self.store)

    @property
    def hello(self) -> str:
        """The client's hello."""
        return ("LHLO" if self.options.get("lmtp") else "EHLO") + " client.example"

    async def client(self) -> SocketClient:
        """A client of the server."""
        client = await connect(reactor, self.listening.getHost().port)
        self.addCleanup(client.leave)
        return client

    async def send(self, *recipients: str, client: SocketClient | None = None) -> list[Reply]:
        """
        Send a message of its own mark. If it is accepted for all, :attr:`accepted` has that.

        :param client: a client that said hello already; a new one by default.
        :returns: the final replies, or the first refusal.
        """
        mark = f"mark-{os.getpid()}-{next(_numbers)}-"
        hello = self.hello if client is None else None
        client = client or await self.client()
        replies = await client.deliver(makeMessage(mark), *self._to(recipients), hello=hello)
        if all(reply.code == 250 for reply in replies):
            self.accepted.append(mark)
        return replies

    def _to(self, recipients: tuple[str, ...]) -> tuple[str, ...]:
        return recipients or self.recipients

    async def sendUntilAccepted(self) -> None:
        """The other side is well again: after a while messages are accepted."""
        for _ in range(200):
            if (await self.send())[-1].code == 250:
                return
            await deferLater(reactor, 0.05)
        self.fail("no message is accepted any more")

    async def assertNothingLost(self) -> None:
        """What was answered 250 is there, once; and the log has nothing of any message."""
        there = await self.received()
        for mark in self.accepted:
            count = sum(mark.encode() in message for message in there)
            self.assertEqual(count, 1, f"{mark} is there {count} times")
        self.assertLogIsClean()

    def assertLogIsClean(self) -> None:
        """No message's content is in the log."""
        for event in self.events:
            self.assertNotIn(SECRET, event)

    # -- What must be true -------------------------------------------------------------------------

    async def test_accepted(self) -> None:
        """A message that was answered 250 is there, octet for octet, below trace fields."""
        for reply in await self.send():
            self.assertEqual(reply.code, 250, reply)
        (mark,) = self.accepted
        messages = [self.canonical(message) for message in await self.received()]
        (mine,) = {message for message in messages if mark.encode() in message}
        self.assertTrue(mine.endswith(makeMessage(mark)), mine)
        self.assertIn(b"\r\nReceived: from client.example", b"\r\n" + mine)
        await self.assertNothingLost()

    def canonical(self, message: bytes) -> bytes:
        """The message as it was sent, if the service stores it in another form."""
        return message

    async def test_large(self) -> None:
        """25 MiB arrive whole, and take no more memory than a bound that doesn't depend on that."""
        client = await self.client()
        for size in (2 * 2**20, LARGE):
            before = _resetPeak()
            replies = await client.deliver(_lines(size), *self.recipients, hello=self.hello)
            self.assertEqual({reply.code for reply in replies}, {250}, replies)
            grown = _peak() - before
        self.assertLess(grown, self.memoryBound)
        messages = [self.canonical(message) for message in await self.received()]
        largest = max(messages, key=len)
        self.assertTrue(largest.endswith(b"".join(_lines(LARGE))))

    async def test_refusedForGood(self) -> None:
        """Whom the other side refuses for good is refused with 550, 552 or 554."""
        if self.refused is None:
            return
        replies = await self.send(self.refused)
        self.assertIn(replies[-1].code, (550, 552, 553, 554), replies)

    async def test_clientLost(self) -> None:
        """A client that leaves in the middle of a message leaves nothing behind."""
        client = await self.client()
        reply = await client.begin("joe@client.example", self.recipients, self.hello)
        self.assertEqual(reply.code, 354)
        client.transport.write(b"Subject: mark-lost-\r\n\r\nthe beginning of\r\n")
        client.transport.loseConnection()
        await self.sendUntilAccepted()
        for message in await self.received():
            self.assertNotIn(b"mark-lost-", message)
        await self.assertNothingLost()

    async def _assertTryLater(self) -> None:
        started = reactor.seconds()
        replies = await self.send()
        for reply in replies:
            self.assertIn(reply.code, range(400, 500), reply)
        # Not how fast it is, but that the deadline is one: the patience is far above it.
        self.assertLess(reactor.seconds() - started, self.patience)

    async def test_full(self) -> None:
        """If the other side is full, nothing is answered 250 until it has space again."""
        if await self.fillService() is False:
            return
        for reply in await self.send():
            self.assertIn(reply.code, (450, 451, 452, 552), reply)
        await self.emptyService()
        await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_cutDown(self) -> None:
        """
        Wherever what the other side says is cut, before, in and after its confirmation, a message
        was accepted and is there, or the client got 4yz; and mail goes on.
        """
        await self._cut("cutDown")

    async def test_cutUp(self) -> None:
        """Likewise where what is said to the other side is cut."""
        await self._cut("cutUp")

    async def _cut(self, direction: str) -> None:
        await self.renew()
        self.proxy.reset()
        self.assertEqual((await self.send())[-1].code, 250)
        total = self.proxy.received if direction == "cutDown" else self.proxy.sent
        for place in _places(total, self.cuts):
            await self.renew()
            self.proxy.reset()
            setattr(self.proxy, direction, place)
            for reply in await self.send():
                self.assertTrue(reply.code == 250 or 400 <= reply.code < 500, (place, reply))
            self.proxy.reset()
            await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_restarted(self) -> None:
        """A restart of the other side is seen: mail goes on over new connections."""
        self.assertEqual((await self.send())[-1].code, 250)
        await self._down()
        await self._up()
        await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_killed(self) -> None:
        """The other side is killed under load: what was answered 250 before is there afterwards."""
        isOver = False

        async def load() -> None:
            client = await self.client()
            await client.say(self.hello)
            while not isOver:
                if (await self.send(client=client))[-1].code != 250:
                    await client.say("RSET")
                    await deferLater(reactor, 0.02)

        loads = [ensureDeferred(load()) for _ in range(4)]
        await self._until(lambda: len(self.accepted) >= 12)
        await self._down()
        before = len(self.accepted)
        await self._up()
        await self._until(lambda: len(self.accepted) >= before + 12)
        isOver = True
        await _all(loads)
        await self.assertNothingLost()

    async def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(int(self.patience / 0.02)):
            if condition():
                return
            await deferLater(reactor, 0.02)
        self.fail(f"{len(self.accepted)} messages were accepted, and no more")


class StoreSuite(CoreSuite):
    """All of it: also what is the same whatever the service is."""

    async def test_twoAtOnce(self) -> None:
        """Two clients with several messages each: each message is there once."""

        async def several() -> None:
            client = await self.client()
            await client.say(self.hello)
            for _ in range(5):
                for reply in await self.send(client=client):
                    self.assertEqual(reply.code, 250, reply)

        await _together(several, several)
        await self.assertNothingLost()

    async def test_away(self) -> None:
        """While the other side is away the client gets 4yz, and mail goes on when it is back."""
        self.proxy.isRefusing = True
        self.proxy.cut()
        for _ in range(3):
            await self._assertTryLater()
        self.proxy.reset()
        await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_silent(self) -> None:
        """If the other side says nothing the client gets 4yz within the deadline."""
        self.assertEqual((await self.send())[-1].code, 250)
        self.proxy.hold()
        await self._assertTryLater()
        self.proxy.reset()
        await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_silentFromTheStart(self) -> None:
        """Likewise if it is silent when the store connects."""
        self.proxy.hold()
        await self._assertTryLater()
        self.proxy.reset()
        await self.sendUntilAccepted()
        await self.assertNothingLost()

    async def test_stop(self) -> None:
        """A stop waits for a message whose confirmation is on its way: it gets its 250."""
        await self._stop(self.patience)

    async def test_stopTooLate(self) -> None:
        """
        Also when closeTimeout is over: what the other side may have stored can't be taken back, so
        its client isn't told 421.
        """
        await self._stop(0)

    async def _stop(self, closeTimeout: float) -> None:
        await self.renew()
        self.proxy.reset()
        self.assertEqual((await self.send())[-1].code, 250)
        place = self.proxy.received - 2
        await self.renew()
        self.proxy.reset()
        self.proxy.holdDown = place
        sending = ensureDeferred(self.send())
        await self._until(lambda: self.proxy.isHolding or sending.called)
        stopping = self.factory.shutdown(closeTimeout)
        await deferLater(reactor, 0)  # that long is the shortest timeout, too
        self.proxy.reset()
        for reply in await sending:
            self.assertEqual(reply.code, 250, reply)
        await stopping
        await self.assertNothingLost()


def makeMessage(mark: str) -> bytes:
    """A message with dots at the beginnings of lines, and 8-bit text."""
    return (
        f"From: joe@client.example\r\nSubject: {mark}\r\n\r\n.\r\n..two\r\n{SECRET} ü\r\n.end\r\n"
    ).encode()


_LINE = b"x" * 62 + b"\r\n"


def _lines(size: int) -> Iterator[bytes]:
    """A message of so many octets and a header, in pieces."""
    yield f"From: joe@client.example\r\nSubject: large\r\n{_FIELDS}\r\n".encode()
    for _ in range(size // 2**16):
        yield _LINE * 2**10


def _places(total: int, count: int) -> list[int]:
    """Places at which to cut: evenly, and each of the last three octets."""
    return sorted(
        {0, 1, *(total * n // count for n in range(1, count)), total - 2, total - 1, total}
    )


async def _value(result: Any) -> Any:
    return await result if isinstance(result, (Awaitable, Deferred)) else result


async def _together(*functions: Callable[[], Any]) -> None:
    await _all([ensureDeferred(function()) for function in functions])


async def _all(running: list[Deferred[Any]]) -> None:
    await DeferredList(running, fireOnOneErrback=True, consumeErrors=True)


def _resetPeak() -> int:
    """
    Forget the peak of what this process had in memory.

    :returns: what it has now, in octets.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:  # pragma: no cover  # not on Linux, or not allowed
        raise SkipTest(f"the peak of the memory can't be measured here: {error}") from None
    return _peak()


def _peak() -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024

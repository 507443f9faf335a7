"""
What a message costs, counted and not timed: writes, Deferreds, timers, calls of our functions.

Counts are the same on every machine, however busy. Each is a bound: who makes one smaller may lower
it here, and who makes one larger has to say why.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from ipaddress import IPv4Network
from types import FrameType
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import twisted_smtpserver
from twisted_smtpserver import Rejection, SMTPServerFactory
from twisted_smtpserver.filters import Filtered, filtered
from twisted_smtpserver.handlers import Discard
from twisted_smtpserver.testing import Client, MemoryTransport, connect

MESSAGES = 10

#: Where our functions are.
PACKAGE = os.path.dirname(twisted_smtpserver.__file__) + os.sep

MAIL = b"MAIL FROM:<joe@example.org>\r\n"
RCPT = b"RCPT TO:<jane@example.com>\r\n"
DATA = b"DATA\r\n"
CONTENT = b"Subject: x\r\n\r\nHello\r\n.\r\n"

#: What an idle connection may keep of ours: objects, timers, and what the client said.
IDLE_OCTETS = 1400

ONE_BY_ONE = (MAIL, RCPT, DATA, CONTENT)
PIPELINED = (MAIL + RCPT * 100 + DATA, CONTENT)


class CountingClock(Clock):
    """A clock that counts the timers that are set, and those that are set anew."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def callLater(self, *arguments: Any, **keywords: Any) -> Any:
        self.counts["callLater"] += 1
        call = super().callLater(*arguments, **keywords)
        reset = call.reset

        def counted(seconds: float) -> None:
            self.counts["reset"] += 1
            reset(seconds)

        call.reset = counted  # type: ignore[assignment,method-assign]
        return call


def cost(handler: object, reads: tuple[bytes, ...], **options: Any) -> dict[str, float]:
    """What each of some messages on a connection costs, and the hello before them doesn't count."""
    clock = CountingClock()
    client = connect(handler, reactor=clock, **options)
    client.say("EHLO client.example")
    send(client, reads)  # what only the first one costs doesn't count either
    before = client.session.messages
    counts = clock.counts
    counts.clear()
    writes = client.transport.writes
    made = Deferred.__init__

    def counted(deferred: Deferred[Any], *arguments: Any, **keywords: Any) -> None:
        counts["Deferred"] += 1
        made(deferred, *arguments, **keywords)

    def called(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        isOurs = code.co_filename.startswith(PACKAGE) and "testing" not in code.co_filename
        if event == "call" and isOurs and code.co_name[0] != "<":
            counts["call"] += 1

    with patch.object(Deferred, "__init__", counted):
        for _ in range(MESSAGES):
            send(client, reads)
    before += MESSAGES
    counts["write"] = client.transport.writes - writes
    found = {name: counts[name] / MESSAGES for name in ("write", "Deferred", "callLater", "reset")}
    # Apart from the others, for to count those takes functions, too.
    sys.setprofile(called)
    for _ in range(MESSAGES):
        send(client, reads)
    sys.setprofile(None)
    assert client.session.messages == before + MESSAGES
    return {**found, "call": counts["call"] / MESSAGES}


def send(client: Client, reads: tuple[bytes, ...]) -> None:
    """Let each of them come in one read, as from a socket."""
    for octets in reads:
        client.protocol.dataReceived(octets)


class Server(MemoryTransport):
    """A transport that names its own end anew for each who asks, as a socket does."""

    def getHost(self) -> IPv4Address:
        """It has an address and a port."""
        return IPv4Address("TCP", str(IPv4Network("192.0.2.25")[0]), int("2525"))


def greeted(factory: SMTPServerFactory) -> Client:
    """A client that has said hello."""
    client = connect(factory, transport=Server())
    client.say("EHLO client.example")
    return client


class Plain:
    """A handler that answers at once, everywhere."""

    def onMailFrom(self, address: object, session: object) -> None:
        """Accept."""

    def onRcptTo(self, address: object, session: object) -> None:
        """Accept."""

    def onData(self, stream: object, session: object) -> None:
        """Accept, and read nothing."""


@implementer(ILogObserver)
def _nobody(event: LogEvent) -> None:
    """Hears nothing."""


class SessionTests(SynchronousTestCase):
    """What each session costs."""

    def test_timers(self) -> None:
        """A short one has no timer of its own: the first looks have one for all connections."""
        clock = CountingClock()
        factory = connect(Plain(), reactor=clock).protocol.factory  # one that goes on
        clock.counts.clear()
        for _ in range(MESSAGES):
            client = connect(factory)
            client.say("EHLO client.example")
            send(client, ONE_BY_ONE)
            send(client, (b"QUIT\r\n",))
            client.lose()
        self.assertEqual(len(factory.connections), 1)
        self.assertEqual(clock.counts, {})

    def test_memory(self) -> None:
        """What an idle one keeps, in octets of ours; its own two addresses are those of all."""
        factory = connect(Plain()).protocol.factory
        clients = [greeted(factory) for _ in range(MESSAGES)]  # what only the first ones cost
        tracemalloc.start()
        try:
            clients += [greeted(factory) for _ in range(MESSAGES)]
            gc.collect()
            snapshot = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        ours = snapshot.filter_traces(
            [
                tracemalloc.Filter(True, f"{PACKAGE}*"),
                tracemalloc.Filter(False, f"{PACKAGE}testing*"),
            ]
        )
        found = sum(trace.size for trace in ours.traces) / MESSAGES
        self.assertLess(found, IDLE_OCTETS)
        first, last = clients[0].session, clients[-1].session
        self.assertIs(first.localAddress, last.localAddress)
        self.assertIs(first.localPort, last.localPort)


class CostTests(SynchronousTestCase):
    """What each message costs."""

    def assertCost(self, found: dict[str, float], **most: float) -> None:
        """Nothing is above its bound."""
        over = {name: (found[name], bound) for name, bound in most.items() if found[name] > bound}
        self.assertEqual(over, {}, "name: (found, at most)")

    def test_oneByOne(self) -> None:
        """A write for each command, and nothing else, if the handler answers at once."""
        self.assertCost(
            cost(Plain(), ONE_BY_ONE), write=4, Deferred=0, callLater=0, reset=0, call=77
        )

    def test_pipelined(self) -> None:
        """A hundred replies to one read are one write, and no recipient costs a Deferred."""
        self.assertCost(
            cost(Plain(), PIPELINED), write=2, Deferred=0, callLater=0, reset=0, call=679
        )

    def test_reading(self) -> None:
        """A handler that reads the message to its end costs one Deferred, and no timer."""
        found = cost(Discard(), ONE_BY_ONE)
        self.assertCost(found, write=4, Deferred=1, callLater=0, reset=0, call=95)

    def test_filtered(self) -> None:
        """A filter before the store costs no Deferred more, no timer, no thread, and few calls."""

        class Pass:
            def onMessage(self, message: object, session: object) -> None:
                """Let it pass."""

        self.patch(filtered, "MESSAGES_AT_ONCE", sys.maxsize)  # test_turns is about these
        # Anything that asked for a thread would fail.
        found = cost(Filtered(Discard(), Pass(), runInThread=cast("Any", None)), ONE_BY_ONE)
        self.assertCost(found, write=4, Deferred=1, callLater=0, reset=0, call=137)

    def test_garbage(self) -> None:
        """Nothing of it is left for the garbage collector, nor of the connection."""

        class Waiting:
            async def onRcptTo(self, address: object, session: object) -> None:
                raise Rejection("Not here")

            async def onData(self, stream: Any, session: object) -> None:
                async for _ in stream:
                    pass

        # Not Twisted's, which remembers so many events, and forgets those of other tests for ours.
        logger = Logger(observer=_nobody)
        client, plain = connect(Waiting(), logger=logger), connect(Plain(), logger=logger)
        for each in (client, plain):
            each.say("EHLO client.example")
            send(each, ONE_BY_ONE[:1])
        # What earlier tests left, of which some has finalizers: what these let go is the next
        # collection's.
        for _ in range(MESSAGES):
            if not gc.collect():
                break
        gc.disable()
        try:
            for _ in range(MESSAGES):
                send(client, (RCPT, b"RSET\r\n", *ONE_BY_ONE[:1]))
                send(plain, (*ONE_BY_ONE[1:], *ONE_BY_ONE[:1]))
            self.assertEqual(gc.collect(), 0)
        finally:
            gc.enable()

    def test_counted(self) -> None:
        """The counts count: a handler that waits for a command costs Deferreds."""
        later: Deferred[None] = Deferred()

        def onRcptTo(address: object, session: object) -> Deferred[None]:
            nonlocal later
            later = Deferred()
            later.callback(None)
            return later

        handler = Plain()
        handler.onRcptTo = onRcptTo  # type: ignore[assignment,method-assign]
        self.assertGreaterEqual(cost(handler, ONE_BY_ONE)["Deferred"], 2)
        clock = CountingClock()
        clock.callLater(1, lambda: None).reset(2)
        self.assertEqual(clock.counts, {"callLater": 1, "reset": 1})

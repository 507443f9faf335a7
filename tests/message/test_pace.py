"""Tests for slow clients and slow handlers: time-outs, back-pressure."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import (
    MESSAGE,
    handlerOf,
    outcomes,
    readAll,
    sender,
)
from tests.support.talk import MAIL, RCPT, Later, brief, codes
from twisted_smtpserver.message.stream import HIGH_WATER
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client


def _slowReader() -> tuple[Client, Deferred[None]]:
    """A client that has sent DATA, and what its handler waits for before it reads on."""
    gate: Deferred[None] = Deferred()

    async def body(stream: Any) -> None:
        await stream.__anext__()
        await gate
        await stream.read()

    client = sender(body)
    client.say("DATA")
    return client, gate


class TimeoutTests(SynchronousTestCase):
    """The client's time and the handler's."""

    def test_silentClient(self) -> None:
        """While someone reads it is the client's time that runs; each octet renews it."""
        client = sender(readAll, socketTimeout=60, handlerTimeout=5)
        client.say("DATA")
        for _ in range(10):
            client.wait(59)
            client.send(b"x")
        client.wait(60)
        self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
        self.assertTrue(client.isClosed)
        self.assertEqual(outcomes(client), ["lost"])

    def test_beforeReading(self) -> None:
        """A handler that doesn't decide: DATA is 451; it is canceled; the transaction is over."""
        later = Later()
        client = sender(later, handlerTimeout=60)
        client.send(b"DATA\r\nNOOP\r\n")
        client.wait(59)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(
            [brief(answer) for answer in client.answers()], [(451, "4.3.0"), (250, "2.0.0")]
        )
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(client.say("DATA").code, 503)

    def test_paused(self) -> None:
        """While the handler has paused the stream, its time runs; then the rest is drained."""
        gate: Deferred[None] = Deferred()

        async def body(stream: Any) -> None:
            async for _ in stream:
                await gate

        client = sender(body, socketTimeout=10, handlerTimeout=60)
        client.say("DATA")
        client.send(b"x")
        client.send(b"x" * HIGH_WATER)
        self.assertTrue(client.transport.isPaused)
        client.wait(59)
        self.assertTrue(client.transport.isPaused)
        client.wait(1)
        self.assertFalse(client.transport.isPaused)
        self.assertTrue(gate.called)
        client.wait(9)
        client.send(b"x" * HIGH_WATER + b"\r\n.\r\n")
        self.assertEqual([brief(answer) for answer in client.answers()], [(451, "4.3.0")])
        self.assertEqual(outcomes(client), ["refused"])
        self.assertEqual(client.say("NOOP").code, 250)

    def test_resumed(self) -> None:
        """When it reads again it is the client's turn again."""
        gates: list[Deferred[None]] = []

        async def body(stream: Any) -> None:
            async for _ in stream:
                gates.append(Deferred())
                await gates[-1]

        client = sender(body, socketTimeout=10, handlerTimeout=60)
        client.say("DATA")
        client.send(b"x")
        client.send(b"x" * HIGH_WATER)
        client.wait(59)
        gates[0].callback(None)
        gates[1].callback(None)
        client.wait(9)
        self.assertFalse(client.isClosed)
        client.wait(1)
        self.assertEqual(codes(client.answers()), [421])

    def test_afterTheEnd(self) -> None:
        """After the true end the handler's time runs: 451."""
        later = Later()
        client = sender(later, socketTimeout=10, handlerTimeout=60)
        client.send(b"DATA\r\n")
        later.calls[0][0].read().addErrback(lambda failure: None)
        client.send(MESSAGE + b"NOOP\r\n")
        client.answers()
        client.wait(59)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(codes(client.answers()), [451, 250])
        self.assertEqual(later.canceled, 1)
        self.assertEqual(outcomes(client), ["refused"])

    def test_deaf(self) -> None:
        """A handler that doesn't listen, and answers later or never, disturbs nothing."""
        rest: Deferred[None] = Deferred()
        gate: Deferred[None] = Deferred()

        async def deaf(stream: Any) -> str:
            await stream.read(10**6)
            try:
                await gate
            except CancelledError:
                await rest
            return "late"

        client = sender(deaf, handlerTimeout=60)
        client.say("DATA")
        client.send(MESSAGE)
        client.wait(60)
        self.assertEqual(codes(client.answers()), [451])
        client.pipeline(MAIL, RCPT)
        rest.callback(None)
        self.assertEqual(client.answers(), [])
        self.assertIs(client.protocol.dialogue.phase, Phase.RCPT)
        self.assertEqual(outcomes(client), ["refused"])

    def test_badCanceller(self) -> None:
        """A Deferred whose canceller fails is a bug, and nothing more."""

        def canceller(_: object) -> None:
            raise ZeroDivisionError

        client = sender(lambda stream: Deferred(canceller), handlerTimeout=60)
        client.send(b"DATA\r\n")
        client.wait(60)
        self.assertEqual(codes(client.answers()), [451])
        self.assertEqual(client.say("NOOP").code, 250)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class BackPressureTests(SynchronousTestCase):
    """A slow reader stops the client; memory stays bounded, however large the message."""

    def test_bounded(self) -> None:
        """Of 1 GiB that a slow reader takes chunk by chunk, no more than two segments wait."""
        gates: list[Deferred[None]] = []
        read = 0

        async def slow(stream: Any) -> None:
            nonlocal read
            async for octets in stream:
                read += len(octets)
                gates.append(Deferred())
                await gates[-1]

        client = sender(slow)
        client.say("DATA")
        stream = handlerOf(client).stream
        protocol = client.protocol
        chunk = (b"x" * 1022 + b"\r\n") * 64
        most = 0
        pauses = 0
        for _ in range(2**30 // len(chunk)):
            protocol.dataReceived(chunk)
            most = max(most, stream._buffered + len(protocol.channel.waitingInput))
            while client.transport.isPaused:
                pauses += 1
                gates.pop().callback(None)
        self.assertEqual(stream.byteLength, 2**30)
        self.assertLessEqual(most, HIGH_WATER + len(chunk))
        self.assertGreater(pauses, 2**30 // len(chunk) // 2)
        protocol.dataReceived(b".\r\n")
        while gates:
            gates.pop().callback(None)
        client.settle()
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(read, 2**30)

    def test_unread(self) -> None:
        """A handler that takes its time before it reads lets the client wait, with the socket."""
        client, gate = _slowReader()
        client.send(b"x" * HIGH_WATER)
        self.assertFalse(client.transport.isPaused)
        client.send(b"x" * (HIGH_WATER - 1))
        self.assertFalse(client.transport.isPaused)
        client.send(b"x")
        self.assertTrue(client.transport.isPaused)
        gate.callback(None)
        self.assertFalse(client.transport.isPaused)
        client.send(b"\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [250])

    def test_wholeMessageWaits(self) -> None:
        """The end may come in the segment that stopped the socket; it stays stopped till read."""
        client, gate = _slowReader()
        client.send(b"x")
        client.send(b"x" * HIGH_WATER + b"\r\n.\r\nNOOP\r\n")
        self.assertTrue(client.transport.isPaused)
        self.assertEqual(client.answers(), [])
        gate.callback(None)
        self.assertFalse(client.transport.isPaused)
        self.assertEqual(codes(client.answers()), [250, 250])

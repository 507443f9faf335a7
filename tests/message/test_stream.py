"""Tests for the message stream, without a protocol around it."""

from __future__ import annotations

import io
import os
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_smtpserver.errors import (
    BareNewline,
    ConnectionLost,
    ConsumerStopped,
    MessageTooComplex,
    MessageTooLarge,
)
from twisted_smtpserver.interfaces import IMessageStream
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.stream import HIGH_WATER, MessageStream
from twisted_smtpserver.testing import runInline


class Flow:
    """Notes what the stream asks for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def wanted(self) -> None:
        self.calls.append("wanted")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


@implementer(IConsumer)
class Consumer:
    """
    Keeps what is written to it.

    :ivar afterWrite: called after each write.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.producer: Any = None
        self.afterWrite: Any = lambda: None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.afterWrite()


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        """A stream without a limit."""
        self.flow = Flow()
        self.stream = MessageStream(self.flow, 0, runInline)

    def collect(self, into: list[bytes]) -> Deferred[None]:
        """Iterate over the stream."""

        async def iterate() -> None:
            async for octets in self.stream:
                into.append(octets)  # noqa: PERF401  (what came before a failure counts)

        return Deferred.fromCoroutine(iterate())


class ReadTests(StreamTestCase):
    """Reading in one piece or chunk by chunk."""

    def test_interface(self) -> None:
        """It is what the interface says."""
        self.assertTrue(verifyObject(IMessageStream, self.stream))

    def test_readBefore(self) -> None:
        """Who reads before the octets come gets them all at the end."""
        result = self.stream.read()
        self.assertEqual(self.flow.calls, ["wanted"])
        for octets in (b"one\r\n", b"two\r\n"):
            self.stream.feed(octets)
        self.assertNoResult(result)
        self.stream.end()
        self.assertEqual(self.successResultOf(result), b"one\r\ntwo\r\n")

    def test_readAfter(self) -> None:
        """Who reads afterwards gets them at once."""
        self.stream.feed(b"one\r\n")
        self.stream.feed(b"two\r\n")
        self.stream.end()
        self.assertEqual(self.successResultOf(self.stream.read()), b"one\r\ntwo\r\n")

    def test_readTwice(self) -> None:
        """Once the end was read, every way of reading says that there is nothing left."""
        self.stream.feed(b"a")
        self.stream.end()
        self.assertEqual(self.successResultOf(self.stream.read()), b"a")
        ways = (self.stream.read, self.stream.message, self.stream.parsed, self.stream.__aiter__)
        for way in ways:
            self.assertRaises(RuntimeError, way)
        self.assertRaises(RuntimeError, self.stream.saveTo, self.mktemp())
        self.assertRaises(RuntimeError, self.stream.pipeTo, StringTransport())
        self.assertEqual(self.flow.calls, ["wanted"])

    def test_iterate(self) -> None:
        """Iteration yields octets as they come, what waited in one piece."""
        chunks: list[bytes] = []
        self.stream.feed(b"a")
        self.stream.feed(b"b")
        result = self.collect(chunks)
        self.stream.feed(b"c")
        self.assertEqual(chunks, [b"ab", b"c"])
        self.assertNoResult(result)
        self.stream.end()
        self.successResultOf(result)

    def test_limit(self) -> None:
        """read() doesn't hold more than it is told to; the message as such can be accepted."""
        self.stream.feed(b"x" * 10)
        result = self.stream.read(10)
        self.stream.feed(b"x")
        self.failureResultOf(result, MessageTooLarge)
        self.assertIsNone(self.stream.failure)

    def test_oneReader(self) -> None:
        """Two readers at a time would each get half of it."""
        self.stream.read()
        self.failureResultOf(self.stream.read(), RuntimeError)

    def test_smallChunks(self) -> None:
        """Octets that nobody reads take no more than they are, however small the segments."""
        octets = bytes(range(256)) * 8
        for number in range(len(octets)):
            self.stream.feed(octets[number : number + 1])
            if number == 62:  # one more at the moment before they are joined
                self.stream.prepend(b"!")
            self.assertLess(len(self.stream._chunks), 65)
        self.stream.end()
        self.assertEqual(self.successResultOf(self.stream.read()), b"!" + octets)

    def test_canceled(self) -> None:
        """A reading that was canceled makes room for another; no octets are lost to it."""
        result = self.stream.read()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.stream.feed(b"x")
        self.stream.end()
        self.assertEqual(self.successResultOf(self.stream.read()), b"x")

    def test_message(self) -> None:
        """The message can be had parsed; the limit holds there, too."""
        self.stream.feed("Subject: Grüße\r\n\r\nHello\r\n".encode())
        self.stream.end()
        message = self.successResultOf(self.stream.message())
        self.assertEqual(message.get_content(), "Hello\r\n")
        for way in (MessageStream.message, MessageStream.parsed):
            other = MessageStream(self.flow, 0, runInline)
            other.feed(b"12345")
            self.failureResultOf(way(other, 4), MessageTooLarge)

    def test_parsed(self) -> None:
        """It can be had decoded, too; a message that is too complex can't be had otherwise."""
        for way in ("parsed", "message"):
            stream = MessageStream(self.flow, 0, runInline, partial(runInline, finish))
            stream.feed(b"Subject: hi\r\n" + b"X: y\r\n" * 5000 + b"\r\nHello\r\n")
            stream.end()
            result = getattr(stream, way)()
            if way == "parsed":
                self.assertEqual(self.successResultOf(result).text, "Hello\n")
            else:
                self.failureResultOf(result, MessageTooComplex)

    def test_byteLength(self) -> None:
        """The length is that of what came in, read or not."""
        self.stream.feed(b"12345")
        self.assertEqual(self.stream.byteLength, 5)
        self.stream.discard()
        self.stream.feed(b"678")
        self.assertEqual(self.stream.byteLength, 8)


class FailureTests(StreamTestCase):
    """A message that can't be accepted: every way of reading raises."""

    def ways(self) -> dict[str, Any]:
        return {
            "read": self.stream.read,
            "message": self.stream.message,
            "parsed": self.stream.parsed,
            "iteration": lambda: self.collect([]),
            "pipeTo": lambda: self.stream.pipeTo(Consumer()),
            "saveTo path": lambda: self.stream.saveTo(self.mktemp()),
            "saveTo file": lambda: self.stream.saveTo(io.BytesIO()),
        }

    def test_before(self) -> None:
        """What failed before it was read raises at once, though octets had come before."""
        for name in self.ways():
            for error in (BareNewline(), ConnectionLost(), MessageTooLarge()):
                self.setUp()
                self.stream.feed(b"x" * 10)
                self.stream.fail(error)
                self.stream.end()
                failure = self.failureResultOf(self.ways()[name](), type(error))
                self.assertIs(failure.value, error, name)

    def test_meanwhile(self) -> None:
        """So does what fails while it is read."""
        for name in self.ways():
            self.setUp()
            result = self.ways()[name]()
            self.stream.feed(b"x" * 10)
            self.stream.fail(BareNewline())
            self.failureResultOf(result, BareNewline)
            self.failureResultOf(self.stream.read(), BareNewline)

    def test_firstReason(self) -> None:
        """Only the first reason counts."""
        first = BareNewline()
        self.stream.fail(first)
        self.stream.fail(ConnectionLost())
        self.assertIs(self.stream.failure, first)

    def test_sizeLimit(self) -> None:
        """Up to the limit all is well; one octet more is too large, and none is given out."""
        self.stream = MessageStream(self.flow, 10, runInline)
        self.stream.feed(b"x" * 10)
        self.assertFalse(self.stream.sizeExceeded)
        self.stream.feed(b"x")
        self.assertTrue(self.stream.sizeExceeded)
        self.assertIsInstance(self.stream.failure, MessageTooLarge)
        self.stream.feed(b"x" * 100)
        self.assertEqual(self.stream.byteLength, 111)
        self.failureResultOf(self.stream.read(), MessageTooLarge)

    def test_noFileLeft(self) -> None:
        """A file that couldn't be completed isn't there."""
        path = self.mktemp()
        os.mkdir(path)
        result = self.stream.saveTo(os.path.join(path, "message"))
        self.stream.feed(b"x" * 2**20)
        self.stream.fail(ConnectionLost())
        self.failureResultOf(result, ConnectionLost)
        self.assertEqual(os.listdir(path), [])


class DiscardTests(StreamTestCase):
    """After the handler has returned, nobody gets anything any more."""

    def test_later(self) -> None:
        """Who reads later gets no end of file, which would look like a whole message."""
        self.stream.feed(b"x")
        self.stream.discard()
        self.stream.discard()
        self.stream.end()
        failure = self.failureResultOf(self.stream.read(), RuntimeError)
        self.assertIn("onData has returned", str(failure.value))

    def test_meanwhile(self) -> None:
        """Nor does who is reading."""
        result = self.stream.read()
        self.stream.feed(b"x")
        self.stream.discard()
        self.failureResultOf(result, RuntimeError)

    def test_failure(self) -> None:
        """The limit is watched all the same, for the reply's sake."""
        self.stream = MessageStream(self.flow, 10, runInline)
        self.stream.discard()
        self.stream.feed(b"x" * 11)
        self.assertIsInstance(self.stream.failure, MessageTooLarge)


class BackPressureTests(StreamTestCase):
    """What nobody reads stops the flow."""

    def test_pause(self) -> None:
        """At the mark the flow is stopped, once; reading starts it again."""
        self.stream.feed(b"x" * (HIGH_WATER - 1))
        self.assertEqual(self.flow.calls, [])
        self.stream.feed(b"x")
        self.assertEqual(self.flow.calls, ["pause"])
        self.assertTrue(self.stream.isPaused)
        self.stream.feed(b"x")
        self.assertEqual(self.flow.calls, ["pause"])
        self.stream.read()
        self.assertEqual(self.flow.calls, ["pause", "wanted", "resume"])
        self.assertFalse(self.stream.isPaused)

    def test_notWhileRead(self) -> None:
        """As long as someone waits for octets nothing is stopped."""
        self.collect([])
        for _ in range(4):
            self.stream.feed(b"x" * HIGH_WATER)
        self.assertEqual(self.flow.calls, ["wanted"])

    def test_failureStartsItAgain(self) -> None:
        """What needn't be kept needn't stop anybody."""
        for arguments in ([BareNewline()], []):
            self.setUp()
            self.stream.feed(b"x" * HIGH_WATER)
            (self.stream.fail if arguments else self.stream.discard)(*arguments)
            self.assertEqual(self.flow.calls, ["pause", "resume"])
            self.stream.feed(b"x" * HIGH_WATER)
            self.assertEqual(self.flow.calls, ["pause", "resume"])


class PipeToTests(StreamTestCase):
    """Into a consumer, at its pace."""

    def setUp(self) -> None:
        """A consumer beside the stream."""
        super().setUp()
        self.consumer = Consumer()

    def test_all(self) -> None:
        """All octets are written; then the consumer is unregistered."""
        result = self.stream.pipeTo(self.consumer)
        self.stream.feed(b"one")
        self.stream.feed(b"two")
        self.assertIsNotNone(self.consumer.producer)
        self.stream.end()
        self.assertEqual(self.successResultOf(result), 6)
        self.assertEqual(b"".join(self.consumer.written), b"onetwo")
        self.assertIsNone(self.consumer.producer)

    def test_pace(self) -> None:
        """While it is paused nothing is written, and the stream fills up."""
        result = self.stream.pipeTo(self.consumer)
        self.consumer.producer.pauseProducing()
        self.consumer.producer.pauseProducing()
        self.stream.feed(b"x" * HIGH_WATER)
        self.stream.feed(b"y" * HIGH_WATER)
        self.assertEqual(self.consumer.written, [])
        self.assertEqual(self.flow.calls, ["wanted", "pause"])
        self.consumer.producer.resumeProducing()
        self.consumer.producer.resumeProducing()
        self.assertEqual(self.flow.calls, ["wanted", "pause", "resume"])
        self.stream.end()
        self.assertEqual(self.successResultOf(result), 2 * HIGH_WATER)

    def test_pauseFromWrite(self) -> None:
        """It may pause from within write(), as a busy transport does."""
        result = self.stream.pipeTo(self.consumer)
        self.consumer.afterWrite = self.consumer.producer.pauseProducing
        self.stream.feed(b"a")
        self.stream.feed(b"b")
        self.assertEqual(self.consumer.written, [b"a"])
        self.consumer.producer.resumeProducing()
        self.assertEqual(self.consumer.written, [b"a", b"b"])
        self.stream.end()
        self.assertEqual(self.successResultOf(result), 2)

    def test_stopped(self) -> None:
        """A consumer that stops gets nothing any more."""
        result = self.stream.pipeTo(self.consumer)
        producer = self.consumer.producer
        producer.pauseProducing()
        self.stream.feed(b"a")
        producer.stopProducing()
        self.failureResultOf(result, ConsumerStopped)
        self.assertEqual(self.consumer.written, [])
        self.assertIsNone(self.consumer.producer)

    def test_stoppedAtTheEnd(self) -> None:
        """That counts even if all that was missing is the end."""
        result = self.stream.pipeTo(self.consumer)
        self.stream.feed(b"a")
        self.consumer.producer.stopProducing()
        self.stream.end()
        self.failureResultOf(result, ConsumerStopped)

    def test_failure(self) -> None:
        """A message that fails unregisters the consumer, too."""
        result = self.stream.pipeTo(self.consumer)
        self.stream.feed(b"a")
        self.stream.fail(ConnectionLost())
        self.failureResultOf(result, ConnectionLost)
        self.assertIsNone(self.consumer.producer)

    def test_canceledWhilePaused(self) -> None:
        """A late resume doesn't disturb anybody."""
        result = self.stream.pipeTo(self.consumer)
        producer = self.consumer.producer
        producer.pauseProducing()
        self.stream.feed(b"a")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        producer.resumeProducing()
        self.assertEqual(self.consumer.written, [])


class SaveToTests(StreamTestCase):
    """Into a file."""

    def test_path(self) -> None:
        """By a path, as text or as an object."""
        path = self.mktemp()
        self.stream.feed(b"one\r\n")
        self.stream.end()
        self.assertEqual(self.successResultOf(self.stream.saveTo(path)), 5)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"one\r\n")

    def test_file(self) -> None:
        """Into an open file, which stays open."""
        file = io.BytesIO()
        result = self.stream.saveTo(file)
        self.stream.feed(b"one\r\n")
        self.stream.end()
        self.assertEqual(self.successResultOf(result), 5)
        self.assertEqual(file.getvalue(), b"one\r\n")


class PrependTests(StreamTestCase):
    """Octets before the message."""

    def test_order(self) -> None:
        """The last prepended comes first; the message's own length stays what it is."""
        self.stream.feed(b"message")
        self.stream.prepend(b"two ")
        self.stream.prepend(b"")
        self.stream.prepend(b"one ")
        self.stream.end()
        self.assertEqual(self.stream.byteLength, 7)
        self.assertEqual(self.successResultOf(self.stream.read()), b"one two message")

    def test_tooLate(self) -> None:
        """Once it is read it is too late."""
        self.stream.read()
        self.assertRaises(RuntimeError, self.stream.prepend, b"one ")

    def test_failed(self) -> None:
        """A message that has failed takes nothing."""
        self.stream.fail(BareNewline())
        self.stream.prepend(b"one ")
        self.failureResultOf(self.stream.read(), BareNewline)

    def test_blank(self) -> None:
        """
        A message that begins with a blank doesn't go on with the last field: there is an empty line
        between them, whenever the message came, and however it was cut.
        """
        for content in (b" (forged)\r\n\r\nhi\r\n", b"\t;\r\n", b" "):
            for early in (0, 1, len(content)):
                self.setUp()
                if early:
                    self.stream.feed(content[:early])
                self.stream.prepend(b"B: 2\r\n")
                self.stream.prepend(b"A: 1\r\n")
                for octet in content[early:]:
                    self.stream.feed(bytes([octet]))
                self.stream.end()
                read = self.successResultOf(self.stream.read())
                self.assertEqual(read, b"A: 1\r\nB: 2\r\n\r\n" + content)
                self.assertEqual(self.stream.byteLength, len(content))

    def test_noBlank(self) -> None:
        """Nothing is between the fields and any other message, nor before one without fields."""
        for fields, content in (
            (b"A: 1\r\n", b"B: 2\r\n c\r\n"),
            (b"", b" c\r\n"),
            (b"A:\r\n", b""),
        ):
            self.setUp()
            self.stream.prepend(fields)
            if content:
                self.stream.feed(content)
            self.stream.end()
            self.assertEqual(self.successResultOf(self.stream.read()), fields + content)

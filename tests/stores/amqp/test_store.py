"""Tests for twisted_smtpserver.stores.amqp, with a link that the test answers for."""

from __future__ import annotations

import logging
from typing import Any
from unittest import mock

from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, codes
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.stores.amqp import AMQP, link
from twisted_smtpserver.stores.amqp.address import BrokerAddress
from twisted_smtpserver.stores.amqp.link import Link, describe
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.testing import connect


class FakeChannel:
    """
    A channel of pika's.

    :ivar published: what was: exchange, key, octets, properties.
    :ivar answer: what the next message is answered.
    """

    channel_number = 1

    def __init__(self) -> None:
        self.on_closed: Deferred[Any] = Deferred()
        self.published: list[Any] = []
        self.answer: Deferred[Any] = succeed(None)
        self.declared: list[Any] = []
        self.declaring: list[Deferred[Any]] = []

    def confirm_delivery(self) -> Deferred[None]:
        return succeed(None)

    def basic_publish(self, *arguments: Any, mandatory: bool) -> Deferred[Any]:
        assert mandatory
        self.published.append(arguments)
        return self.answer

    def exchange_declare(self, *arguments: Any, **options: Any) -> Deferred[Any]:
        self.declared.append((arguments, options))
        return succeed(None)

    def queue_declare(self, *arguments: Any, **options: Any) -> Deferred[Any]:
        self.declared.append((arguments, options))
        return self.declaring.pop(0) if self.declaring else succeed(None)

    def close(self) -> None:
        self.on_closed.callback(None)


class FakeTransport(StringTransport):
    """Its connection."""

    def __init__(self, protocol: FakeProtocol) -> None:
        super().__init__()
        self._protocol = protocol

    def abortConnection(self) -> None:
        self._protocol.lose()


class FakeProtocol:
    """pika's connection."""

    def __init__(self) -> None:
        self.closed: Any = Deferred()
        self.transport: Any = FakeTransport(self)
        self.channels: list[FakeChannel] = []
        self.ready = Deferred()  # type: ignore[var-annotated]
        self.answers: list[Deferred[Any]] = []
        self.declaring: list[Deferred[Any]] = []

    def channel(self) -> Deferred[FakeChannel]:
        channel = FakeChannel()
        channel.declaring = self.declaring
        if self.answers:
            channel.answer = self.answers.pop(0)
        self.channels.append(channel)
        return succeed(channel)

    def lose(self) -> None:
        closed, self.closed = self.closed, None
        if closed is not None:
            closed.callback(None)

    def close(self) -> None:
        self.lose()


def makeLink(protocol: FakeProtocol, frameMax: int = 1008, limit: int = 10**6) -> Link:
    return Link(protocol, {"frameMax": frameMax, "limit": limit})


def closedByBroker(code: int = 406, text: str = "PRECONDITION_FAILED") -> Deferred[Any]:
    return fail(ChannelClosedByBroker(code, text))


class StoreTests(SynchronousTestCase):
    """The store, over a link that is there."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = FakeProtocol()
        self.store = AMQP("amqp://a, amqp://b", "mail", reactor=self.clock, deadline=20)
        self.link = makeLink(self.protocol)
        self.links: list[Any] = [succeed(self.link)]
        self.patch(Link, "connect", self.connect)

    async def connect(self, address: Any, reactor: Any, seconds: float) -> Link:
        self.address = address
        found: Link = await self.links.pop(0)
        return found

    def send(self, content: bytes = b"hi", *recipients: str, **options: Any) -> list[int]:
        client = connect(self.store, logger=False, **options)
        client.pipeline(HELLO, MAIL, *(recipients or [RCPT]))
        client.say("DATA")
        client.send(content + b"\r\n.\r\n")
        self.client = client
        return codes(client.answers())

    def octets(self) -> bytes:
        return b"".join(frame for frame in self.protocol.transport.value().split(b"\xce") if frame)

    def test_published(self) -> None:
        """A message is announced as a whole, and written in frames that the broker takes."""
        self.assertEqual(self.send(b"x" * 5000), [250])
        _, channel = self.protocol.channels
        ((exchange, key, body, properties),) = channel.published
        self.assertEqual((exchange, key, properties.delivery_mode), ("", "mail", 2))
        written = self.protocol.transport.value()
        frames = []
        while written:
            size = int.from_bytes(written[3:7], "big")
            self.assertEqual(written[:3], b"\x03\0\1")  # a body frame of channel 1
            self.assertLessEqual(size, 1000)
            frames.append(written[7 : 7 + size])
            written = written[8 + size :]
        self.assertEqual(len(b"".join(frames)), len(body))
        self.assertIn(b"x" * 5000, b"".join(frames))

    def test_channelAgain(self) -> None:
        """A channel is used again, unless it was closed."""
        for count in (2, 2):
            self.assertEqual(self.send(), [250])
            self.assertEqual(len(self.protocol.channels), count)
        self.protocol.channels[1].close()
        self.assertEqual(self.send(), [250])
        self.assertEqual(len(self.protocol.channels), 3)

    def test_refusals(self) -> None:
        """A queue that takes nothing, a channel or a connection that is closed: 451."""
        self.send()
        for answer, code in (
            (fail(NackError([])), 451),
            (closedByBroker(), 451),
            (fail(ConnectionClosedByBroker(320, "shut down")), 451),
        ):
            self.protocol = FakeProtocol()
            self.protocol.answers = [succeed(None), answer]
            self.links = [succeed(makeLink(self.protocol))]
            self.successResultOf(self.store.close())
            self.assertEqual(self.send(), [code])

    def test_unroutable(self) -> None:
        """A message that no queue takes is refused; then the queue is looked for, and made."""
        self.protocol.answers = [succeed(None), fail(UnroutableError([]))]
        self.assertEqual(self.send(), [451])
        self.protocol.channels[1].answer = succeed(None)
        self.protocol.declaring.append(closedByBroker(404, "NOT_FOUND"))
        self.protocol.channels[1].on_closed = Deferred()
        self.assertEqual(self.send(), [250])
        declared = [each for channel in self.protocol.channels for each in channel.declared]
        self.assertEqual([options for _, options in declared][2]["durable"], True)

    def test_tooLarge(self) -> None:
        """What is larger than the broker takes is refused as soon as that is known."""
        self.link.limit = 3000
        self.assertEqual(self.send(b"x" * 5000), [552])
        self.assertEqual(self.send(b"x" * 5000), [552])  # not even spooled
        client = connect(self.store)
        client.say(HELLO)
        self.assertEqual(client.say("MAIL FROM:<a@b> SIZE=4000").code, 552)
        self.assertEqual(client.say("MAIL FROM:<a@b> SIZE=2000").code, 250)

    def test_learnsLimit(self) -> None:
        """A broker that takes less than we thought says so: 552, from then on at once."""
        text = "PRECONDITION_FAILED - message size 5000 is larger than configured max size 4000"
        self.protocol.answers = [succeed(None), closedByBroker(406, text)]
        with capturedLogs() as events:
            self.assertEqual(self.send(b"x" * 5000), [552])
        self.assertIn("takes messages up to 4000 octets", formatEvent(events[-1]))
        self.assertEqual(self.store._maxSize, 4000)

    def test_declared(self) -> None:
        """A queue that isn't there is made as a quorum queue."""
        self.protocol.declaring = [closedByBroker(404, "NOT_FOUND")]
        self.assertEqual(self.send(), [250])
        ((arguments, options),) = self.protocol.channels[1].declared
        self.assertEqual(arguments, ("mail",))
        self.assertEqual(options, {"durable": True, "arguments": {"x-queue-type": "quorum"}})

    def test_cannotDeclare(self) -> None:
        """If it can't be looked at, the next node is asked, and then there is a pause."""
        self.links = []
        for _ in range(2):
            protocol = FakeProtocol()
            protocol.declaring = [closedByBroker(403, "ACCESS_REFUSED")]
            self.links.append(succeed(makeLink(protocol)))
        with capturedLogs() as events:
            self.assertEqual(self.send(), [451])
            client = connect(self.store, logger=False)
            client.pipeline(HELLO, MAIL, RCPT)
            self.assertEqual(client.say("DATA").code, 451)  # nothing is asked for
        texts = " ".join(map(formatEvent, events))
        self.assertIn("403 ACCESS_REFUSED; 403 ACCESS_REFUSED", texts)
        self.assertIn("the next try is in", texts)

    def test_otherNode(self) -> None:
        """A node that is away isn't the first one to be asked the next time."""
        self.links.insert(0, fail(Unavailable("away")))
        self.assertEqual(self.send(), [250])
        self.assertEqual(self.address.host, "b")
        self.assertEqual([each.host for each in self.store._addresses], ["b", "a"])

    def test_deadline(self) -> None:
        """A broker that doesn't answer in time: 451, and the connection is given up."""
        self.protocol.answers = [succeed(None), Deferred()]
        self.assertEqual(self.send(), [])
        self.clock.advance(20)
        self.assertEqual(codes(self.client.answers()), [451])
        self.assertIsNone(self.protocol.closed)

    def test_oneConnection(self) -> None:
        """Messages that come together wait for one connection."""
        waiting: Deferred[Link] = Deferred()
        self.links = [waiting]
        self.assertEqual(self.send(), [])
        first = self.client
        self.assertEqual(self.send(), [])
        waiting.callback(self.link)
        self.assertEqual([codes(c.answers()) for c in (first, self.client)], [[250], [250]])

    def test_perRecipient(self) -> None:
        """In LMTP each recipient gets the answer of its queue."""
        self.store = AMQP("amqp://a", exchange="x", routingKey="{domain}", reactor=self.clock)
        self.protocol.answers = [succeed(None), fail(NackError([])), succeed(None)]
        client = connect(self.store, lmtp=True, logger=False)
        recipients = [f"RCPT TO:<{name}>" for name in ("a@one", "b@two", "c@one")]
        client.pipeline("LHLO client.example", MAIL, *recipients)
        client.say("DATA")
        client.send(b"hi\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [451, 250, 451])
        prepared, refused, used = self.protocol.channels
        self.assertEqual(prepared.declared, [(("x",), {"passive": True})])
        self.assertEqual([each[1] for each in refused.published + used.published], ["one", "two"])
        # RabbitMQ may go on refusing on this channel when the queue is well again.
        self.assertTrue(refused.on_closed.called)

    def test_close(self) -> None:
        """A stop closes the connection; if there is none, nothing happens."""
        self.successResultOf(self.store.close())
        self.send()
        self.successResultOf(self.store.close())
        self.assertIsNone(self.protocol.closed)

    def test_closeSilent(self) -> None:
        """A broker that doesn't answer that isn't waited for long."""
        self.send()
        self.patch(self.protocol, "close", lambda: None)
        closing = self.store.close()
        self.assertNoResult(closing)
        self.clock.advance(10)
        self.successResultOf(closing)

    def test_check(self) -> None:
        """At the start the sizes are compared."""
        for size, count in ((0, 1), (10**7, 1), (1000, 0), (None, 0)):
            self.store._serverSize = size
            with capturedLogs() as events:
                self.successResultOf(self.store.check())
            self.assertEqual(len(events), count)

    def test_checkFails(self) -> None:
        """A broker that is away is told at the start."""
        self.links = [fail(Unavailable("away")) for _ in range(2)]
        with capturedLogs() as events:
            self.successResultOf(self.store.check())
        self.assertIn("can't be used: away; away", formatEvent(events[0]))

    def test_ready(self) -> None:
        """It is ready if a message could be published now."""
        self.successResultOf(Deferred.fromCoroutine(self.store.ready()))
        self.protocol.close()
        self.links = [fail(Unavailable("away")) for _ in range(2)]
        self.store._link = None
        self.failureResultOf(Deferred.fromCoroutine(self.store.ready()), Unavailable)

    def test_oneOfTwo(self) -> None:
        """It needs a queue or an exchange, and not both."""
        for arguments in ({}, {"queue": "a", "exchange": "b"}):
            self.assertRaises(ConfigurationError, AMQP, "amqp://h", **arguments)

    def test_reactor(self) -> None:
        """By default it is the reactor's."""
        self.assertEqual(repr(AMQP(["amqp://h"], "q{x}")), "<AMQP queue q{x} at h:5672>")
        self.assertEqual(AMQP("amqp://h", "q{x}")._router.keyOf(mock.Mock()), "q{x}")


class LinkTests(SynchronousTestCase):
    """The link itself."""

    def setUp(self) -> None:
        self.protocol = FakeProtocol()
        self.link = makeLink(self.protocol)
        self.spool = Spool()
        self.successResultOf(Deferred.fromCoroutine(self.spool.write(b"x" * 3000)))
        self.addCleanup(self.spool.close)

    def publish(self) -> Deferred[None]:
        properties: Any = mock.Mock()
        return Deferred.fromCoroutine(self.link.publish("", "q", properties, self.spool))

    def test_slow(self) -> None:
        """A broker that reads slowly isn't written to; one that is lost meanwhile ends the wait."""
        self.protocol.answers = [Deferred()]
        self.link.pauseProducing()
        self.link.pauseProducing()
        published = self.publish()
        self.assertEqual(self.protocol.transport.value(), b"")
        self.link.resumeProducing()
        self.assertEqual(len(self.protocol.transport.value()), 3 * 8 + 3000)
        self.link.stopProducing()
        self.protocol.channels[0].answer.callback(None)
        self.successResultOf(published)

    def test_closedMeanwhile(self) -> None:
        """Nothing more is written to a channel that was closed."""
        answer: Deferred[Any] = Deferred()
        self.protocol.answers = [answer]
        self.link.pauseProducing()
        published = self.publish()
        self.protocol.channels[0].close()
        answer.errback(ChannelClosedByBroker(406, "no"))
        self.link.resumeProducing()
        self.failureResultOf(published, ChannelClosedByBroker)
        self.assertEqual(self.protocol.transport.value(), b"")

    def test_canceled(self) -> None:
        """Given up in the middle of a message, the connection is of no use any more."""
        self.protocol.answers = [Deferred()]
        self.link.pauseProducing()
        published = self.publish()
        published.cancel()
        self.failureResultOf(published, CancelledError)
        self.assertFalse(self.link.isOpen)

    def test_abortTwice(self) -> None:
        """A connection that is lost already can be ended."""
        self.protocol.transport = None
        self.link.abort()
        self.protocol.closed = None
        self.successResultOf(self.link.close())

    def test_announced(self) -> None:
        """What pika takes for a body has a length, and no octets that it could write."""
        announced = link.Announced.of(5)
        self.assertEqual((len(announced), bool(announced)), (5, False))

    def test_limits(self) -> None:
        """What a broker takes depends on its version."""
        for properties, limit in (
            ({"version": "3.13.1"}, 128 * 2**20),
            ({"version": "4.0.2"}, 16 * 2**20),
            ({"version": "x"}, 128 * 2**20),
            (None, 128 * 2**20),
        ):
            self.assertEqual(link._limitOf(properties), limit)

    def test_describe(self) -> None:
        """What is told of an error has nothing of a message."""
        for error, text in (
            (ChannelClosedByBroker(404, "NOT_FOUND"), "404 NOT_FOUND"),
            (UnroutableError(["secret"]), "UnroutableError"),
            (ValueError("secret"), "ValueError"),
            (OSError("refused"), "OSError refused"),
        ):
            self.assertTrue(describe(error).startswith(text), describe(error))

    def test_log(self) -> None:
        """pika doesn't log a message that was returned; other records pass."""
        logger = logging.getLogger("pika.adapters.twisted_connection")
        with self.assertLogs(logger) as logged:
            logger.warning("Published message was returned: body_prefix=%r", "secret")
            logger.warning("something else")
        self.assertEqual([record.getMessage() for record in logged.records], ["something else"])


class ConnectTests(SynchronousTestCase):
    """How a link comes about."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = FakeProtocol()
        self.patch(link, "TwistedProtocolConnection", self.make)
        self.connected: Deferred[Any] = succeed(None)
        self.patch(link, "connectProtocol", lambda endpoint, protocol: self.connected)

    def make(self, parameters: Any, custom_reactor: Any) -> FakeProtocol:
        self.parameters = parameters
        return self.protocol

    def connect(self) -> Deferred[Link]:
        self.patch(BrokerAddress, "endpoint", lambda *arguments: None)
        address = BrokerAddress.parse("amqp://joe:secret@h/v")
        return Deferred.fromCoroutine(Link.connect(address, self.clock, 5))

    def test_connected(self) -> None:
        """The broker's frames and version are learned on the way."""
        connecting = self.connect()
        connection = mock.Mock()
        connection.params.frame_max = 4096
        connection.server_properties = {"version": "4.1"}
        self.assertEqual(self.parameters.heartbeat(connection, 60), 30)
        self.protocol.ready.callback(None)
        made = self.successResultOf(connecting)
        self.assertEqual((made.limit, made._fragment), (16 * 2**20, 4088))
        self.assertEqual(self.parameters.credentials.username, "joe")

    def test_refused(self) -> None:
        """Nobody is there."""
        self.connected = fail(OSError("refused"))
        self.protocol.transport = None
        failure = self.failureResultOf(self.connect(), Unavailable)
        self.assertIn("the broker at h:5672: OSError refused", str(failure.value))

    def test_notLetIn(self) -> None:
        """Whoever isn't let in, or not in time, is told so."""
        connecting = self.connect()
        self.protocol.ready.errback(AMQPConnectionError("ACCESS_REFUSED"))
        self.failureResultOf(connecting, Unavailable)
        self.assertIsNone(self.protocol.closed)
        self.protocol = FakeProtocol()
        connecting = self.connect()
        self.clock.advance(5)
        self.failureResultOf(connecting, Unavailable)

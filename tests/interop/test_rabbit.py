"""The store for AMQP, with a real cluster of three RabbitMQ nodes, of which any may die."""

from __future__ import annotations

import atexit
import functools
import itertools
import subprocess
import sys
from typing import Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from tests.stores.suite import StoreSuite, makeMessage
from tests.support import smtpclient
from tests.support.examples import EXAMPLES
from tests.support.rabbit import Epmd, Rabbit
from tests.support.services import PATIENCE
from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.stores.amqp import AMQP

_numbers = itertools.count(1)


@functools.cache
def startCluster() -> list[Rabbit]:
    """Three nodes; they end with the process."""
    epmd = Epmd()
    epmd.begin()
    atexit.register(epmd.stop)
    first = Rabbit(epmd)
    atexit.register(first.stop)
    first.begin()
    others = [Rabbit(epmd, first) for _ in range(2)]
    for node in others:
        atexit.register(node.stop)
        node.begin(wait=False)
    for node in others:
        node.awaitReady()
    return [first, *others]


def connect(node: Rabbit) -> Any:
    """A connection that waits for each answer."""
    parameters = pika.ConnectionParameters("127.0.0.1", node.port)
    return pika.BlockingConnection(parameters)


def take(node: Rabbit, queue: str) -> list[tuple[Any, bytes]]:
    """The messages of a queue, which stay there: their properties and bodies."""
    connection = connect(node)
    channel = connection.channel()
    found = []
    while True:
        method, properties, body = channel.basic_get(queue)
        if method is None:
            break
        found.append((properties, body))
    connection.close()
    return found


class SuiteTests(StoreSuite, TestCase):
    """All that must be true of a store, with one of the nodes."""

    deadline = 4.0
    cuts = 4

    async def startService(self) -> int:
        """The cluster runs for all tests, with a queue for each."""
        self.nodes = startCluster()
        self.queue = f"suite{next(_numbers)}"
        return self.nodes[0].port

    async def killService(self) -> None:
        """The next test goes on with it."""

    async def received(self) -> list[bytes]:
        """The messages, by way of another node."""
        return [body for _, body in take(self.nodes[1], self.queue)]

    def makeStore(self, port: int) -> Any:
        """By way of the relay."""
        return AMQP(f"amqp://127.0.0.1:{port}", self.queue, deadline=self.deadline)

    async def test_killed(self) -> None:
        """That is below, with the cluster."""

    test_restarted = test_killed


class ClusterCase(TestCase):
    """Several nodes."""

    timeout = 240.0

    def setUp(self) -> None:
        self.nodes = startCluster()
        self.queue = f"cluster{next(_numbers)}"

    def make(self, *arguments: Any, **options: Any) -> AMQP:
        store = AMQP([node.url for node in self.nodes], *arguments, **options)
        self.addCleanup(store.close)
        return store

    def load(self, *arguments: Any, **options: Any) -> Load:
        load = Load(self.make(*arguments, **options))
        self.addCleanup(load.end)
        return load


class ClusterTests(ClusterCase):
    """What is published, and what isn't."""

    async def test_envelope(self) -> None:
        """The headers have the envelope; a quorum queue was made; the message is persistent."""
        load = self.load(self.queue)
        self.assertEqual(await load.send(), 250)
        properties, body = take(self.nodes[1], self.queue)[0]
        self.assertEqual(properties.delivery_mode, 2)
        self.assertEqual(properties.content_type, "message/rfc822")
        self.assertEqual(properties.headers["sender"], "joe@client.example")
        self.assertEqual(properties.headers["recipients"], ["ann@store.example"])
        self.assertEqual(properties.headers["envelope_id"], properties.message_id)
        self.assertTrue(body.startswith(b"Return-Path: <joe@client.example>\r\nReceived: from"))
        connection = connect(self.nodes[0])
        with self.assertRaises(pika.exceptions.ChannelClosedByBroker):  # it is another kind
            connection.channel().queue_declare(self.queue, durable=True)
        connection.close()

    async def test_consumer(self) -> None:
        """The how-to's consumer gets a message."""
        load = self.load(self.queue)
        self.assertEqual(await load.send(), 250)
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "consume_amqp.py"), self.nodes[1].url, self.queue],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            line = await deferToThread(process.stdout.readline)
        finally:
            process.kill()
            process.communicate(timeout=PATIENCE)
        self.assertTrue(line.startswith("joe@client.example sent "), line)

    async def test_routed(self) -> None:
        """Each recipient's domain chooses a queue; a domain without one isn't answered 250."""
        connection = connect(self.nodes[0])
        channel = connection.channel()
        channel.exchange_declare(self.queue, "direct", durable=True)
        for domain in ("a.example", "b.example"):
            channel.queue_declare(domain, durable=True)
            channel.queue_bind(domain, self.queue, f"mail.{domain}")
        connection.close()
        load = self.load(exchange=self.queue, routingKey="mail.{domain}")
        both = ("joe@a.example", "ann@b.example", "jim@a.example")
        self.assertEqual(await load.send(*both), 250)
        with capturedLogs() as events:
            self.assertEqual(await load.send("joe@a.example", "ann@c.example"), 451)
        texts = " ".join(map(formatEvent, events))
        self.assertIn("no queue takes messages with the key 'mail.c.example'", texts)
        recipients = {
            domain: [each.headers["recipients"] for each, _ in take(self.nodes[1], domain)]
            for domain in ("a.example", "b.example")
        }
        self.assertEqual(recipients["a.example"][0], ["joe@a.example", "jim@a.example"])
        self.assertEqual(recipients["b.example"], [["ann@b.example"]])

    async def test_full(self) -> None:
        """A queue that takes no more: 451, and nothing is stored."""
        connection = connect(self.nodes[0])
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        connection.channel().queue_declare(self.queue, durable=True, arguments=arguments)
        connection.close()
        load = self.load(self.queue)
        codes = [await load.send() for _ in range(3)]
        self.assertEqual(codes, [250, 451, 451])
        self.assertEqual(len(take(self.nodes[1], self.queue)), 1)

    async def test_noExchange(self) -> None:
        """An exchange that isn't there is told at the start."""
        store = self.make(exchange="nowhere")
        with capturedLogs() as events:
            await store.check()
        text = formatEvent(events[-1])
        self.assertIn("<AMQP exchange nowhere at 127.0.0.1:", text)
        self.assertIn("404 NOT_FOUND - no exchange 'nowhere'", text)

    async def test_size(self) -> None:
        """What the broker takes is compared with the server's size at the start."""
        for size, isTold in ((0, True), (200 * 2**20, True), (50 * 2**20, False)):
            store = self.make(self.queue, serverSize=size)
            with capturedLogs() as events:
                await store.check()
            texts = [formatEvent(event) for event in events]
            self.assertEqual(sum("larger ones get 552" in text for text in texts), isTold)
        self.assertEqual(store._maxSize, 128 * 2**20)

    async def test_wrongPassword(self) -> None:
        """Who isn't let in is told so, without the password."""
        store = self.make(self.queue, password="secret")
        with capturedLogs() as events:
            await store.check()
        self.assertIn("can't be used: the broker at 127.0.0.1:", formatEvent(events[-1]))
        self.assertNotIn("secret", repr(events))


class SurvivalTests(ClusterCase):
    """It comes last by its name, as a node isn't there in the end."""

    async def test_anyKilled(self) -> None:
        """Whichever node is killed under load, nothing that was answered 250 is lost."""
        load = self.load(self.queue, deadline=10.0)
        await load.goOn(10)
        for node in self.nodes[:2]:
            node.kill()
            await load.goOn(10)
            load.pause()  # thousands of messages would only take time
            node.begin(wait=False)
            if node is self.nodes[0]:  # the next one to be killed mustn't be the second at once
                await self.ready(node)
                await load.goOn(10)
        await load.end()
        there = [body for _, body in take(self.nodes[2], self.queue)]
        for mark in load.accepted:
            self.assertEqual(sum(mark.encode() in body for body in there), 1, mark)

    async def ready(self, node: Rabbit) -> None:
        """Wait until a node is there again."""
        for _ in range(1200):
            if _isReady(node):
                return
            if not node.isRunning:  # its name may have been taken still, by what was killed
                node.begin(wait=False)
            await deferLater(reactor, 0.1)
        self.fail(f"the node doesn't come back:\n{node.log[-3000:]}")


def _isReady(node: Rabbit) -> bool:
    try:
        connect(node).close()
    except pika.exceptions.AMQPError:
        return False
    return True


class Load:
    """
    A server, and some clients that send one message after the other when they are told to.

    :ivar accepted: the marks of those answered 250.
    """

    def __init__(self, store: AMQP) -> None:
        options: Any = {"disableReverseLookup": True, "closeTimeout": 5.0, "logger": False}
        self._factory = SMTPServerFactory(store, **options)
        self._port: Any = reactor.listenTCP(0, self._factory, interface="127.0.0.1")
        self._isOver = False
        self._isPaused = True
        self.accepted: list[str] = []
        self._running = [Deferred.fromCoroutine(self._send()) for _ in range(3)]

    async def send(self, *recipients: str, client: Any = None) -> int:
        """Send one message. The code of the reply."""
        hello = None if client is not None else "EHLO client.example"
        client = client or await smtpclient.connect(reactor, self._port.getHost().port)
        mark = f"mark-{next(_numbers)}-"
        (reply,) = await client.deliver(
            makeMessage(mark), *(recipients or ("ann@store.example",)), hello=hello
        )
        if reply.code == 250:
            self.accepted.append(mark)
        if hello is not None:
            client.leave()
        return int(reply.code)

    async def _send(self) -> None:
        client = await smtpclient.connect(reactor, self._port.getHost().port)
        await client.say("EHLO client.example")
        while not self._isOver:
            if self._isPaused:
                await deferLater(reactor, 0.02)
            elif await self.send(client=client) != 250:
                await client.say("RSET")
                await deferLater(reactor, 0.05)
        client.leave()

    async def goOn(self, count: int) -> None:
        """Until so many more are accepted."""
        self._isPaused = False
        most = len(self.accepted) + count
        for _ in range(1000):
            if len(self.accepted) >= most:
                return
            await deferLater(reactor, 0.02)
        raise AssertionError(f"only {len(self.accepted)} of {most} were accepted")

    def pause(self) -> None:
        """Until :meth:`goOn`."""
        self._isPaused = True

    async def end(self) -> None:
        """No more."""
        if self._isOver:
            return
        self._isOver = True
        for running in self._running:
            await running
        await self._port.stopListening()
        await self._factory.shutdown(1.0)

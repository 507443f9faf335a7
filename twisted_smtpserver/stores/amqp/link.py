"""
A connection to a broker: pika's, with a message's octets written piece by piece.

pika would make frames of the whole message at once, and so have it in memory three times.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from pika import BasicProperties, ConnectionParameters, PlainCredentials
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    NackError,
    UnroutableError,
)
from pika.frame import Body
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol

from twisted_smtpserver.filters.spool import READ_SIZE, Spool
from twisted_smtpserver.stores.amqp.address import BrokerAddress
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.pacedwriter import PacedWriter

#: The interval of heartbeats, in seconds.
HEARTBEAT = 30

#: The largest message of a RabbitMQ before version 4, unless it was told otherwise, in octets.
OLD_LIMIT = 128 * 2**20

#: The largest message of RabbitMQ from version 4 on, by default, in octets.
NEW_LIMIT = 16 * 2**20


class Announced(bytes):
    """
    A stand-in for the body in pika: it writes the frame that has the length, and no frames of
    octets, because it is false. They are written by us.

    :param size: how many octets there will be.
    """

    _size = 0

    @classmethod
    def of(cls, size: int) -> Announced:
        """
        :param size: see above.
        """
        announced = cls()
        announced._size = size
        return announced

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return False


def _isHarmless(record: logging.LogRecord) -> bool:
    """Keep pika from logging the beginning of a returned message."""
    return not str(record.msg).startswith("Published message was returned")


logging.getLogger("pika.adapters.twisted_connection").addFilter(_isHarmless)
# We log what goes wrong. Without this, Python would print pika's own messages, too.
logging.getLogger("pika").addHandler(logging.NullHandler())


class Link(PacedWriter):
    """
    A connection, and its channels. A channel carries one message at a time, so a refusal can't be
    taken for that of another message.

    :param protocol: pika's connection.
    :param facts: what the broker said of itself: ``frameMax``, ``limit``.
    :ivar isOpen: whether it can be used.
    :ivar limit: octets of the largest message that the broker takes, as far as we know.
    """

    def __init__(self, protocol: Any, facts: dict[str, int]) -> None:
        super().__init__()
        self._protocol = protocol
        self._free: list[Any] = []
        self._fragment = facts["frameMax"] - 8  # a frame's head and end (AMQP 0-9-1 §2.3.5)
        self.limit = facts["limit"]
        self.isOpen = True
        protocol.closed.addBoth(self._closed)
        protocol.transport.registerProducer(self, True)

    @classmethod
    async def connect(cls, address: BrokerAddress, reactor: Any, seconds: float) -> Link:
        """
        Connect and log in.

        :param address: where to.
        :param reactor: the reactor.
        :param seconds: how long that may take.
        :raises Unavailable: if that isn't possible.
        """
        facts: dict[str, int] = {}

        def tuned(connection: Any, proposed: int) -> int:
            # pika asks how often to give a sign of life; at this moment it knows these, too.
            facts["frameMax"] = connection.params.frame_max
            facts["limit"] = _limitOf(connection.server_properties)
            return HEARTBEAT

        parameters = ConnectionParameters(
            virtual_host=address.virtualHost,
            credentials=PlainCredentials(address.username, address.password),
            heartbeat=tuned,
        )
        protocol = TwistedProtocolConnection(parameters, custom_reactor=reactor)
        ready = cast("Deferred[Any]", protocol.ready)
        try:
            await connectProtocol(address.endpoint(reactor, seconds), protocol)
            await ready.addTimeout(seconds, reactor)
        except Exception as error:
            if protocol.transport is None:
                ready.addErrback(lambda _: None)
            else:
                protocol.transport.abortConnection()
            raise Unavailable(f"the broker at {address}: {describe(error)}") from None
        return cls(protocol, facts)

    async def channel(self) -> Any:
        """
        A channel that has no message on it.

        :raises AMQPError: if the connection is lost.
        """
        while self._free:
            channel = self._free.pop()
            if not channel.on_closed.called:
                return channel
        channel = await self._protocol.channel()
        # The publisher gets the error; nothing else waits for this.
        channel.on_closed.addErrback(lambda _: None)
        await channel.confirm_delivery()
        return channel

    async def publish(
        self, exchange: str, key: str, properties: BasicProperties, spool: Spool
    ) -> None:
        """
        Publish a message. On return the broker has confirmed it.

        :param exchange: the exchange.
        :param key: the routing key.
        :param properties: pika's.
        :param spool: the octets.
        :raises AMQPError: if it is refused, or the connection is lost.
        """
        channel = await self.channel()
        body = Announced.of(spool.size)
        confirmed = channel.basic_publish(exchange, key, body, properties, mandatory=True)
        try:
            await self._write(channel, spool)
            await confirmed
        except UnroutableError:
            self._free.append(channel)
            raise
        except NackError:
            # RabbitMQ's channel may go on like this when the queue has a leader again.
            channel.close()
            raise
        except ChannelClosedByBroker:
            raise
        except BaseException:
            # The broker waits for octets, or we wait for the broker: the connection is blocked.
            confirmed.addErrback(lambda _: None)
            self.abort()
            raise
        self._free.append(channel)

    async def _write(self, channel: Any, spool: Spool) -> None:
        start = 0
        size = min(self._fragment, READ_SIZE)
        while start < spool.size:
            octets = await spool.read(start, size)
            while self.pause is not None:
                await self.pause
            if channel.on_closed.called:  # the reason is in what the caller awaits
                return
            start += len(octets)
            self._protocol.transport.write(Body(channel.channel_number, octets).marshal())

    def abort(self) -> None:
        """Close the connection at once."""
        self.isOpen = False
        if self._protocol.transport is not None:
            self._protocol.transport.abortConnection()

    def close(self) -> Deferred[Any]:
        """Close the connection in an orderly way."""
        self.isOpen = False
        closed: Deferred[Any] = Deferred()
        if self._protocol.closed is None:
            closed.callback(None)
        else:
            self._protocol.closed.addBoth(lambda _: closed.callback(None))
            self._protocol.close()
        return closed

    def _closed(self, reason: Any) -> None:
        self.isOpen = False
        self.resumeProducing()


def _limitOf(serverProperties: Any) -> int:
    version = str((serverProperties or {}).get("version", ""))
    major = version.partition(".")[0]
    return NEW_LIMIT if major.isdigit() and int(major) >= 4 else OLD_LIMIT


def describe(error: BaseException) -> str:
    """
    Describe an error for the log, without anything of a message.

    :param error: any.
    """
    if isinstance(error, ChannelClosedByBroker):
        return f"{error.reply_code} {error.reply_text}"
    if isinstance(error, (NackError, UnroutableError)):
        return type(error).__name__  # their texts have the message
    text = str(error) if isinstance(error, (AMQPError, OSError)) else ""
    return f"{type(error).__name__} {text}".strip()

"""
Messages in the queues of a broker.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from pika import BasicProperties
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError, UnroutableError
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, MessageTooLarge, Rejection
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.headers import receivedHeader, returnPathHeader
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.stores.amqp.address import BrokerAddress
from twisted_smtpserver.stores.amqp.link import Link, describe
from twisted_smtpserver.stores.amqp.routing import Router, headersOf
from twisted_smtpserver.stores.base import (
    DEADLINE,
    MAX_HOPS,
    BackOff,
    Traced,
    Unavailable,
    oneAnswer,
    outcomes,
    reasonOf,
    within,
)

_log = Logger()

#: How long a connection may take, in seconds.
CONNECT_TIME = 10.0

#: How many messages a store publishes at the same time by default.
CHANNELS = 32

_PERSISTENT = 2
_TOO_LARGE = re.compile(r"larger than (?:configured )?max size (\d+)")


class AMQP(SMTPHandler):
    """
    Publishes each message to RabbitMQ, or another broker of AMQP 0-9-1. It is answered 250 when the
    broker has confirmed it: then it is on a disk, with quorum queues on most of the cluster's.

    Give a queue, which is made as a quorum queue if it isn't there; or an exchange, which has to be
    there, with a routing key. That may have ``{address}``, ``{local}`` and ``{domain}``: then a
    message is published once for each different key of its recipients. A message that no queue
    takes is refused.

    The body is the message with ``Return-Path:`` and ``Received:`` before it, octet for octet. The
    headers of AMQP have the envelope: ``sender``, ``recipients``, ``envelope_id``,
    ``remote_address``, ``hostname``, ``user`` and others.

    :param urls: ``amqp://user:password@host:port/virtualhost``, or ``amqps://…`` for TLS with a
        verified certificate; several, or one text with commas, for the nodes of a cluster.
    :param queue: the queue.
    :param exchange: the exchange, instead.
    :param routingKey: the routing key for an exchange.
    :param password: instead of one in the URLs.
    :param maxSize: the ``max_message_size`` of the broker, in octets; by default 128 MiB, from
        version 4 of RabbitMQ on 16 MiB. Larger messages are refused with 552.
    :param channels: how many messages are published at the same time at most.
    :param deadline: how long the broker may take, in seconds; then the client gets 451.
    :param hostName: our name in ``Received:``; by default this machine's.
    :param maxHops: refuse a message with this many ``Received:`` fields (RFC 5321 §6.3).
    :param serverSize: the server's option ``size``; at the start the log warns if the broker takes
        less.
    :param reactor: by default the reactor.
    :raises ConfigurationError: if that is invalid.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        queue: str | None = None,
        *,
        exchange: str | None = None,
        routingKey: str = "",
        password: str | None = None,
        maxSize: int | None = None,
        channels: int = CHANNELS,
        deadline: float = DEADLINE,
        hostName: str | None = None,
        maxHops: int = MAX_HOPS,
        serverSize: int | None = None,
        reactor: Any = None,
    ) -> None:
        if (queue is None) == (exchange is None):
            raise ConfigurationError("AMQP: give a queue, or an exchange")
        urls = urls.split(",") if isinstance(urls, str) else urls
        self._addresses = [BrokerAddress.parse(url.strip(), password) for url in urls]
        self._queue = queue
        self._exchange = exchange or ""
        # The key of the default exchange is the queue's name, whatever is in it.
        literal = (queue or "").replace("{", "{{").replace("}", "}}")
        self._router = Router(literal or routingKey)
        self._maxSize = maxSize
        self._serverSize = serverSize
        self._reactor = reactor or theReactor()
        self._deadline = deadline
        self._hostName = hostName
        self._maxHops = maxHops
        self._backOff = BackOff(self._reactor)
        self._link: Link | None = None
        self._isPrepared = False
        self._connecting = DeferredLock()
        self._slots = DeferredSemaphore(channels)

    def __repr__(self) -> str:
        what = f"queue {self._queue}" if self._queue is not None else f"exchange {self._exchange}"
        return f"<AMQP {what} at {', '.join(map(str, self._addresses))}>"

    # -- The handler -------------------------------------------------------------------------------

    def onMailFrom(self, address: Address, session: Session) -> None:
        """Refuse with 552 if the size that the client states is too large (RFC 1870 §6.1)."""
        size = address.values.get("SIZE")
        if isinstance(size, int) and self._maxSize is not None and size > self._maxSize:
            raise MessageTooLarge

    def onRcptTo(self, address: Address, session: Session) -> None:
        """Refuse with 452 if there are too many recipients, with 550 if one is too long."""
        self._router.check([*session.envelope.rcptTo, address])

    async def onData(self, stream: IncomingMessage, session: Session) -> Any:
        """
        Publish a message.

        :returns: the text for the client, which has the transaction's id; where there is one for
            each recipient, a list.
        :raises Rejection: 451 if it can't be published now, or a queue is full; 552 if it is
            larger than the broker takes.
        """
        envelope = session.envelope
        trace = returnPathHeader(envelope) + receivedHeader(session, hostName=self._hostName)
        spool = Spool()
        with outcomes(self, envelope):
            try:
                self._backOff.check()
                traced = Traced(trace, stream, self._maxHops)
                await spool.fill(_Bounded(traced, self._maxSize))
                results = await self._publishAll(session, spool)
            finally:
                spool.close()
        if envelope.perRecipient:
            return results
        return oneAnswer(results, self, envelope)

    async def _publishAll(self, session: Session, spool: Spool) -> list[object]:
        """The results, in the order of the recipients."""
        byKey: dict[str, object] = {}
        keys = [self._router.keyOf(address) for address in session.envelope.rcptTo]
        for key in dict.fromkeys(keys):
            recipients = [
                address
                for address in session.envelope.recipients
                if self._router.keyOf(address) == key
            ]
            byKey[key] = await self._result(key, recipients, session, spool)
        return [byKey[key] for key in keys]

    async def _result(
        self, key: str, recipients: list[Address], session: Session, spool: Spool
    ) -> object:
        properties = BasicProperties(
            content_type="message/rfc822",
            delivery_mode=_PERSISTENT,
            message_id=session.envelope.id,
            headers=headersOf(session, recipients),
        )
        envelope = session.envelope
        publishing = Deferred.fromCoroutine(self._publish(key, properties, spool, envelope))
        try:
            with outcomes(self, envelope):
                await within(self._reactor, self._deadline, publishing, "the broker")
        except Rejection as refusal:
            return refusal
        return f"Message stored as {envelope.id}"

    async def _publish(
        self, key: str, properties: BasicProperties, spool: Spool, envelope: Envelope
    ) -> None:
        await self._slots.acquire()
        try:
            link = await self._linked()
            self._check(spool.size)
            envelope.beginCommit()
            await link.publish(self._exchange, key, properties, spool)
        except NackError:
            reason = "the broker doesn't take it: the queue is full, or has no leader now"
            raise Unavailable(reason) from None
        except UnroutableError:
            self._isPrepared = False  # somebody may have deleted the queue
            raise Unavailable(f"no queue takes messages with the key {key!r}") from None
        except ChannelClosedByBroker as error:
            raise self._refusal(error) from None
        except AMQPError as error:
            raise Unavailable(f"the broker: {describe(error)}") from None
        finally:
            self._slots.release()

    def _check(self, size: int) -> None:
        if self._maxSize is not None and size > self._maxSize:
            raise MessageTooLarge

    def _refusal(self, error: ChannelClosedByBroker) -> Exception:
        """The broker closed the channel. A message that was too large is refused for good."""
        found = _TOO_LARGE.search(error.reply_text)
        if found is None:
            return Unavailable(f"the broker: {describe(error)}")
        self._maxSize = int(found[1])
        _log.warn(
            "{store} takes messages up to {size} octets; larger ones get 552",
            store=self,
            size=self._maxSize,
        )
        return MessageTooLarge()

    # -- The connection ----------------------------------------------------------------------------

    async def _linked(self) -> Link:
        """The connection. The first message that needs it opens it for all."""
        if self._link is not None and self._link.isOpen and self._isPrepared:
            return self._link
        await self._connecting.acquire()
        try:
            if self._link is None or not self._link.isOpen:
                self._backOff.check()
                self._link = await self._connect()
            elif not self._isPrepared:
                await self._prepare(self._link)
            return self._link
        finally:
            self._connecting.release()

    async def _connect(self) -> Link:
        reasons = []
        seconds = min(CONNECT_TIME, self._deadline / len(self._addresses))
        for address in list(self._addresses):
            link = None
            try:
                link = await Link.connect(address, self._reactor, seconds)
                await self._prepare(link)
            except (Unavailable, AMQPError) as error:
                reasons.append(str(error) if isinstance(error, Unavailable) else describe(error))
                # The next connection is tried with another node.
                self._addresses.append(self._addresses.pop(0))
                if link is not None:
                    link.abort()
            else:
                self._backOff.succeeded()
                return link
        self._backOff.failed()
        raise Unavailable("; ".join(reasons))

    async def _prepare(self, link: Link) -> None:
        """Check that the queue or the exchange exists."""
        channel = await link.channel()
        if self._queue is None:
            await channel.exchange_declare(self._exchange, passive=True)
        else:
            try:
                await channel.queue_declare(self._queue, passive=True)
            except ChannelClosedByBroker as error:
                if error.reply_code != 404:
                    raise
                channel = await link.channel()
                arguments = {"x-queue-type": "quorum"}
                await channel.queue_declare(self._queue, durable=True, arguments=arguments)
        channel.close()
        self._isPrepared = True
        if self._maxSize is None:
            self._maxSize = link.limit

    def check(self) -> Deferred[None]:
        """
        Check whether messages can be published, and of which size. If not, the log says why.

        :returns: a Deferred that fires when that is known.
        """
        return Deferred.fromCoroutine(self._look())

    async def ready(self) -> None:
        """
        Check whether messages can be published.

        :raises Exception: if not.
        """
        await self._linked()

    async def _look(self) -> None:
        try:
            await self._linked()
        except Exception as error:
            _log.error(
                "{store} can't be used: {reason}; until it can, clients get 451",
                store=self,
                reason=reasonOf(error),
            )
            return
        assert self._maxSize is not None  # what a connection leaves
        if self._serverSize is not None and not 0 < self._serverSize <= self._maxSize:
            _log.warn(
                "{store} takes messages up to {most} octets, less than the server's size:"
                " larger ones get 552",
                store=self,
                most=self._maxSize,
            )

    def close(self) -> Deferred[Any]:
        """
        End the connection.

        :returns: a Deferred that fires when that is done.
        """
        link, self._link = self._link, None
        closed: Deferred[Any] = Deferred()
        if link is None:
            closed.callback(None)
            return closed
        return (
            link.close().addTimeout(CONNECT_TIME, self._reactor).addErrback(lambda _: link.abort())
        )


class _Bounded:
    """A message; reading fails if it is larger than the broker accepts."""

    def __init__(self, chunks: AsyncIterable[bytes], limit: int | None) -> None:
        self._chunks = chunks.__aiter__()
        self._left = limit

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.__anext__()
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise MessageTooLarge
        return chunk

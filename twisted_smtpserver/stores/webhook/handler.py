"""The handler that posts messages to a program."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, DNSLookupError

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.headers import receivedHeader, returnPathHeader
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.message.dumping import dumping
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.message.parsed import ParsedMessage, parsing
from twisted_smtpserver.message.slices import runInSlices
from twisted_smtpserver.session import Envelope, Session
from twisted_smtpserver.stores.base import (
    DEADLINE,
    MAX_HOPS,
    BackOff,
    Traced,
    Unavailable,
    outcomes,
    readAuthorities,
    within,
)
from twisted_smtpserver.stores.webhook.body import Form, describeEnvelope, describeMessage
from twisted_smtpserver.stores.webhook.requests import Poster
from twisted_smtpserver.stores.webhook.signature import readSecret, sign
from twisted_smtpserver.wire.ip import isPublic

#: How many requests run at once by default.
MAX_REQUESTS = 50

#: A larger message isn't parsed, in octets: that takes memory for three times as much.
MAX_PARSED = 10 * 2**20

# Of the 4xx, those by which HTTP means "later", or "you aren't logged in": our client can help
# neither, and a bounce would be wrong.
_TEMPORARY = frozenset({401, 407, 408, 421, 425, 429})


class Webhook(SMTPHandler):
    """
    Posts each message to a URL, and answers by the status: 2xx is 250; 413 is 552; other 4xx are
    550, but for 401, 407, 408, 421, 425 and 429; everything else is 451. Redirects aren't followed.

    The request is ``multipart/form-data`` with the fields ``envelope`` (JSON) and ``message`` (the
    message with ``Return-Path:`` and ``Received:`` in front). With ``parsed`` there is ``parsed``,
    too (JSON: subject, addresses, text, HTML …), and a file for each attachment.

    It is signed as the Standard Webhooks specification has it, so that a library can verify it:
    ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``. ``Idempotency-Key`` is the same as
    ``webhook-id``: made of the sender, the recipients and the content, it is the same if the client
    sends the message again because it never got our answer. A program that has stored this key
    answers 200 and does nothing.

    The message is kept in memory up to 1 MiB, and beyond in a temporary file. Close it with
    :meth:`close` when the server is stopped.

    :param url: ``https://…``, or ``http://…``, which anybody in between can read.
    :param secret: ``whsec_`` and base64, or any text of 16 octets at least.
    :param parsed: whether to post what is in the message, too, if it isn't larger than 10 MiB.
    :param allowPrivate: whether the host may have a private address, as ``localhost`` has.
    :param ca: the path of a PEM file with the certificates that the host's must be signed by; by
        default the system's.
    :param hostName: our name in ``Received:``; by default this machine's.
    :param deadline: for a request, in seconds.
    :param maxRequests: how many run at once; further messages wait, no longer than that.
    :param maxHops: a message with more ``Received:`` fields is going in circles: 554 5.4.6.
    :param folder: where temporary files are; by default the system's folder for them.
    :param backOff: decides when to try again to reach a host that was away.
    :param reactor: Twisted's, by default.
    :raises ConfigurationError: if that can't work.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        parsed: bool = False,
        allowPrivate: bool = False,
        ca: str | None = None,
        hostName: str | None = None,
        deadline: float = DEADLINE,
        maxRequests: int = MAX_REQUESTS,
        maxHops: int = MAX_HOPS,
        folder: str | os.PathLike[str] | None = None,
        backOff: BackOff | None = None,
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            reactor = theReactor()
        self.hostName = hostName or socket.gethostname()
        self.maxHops = maxHops
        self._name = _checkedURL(url, allowPrivate)
        self._key = readSecret(secret)
        self._isParsed = parsed
        self._deadline = deadline
        self._folder = folder
        self._clock = reactor
        self._backOff = backOff or BackOff(reactor)
        self._slots = DeferredSemaphore(maxRequests)
        trust = None if ca is None else readAuthorities(ca, "Webhook")
        self._poster = Poster(reactor, url, allowPrivate, trust, deadline)

    def __repr__(self) -> str:
        return f"<Webhook {self._name}>"

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """
        Post a message.

        :returns: the text for the client, which has the transaction's id.
        :raises Rejection: if it is refused; 451 if nobody knows.
        """
        envelope = session.envelope
        with outcomes(self, envelope):
            self._backOff.check()
            hashing = hashlib.sha256(_addresses(envelope))
            trace = returnPathHeader(envelope) + receivedHeader(session, hostName=self.hostName)
            spool = Spool(folder=self._folder)
            try:
                await spool.fill(Traced(trace, _hashed(stream, hashing), self.maxHops))
                form = await self._makeForm(spool, session)
                await self._post(form, hashing.hexdigest(), envelope)
            finally:
                spool.close()
        return f"Message stored as {envelope.id}"

    def ready(self) -> None:
        """
        Look whether the host has answered just now. It isn't asked, as there is no request that
        would mean nothing to it.

        :raises Unavailable: if it hasn't.
        """
        self._backOff.check()

    async def _makeForm(self, spool: Spool, session: Session) -> Form:
        form = Form()
        form.add("envelope", _json(describeEnvelope(session, spool.size)), "application/json")
        form.add("message", spool, "message/rfc822", "message.eml")
        if self._isParsed and spool.size <= MAX_PARSED:
            message = await _parse(spool)
            described = await runInSlices(dumping(describeMessage(message)))
            form.add("parsed", described, "application/json")
            for number, each in enumerate(message.attachments):
                name = f"attachment{number}"
                form.add(name, each.content, "application/octet-stream", each.name or name)
        return form

    async def _post(self, form: Form, identifier: str, envelope: Envelope) -> None:
        await within(self._clock, self._deadline, self._slots.acquire(), f"{self} (busy)")
        try:
            status = await self._request(form, identifier, envelope)
        except (Unavailable, ConnectError, DNSLookupError):
            self._backOff.failed()
            raise
        finally:
            self._slots.release()
        self._backOff.succeeded()
        _judge(status)

    async def _request(self, form: Form, identifier: str, envelope: Envelope) -> int:
        timestamp = int(time.time())
        headers = {
            "Idempotency-Key": identifier,
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": await sign(self._key, identifier, timestamp, form.chunks()),
        }
        listed = {name: [value] for name, value in headers.items()}
        envelope.beginCommit()
        posting = Deferred.fromCoroutine(self._poster.post(form, listed))
        return await within(self._clock, self._deadline, posting, self._name)

    def close(self) -> Deferred[Any]:
        """
        Close the connections that nobody uses.

        :returns: fires when they are gone.
        """
        return self._poster.close()


def _judge(status: int) -> None:
    """Turn a status into an answer."""
    if 200 <= status <= 299:
        return
    if status == 413:
        raise Rejection("The message is too large", code=552, enhanced="5.3.4")
    if 400 <= status <= 499 and status not in _TEMPORARY:
        raise Rejection("The message was refused", code=550, enhanced="5.7.1")
    raise Unavailable(f"it answered with the status {status}")


def _checkedURL(url: str, allowPrivate: bool) -> str:
    """The URL's name in the log: without path and query, which may have a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("Webhook: the URL isn't valid") from None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("Webhook: the URL must begin with https:// or http://, and a host")
    if ":" in host:
        raise ConfigurationError("Webhook: give the host's name, or an IPv4 address")
    if parts.username is not None:
        raise ConfigurationError("Webhook: no login in the URL: requests are signed instead")
    isAddress = host.replace(".", "").isdigit()
    if not allowPrivate and (host == "localhost" or (isAddress and not isPublic(host))):
        raise ConfigurationError(
            f"Webhook: {host} is private: allow that with allowPrivate, or --webhook-allow-private"
        )
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _addresses(envelope: Envelope) -> bytes:
    """The part of the key that is made of the envelope."""
    return _json([str(envelope.mailFrom), [str(each) for each in envelope.rcptTo]])


async def _hashed(chunks: AsyncIterable[bytes], hashing: Any) -> AsyncIterator[bytes]:
    async for octets in chunks:
        hashing.update(octets)
        yield octets


async def _parse(spool: Spool) -> ParsedMessage:
    octets = bytearray()
    async for chunk in spool.chunks():
        octets += chunk
    message: ParsedMessage = await runInSlices(parsing(octets))
    return message


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")

"""
The one rule for every store, and the parts that keep it.

A message is answered 250 only after the other side has confirmed that it is durable there. If the
other side refuses it for good, the client gets that refusal: 550, 552 or 554. Everything else, a
bug of the store's own included, is 451 within a deadline: the client keeps the message and tries
again. Nothing of a message's content reaches the log.

A store of your own looks like this::

    class Shelf(SMTPHandler):
        def __init__(self, shelf, clock):
            self._shelf = shelf
            self._clock = clock
            self._backOff = BackOff(clock)

        async def onData(self, stream, session):
            with outcomes(self, session.envelope):
                self._backOff.check()
                content = await stream.read()
                session.envelope.beginCommit()  # a stop waits for the answer from here on
                await within(self._clock, 30, self._shelf.put(content), "the shelf")
                return f"Message stored as {session.envelope.id}"
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError, MessageIncomplete, Rejection
from twisted_smtpserver.headers import HopCounter
from twisted_smtpserver.session import Envelope
from twisted_smtpserver.wire.text import escape

__all__ = [
    "DEADLINE",
    "MAX_HOPS",
    "BackOff",
    "Traced",
    "Unavailable",
    "oneAnswer",
    "outcomes",
    "readAuthorities",
    "reasonOf",
    "within",
]

_log = Logger()
_T = TypeVar("_T")

_END = b"-----END CERTIFICATE-----"

#: How long a store waits for its other side by default, in seconds.
DEADLINE = 60.0

#: The most ``Received:`` fields of a message; one with more goes in circles (RFC 5321 §6.3).
MAX_HOPS = 50

# The most characters of a reason in a log line.
_MAX_REASON = 300

# The most recipients in a log line.
_MAX_NAMES = 20

# Errors whose text is about a connection, never about a message.
_HARMLESS = (OSError, ConnectError, ConnectionClosed)

_RESULT_OF_READING = (Rejection, MessageIncomplete, CancelledError, GeneratorExit)


class Unavailable(Exception):
    """
    The other side can't take the message now. Raised inside of a store; the client gets 451.

    :param reason: what the log says. It must not contain anything of the message's content.
    """


@contextlib.contextmanager
def outcomes(store: object, envelope: Envelope, sender: object | None = None) -> Iterator[None]:
    """
    Turn any error while a message is handed over into an answer for the client.

    A :class:`~twisted_smtpserver.Rejection` passes: that is the other side's refusal. So do the
    errors of the message stream. For everything else the log gets one line with the message's id,
    the store and the reason, and the client gets 451.

    :param store: named in the log by its ``repr``, which must have no secret.
    :param envelope: the message's.
    :param sender: its sender, while ``envelope.mailFrom`` isn't known yet.
    :raises Rejection: 451 4.3.0 instead of any other exception.
    """
    try:
        yield
    except _RESULT_OF_READING:
        raise
    except Exception as error:
        reason = reasonOf(error)
        _log.error(
            "Message {id} from {sender} isn't stored by {store}: {reason}; the client got 451",
            id=envelope.id,
            sender=escape(str(sender or envelope.mailFrom)),
            store=store,
            reason=reason,
        )
        text = "The message can't be stored at the moment, try again later"
        raise Rejection(text, code=451, enhanced="4.3.0") from None


def reasonOf(error: BaseException) -> str:
    """
    Describe an error for the log, without anything that may come from a message.

    :param error: any exception. Only the text of :class:`Unavailable` and of errors of the
        connection is logged; drivers like to repeat the data in theirs.
    :returns: one line.
    """
    kind = type(error).__name__
    if isinstance(error, Unavailable):
        return escape(str(error), _MAX_REASON)
    if isinstance(error, _HARMLESS):
        return f"{kind}: {escape(str(error), _MAX_REASON)}"
    return kind


def within(clock: IReactorTime, seconds: float, awaited: Deferred[_T], what: str) -> Deferred[_T]:
    """
    Bound a wait for the other side.

    :param clock: measures the time.
    :param seconds: the bound.
    :param awaited: what is waited for; it is canceled when the time is over.
    :param what: the other side, as the log names it: ``"the database"``.
    :returns: ``awaited``; it fails with :class:`Unavailable` when the time is over.
    """

    def tooLate(result: _T | Failure, after: float) -> Failure:
        return Failure(Unavailable(f"{what} didn't answer within {after:g} s"))

    return awaited.addTimeout(seconds, clock, tooLate)


class BackOff:
    """
    Decides when to try to reach the other side again.

    After a failure there is a pause; after each further one, a pause of twice the length. Each
    pause is drawn from the upper half of its length, so that many servers don't come back at once.
    Meanwhile messages get 451 at once instead of each of them waiting for a connection.

    :param clock: measures the time.
    :param first: the first pause, in seconds.
    :param most: the longest pause, in seconds.
    :param draw: returns a number from 0 to 1.
    """

    def __init__(
        self,
        clock: IReactorTime,
        first: float = 0.5,
        most: float = 30.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._first = first
        self._most = most
        self._draw = draw
        self._next = 0.0  # the length of the next pause; 0 while all is well
        self._until = 0.0

    def check(self) -> None:
        """
        Ask whether to try now.

        :raises Unavailable: during a pause.
        """
        left = self._until - self._clock.seconds()
        if self._next and left > 0:
            raise Unavailable(f"it was away just now; the next try is in {left:.1f} s")

    def failed(self) -> None:
        """The other side couldn't be reached: begin a pause."""
        length = max(self._first, min(self._next, self._most))
        self._next = length * 2
        self._until = self._clock.seconds() + length * (1 + self._draw()) / 2

    def succeeded(self) -> None:
        """The other side was reached."""
        self._next = 0.0


class Traced:
    """
    A message with trace fields in front. Reading it fails if the message is going in circles.

    :param trace: whole header fields, each with its final CRLF.
    :param message: the message's octets.
    :param maxHops: the most ``Received:`` fields that ``message`` may have.
    """

    def __init__(self, trace: bytes, message: AsyncIterable[bytes], maxHops: int) -> None:
        self._trace = trace
        self._chunks = message.__aiter__()
        self._maxHops = maxHops
        self._hops = HopCounter()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        trace, self._trace = self._trace, b""
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            if not trace:
                raise
            return trace  # the message is empty
        self._hops.feed(chunk)
        if self._hops.count > self._maxHops:
            raise Rejection("Too many hops", code=554, enhanced="5.4.6")
        if not trace:
            return chunk
        # A message that begins with a blank would continue our last field (RFC 5322 §2.2.3).
        return trace + (b"\r\n" if chunk[:1] in (b" ", b"\t") else b"") + chunk


def oneAnswer(results: Sequence[object], store: object, envelope: Envelope) -> object:
    """
    Make one answer of several recipients' results, because SMTP has only one (RFC 5321 §4.2.5).

    It must not be 250 unless the message is stored for all of them: a recipient would be lost. So
    it is a refusal, a temporary one if any of them is. The recipients whose store *has* the message
    get a second copy when the client tries again, or the sender gets a needless bounce. The log
    names these recipients.

    :param results: as for :func:`~twisted_smtpserver.results.messageReplies`, in the order of
        ``envelope.rcptTo``.
    :param store: as for :func:`outcomes`.
    :param envelope: the message's.
    :returns: the first result, if the message is stored for all.
    :raises Rejection: else.
    """
    refusals = [result for result in results if isinstance(result, Rejection)]
    if not refusals:
        return results[0]
    if len(refusals) < len(results):
        stored, refused = (
            [
                escape(str(recipient))
                for recipient, result in zip(envelope.rcptTo, results, strict=True)
                if isinstance(result, Rejection) is isRefused
            ][:_MAX_NAMES]
            for isRefused in (False, True)
        )
        _log.warn(
            "Message {id} is stored by {store} for {stored}, but not for {refused}; SMTP has one"
            " reply for all, so the client got a refusal",
            id=envelope.id,
            store=store,
            stored=stored,
            refused=refused,
        )
    raise next((each for each in refusals if (each.code or 0) < 500), refusals[0])


def readAuthorities(path: str, option: str) -> Any:
    """
    Read the CA certificates for the other side's certificate.

    :param path: a PEM file with one or several.
    :param option: what the error calls the option.
    :returns: a ``trustRoot`` for Twisted's TLS.
    :raises ConfigurationError: if there are none in it.
    """
    try:
        with open(path, "rb") as file:
            pieces = file.read().split(_END)[:-1]
        certificates = [Certificate.loadPEM(piece + _END) for piece in pieces]
    except (OSError, crypto.Error) as error:
        raise ConfigurationError(f"{option}: ca: {path!r} can't be read: {error}") from error
    if not certificates:
        raise ConfigurationError(f"{option}: ca: {path!r} has no certificate")
    return trustRootFromCertificates(certificates)

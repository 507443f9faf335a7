"""
What all mechanisms share: their context, and how an exchange goes on or ends.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from twisted_smtpserver.sasl.credentials import Credentials
from twisted_smtpserver.sasl.scramsecret import PROCESS_FAKES, FakeSecrets, ScramSecret
from twisted_smtpserver.sasl.steps import MALFORMED, Ask, Challenge, ScramQuery, Step

#: Octets in a decoded response; RFC 4954 §4 has the same bound for the line it comes in.
MAX_RESPONSE = 12288


@dataclass(frozen=True, slots=True)
class SaslContext:
    """
    What a mechanism may know of the connection and of the server.

    :ivar hostName: the server's name, for CRAM-MD5's challenge.
    :ivar channelBinding: the ``tls-exporter`` octets of this TLS connection (RFC 9266 §2), or a
        function that returns them; ``None`` where there are none.
    :ivar plusOffered: whether the server offers SCRAM-SHA-256-PLUS on this connection. A client
        that could bind to the channel, but believes that the server can't, was then lied to.
    :ivar peerIdentity: for EXTERNAL: the name in the client's certificate, which must have been
        verified.
    :ivar fakes: for SCRAM: what users who don't exist seem to have stored.
    :ivar credentials: what a finished exchange makes its credentials by.
    :ivar random: a function from a number to that many unpredictable octets.
    :ivar clock: a function that returns the seconds since the epoch.
    """

    hostName: str
    channelBinding: Callable[[], bytes | None] | bytes | None = field(default=None, repr=False)
    plusOffered: bool = False
    peerIdentity: str | None = None
    fakes: FakeSecrets = PROCESS_FAKES
    credentials: type[Credentials] = Credentials
    random: Callable[[int], bytes] = field(default=secrets.token_bytes, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def bindingData(self) -> bytes | None:
        """The octets of :attr:`channelBinding`, whichever way they were given."""
        return self.channelBinding() if callable(self.channelBinding) else self.channelBinding


class Mechanism(ABC):
    """
    One SASL exchange, the server's side of it. An instance serves one exchange.

    Call :meth:`step` with the initial response, then with each response to a
    :class:`~twisted_smtpserver.sasl.steps.Challenge`, and :meth:`answer` after an
    :class:`~twisted_smtpserver.sasl.steps.Ask`, until it is
    :class:`~twisted_smtpserver.sasl.steps.Done` or
    :class:`~twisted_smtpserver.sasl.steps.Failed`. Decoding base64 and watching for the ``*`` that
    cancels (RFC 4954 §4) are the caller's.

    :ivar name: the mechanism's name as registered with IANA.
    :ivar context: what the mechanism may know.
    :ivar usesErrorChallenge: whether a refusal is explained to the client in a challenge of its
        own, see :meth:`errorChallenge`.
    """

    name: ClassVar[str]
    usesErrorChallenge: ClassVar[bool] = False

    def __init__(self, context: SaslContext) -> None:
        """
        :param context: what the mechanism may know.
        """
        self.context = context
        self._begun = False
        # Who takes what comes next. Nobody once the exchange is over: each step empties these, and
        # only a challenge or a question fills one again.
        self._onResponse: Callable[[bytes], Step] | None = self._first
        self._onAnswer: Callable[[ScramSecret | None], Step] | None = None

    def step(self, response: bytes | None) -> Step:
        """
        Take what the client sent. No octets whatever make this raise.

        :param response: the decoded octets; ``None`` if the client sent no initial response, which
            is not the same as an empty one (RFC 4954 §4).
        :returns: what to do next.
        """
        handle, self._onResponse, self._onAnswer = self._onResponse, None, None
        begun, self._begun = self._begun, True
        if handle is None:
            return MALFORMED
        if response is None:
            return MALFORMED if begun else self._open()
        return handle(response) if len(response) <= MAX_RESPONSE else MALFORMED

    def answer(self, value: ScramSecret | None) -> Step:
        """
        Answer the question of an :class:`~twisted_smtpserver.sasl.steps.Ask`.

        :param value: the user's secret; ``None`` if there is no such user, which the client learns
            no sooner and no otherwise than that a password is wrong.
        :returns: what to do next.
        :raises TypeError: if the value is neither; the question stays open.
        :raises RuntimeError: if nothing was asked.
        """
        if self._onAnswer is None:
            raise RuntimeError(f"{self.name} asked nothing")
        if not isinstance(value, ScramSecret | None):
            raise TypeError(f"a ScramSecret or None is needed, not a {type(value).__name__}")
        handle, self._onAnswer = self._onAnswer, None
        return handle(value)

    def errorChallenge(self, data: Mapping[str, str]) -> bytes:
        """
        What to send in a challenge after the credentials of a finished exchange were refused. The
        client then sends a response without meaning, or cancels; either way the login has failed.

        :param data: what to tell the client, ``{"scope": "mail"}`` for example.
        :raises TypeError: if the mechanism has no such thing (see :attr:`usesErrorChallenge`).
        """
        raise TypeError(f"{self.name} has no error challenge")

    def _open(self) -> Step:
        """There was no initial response. By default, ask for one with an empty challenge."""
        return self.challenge(b"", self._first)

    @abstractmethod
    def _first(self, response: bytes) -> Step:
        """Take the client's first response, initial or not."""

    def challenge(self, data: bytes, then: Callable[[bytes], Step]) -> Step:
        """
        (For mechanisms.) Challenge the client.

        :param data: the challenge.
        :param then: takes the response.
        """
        self._onResponse = then
        return Challenge(data)

    def ask(self, query: ScramQuery, then: Callable[[ScramSecret | None], Step]) -> Step:
        """
        (For mechanisms.) Ask the caller for something that is stored.

        :param query: the question.
        :param then: takes the answer.
        """
        self._onAnswer = then
        return Ask(query)

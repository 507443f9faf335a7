"""Lists of addresses in DNS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DomainError
from twisted.python.failure import Failure

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.resolver import systemResolver
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.ip import Networks, parseAddress

_log = Logger()

_LISTED = Networks(["127.0.0.0/8"], "listed")  # RFC 5782 §2.1
# Lists answer this to clients that they block, instead of an answer to the question.
_ERRORS = Networks(["127.255.255.0/24"], "errors")


class DNSBlockList(SMTPHandler):
    """
    Refuses clients whose address is in one of these lists (RFC 5782). A list that doesn't answer in
    time is ignored.

    :param zones: the lists' domains. All are asked at the same time.
    :param resolver: an :class:`~twisted.internet.interfaces.IResolver`; by default one
        that asks as the system says.
    :param seconds: how long they may take together.
    :param reactor: what bounds that; by default the reactor.
    """

    def __init__(
        self, zones: Sequence[str], resolver: Any = None, seconds: float = 5, reactor: Any = None
    ) -> None:
        self._zones = tuple(zones)
        self._resolver = resolver
        self._seconds = seconds
        self._reactor = reactor

    async def onConnect(self, session: Session) -> None:
        """Refuse a client that a list contains: 554 5.7.1."""
        address = parseAddress(session.remoteAddress)
        if address is None or not address.is_global:
            return
        reverse = address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        answers = await defer.gatherResults([self._ask(f"{reverse}.{z}") for z in self._zones])
        for zone, isListed in zip(self._zones, answers, strict=True):
            if isListed:
                raise Rejection(f"Your address is listed by {zone}", 554, "5.7.1", policy="dnsbl")

    def _ask(self, name: str) -> Deferred[bool]:
        if self._resolver is None:
            self._resolver = systemResolver()
        if self._reactor is None:
            self._reactor = theReactor()
        asked: Deferred[Any] = defer.maybeDeferred(self._resolver.lookupAddress, name)
        asked.addTimeout(self._seconds, self._reactor)
        asked.addCallback(_isListed)
        asked.addErrback(_nothing)
        return asked


def _isListed(found: Any) -> bool:
    addresses = [header.payload.dottedQuad() for header in found[0] if header.type == dns.A]
    return any(address in _LISTED and address not in _ERRORS for address in addresses)


def _nothing(failure: Failure) -> bool:
    if not failure.check(
        DomainError, AuthoritativeDomainError, defer.TimeoutError, defer.CancelledError
    ):
        # The network may be down. That must not keep mail out.
        _log.failure(
            "A DNS block list can't be queried; the client isn't refused", failure, LogLevel.warn
        )
    return False

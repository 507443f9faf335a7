"""
The name behind a client's address: a reverse lookup that the forward lookup confirms.

An address's owner can write any name into its PTR record, so a name counts only if its own address
records lead back (RFC 1912 §2.1 asks for that agreement). The lookups are bounded in time and
number, and an answer is used only if it is a host name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IResolver
from twisted.logger import Logger, LogLevel
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DomainError
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.resolver import systemResolver
from twisted_smtpserver.wire.hostname import hostName
from twisted_smtpserver.wire.ip import IPAddress, Networks, clientLiteral, parseAddress

#: For how many seconds the lookups may delay the greeting, all together.
TIME_LIMIT = 1.5

#: How many of an address's PTR records are tried.
NAME_LIMIT = 2

# RFC 1918, RFC 4193.
_PRIVATE = Networks(("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"), "private")

# After how many seconds twisted.names repeats a query; its default goes on beyond TIME_LIMIT.
_RETRIES = (1, 1)

# Failures that DNS may answer with. CancelledError comes from twisted.names if another connection
# had asked the same question and was closed.
_EXPECTED = (DomainError, AuthoritativeDomainError, defer.TimeoutError, defer.CancelledError)

_log = Logger()


@lru_cache(maxsize=1024)
def _worthLookingUp(address: str | None, inPublic: bool) -> IPAddress | None:
    parsed = parseAddress(address)
    if parsed is None or parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified:
        return None
    if parsed.is_multicast or parsed.is_reserved or address in _PRIVATE:
        return None
    return parsed if parsed.is_global or not inPublic else None


class ReverseLookup:
    """
    Finds clients' names.

    :param resolver: used instead of the servers in ``resolv.conf``, which is read at the first
        lookup.
    :param reactor: its clock bounds the lookups; by default the reactor.
    """

    def __init__(
        self, resolver: IResolver | None = None, reactor: IReactorTime | None = None
    ) -> None:
        self._resolver: Any = resolver
        self._isGiven = resolver is not None
        self._reactor: Any = reactor

    def clientHostname(self, address: str | None, port: int | None = None) -> str | Deferred[str]:
        """
        Look up a client's name.

        Addresses that only mean something in their own network (loopback, private, link-local) or
        nowhere (multicast, reserved) are not looked up; others that no public DNS knows, such as
        those for documentation, only by a resolver that was given.

        :param address: the client's IP address; anything else is a unix socket's.
        :param port: the client's port, which makes no difference.
        :returns: the forward-confirmed name in lower case, without final dot, else the address
            literal. It is there at once if no lookup is due, and otherwise within
            :data:`TIME_LIMIT` seconds. The Deferred may be canceled; it fails in no other way.
        """
        literal = clientLiteral(address)
        parsed = _worthLookingUp(address, not self._isGiven)
        if parsed is None:
            return literal

        # A Deferred of our own: the time limit must hold for resolvers that ignore cancellation,
        # and the resolver's CancelledError isn't our caller's.
        def searchEnded(found: str | Failure | None) -> None:
            if isinstance(found, Failure):
                if not found.check(*_EXPECTED):
                    text = "Unexpected failure of the reverse lookup of {address}"
                    _log.failure(text, found, LogLevel.warn, address=str(parsed))
                found = None
            if timer.active():
                timer.cancel()
                result.callback(found or literal)

        def timeIsUp() -> None:
            result.callback(literal)
            search.cancel()

        def canceled(_: object) -> None:
            timer.cancel()
            search.cancel()

        result: Deferred[str] = Deferred(canceled)
        timer = self._clock().callLater(TIME_LIMIT, timeIsUp)
        search = Deferred.fromCoroutine(self._confirmedName(parsed))
        search.addBoth(searchEnded)
        return result

    def _clock(self) -> Any:
        if self._reactor is None:
            self._reactor = theReactor()
        return self._reactor

    async def _confirmedName(self, address: IPAddress) -> str | None:
        if self._resolver is None:
            self._resolver = systemResolver()
        lookup, kind = (
            (self._resolver.lookupAddress, dns.A)
            if address.version == 4
            else (self._resolver.lookupIPV6Address, dns.AAAA)
        )
        answers, _, _ = await self._resolver.lookupPointer(
            address.reverse_pointer, timeout=_RETRIES
        )
        pointers = [a.payload.name.name for a in answers if a.type == dns.PTR]
        for pointer in pointers[:NAME_LIMIT]:
            name = hostName(pointer.decode("ascii", "replace"))
            if name is None:
                continue
            try:
                answers, _, _ = await lookup(name, timeout=_RETRIES)
            except (DomainError, AuthoritativeDomainError):
                continue
            if any(a.type == kind and a.payload.address == address.packed for a in answers):
                return name
        return None

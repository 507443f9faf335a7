"""Policies, each a small handler: chain those that you need."""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportAttributeAccessIssue=false

from twisted.internet import defer, reactor
from twisted.names import client
from twisted.names.error import DomainError

from twisted_smtpserver import Rejection, SMTPHandler


class BlockList(SMTPHandler):
    """
    Turns away clients that a DNS block list has (RFC 5782).

    :param zone: the list's domain.
    :param resolver: who is asked.
    """

    def __init__(self, zone, resolver=client):
        self.zone = zone
        self.resolver = resolver

    async def onConnect(self, session):
        address = session.remoteAddress
        if address is None or ":" in address:  # a unix socket; IPv6 is left as an exercise
            return
        name = ".".join([*reversed(address.split(".")), self.zone])
        try:
            await self.resolver.lookupAddress(name, timeout=[1, 2])
        except (DomainError, defer.TimeoutError):
            return  # not listed, or nobody knows
        raise Rejection(f"{address} is listed at {self.zone}", code=554, enhanced="5.7.1")


class Quota(SMTPHandler):
    """
    So many messages an hour from each client.

    :param limit: how many.
    :param clock: what tells the time.
    """

    def __init__(self, limit, clock=reactor):
        self.limit = limit
        self.clock = clock
        self.counts = {}
        self.hour = None

    def onMailFrom(self, address, session):
        hour = self.clock.seconds() // 3600
        if hour != self.hour:  # all counts at once: the table can't grow for ever
            self.hour, self.counts = hour, {}
        count = self.counts.get(session.remoteAddress, 0)
        if count >= self.limit:
            raise Rejection("Too many messages, try again later", code=450, enhanced="4.7.1")
        self.counts[session.remoteAddress] = count + 1


class Recipients(SMTPHandler):
    """
    Only these have a mailbox here.

    :param addresses: theirs.
    """

    def __init__(self, addresses):
        self.addresses = frozenset(addresses)

    def onRcptTo(self, address, session):
        if address.domain is not None and address.address not in self.addresses:
            raise Rejection("No such mailbox", code=550, enhanced="5.1.1")

"""Opening a connection: the greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.answers import Answer
from twisted_smtpserver.stores.forward.client import Client
from twisted_smtpserver.stores.forward.host import Host

#: Bounds a wait for a reply.
Bounded = Callable[["Deferred[Answer]"], "Deferred[Answer]"]


@dataclass(frozen=True)
class Opening:
    """
    How to begin a connection.

    :ivar host: the next hop.
    :ivar hostName: our name in the hello.
    :ivar password: for :attr:`Host.user`.
    :ivar tls: the creator of the TLS connection, for STARTTLS.
    :ivar bounded: bounds the wait for each reply.
    """

    host: Host
    hostName: str
    password: str = field(repr=False)
    tls: Any
    bounded: Bounded

    async def run(self, client: Client) -> Mapping[str, str]:
        """
        Do it.

        :param client: just connected.
        :returns: what the next hop offers: keywords in upper case, and their parameters.
        :raises Unavailable: if it can't be done.
        """
        greeting = await self.bounded(client.expect())
        if greeting.code != 220:
            raise Unavailable(f"it greeted with: {greeting}")
        offers = await self._hello(client)
        if self.host.scheme == "smtp+starttls":
            await self._startTLS(client, offers)
            offers = await self._hello(client)  # what was said in clear counts for nothing
        if self.host.user:
            await self._logIn(client, offers)
        return offers

    async def _hello(self, client: Client) -> Mapping[str, str]:
        name = self.hostName.encode("ascii", "replace")
        word = b"LHLO" if self.host.isLmtp else b"EHLO"
        answer = await self.bounded(client.command(b"%s %s" % (word, name)))
        if answer.code >= 500 and self.host.scheme == "smtp" and not self.host.user:
            answer = await self.bounded(client.command(b"HELO " + name))  # RFC 5321 §3.2
            if answer.code == 250:
                return {}
        if answer.code != 250:
            raise Unavailable(f"it answered our hello with: {answer}")
        words = (line.partition(" ") for line in answer.lines[1:])
        return {keyword.upper(): parameters for keyword, _, parameters in words}

    async def _startTLS(self, client: Client, offers: Mapping[str, str]) -> None:
        if "STARTTLS" not in offers:
            raise Unavailable("it doesn't offer STARTTLS")
        answer = await self.bounded(client.command(b"STARTTLS"))
        if answer.code != 220:
            raise Unavailable(f"it answered STARTTLS with: {answer}")
        if client.isAhead:
            # Somebody in between put replies there, to be taken for those under TLS.
            raise Unavailable("it said more before the TLS handshake than it was asked")
        client.transport.startTLS(self.tls)

    async def _logIn(self, client: Client, offers: Mapping[str, str]) -> None:
        mechanisms = offers.get("AUTH", "").upper().split()
        user, password = self.host.user.encode(), self.password.encode()
        if "PLAIN" in mechanisms:
            initial = _base64(b"\0%s\0%s" % (user, password))
            answer = await self.bounded(client.command(b"AUTH PLAIN " + initial))
        elif "LOGIN" in mechanisms:
            answer = await self.bounded(client.command(b"AUTH LOGIN"))
            for secret in (user, password):
                if answer.code == 334:
                    answer = await self.bounded(client.command(_base64(secret)))
        else:
            raise Unavailable("it offers neither AUTH PLAIN nor AUTH LOGIN")
        if answer.code != 235:
            raise Unavailable(f"it refused our login: {answer}")


def _base64(octets: bytes) -> bytes:
    return base64.b64encode(octets)

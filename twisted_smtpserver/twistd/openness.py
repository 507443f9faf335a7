"""Warns of a server that accepts mail for any address from anybody."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.twistd.logins import hasLogins
from twisted_smtpserver.wire.ip import parseAddress

_log = Logger()


def isOpen(config: Container[str]) -> bool:
    """
    :param config: the flags that were given.
    :returns: whether neither senders nor recipients are restricted.
    """
    needsLogin = hasLogins(config) and "auth-optional" not in config
    return not (needsLogin or "recipients" in config or "handler" in config)


def openWarnings(server: SMTPService, factories: Sequence[SMTPServerFactory]) -> list[OpenServer]:
    """
    :param server: what listens.
    :param factories: those of its factories that are open.
    :returns: what warns of them, if there are any.
    """
    return [OpenServer(server, factories)] if factories else []


class OpenServer(Service):
    """
    Warns at the start of ports where anybody can send mail to any address.

    :param server: what listens.
    :param factories: those of its factories that are open.
    """

    def __init__(self, server: SMTPService, factories: Sequence[SMTPServerFactory]) -> None:
        self._server = server
        self._factories = factories

    def startService(self) -> None:
        """Look at the ports, which are bound by now."""
        super().startService()
        addresses: list[Any] = [port.getHost() for port in self._server.portsOf(self._factories)]
        reachable = [address for address in addresses if isReachable(address)]
        if reachable:
            _log.warn(
                "Accepts mail to any address from anybody who can reach {ports}: give --recipients "
                "FILE, or --auth METHOD for users, unless that is intended",
                ports=", ".join(f"{each.host} port {each.port}" for each in reachable),
            )


def isReachable(address: Any) -> bool:
    """
    :param address: of one of our ports.
    :returns: whether other machines can reach it, as far as the address tells.
    """
    parsed = parseAddress(getattr(address, "host", None))
    return parsed is not None and not parsed.is_loopback  # None: a unix socket

"""
The name server that is asked for names whose owners can't be trusted: over UDP only.

:mod:`twisted.names` asks again over TCP what didn't fit into a reply. It opens a connection for
each such question, closes none of them, and takes up to 64 KiB, which keep the reactor busy.
The names' owner can cause that. What fits into a datagram is enough here, and all that is
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from twisted.names.client import Resolver
from twisted.names.hosts import Resolver as HostsResolver
from twisted.names.resolve import ResolverChain

__all__ = ["DatagramResolver", "systemResolver"]

_RESOLV_CONF = "/etc/resolv.conf"
_HOSTS = b"/etc/hosts"


class DatagramResolver(Resolver):
    """
    A :class:`twisted.names.client.Resolver` that takes a reply that was cut off as it is.

    The parameters are those of :class:`twisted.names.client.Resolver`.
    """

    def filterAnswers(self, message: Any) -> Any:
        """
        (twisted.names' call.) Take the answers out of a reply.

        :param message: the reply.
        """
        message.trunc = False
        return super().filterAnswers(message)

    def queryTCP(self, queries: Sequence[Any], timeout: Any = 10) -> Any:
        """Nothing is asked over TCP."""
        raise NotImplementedError("this resolver asks over UDP only")


@cache
def systemResolver() -> Any:
    """
    The resolver that asks as the system says, in :file:`/etc/hosts` and :file:`/etc/resolv.conf`.

    :returns: an :class:`~twisted.internet.interfaces.IResolver`, always the same.
    """
    return ResolverChain([HostsResolver(_HOSTS), DatagramResolver(resolv=_RESOLV_CONF)])

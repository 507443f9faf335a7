"""
Sending at once what can be sent at once.

Twisted's ``transport.write`` only queues: the octets leave when the reactor comes round to see that
the socket is writable, which it first has to be asked for, and afterwards to be asked no more. For
answers of some twenty octets that is most of what they cost. Where nothing waits before them, they
are offered to the socket here and now, and ``transport.write`` gets what it doesn't take.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp


def isDrained(transport: Any) -> bool:
    """
    Whether all that was written has left for the kernel.

    :param transport: any transport; of others than :func:`write` takes care of it isn't known.
    """
    if type(transport) is not tcp.Server or transport.TLS:
        return False
    return not transport.dataBuffer and not transport._tempDataLen


def write(transport: Any, octets: bytes) -> None:
    """
    Write to a transport, at once if that is possible.

    :param transport: any transport. Anything but a TCP connection of Twisted's own, accepted by a
        server, is written to in the usual way; so is that after ``startTLS``.
    :param octets: what to write.
    """
    if (
        # Exactly this class: a subclass may have its own mind about writing.
        type(transport) is not tcp.Server
        or transport.TLS  # the octets have to be encrypted first
        or transport.dataBuffer  # they have to stay behind those that wait
        or transport._tempDataLen
        or transport.disconnecting
        or not transport.connected
    ):
        transport.write(octets)
        return
    sent = transport.writeSomeData(octets)
    if not isinstance(sent, int):
        # The connection is lost. The reactor finds out when it tries, and then all is cleaned up in
        # its usual order; here we are in the middle of somebody's call.
        sent = 0
    if sent < len(octets):
        transport.write(octets[sent:])

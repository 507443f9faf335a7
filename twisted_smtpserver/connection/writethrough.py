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


def isPossible(transport: Any) -> bool:
    """
    Whether :func:`write` and :func:`isDrained` can be used at all.

    :param transport: any transport. It must be a TCP connection of Twisted's own, accepted by a
        server, and exactly that: a subclass may have its own mind about writing.
    """
    return type(transport) is tcp.Server


def isDrained(transport: Any) -> bool:
    """
    Whether all that was written has left for the kernel.

    :param transport: one for which that is known (:func:`isPossible`).
    """
    return not (transport.dataBuffer or transport._tempDataLen or transport.TLS)


def write(transport: Any, octets: bytes) -> None:
    """
    Write to a transport, at once if there is nothing that has to go first.

    :param transport: one that can do that (:func:`isPossible`). After ``startTLS`` it is written to
        in the usual way: the octets have to be encrypted first.
    :param octets: what to write.
    """
    if transport.dataBuffer or transport._tempDataLen or transport.TLS or not transport.connected:
        transport.write(octets)
        return
    try:
        sent = transport.socket.send(octets)
    except OSError:
        # There is no room; or the connection is lost. The reactor finds that out when it tries, and
        # then all is cleaned up in its usual order; here we are in the middle of somebody's call.
        sent = 0
    if sent < len(octets):
        transport.write(octets[sent:])

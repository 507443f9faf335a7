"""
Writes to the socket at once, where that is possible.

Twisted's ``transport.write`` only queues: the reactor sends the octets when it sees that the socket
is writable, and must be told before to watch for that, and afterwards to stop. For a reply of some
twenty octets that is most of the cost. If nothing is queued, the functions here offer the octets to
the socket at once, and ``transport.write`` gets the rest.
"""

from __future__ import annotations

from typing import Any


def isDrained(transport: Any) -> bool:
    """
    Whether the kernel has all octets that were written.

    :param transport: Twisted's own TCP connection, accepted by a server.
    """
    return not (transport.dataBuffer or transport._tempDataLen or transport.TLS)


def write(transport: Any, octets: bytes) -> None:
    """
    Write to a transport; at once if nothing is queued.

    :param transport: Twisted's own TCP connection, accepted by a server. After ``startTLS`` its own
        ``write`` gets all octets, because they have to be encrypted.
    :param octets: the octets.
    """
    if transport.dataBuffer or transport._tempDataLen or transport.TLS or not transport.connected:
        transport.write(octets)
        return
    try:
        sent = transport.socket.send(octets)
    except OSError:
        # The socket is full, or the connection is lost. The reactor will find that out by itself,
        # and clean up in its usual order; here we are in the middle of another call.
        sent = 0
    if sent < len(octets):
        transport.write(octets[sent:])

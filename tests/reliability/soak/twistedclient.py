"""
Sends a message from standard input with Twisted's own client.

usage: python -m tests.reliability.soak.twistedclient PORT SENDER RECIPIENT
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.mail.smtp import ESMTPSenderFactory


def send(reactor: Any, port: str, sender: str, recipient: str) -> Deferred[Any]:
    """Returns a Deferred that fires when the message was answered 250."""
    done: Deferred[Any] = Deferred()
    content = BytesIO(sys.stdin.buffer.read())
    factory = ESMTPSenderFactory(
        None,
        None,
        sender,
        recipient,
        content,
        done,
        requireAuthentication=False,
        requireTransportSecurity=False,
        heloFallback=False,
        retries=0,
    )
    reactor.connectTCP("127.0.0.1", int(port), factory)
    return done


if __name__ == "__main__":
    react(send, sys.argv[1:])

"""A handler that reads, but slowly: for a server in a process of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from twisted_smtpserver import SMTPHandler
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Session

#: How often it stops, in reads, and for how many turns of the reactor: if the socket were read in
#: the meantime, tens of megabytes would come in.
READS, TURNS = 256, 500


class SlowReader(SMTPHandler):
    """Counts the octets of each message."""

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """Read a while, wait a while."""
        octets = reads = 0
        async for chunk in stream:
            octets += len(chunk)
            reads += 1
            if reads % READS == 0:
                await _turns(TURNS)
        return f"{octets} octets"


def _turns(count: int) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    clock: Any = reactor

    def turn(left: int) -> None:
        if left:
            clock.callLater(0, turn, left - 1)
        else:
            done.callback(None)

    turn(count)
    return done

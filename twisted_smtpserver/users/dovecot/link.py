"""A connection to Dovecot's authentication socket: numbered requests, many at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.users.dovecot.codec import (
    VERDICTS,
    DovecotError,
    Verdict,
    authRequest,
    parseVerdict,
    splitLine,
)

__all__ = ["MAX_HANDSHAKE", "MAX_LINE", "MAX_PENDING", "Link"]

#: The longest line that Dovecot may send, in octets; it sends no longer ones itself.
MAX_LINE = 16384

#: The most lines before it is ready.
MAX_HANDSHAKE = 200

#: Requests that it may owe an answer to.
MAX_PENDING = 1000

# Numbers are of 32 bits.
_NUMBERS = 2**31


class Link(LineOnlyReceiver):
    """
    A connection, from its handshake on.

    :param seconds: a clock.
    :ivar ready: fires when the handshake is over; fails with
        :class:`~twisted_smtpserver.stores.base.Unavailable`.
    :ivar isUsable: whether requests can be made.
    :ivar mechanisms: what Dovecot offers.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    transport: Any

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.ready: Deferred[None] = Deferred()
        self.isUsable = False
        self.mechanisms: set[str] = set()
        self._seconds = seconds
        self._heardAt = seconds()
        self._pending: dict[int, Deferred[Verdict]] = {}
        self._number = 0
        self._lines = 0
        self._hasVersion = False
        self._isAborted = False
        self._problem = "it closed the connection"

    # -- Twisted's calls ---------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Send the protocol's version and our process id."""
        self.transport.write(b"VERSION\t1\t2\nCPID\t%d\n" % os.getpid())

    def lineReceived(self, line: bytes) -> None:
        """Handle a line from Dovecot."""
        if self._isAborted:
            return
        self._heardAt = self._seconds()
        try:
            command, words = splitLine(line)
            if self.ready.called:
                self._answered(command, words)
            else:
                self._greeted(command, words)
        except DovecotError as error:
            self.abort(str(error))

    def lineLengthExceeded(self, line: bytes) -> None:
        """The line is longer than the protocol allows."""
        self.abort(f"it sent a line of more than {MAX_LINE} octets")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is lost: fail the requests that wait."""
        self.isUsable = False
        if not self.ready.called:
            self.ready.errback(Unavailable(self._problem))
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            answer.errback(Unavailable(self._problem))

    # -- Ours --------------------------------------------------------------------------------------

    def _greeted(self, command: bytes, words: list[str]) -> None:
        """A line of the handshake."""
        self._lines += 1
        if self._lines > MAX_HANDSHAKE:
            raise DovecotError("its handshake has no end")
        if command == b"VERSION":
            if words[:1] != ["1"]:
                raise DovecotError("it speaks another version of the protocol")
            self._hasVersion = True
        elif command == b"MECH":
            self.mechanisms.update(words[:1])
        elif command == b"DONE":
            if not self._hasVersion:
                raise DovecotError("it isn't Dovecot's socket for authentication clients")
            self.isUsable = True
            self.ready.callback(None)

    def _answered(self, command: bytes, words: list[str]) -> None:
        if command in VERDICTS:
            verdict = parseVerdict(command, words)
            answer = self._pending.pop(verdict.number, None)
            if answer is not None:  # else nobody waits for it any more
                answer.callback(verdict)

    def ask(
        self, username: str, password: str, parameters: Mapping[str, str | None]
    ) -> Deferred[Verdict]:
        """
        Ask whether a password is right. Canceling drops the request.

        :param username: as for :func:`~twisted_smtpserver.users.dovecot.codec.authRequest`, as the
            others.
        :returns: fails with :class:`~twisted_smtpserver.stores.base.Unavailable` if the connection
            is lost.
        :raises Unavailable: if it is lost already, or too much is pending.
        """
        if not self.isUsable:
            raise Unavailable(self._problem)
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable(f"{MAX_PENDING} requests wait for an answer")
        number = self._nextNumber()
        answer: Deferred[Verdict] = Deferred(lambda _: self._giveUp(number))
        self._pending[number] = answer
        self.transport.write(authRequest(number, username, password, parameters))
        return answer

    def _nextNumber(self) -> int:
        self._number = self._number % _NUMBERS + 1
        return self._number

    def _giveUp(self, number: int) -> None:
        """Drop a request: the client has left, or the answer takes too long."""
        self._pending.pop(number, None)
        self.transport.write(b"CANCEL\t%d\n" % number)

    def isSilentSince(self, moment: float) -> bool:
        """
        :param moment: on the clock.
        :returns: whether Dovecot has said nothing since then.
        """
        return self._heardAt <= moment

    def abort(self, problem: str) -> None:
        """
        Close the connection at once.

        :param problem: why, for the log.
        """
        self._problem = problem
        self._isAborted = True
        self.isUsable = False
        self.transport.abortConnection()

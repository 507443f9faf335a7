"""The client's side of SMTP and LMTP: commands out, replies in, in order."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.answers import Answer
from twisted_smtpserver.stores.pacedwriter import PacedWriter
from twisted_smtpserver.wire.text import escape

#: The most octets in a line of a reply. RFC 5321 §4.5.3.1.5 has 512; some servers write more.
MAX_LINE = 4096

#: The most lines in a reply. EHLO's is the longest.
MAX_LINES = 128

_REPLY = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


class Client(Protocol):
    """
    One connection to the next hop.

    :ivar isUsable: whether commands can be sent: the connection isn't lost, nor about to be.
    :ivar lost: fires with ``None`` when the connection is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.isUsable = True
        self.lost: Deferred[None] = Deferred()
        self._buffer = b""
        self._unread: deque[bytes] = deque()  # whole lines
        self._lines: list[bytes] = []  # those of the current reply
        self._waiting: deque[Deferred[Answer]] = deque()
        self._reason = "it closed the connection"

    def command(self, line: bytes, octets: bytes = b"") -> Deferred[Answer]:
        """
        Send a command.

        :param line: without its CRLF.
        :param octets: what follows it.
        :returns: its reply; fails with :class:`Unavailable` if the connection is lost before.
        """
        self.transport.write(b"%s\r\n%s" % (line, octets))
        return self.expect()

    def expect(self) -> Deferred[Answer]:
        """Wait for one more reply, in the order in which they are expected."""
        answer: Deferred[Answer] = Deferred()
        if self.isUsable:
            self._waiting.append(answer)
        else:
            answer.errback(Failure(Unavailable(self._reason)))
        return answer

    @property
    def isAhead(self) -> bool:
        """Whether the next hop has sent more replies than expected."""
        return bool(self._buffer or self._unread or self._lines)

    def abort(self) -> None:
        """Close at once: what was sent of a message isn't completed."""
        self._end("the connection was given up")

    def _end(self, reason: str) -> None:
        if self.isUsable:
            self._reason = reason
            self.isUsable = False
            self.transport.abortConnection()

    def dataReceived(self, octets: bytes) -> None:
        """(Twisted's call.) Cut lines."""
        *lines, self._buffer = (self._buffer + octets).split(b"\n")
        self._unread += lines
        while self._unread and self.isUsable:
            self._lineReceived(self._unread.popleft().removesuffix(b"\r"))
        if len(self._buffer) > MAX_LINE:
            self._end("its reply has a line that is too long")

    def _lineReceived(self, line: bytes) -> None:
        found = _REPLY.fullmatch(line[:MAX_LINE])
        if found is None or (self._lines and self._lines[0][:3] != line[:3]):
            self._end(f"it sent a line that is not a reply: {escape(line)}")
            return
        self._lines.append(line[:MAX_LINE])
        if found[2] != b"-":
            lines, self._lines = self._lines, []
            texts = (each[4:].decode("utf-8", "replace") for each in lines)
            self._replied(Answer(int(found[1]), tuple(texts)))
        elif len(self._lines) >= MAX_LINES:
            self._end("its reply has too many lines")

    def _replied(self, answer: Answer) -> None:
        if self._waiting:
            self._waiting.popleft().callback(answer)
        else:
            # 421, mostly: we were idle for longer than it likes (RFC 5321 §3.8).
            self._end(f"it said, without having been asked: {answer}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """(Twisted's call.) Fail the replies that are awaited."""
        if self.isUsable:
            self.isUsable = False
            # A certificate that can't be verified ends here, too.
            self._reason = f"it closed the connection ({escape(str(reason.value))})"
        waiting, self._waiting = self._waiting, deque()
        self.lost.callback(None)  # first: who waits asks whether it is so
        for each in waiting:
            each.errback(Failure(Unavailable(self._reason)))


class Outlet(PacedWriter):
    """
    Writes to a transport at its own pace. Close it when all is written.

    :param transport: the client's.
    """

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport
        transport.registerProducer(self, True)

    def write(self, octets: bytes) -> Deferred[None] | None:
        """
        Write.

        :param octets: any number.
        :returns: what to wait for before the next call, if anything.
        """
        self._transport.write(octets)
        return self.pause

    def close(self) -> None:
        """End the output."""
        self._transport.unregisterProducer()

"""
No input of one client keeps the others waiting: what is done between two turns of the reactor is
counted, in calls of functions, and not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import talk
from twisted_smtpserver.connection.channel import READ_SIZE, TLS_READ_SIZE
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client

#: Calls between two turns. One takes 50 to 100 ns on a slow machine, with what is done in it: this
#: many take some 3 ms.
MOST_CALLS = 30_000

#: A label that is as slow to check as any that is let through.
LABEL = "α" * 23 + "・" * 26 + "あ"


class Turns:
    """
    Counts the calls of functions, Python's and C's, in each turn.

    :ivar most: the most in one turn.
    """

    def __init__(self) -> None:
        self.most = 0
        self._count = 0

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        self._count += event in ("call", "c_call")

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One turn."""
        self._count = 0
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.most = max(self.most, self._count)


def segment(octets: bytes) -> bytes:
    """What one read of a socket may bring of something that is repeated."""
    return octets * (READ_SIZE // len(octets))


def busiest(client: Client, octets: bytes) -> int:
    """The calls of the busiest turn that some octets cost; no more than a read at a time."""
    turns = Turns()
    with turns.counted():
        client.protocol.dataReceived(octets)
    left = True
    while left:
        client.transport.output.clear()
        with turns.counted():
            left = client.protocol.channel.takeTurn()
    return turns.most


class FairnessTests(SynchronousTestCase):
    """Segments full of whatever is cheap to send and dear to answer."""

    def assertFair(self, begin: Callable[[], Client], *lines: bytes) -> None:
        """Each line, repeated, costs no turn more than the bound."""
        for line in lines:
            calls = busiest(begin(), segment(line))
            self.assertLess(calls, MOST_CALLS, line)

    def test_commands(self) -> None:
        """Commands without a transaction."""
        self.assertFair(
            lambda: talk(Phase.READY, maxJunkCommands=10**6, maxErrors=10**6, errorDelay=0),
            *(b"EHLO a\r\n", b"HELO a\r\n", b"RSET\r\n", b"HELP\r\n", b"NOOP\r\n", b"VRFY a\r\n"),
            *(b"\r\n", b"x\r\n", b"MAIL\r\n", b"AUTH\r\n", b"BDAT 0\r\n", b"RCPT TO:<a@b.c>\r\n"),
        )

    def test_names(self) -> None:
        """Names that are international, and slow to check."""
        name = f"{LABEL}.{LABEL}".encode()
        for line in (
            b"EHLO " + name,
            b"MAIL FROM:<a@" + name + b"> SMTPUTF8",
            b"MAIL FROM:<a@" + name + b".\xff>",
        ):
            self.assertFair(
                lambda: talk(Phase.READY, maxJunkCommands=10**6, maxErrors=10**6, errorDelay=0),
                line + b"\r\n",
                line + b"\r\nRSET\r\n",
            )

    def test_recipients(self) -> None:
        """Recipients, accepted or not."""

        def begin() -> Client:
            client = talk(Phase.READY, maxErrors=10**6, errorDelay=0, maxRefusedRecipients=10**6)
            assert client.say("MAIL FROM:<> SMTPUTF8").code == 250
            return client

        name = f"{LABEL}.{LABEL}".encode()
        self.assertFair(
            begin, b"RCPT TO:<a@b.c>\r\n", b"RCPT TO:<a@" + name + b">\r\n", b"RCPT TO:<>\r\n"
        )

    def test_chunks(self) -> None:
        """Chunks of an octet or none."""
        for chunk in (b"BDAT 1\r\nx", b"BDAT 0\r\n"):
            self.assertFair(lambda: talk(Phase.RCPT, maxJunkCommands=10**6), chunk)

    def test_content(self) -> None:
        """Content that is all dots, newlines or lines."""
        for line in (b"..\r\n", b".\r\n.", b"\r\n", b"\n", b"\r", b".", b"\r\n..", b"x\r\n"):
            for newlines in ("reject", "normalize", "accept"):
                client = talk(Phase.DATA, bareNewlines=newlines, onData=_read)
                calls = busiest(client, segment(line).replace(b"\r\n.\r\n", b"\r\n..\r\n"))
                self.assertLess(calls, MOST_CALLS, (line, newlines))

    def test_tls(self) -> None:
        """A read of TLS records has few of them: each costs as much as a line."""
        smallest = 5 + 1 + 16 + 1  # header, an octet, tag and content type (RFC 8446 §5.2)
        self.assertLess(TLS_READ_SIZE // smallest, 1000)


async def _read(stream: object, session: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass

"""Forwarding to real Dovecot by LMTP: all that must be true of a store, and the truth for each."""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.stores.suite import StoreSuite
from tests.support.dovecot import Dovecot
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.forward import Forward

ANN, BEN, FULL, NOBODY = (f"{name}@store.example" for name in ("ann", "ben", "full", "nobody"))


@functools.cache
def makeDovecot() -> Dovecot:
    """Make it once; it ends with the process. (Trial doesn't know ``setUpClass``.)"""
    program = need("dovecot")
    if os.getuid() != 0:
        raise SkipTest("Dovecot has to be started by root")
    dovecot = Dovecot(program, {"ann": "", "ben": "", "full": "*:storage=1B"})
    atexit.register(dovecot.remove)
    return dovecot


class DovecotTests(StoreSuite, TestCase):
    """A client of SMTP; Dovecot on TCP."""

    deadline = 1.5
    recipients = (ANN,)
    refused = NOBODY
    cuts = 4

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """One Dovecot for all tests."""
        self.dovecot = makeDovecot()
        await super().setUp()

    async def startService(self) -> int:
        """Start it unless it runs."""
        if not self.dovecot.isRunning:
            self.dovecot.start()
        return self.dovecot.port

    async def killService(self) -> None:
        """Kill it."""
        self.dovecot.kill()

    async def releaseService(self) -> None:
        """It runs on."""

    async def received(self) -> list[bytes]:
        """What is in the mailboxes."""
        return self.dovecot.messages()

    def canonical(self, message: bytes) -> bytes:
        """Dovecot's files have LF for CRLF."""
        return message.replace(b"\n", b"\r\n")

    def makeStore(self, port: int) -> Any:
        """The store."""
        return Forward(
            f"lmtp://127.0.0.1:{port}",
            deadline=self.deadline,
            backOff=lambda: BackOff(reactor, first=0.01, most=0.1),
        )

    async def test_full(self) -> None:
        """Whose mailbox is full doesn't get the message, and the client is told."""
        (reply,) = await self.send(FULL)
        self.assertEqual(reply.code, 552)
        self.assertEqual(self.dovecot.messages("full"), [])

    async def test_mixed(self) -> None:
        """One of two has no space: SMTP's one answer is no 250, and the log says who has it."""
        (reply,) = await self.send(ANN, FULL)
        self.assertEqual(reply.code, 552)
        self.assertEqual(len([event for event in self.events if "but not for" in event]), 1)

    async def test_unixSocket(self) -> None:
        """By its unix socket."""
        self.makeStore = lambda port: Forward(f"lmtp:unix:{self.dovecot.socket}")  # type: ignore[method-assign]
        await self.renew()
        self.assertEqual((await self.send())[-1].code, 250)
        await self.assertNothingLost()

    async def test_lmtpClient(self) -> None:
        """A client of LMTP is told the truth for each: one has no space, one isn't known."""
        self.options = {"lmtp": True}
        await self.renew()
        client = await self.client()
        await client.say(self.hello)
        await client.say("MAIL FROM:<joe@client.example>")
        codes = [(await client.say(f"RCPT TO:<{each}>")).code for each in (ANN, NOBODY, FULL, BEN)]
        self.assertEqual(codes, [250, 550, 250, 250])
        await client.say("DATA")
        client.transport.write(b"Subject: mixed\r\n\r\ntext\r\n.\r\n")
        self.assertEqual([(await client.reply()).code for _ in range(3)], [250, 552, 250])
        for name, count in (("ann", 1), ("full", 0), ("ben", 1)):
            mixed = [each for each in self.dovecot.messages(name) if b"Subject: mixed" in each]
            self.assertEqual(len(mixed), count, name)

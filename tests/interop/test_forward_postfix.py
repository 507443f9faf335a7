"""Forwarding to real Postfix by SMTP with STARTTLS: all that must be true of a store."""

from __future__ import annotations

import atexit
import functools
import os
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.stores.suite import CoreSuite
from tests.support.certificates import makeCA, makeCertificate
from tests.support.nextpostfix import NextPostfix
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.forward import Forward


@functools.cache
def makePostfix() -> tuple[NextPostfix, str]:
    """
    Make it once; it ends with the process. (Trial doesn't know ``setUpClass``.)

    :returns: also the path of the certificate of its authority.
    """
    program = need("postfix")
    if os.getuid() != 0:
        raise SkipTest("Postfix has to be started by root")
    authority = makeCA()
    postfix = NextPostfix(program, makeCertificate(authority, ["localhost"]))
    atexit.register(postfix.remove)
    path = postfix.folder / "ca.pem"
    path.write_bytes(authority.certPEM)
    return postfix, str(path)


class PostfixTests(CoreSuite, TestCase):
    """Postfix keeps what it accepts in its queue."""

    deadline = 1.5
    refused = "nobody@store.example"
    cuts = 4

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """One Postfix for all tests."""
        self.postfix, self.authority = makePostfix()
        await super().setUp()

    async def startService(self) -> int:
        """Start it unless it runs."""
        if not self.postfix.isRunning:
            self.postfix.start()
        return self.postfix.port

    async def killService(self) -> None:
        """Kill it."""
        self.postfix.kill()

    async def releaseService(self) -> None:
        """It runs on."""

    async def received(self) -> list[bytes]:
        """What is in its queue."""
        return self.postfix.messages()

    async def fillService(self) -> None:
        """Let it see a full disk."""
        self.postfix.setFull(True)
        await self.renew()

    async def emptyService(self) -> None:
        """Let it see one with space."""
        self.postfix.setFull(False)
        await self.renew()

    def canonical(self, message: bytes) -> bytes:
        """Postfix's queue has LF for CRLF, and its own Received: in front."""
        return message.replace(b"\n", b"\r\n")

    def makeStore(self, port: int) -> Any:
        """The store."""
        return Forward(
            f"smtp+starttls://localhost:{port}",
            ca=self.authority,
            deadline=self.deadline,
            backOff=lambda: BackOff(reactor, first=0.01, most=0.1),
        )

    async def test_unknownAuthority(self) -> None:
        """A certificate of somebody else's is refused: no mail goes there, the log says why."""
        Path(self.authority + ".other").write_bytes(makeCA("Another CA").certPEM)
        self.authority += ".other"
        await self.renew()
        await self._assertTryLater()
        self.assertIn("certificate verify failed", " ".join(self.events))
        self.assertNothingOf("Another")

    async def test_otherName(self) -> None:
        """So is one for another host."""
        makeStore = self.makeStore
        self.makeStore = lambda port: Forward(  # type: ignore[method-assign]
            f"smtp+starttls://127.0.0.1:{port}", ca=self.authority, deadline=self.deadline
        )
        await self.renew()
        await self._assertTryLater()
        self.makeStore = makeStore  # type: ignore[method-assign]

    async def test_later(self) -> None:
        """A temporary refusal at RCPT is told at RCPT."""
        client = await self.client()
        await client.say(self.hello)
        await client.say("MAIL FROM:<joe@client.example>")
        codes = [
            (await client.say(f"RCPT TO:<{name}@store.example>")).code
            for name in ("later", "nobody", "ann")
        ]
        self.assertEqual(codes, [450, 554, 250])

    def assertNothingOf(self, word: str) -> None:
        """A word is in none of the messages."""
        for message in self.postfix.messages():
            self.assertNotIn(word.encode(), message)

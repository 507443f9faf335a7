"""What must be true of every store, of forwarding by SMTP and by LMTP."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.stores.forward.nexthop import NextHop
from tests.stores.suite import LARGE, StoreSuite
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.forward import Forward


class SMTPTests(StoreSuite, TestCase):
    """The next hop speaks SMTP."""

    scheme = "smtp"
    refused = "nobody@store.example"
    memoryBound = 4 * LARGE  # the next hop keeps its messages in the memory of this process
    nextHopOptions: dict[str, Any] = {}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """A next hop whose messages outlive it."""
        self.nextHop = NextHop(**self.nextHopOptions)
        await super().setUp()

    async def startService(self) -> int:
        """Start it."""
        return self.nextHop.start()

    async def killService(self) -> None:
        """Kill it."""
        await self.nextHop.kill()

    async def received(self) -> list[bytes]:
        """What it has."""
        return self.nextHop.kept

    async def fillService(self) -> None:
        """Let it be full."""
        self.nextHop.isFull = True

    async def emptyService(self) -> None:
        """Let it have space."""
        self.nextHop.isFull = False

    def makeStore(self, port: int) -> Any:
        """The store."""
        return Forward(
            f"{self.scheme}://127.0.0.1:{port}",
            deadline=self.deadline,
            backOff=lambda: BackOff(reactor, first=0.01, most=0.05),
        )


class LMTPTests(SMTPTests):
    """The next hop speaks LMTP."""

    scheme = "lmtp"
    nextHopOptions = {"lmtp": True}


class LMTPToLMTPTests(LMTPTests):
    """So does the client."""

    options = {"lmtp": True}

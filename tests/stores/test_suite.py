"""The suite itself: it passes a good store, and catches bad ones."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests.stores.suite import LARGE, StoreSuite
from tests.stores.toy import Service, ToyStore


class ToyTests(StoreSuite, TestCase):
    """The smallest good store."""

    refused = "nobody@store.example"
    memoryBound = 4 * LARGE  # the service keeps its messages in the memory of this process

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """A service whose messages outlive it."""
        self.service = Service()
        await super().setUp()

    async def startService(self) -> int:
        """Start it."""
        return self.service.start()

    async def killService(self) -> None:
        """Kill it."""
        await self.service.kill()

    async def received(self) -> list[bytes]:
        """What it has."""
        return self.service.kept

    async def fillService(self) -> None:
        """Let it be full."""
        self.service.isFull = True

    async def emptyService(self) -> None:
        """Let it have space."""
        self.service.isFull = False

    def makeStore(self, port: int) -> Any:
        """The store."""
        return ToyStore(port, self.deadline)

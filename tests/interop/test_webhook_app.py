"""The webhook and the program of its how-to, in a process of its own: all that must be true."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.stores.suite import StoreSuite
from tests.support.dovecot import freePort
from tests.support.examples import EXAMPLES
from tests.support.liveserver import PATIENCE
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.webhook import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class AppTests(StoreSuite, TestCase):
    """A program that was written from the documentation, with Flask."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    deadline = 1.5
    refused = "nobody@store.example"
    cuts = 4
    #: A spool keeps up to 1 MiB in memory.
    memoryBound = 8 * 2**20

    @classmethod
    def setUpClass(cls) -> None:
        """One program for all tests."""
        cls.port = freePort()

    @classmethod
    def tearDownClass(cls) -> None:
        """End it."""
        if cls.process is not None:
            cls._reap(cls.process)

    @staticmethod
    def _reap(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait(PATIENCE)

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """A folder for all tests."""
        if not hasattr(type(self), "folder"):
            type(self).folder = Path(self.mktemp()).absolute()
            self.folder.mkdir(parents=True)
        await super().setUp()

    async def startService(self) -> int:
        """Start it unless it runs."""
        if self.process is None:
            type(self).process = process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / "webhook_app.py"), str(self.port)],
                cwd=self.folder,
                env={**os.environ, "WEBHOOK_SECRET": SECRET},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._await(process)
        return self.port

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "it didn't start"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)

    async def killService(self) -> None:
        """Kill it."""
        process = self.process
        type(self).process = None
        assert process is not None
        self._reap(process)

    async def releaseService(self) -> None:
        """It runs on."""

    async def received(self) -> list[bytes]:
        """What it has stored."""
        paths = (self.folder / "mail").glob("[!.]*")
        return [path.read_bytes() for path in paths]

    def makeStore(self, port: int) -> Any:
        """The store."""
        return Webhook(
            f"http://127.0.0.1:{port}/mail",
            SECRET,
            allowPrivate=True,
            deadline=self.deadline,
            backOff=BackOff(reactor, first=0.01, most=0.1),
        )

    async def test_wrongSecret(self) -> None:
        """A request that isn't signed with the program's secret stores nothing."""
        self.makeStore = lambda port: Webhook(  # type: ignore[method-assign]
            f"http://127.0.0.1:{port}/mail", "another secret, long enough", allowPrivate=True
        )
        await self.renew()
        before = len(await self.received())
        (reply,) = await self.send()
        self.assertEqual(reply.code, 550)
        self.assertEqual(len(await self.received()), before)

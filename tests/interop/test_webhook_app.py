"""The webhook and the program of its how-to, in a process of its own: all that must be true."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.stores.suite import CoreSuite
from tests.support.examples import EXAMPLES
from tests.support.services import PATIENCE, freePort, isListening, until
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.stores.webhook import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class App:
    """
    The program.

    :ivar port: where it listens.
    :ivar folder: where it stores.
    """

    def __init__(self) -> None:
        self.port = freePort()
        self.folder = Path(tempfile.mkdtemp(prefix="webhook-"))
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it unless it runs."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / "webhook_app.py"), str(self.port)],
                cwd=self.folder,
                env={**os.environ, "WEBHOOK_SECRET": SECRET},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            until(lambda: isListening(self.port), "the program doesn't start")

    def kill(self) -> None:
        """Kill it."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait(PATIENCE)

    def remove(self) -> None:
        """Kill it if need be, and remove what it wrote."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder)


@functools.cache
def makeApp() -> App:
    """Make it once; it ends with the process. (Trial doesn't know ``setUpClass``.)"""
    app = App()
    atexit.register(app.remove)
    return app


class AppTests(CoreSuite, TestCase):
    """A program that was written from the documentation, with Flask."""

    deadline = 1.5
    refused = "nobody@store.example"
    cuts = 4
    #: A spool keeps up to 1 MiB in memory.
    memoryBound = 8 * 2**20

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """One program for all tests."""
        self.app = makeApp()
        await super().setUp()

    async def startService(self) -> int:
        """Start it unless it runs."""
        self.app.begin()
        return self.app.port

    async def killService(self) -> None:
        """Kill it."""
        self.app.kill()

    async def releaseService(self) -> None:
        """It runs on."""

    async def received(self) -> list[bytes]:
        """What it has stored."""
        paths = (self.app.folder / "mail").glob("[!.]*")
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

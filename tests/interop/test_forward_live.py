"""``twistd smtpserver --forward``, as an operator runs and stops it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.stores.forward.nexthop import NextHop
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import isListening
from tests.support.smtpclient import connect

MESSAGE = b"Subject: hello\r\n\r\ntext\r\n"


class SlowHop(NextHop):
    """Confirms a message when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.got: Deferred[None] = Deferred()
        self.confirm: Deferred[None] = Deferred()

    async def onData(self, stream: Any, session: Any) -> Any:
        """Take it; confirm it later."""
        result = await super().onData(stream, session)
        self.got.callback(None)
        await self.confirm
        return result


class StopTests(TestCase):
    timeout = 60.0

    async def test_sigterm(self) -> None:
        """SIGTERM waits for a message whose confirmation is on its way: it gets its 250."""
        hop = SlowHop()
        url = f"smtp://127.0.0.1:{hop.start()}"
        self.addCleanup(hop.kill)
        folder = Path(self.mktemp())
        server = await deferToThread(LiveServer, folder, "--forward", url)
        self.addCleanup(server.__exit__)
        client = await connect(reactor, server.port)
        sending = Deferred.fromCoroutine(client.deliver(MESSAGE, "ann@store.example"))
        await hop.got
        server.process.send_signal(signal.SIGTERM)
        for _ in range(500):
            if not isListening(server.port):
                break
            await deferLater(reactor, 0.02)
        else:
            self.fail("it doesn't stop")
        self.assertFalse(sending.called)
        hop.confirm.callback(None)
        (reply,) = await sending
        self.assertEqual(reply.code, 250)
        rest, _ = await deferToThread(server.process.communicate, timeout=PATIENCE)
        self.assertEqual(server.process.returncode, -signal.SIGTERM)  # as twistd ends by it
        self.assertIn(f"<Forward to {url}>: reached {url}", server.log + rest.decode())
        self.assertEqual(len(hop.kept), 1)

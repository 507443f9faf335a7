"""The examples of the how-tos on PostgreSQL and Redis do what the pages say."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.stores.postgres.test_consumer import ConsumerCase
from tests.support.examples import EXAMPLES, load
from tests.support.liveserver import PATIENCE
from tests.support.services import until


class ConsumeTests(ConsumerCase):
    def test_consume(self) -> None:
        """The short consumer writes each message into a file."""
        self.put("hello")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "consume.py"), self.dsn],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent.parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: "done 1" in self.status(), "nothing is done")
        finally:
            process.kill()
            output, _ = process.communicate(timeout=PATIENCE)
        self.assertIn("about hello", output)
        (path,) = folder.glob("*.eml")
        self.assertTrue(path.read_bytes().startswith(b"Subject: hello\r\n"))

    def test_consumeAsync(self) -> None:
        """The one with asyncio handles several; one that fails is kept for later."""
        self.put("a", "b", "c")
        module: Any = load("consume_async")
        with redirect_stdout(StringIO()) as output:
            asyncio.run(module.main(self.dsn, wait=False))
        self.assertEqual(output.getvalue().count("octets"), 3)

        async def fail(mail: object) -> None:
            raise ValueError("not today")

        self.put("d")
        module.handle = fail
        asyncio.run(module.main(self.dsn, wait=False))
        self.assertEqual(self.status(), "waiting 1\ndead 0\ndone 3\n")


class TogetherTests(SynchronousTestCase):
    def test_together(self) -> None:
        """The server's limits, its greylist and its options have the same state."""
        factory = load("together").makeFactory("redis://127.0.0.1:1", self.mktemp())
        state = factory.options.state
        self.assertEqual(repr(state), "<RedisState 127.0.0.1:1/0>")
        _, chain = factory.handler.stages
        self.assertEqual([stage._state for stage in chain.stages[:2]], [state, state])

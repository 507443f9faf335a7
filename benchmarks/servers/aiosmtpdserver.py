"""aiosmtpd, with a handler that counts."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import ssl
from typing import Any

from benchmarks.servers.counting import Counts, listening

# By name: it may not be installed where types are checked.
_smtp: Any = importlib.import_module("aiosmtpd.smtp")


class _Reading:
    def __init__(self) -> None:
        self.counts = Counts()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.counts.add(len(envelope.content))
        return "250 2.0.0 Accepted"


async def serve(context: ssl.SSLContext | None) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    handler = _Reading()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(
        lambda: _smtp.SMTP(handler, hostname="localhost", tls_context=context, loop=loop),
        "127.0.0.1",
        0,
        backlog=511,
    )
    listening(server.sockets[0].getsockname()[1], "aiosmtpd")
    await stopped.wait()
    handler.counts.report()


def main() -> None:
    """Read the flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    given = parser.parse_args()
    context = None
    if given.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.certificate, given.key)
    asyncio.run(serve(context))


if __name__ == "__main__":
    main()

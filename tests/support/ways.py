"""
The ways through the code that are worth knowing, traced: ``python -m tests.support.ways`` prints
``docs/ways.txt``.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import twisted_smtpserver
from twisted_smtpserver import Rejection
from twisted_smtpserver.testing import Client, MemoryTransport, connect, makeFactory

#: Where our functions are.
PACKAGE = os.path.dirname(twisted_smtpserver.__file__) + os.sep

#: A file, and which of its functions are called one after the other.
Stop = tuple[str, list[str]]


def trace(step: Callable[[], object]) -> list[Stop]:
    """The files that a step comes through, in order, and their functions."""
    stops: list[Stop] = []

    def called(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        isOurs = code.co_filename.startswith(PACKAGE) and "testing" not in code.co_filename
        if event != "call" or not isOurs or code.co_name[0] == "<":
            return
        file = code.co_filename.removeprefix(PACKAGE)
        if not stops or stops[-1][0] != file:
            stops.append((file, []))
        if code.co_name not in stops[-1][1]:
            stops[-1][1].append(code.co_name)

    gc.collect()
    gc.disable()  # what other tests have left isn't on the way
    sys.setprofile(called)
    try:
        step()
    finally:
        sys.setprofile(None)
        gc.enable()
    return stops


class _Handler:
    """Reads messages, lets nobody log in, and refuses one recipient."""

    def onMailFrom(self, address: object, session: object) -> None:
        """Accept."""

    def onRcptTo(self, address: Any, session: object) -> None:
        """Refuse one."""
        if address.local == "nobody":
            raise Rejection("Nobody is here")

    async def onData(self, stream: Any, session: object) -> None:
        """Read."""
        async for _ in stream:
            pass


def _client(*lines: str, **options: Any) -> Client:
    client = connect(_Handler(), **options)
    for line in ("EHLO client.example", *lines):
        assert client.say(line).code < 400
    return client


def _received(client: Client, octets: bytes) -> list[Stop]:
    receive = client.protocol.dataReceived
    return trace(lambda: receive(octets))


def _connection() -> list[Stop]:
    factory = makeFactory(_Handler())
    transport = MemoryTransport()

    def arrive() -> None:
        protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)

    return trace(arrive)


def _login() -> list[Stop]:
    handler: Any = _Handler()
    handler.onAuth = lambda credentials, session: None
    client = connect(handler, allowInsecureAuth=True)
    client.say("EHLO client.example")
    return _received(client, b"AUTH PLAIN AGpvZQBqb2U=\r\n")


#: By name: the way, and how many changes of file it may have at most.
WAYS: dict[str, tuple[Callable[[], list[Stop]], int]] = {
    "One command: MAIL": (
        lambda: _received(_client(), b"MAIL FROM:<joe@example.org>\r\n"),
        10,
    ),
    "One piece of content": (
        lambda: _received(
            _client("MAIL FROM:<>", "RCPT TO:<jane@example.com>", "DATA"), b"x" * 99 + b"\r\n"
        ),
        17,
    ),
    "One refusal: RCPT": (
        lambda: _received(_client("MAIL FROM:<>"), b"RCPT TO:<nobody@example.com>\r\n"),
        19,
    ),
    "One login, with a wrong password": (_login, 25),
    "One connection, until it is greeted": (_connection, 18),
}


def describe() -> str:
    """All ways, as the documentation shows them."""
    lines = []
    for name, (way, _) in WAYS.items():
        way()  # what only the first time costs doesn't count
        stops = way()
        lines += [f"{name} ({len(stops) - 1} changes of file)", ""]
        lines += [f"  {file:28}{', '.join(functions)}" for file, functions in stops]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(describe())

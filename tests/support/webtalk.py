"""A browser in memory, which talks to the inbox's page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_smtpserver.inbox import Inbox
from twisted_smtpserver.inbox.store import MessageStore
from twisted_smtpserver.testing import connect, runInline

HOST = "127.0.0.1:8025"


@dataclass
class WebAnswer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


def openInbox(
    runInThread: Any = runInline, maxMessages: int = 100, maxOctets: int = 2**20, **options: Any
) -> Inbox:
    """An inbox in memory that is open, though no port is."""
    inbox = Inbox(reactor=Clock(), runInThread=runInThread, **options)
    inbox.desk.store = MessageStore(maxMessages=maxMessages, maxOctets=maxOctets, clock=_Ticks())
    return inbox


class _Ticks:
    """A clock that goes on a second whenever somebody looks, from 2026-11-21, 12:00 UTC, on."""

    def __init__(self) -> None:
        self._now = 1795262400.0

    def __call__(self) -> float:
        self._now += 1
        return self._now


def connectWeb(inbox: Inbox) -> tuple[Any, StringTransport]:
    """A connection to the page."""
    transport = StringTransport()
    protocol: Any = inbox.site.buildProtocol(transport.getPeer())
    if protocol is not None:
        protocol.makeConnection(transport)
    return protocol, transport


def ask(inbox: Inbox, method: str, path: str, body: Any = b"", **headers: str) -> WebAnswer:
    """Make one request; underscores in the names of headers are hyphens."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Host": HOST, "Content-Length": str(len(octets)), "Connection": "close"} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
    protocol, transport = connectWeb(inbox)
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    protocol.dataReceived(head.encode("latin-1") + octets)
    inbox.site.clock.advance(0)
    return parseAnswer(transport.value())


def parseAnswer(octets: bytes) -> WebAnswer:
    """Read a response."""
    head, _, body = octets.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return WebAnswer(int(status.split()[1]), headers, body)


def get(inbox: Inbox, path: str, **headers: str) -> WebAnswer:
    """GET a path."""
    return ask(inbox, "GET", path, **headers)


def deliver(inbox: Inbox, message: bytes, *recipients: str) -> str:
    """
    Send a message by SMTP.

    :returns: its id in the inbox.
    """
    content = message.replace(b"\n", b"\r\n")
    client = connect(inbox.handler)
    answer = client.deliver(content, "ann@example.org", *(recipients or ("bob@example.net",)))
    assert answer.code == 250, answer
    return answer.text.rpartition(" ")[2]


def rawOf(inbox: Inbox, identifier: str = "latest") -> bytes:
    """A message as it is in the inbox."""
    contents, octets = inbox.desk.store.contents, b""
    content = contents.raw(identifier)
    while content is not None and len(octets) < content.size:
        octets += contents.piece(content, len(octets))
    return octets


def takeTurn(clock: Clock) -> None:
    """What a reactor calls in one turn: not what it is asked for meanwhile, as a clock does."""
    due: Any = [call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]
    for call in due:
        if call.active():
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

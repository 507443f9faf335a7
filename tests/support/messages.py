"""Handlers and clients for tests about a message on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.talk import talk
from twisted_smtpserver import (
    Rejection,
)
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler

MESSAGE = b"Subject: test\r\n\r\n..dots\r\n.\r\n"
CONTENT = b"Subject: test\r\n\r\n.dots\r\n"


class Handler(RecordingHandler):
    """
    Runs what it is given for ``onData``.

    :ivar stream: the last message's stream.
    """

    stream: Any = None

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body

    def onData(self, stream: Any, session: Session) -> Any:
        """Run it."""
        self.stream = stream
        return self.body(stream)


def sender(body: Callable[..., Any], **options: Any) -> Client:
    """A client that is about to say DATA."""
    return talk(Phase.RCPT, Handler(body), **options)


def handlerOf(client: Client) -> Any:
    """The server's handler."""
    return client.factory.handler


def outcomes(client: Client) -> list[str]:
    """How the transactions ended."""
    found: list[str] = handlerOf(client).outcomes
    return found


def readLate(gate: Deferred[None]) -> Callable[[Any], Any]:
    """An ``onData`` that waits before it reads."""

    async def onData(stream: Any) -> str:
        await gate
        await stream.read()
        return "read"

    return onData


def refusing(error: Exception) -> Callable[..., Any]:
    """A hook that raises."""

    def hook(*arguments: Any) -> None:
        raise error

    return hook


async def readAll(stream: Any) -> None:
    """The simplest ``onData``."""
    await stream.read()


async def catchAll(stream: Any) -> str:
    """An ``onData`` that claims success whatever happened."""
    try:
        async for _ in stream:
            pass
    except Exception:
        return "accepted nevertheless"
    return "accepted"


async def failOtherwise(stream: Any) -> None:
    """An ``onData`` that refuses in its own words."""
    try:
        await stream.read()
    except Rejection as error:
        raise Rejection("my own words", 554) from error


BODIES: dict[str, Callable[[Any], Any]] = {
    "reads": readAll,
    "catches": catchAll,
    "returns": lambda stream: "accepted",
    "iterates": lambda stream: Deferred.fromCoroutine(catchAll(stream)),
    "parses": lambda stream: stream.message().addCallback(lambda message: None),
    "parses all": lambda stream: stream.parsed().addCallback(lambda message: None),
}

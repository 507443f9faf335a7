"""Short ways to say things to a server in memory."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel

from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Answer, Client, connect

HELLO = "EHLO client.example"
MAIL = "MAIL FROM:<joe@example.org>"
RCPT = "RCPT TO:<jane@example.com>"

#: What brings a client to each phase.
WAYS: dict[Phase, list[str]] = {
    Phase.GREETED: [],
    Phase.READY: [HELLO],
    Phase.MAIL: [HELLO, MAIL],
    Phase.RCPT: [HELLO, MAIL, RCPT],
    Phase.DATA: [HELLO, MAIL, RCPT, "DATA"],
    Phase.CHUNKS: [HELLO, MAIL, RCPT, "BDAT 0"],
}


def walk(client: Client, phase: Phase, hello: str = HELLO) -> Client:
    """Bring a new client to a phase."""
    for line in WAYS[phase]:
        answer = client.say(hello if line == HELLO else line)
        assert answer.code < 400, answer
    assert client.protocol.dialogue.phase is phase
    return client


def talk(phase: Phase, handler: object = None, **keywords: Any) -> Client:
    """Connect a client, and bring it to a phase."""
    hello = "LHLO client.example" if keywords.get("lmtp") else HELLO
    return walk(connect(handler, **keywords), phase, hello)


def codes(answers: Iterable[Answer]) -> list[int]:
    """The reply codes."""
    return [answer.code for answer in answers]


def brief(answer: Answer) -> tuple[int, str | None]:
    """Code and enhanced code."""
    return answer.code, answer.enhanced


def sayScram(client: Client, password: str = "sesame", name: str = "joe") -> Answer:
    """
    Log in by SCRAM-SHA-256.

    :returns: the answer to the client's proof; the last step is an empty line.
    """
    bare = f"n={name},r=clientnonce"
    first = base64.b64encode(f"n,,{bare}".encode()).decode()
    server = base64.b64decode(client.say(f"AUTH SCRAM-SHA-256 {first}").text).decode()
    nonce, salt, iterations = (part[2:] for part in server.split(","))
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    clientKey = hmac.digest(key, b"Client Key", "sha256")
    final = f"c=biws,r={nonce}"
    storedKey = hashlib.sha256(clientKey).digest()
    signature = hmac.digest(storedKey, f"{bare},{server},{final}".encode(), "sha256")
    proof = bytes(a ^ b for a, b in zip(clientKey, signature, strict=True))
    said = f"{final},p={base64.b64encode(proof).decode()}"
    return client.say(base64.b64encode(said.encode()).decode())


class Log:
    """
    A server's log: ``connect(logger=log.logger)``.

    :ivar events: the events.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        observer: Any = self.events.append
        self.logger = Logger(namespace="test", observer=observer)

    def of(self, name: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        return [event for event in self.events if event["event"] == name]

    @property
    def lines(self) -> list[str]:
        """The events as an observer writes them, tracebacks included."""
        return [
            event["log_format"].format(**event)
            + ("\n" + event["log_failure"].getTraceback() if "log_failure" in event else "")
            for event in self.events
        ]

    @property
    def levels(self) -> set[LogLevel]:
        """The levels of the events."""
        return {event["log_level"] for event in self.events}


class Later:
    """
    A hook that answers when it is told to.

    :ivar calls: what it was called with.
    :ivar answers: its Deferreds, in order.
    :ivar canceled: how many of them were canceled.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: list[Deferred[Any]] = []
        self.canceled = 0

    def __call__(self, *arguments: Any) -> Deferred[Any]:
        self.calls.append(arguments)
        self.answers.append(Deferred(self._cancel))
        return self.answers[-1]

    def _cancel(self, answer: Deferred[Any]) -> None:
        self.canceled += 1

    def answer(self, result: Any = None) -> None:
        """Fire the Deferred given out last."""
        self.answers[-1].callback(result)

    def fail(self, error: Exception) -> None:
        """Let it fail."""
        self.answers[-1].errback(error)

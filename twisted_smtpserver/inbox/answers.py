"""What the web side is asked, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import quote

from twisted.web.http import Request

from twisted_smtpserver.inbox.contents import Content

#: The largest JSON that is read in the reactor's thread, in octets: the ids of 10,000 messages.
MAX_JSON = 256 * 1024

#: The most values in it.
MAX_VALUES = 20_000

#: From how many octets on an answer waits in a temporary file for who asked.
MAX_WAITING = 128 * 1024

#: The policy for content that isn't ours: nothing runs or is loaded, and its origin is its own.
DEAD = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"

_TEXT = "text/plain; charset=utf-8"

#: The types that browsers may show instead of saving. None can run code; DEAD is sent along.
_SHOWN = {
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
    *("text/plain", "application/pdf"),
}


class Problem(Exception):
    """
    The request can't be answered.

    :param status: the status code.
    :param text: what to tell; nothing of the request is in it.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


@dataclass(frozen=True)
class Answer:
    """
    A response.

    :ivar content: what is sent instead of the body, in pieces.
    :ivar file: what is sent instead of it if it is large; as many octets as ``length`` says.
    """

    body: bytes
    contentType: str = _TEXT
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: Content | None = None
    file: IO[bytes] | None = None
    length: int = 0


@dataclass(frozen=True)
class Question:
    """
    A request that got through the gate.

    :ivar path: the pieces of the path that the route leaves open.
    """

    request: Request
    path: dict[str, str]

    def text(self, name: str, default: str = "") -> str:
        """
        A parameter of the query.

        :param name: its name.
        :param default: what it is if it isn't there.
        """
        values = self.request.args.get(name.encode("ascii"))
        return values[0].decode("utf-8", "replace") if values else default

    def number(self, name: str, default: int) -> int:
        """
        A parameter that is a whole number; the default if it is none.

        :param name: its name.
        :param default: what it is if it isn't there.
        """
        text = self.text(name)
        isNumber = len(text) <= 9 and text.isascii() and text.isdigit()
        return int(text) if isNumber else default

    def body(self) -> bytes:
        """The request's body."""
        content = self.request.content
        return b"" if content is None else content.read()

    def json(self) -> dict[str, Any]:
        """
        The request's body, a small JSON object; an empty one if there is no body.

        :raises Problem: if it isn't.
        """
        octets = self.body()
        if len(octets) > MAX_JSON:
            raise Problem(413, f"The body is larger than {MAX_JSON} octets")
        if octets.count(b",") >= MAX_VALUES:
            raise Problem(413, f"The body has more than {MAX_VALUES} values")
        return readJSON(octets)


#: ``None``: the responder writes the answer itself.
Responder = Callable[[Question], Answer | Awaitable[Answer | None] | None]


def readJSON(octets: bytes) -> dict[str, Any]:
    """
    Read a JSON object.

    :param octets: the object, or nothing for an empty one.
    :raises Problem: if it is anything else.
    """
    try:
        value = json.loads(octets or b"{}")
    except (ValueError, RecursionError):
        raise Problem(400, "The body isn't JSON") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Problem(400, "The body isn't a JSON object")
    return value


def inJSON(value: Any) -> Answer:
    """
    Answer with JSON.

    :param value: what can be written so.
    """
    return Answer(json.dumps(value).encode("ascii"), "application/json")


def putAside(answer: Answer) -> Answer:
    """
    Write a large answer to a temporary file, in a thread: not everybody takes it at once.

    :param answer: the answer.
    :returns: the same if it is small.
    """
    if len(answer.body) <= MAX_WAITING:
        return answer
    file = TemporaryFile()  # noqa: SIM115  # it is closed when it was sent
    file.write(answer.body)
    file.flush()
    return replace(answer, body=b"", file=file, length=len(answer.body))


def inText(text: str, status: int = 200) -> Answer:
    """
    Answer with text.

    :param text: the text.
    :param status: the status code.
    """
    return Answer(text.encode("utf-8", "replace"), status=status)


OK = inText("ok")


def asFile(content: Content, save: bool) -> Answer:
    """
    Answer with somebody else's octets, in a way that does no harm.

    :param content: what to send.
    :param save: whether a browser should save what it could show.
    """
    isShown = content.contentType in _SHOWN and not save
    disposition = "inline" if isShown else "attachment"
    name = quote(content.fileName or "attachment", safe="")
    kind = content.contentType
    return Answer(
        b"",
        f"{kind}; charset=utf-8" if kind == "text/plain" else kind,
        headers={
            "Content-Disposition": f"{disposition}; filename*=UTF-8''{name}",
            "Content-Security-Policy": DEAD,
        },
        content=content,
    )

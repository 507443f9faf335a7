"""The web side: one resource. It asks the gate, then the routes, and writes the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.resources import files
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import UNAUTHORIZED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twisted_smtpserver.inbox.answers import Answer, Problem, Question, inText
from twisted_smtpserver.inbox.api import API
from twisted_smtpserver.inbox.deadline import SEARCH_TIME, SearchTooLong
from twisted_smtpserver.inbox.desk import Desk
from twisted_smtpserver.inbox.gate import Gate
from twisted_smtpserver.inbox.routes import Routes, Table
from twisted_smtpserver.inbox.send import MAX_BODY
from twisted_smtpserver.web.bounded import BoundedConnections, BoundedRequest, QuietSite
from twisted_smtpserver.web.pieces import PIECE, writePieces

_log = Logger()

#: How many connections there may be; a browser makes six.
MAX_CONNECTIONS = 128

#: How long a connection may be idle, in seconds.
IDLE_TIME = 60

#: The delay of the answer to a wrong password, in seconds.
FAILURE_DELAY = 1

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'"
)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class InboxRequest(BoundedRequest):
    """A request with a body for the API."""

    mostOctets = MAX_BODY


class InboxResource(Resource):
    """
    Answers everything.

    :param desk: the inbox.
    :param gate: decides which requests are allowed.
    """

    isLeaf = True

    def __init__(self, desk: Desk, gate: Gate) -> None:
        super().__init__()
        self._desk = desk
        self._gate = gate
        self._routes = Routes(API(desk).table | self._table() | _staticTable())

    def _table(self) -> Table:
        return {
            "/api/events": {"GET": self._events},
            "/livez": {"GET": lambda question: inText("ok")},
            "/readyz": {"GET": self._ready},
        }

    async def _ready(self, question: Question) -> Answer:
        await self._desk.run(self._desk.store.counts)
        return inText("ok")

    def _events(self, question: Question) -> None:
        if self._desk.events.isFull:
            raise Problem(503, "Too many pages listen already")
        _writeHeaders(question.request, Answer(b"", "text/event-stream"))
        self._desk.events.add(question.request)

    def render(self, request: Any) -> int:
        """
        Answer a request, sooner or later.

        :param request: it.
        """
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(_failed)
        answering.addCallback(self._write, request)
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> Answer | None:
        path = request.path.decode("ascii", "replace")
        try:
            self._gate.check(request, path)
        except Problem as problem:
            if problem.status == UNAUTHORIZED and request.getHeader("authorization"):
                await self._desk.later(FAILURE_DELAY)  # who tries passwords shouldn't try many
            raise
        responder, gaps = self._routes.find(request.method.decode("ascii", "replace"), path)
        result = responder(Question(request, gaps))
        return result if result is None or isinstance(result, Answer) else await result

    def _write(self, answer: Answer | None, request: Any) -> None:
        if answer is None:  # somebody else writes
            return
        length, read = self._source(answer)
        _writeHeaders(request, answer)
        request.setHeader("Content-Length", str(length))
        writing = writePieces(request, length, read)
        if answer.file is not None:
            writing.addBoth(lambda _, file: file.close(), answer.file)

    def _source(self, answer: Answer) -> tuple[int, Callable[[int], bytes | Deferred[bytes]]]:
        """An answer's length, and what reads its pieces."""
        body, content, file = answer.body, answer.content, answer.file
        if content is not None:
            return content.size, partial(self._desk.piece, content)
        if file is not None:
            return answer.length, partial(self._desk.run, _readAt, file)
        return len(body), lambda position: body[position : position + PIECE]


def _readAt(file: IO[bytes], position: int) -> bytes:
    file.seek(position)
    return file.read(PIECE)


def _failed(failure: Failure) -> Answer | None:
    """Describe the problem; for a bug, say only that there is one."""
    problem = failure.value
    if isinstance(problem, CancelledError):  # the browser has left
        return None
    if isinstance(problem, Problem):
        answer = inText(problem.text + "\n", problem.status)
        answer.headers.update(problem.headers)
        return answer
    if isinstance(problem, SearchTooLong):
        return inText(f"The search was ended: it took more than {SEARCH_TIME} seconds\n", 503)
    _log.failure("The inbox's page failed", failure)
    return inText("Something went wrong; the server's log says what\n", 500)


def _writeHeaders(request: Any, answer: Answer) -> None:
    request.setResponseCode(answer.status)
    request.responseHeaders.removeHeader("Server")
    for name, value in (_HEADERS | answer.headers).items():
        request.setHeader(name, value)
    request.setHeader("Content-Type", answer.contentType)


def _staticTable() -> Table:
    """The page's own files; they are read once."""
    table: Table = {}
    for file in files("twisted_smtpserver.inbox").joinpath("static").iterdir():
        kind = _KINDS[file.name.rpartition(".")[2]]
        answer = Answer(file.read_bytes(), kind, headers={"Content-Security-Policy": _POLICY})
        table[f"/static/{file.name}"] = {"GET": partial(_same, answer)}
    page = table.pop("/static/index.html")
    return table | {"/": page, "/search": page, "/view/{id}": page}


def _same(answer: Answer, question: Question) -> Answer:
    return answer


def makeSite(
    desk: Desk, hosts: Iterable[str], password: str | None, reactor: Any
) -> BoundedConnections:
    """
    Make the web server.

    :param desk: the inbox.
    :param hosts: as for :class:`~twisted_smtpserver.inbox.gate.Gate`.
    :param password: as for that class.
    :param reactor: for its timeouts.
    """
    resource = InboxResource(desk, Gate(hosts, password))
    site = QuietSite(resource, requestFactory=InboxRequest, timeout=IDLE_TIME, reactor=reactor)
    return BoundedConnections(site, MAX_CONNECTIONS)

"""Pages for those who watch a server: ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.metrics.readiness import Readiness
from twisted_smtpserver.web.bounded import BoundedConnections, BoundedRequest, QuietSite

#: How many connections there may be; a scraper makes one.
MAX_CONNECTIONS = 32

#: A connection on which nothing happens is closed, in seconds.
IDLE_TIME = 30

_TEXT = "text/plain; charset=utf-8"

#: A status, a content type and a body.
Answer = tuple[int, str, bytes]


def needPrometheus() -> Any:
    """
    Import what needs prometheus-client.

    :returns: the module :mod:`~twisted_smtpserver.metrics.exposition`.
    :raises ConfigurationError: if it isn't installed; the text says how to.
    """
    try:
        from twisted_smtpserver.metrics import exposition
    except ImportError as error:
        raise ConfigurationError(
            f'metrics: {error}: pip install "twisted-smtpserver[metrics]"'
        ) from None
    return exposition


class _Page(Resource):
    """
    A page that answers GET and HEAD.

    :param answer: makes the answer.
    """

    isLeaf = True

    def __init__(self, answer: Callable[[], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Any) -> bytes:
        """
        Answer a request.

        :param request: it.
        """
        return respond(request, self._answer)


def respond(request: Any, answer: Callable[[], Answer]) -> bytes:
    """
    Answer a request.

    :param request: it.
    :param answer: makes the answer.
    :returns: its body.
    """
    status, kind, body = answer()
    if request.method not in (b"GET", b"HEAD"):
        status, kind, body = 405, _TEXT, b"GET and HEAD are all there is\n"
        request.setHeader("Allow", "GET, HEAD")
    request.setResponseCode(status)
    request.responseHeaders.removeHeader("Server")
    request.setHeader("Content-Type", kind)
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")
    request.setHeader("Content-Length", str(len(body)))
    return b"" if request.method == b"HEAD" else body


class MetricsResource(_Page):
    """
    ``/metrics`` for a site of yours::

        root.putChild(b"metrics", MetricsResource(metrics))

    The page is made at most once a second, however often it is asked for.

    :param collectors: what has figures: :class:`Metrics`, and other collectors of
        prometheus-client's.
    :param reactor: by default the reactor.
    :raises ConfigurationError: if prometheus-client isn't installed.
    """

    def __init__(self, *collectors: Any, reactor: Any = None) -> None:
        exposition = needPrometheus()
        clock = theReactor() if reactor is None else reactor
        page = exposition.Page([*collectors, exposition.Build()], clock)
        super().__init__(lambda: (200, exposition.CONTENT_TYPE, page.read()))


class HealthResource(_Page):
    """``/healthz``: the process is alive, and its reactor takes turns."""

    def __init__(self) -> None:
        super().__init__(lambda: (200, _TEXT, b"ok\n"))


class ReadyResource(_Page):
    """
    ``/readyz``: 200 if mail can be taken; else 503, and why.

    :param readiness: knows.
    """

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(self._look)
        self._readiness = readiness

    def _look(self) -> Answer:
        problems = self._readiness.problems()
        if not problems:
            return 200, _TEXT, b"ok\n"
        return 503, _TEXT, "".join(f"{each}\n" for each in problems).encode()


class _Root(Resource):
    """Finds the page, and says nothing of what was asked for."""

    isLeaf = True

    def __init__(self, pages: dict[bytes, Resource]) -> None:
        super().__init__()
        self._pages = pages

    def render(self, request: Any) -> Any:
        page = self._pages.get(request.path)
        if page is not None:
            return page.render(request)
        return respond(request, lambda: (404, _TEXT, b"/metrics, /healthz, /readyz\n"))


def makeSite(pages: dict[bytes, Resource], reactor: Any) -> BoundedConnections:
    """
    Make a web server of a few pages, within bounds.

    :param pages: by their paths.
    :param reactor: for its timeouts.
    """
    site: Site = QuietSite(
        _Root(pages), requestFactory=BoundedRequest, timeout=IDLE_TIME, reactor=reactor
    )
    return BoundedConnections(site, MAX_CONNECTIONS)

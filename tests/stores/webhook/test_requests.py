"""HTTP requests, over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectError
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.webhook.body import Form
from twisted_smtpserver.stores.webhook.requests import MAX_ANSWER, Poster


class Answers(Resource):
    """Answers as it is told."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.status = 200
        self.answer = b"thanks"
        self.headers: dict[bytes, bytes] = {}
        self.isRude = False
        self.isEndless = False

    def render_POST(self, request: Any) -> Any:
        """(twisted.web's name.)"""
        self.seen.append(request)
        if self.isRude:
            request.transport.abortConnection()
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        if self.isEndless:
            request.write(self.answer)
            return NOT_DONE_YET
        return self.answer


class PosterTests(TestCase):
    timeout = 30.0

    def setUp(self) -> None:
        self.answers = Answers()
        site: Any = Site(self.answers)
        wrapping: Any = WrappingFactory(site)
        site.noisy = wrapping.noisy = False
        self.port: Any = reactor.listenTCP(0, wrapping, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.addCleanup(lambda: [each.transport.abortConnection() for each in wrapping.protocols])
        self.poster = self.makePoster()

    def makePoster(
        self, allowPrivate: bool = True, host: str = "127.0.0.1", timeout: float = 5
    ) -> Poster:
        url = f"http://{host}:{self.port.getHost().port}/hook?token=x"
        poster = Poster(reactor, url, allowPrivate, None, timeout)
        self.addCleanup(poster.close)
        return poster

    async def post(self, **headers: str) -> int:
        form = Form()
        form.add("a", b"b", "text/plain")
        return await self.poster.post(form, {name: [value] for name, value in headers.items()})

    async def test_post(self) -> None:
        """The form arrives, with the headers; the status comes back."""
        self.answers.status = 201
        self.assertEqual(await self.post(X="y"), 201)
        (request,) = self.answers.seen
        self.assertEqual(request.args[b"a"], [b"b"])
        self.assertEqual(request.getHeader("x"), "y")
        self.assertEqual(request.uri, b"/hook?token=x")

    async def test_noRedirect(self) -> None:
        """A redirect is an answer like others: it might lead to where we mustn't go."""
        self.answers.status = 302
        self.answers.headers = {b"location": b"http://127.0.0.1:1/"}
        self.assertEqual(await self.post(), 302)
        self.assertEqual(len(self.answers.seen), 1)

    async def test_noCookies(self) -> None:
        """A cookie isn't sent back."""
        self.answers.headers = {b"set-cookie": b"a=b"}
        await self.post()
        await self.post()
        self.assertIsNone(self.answers.seen[1].getHeader("cookie"))

    async def test_longAnswer(self) -> None:
        """Of an answer no more is read than a bound."""
        self.answers.answer = b"x" * (MAX_ANSWER * 20)
        self.assertEqual(await self.post(), 200)
        self.assertEqual(await self.post(), 200)

    async def test_endlessAnswer(self) -> None:
        """An answer that doesn't end isn't waited for; to close waits for no longer than that."""
        self.answers.isEndless = True
        self.poster = self.makePoster(timeout=0.2)
        self.assertEqual(await self.post(), 200)
        await self.poster.close()

    async def test_lost(self) -> None:
        """If the connection is lost, it is said how."""
        self.answers.isRude = True
        try:
            await self.post()
        except Unavailable as error:
            self.assertIn("Connection", str(error))
        else:
            self.fail("there is no answer")

    async def test_away(self) -> None:
        """If there is nobody, that is the error."""
        await self.port.stopListening()
        await self.assertFailure(self.posting(), ConnectError)

    async def test_private(self) -> None:
        """Private addresses, given as such or by name, are for those who allow them."""
        for host in ("127.0.0.1", "localhost"):
            self.poster = self.makePoster(allowPrivate=False, host=host)
            await self.assertFailure(self.posting(), Unavailable)
        self.assertEqual(self.answers.seen, [])

    def posting(self) -> Any:
        return ensureDeferred(self.post())

"""Webhooks, with a program in memory that answers by a status."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.filefakes import closedSpools
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.stores.base import BackOff, Unavailable
from twisted_smtpserver.stores.webhook import Webhook, handler
from twisted_smtpserver.testing import Answer, Client, connect, makeFactory

CONTENT = b"Subject: hello\r\n\r\ntext\r\n"
SECRET = "sixteen octets at least"


class Poster:
    """Stands in for the real one."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.posts: list[tuple[bytes, dict[str, list[str]]]] = []
        self.result: Any = 200
        self.isClosed = False

    async def post(self, form: Any, headers: dict[str, list[str]]) -> int:
        self.posts.append((b"".join([each async for each in form.chunks()]), headers))
        if isinstance(self.result, Exception):
            raise self.result
        if isinstance(self.result, Deferred):
            status: int = await self.result
            return status
        return int(self.result)

    def close(self) -> None:
        self.isClosed = True


class WebhookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(handler, "Poster", Poster)
        self.clock = Clock()
        self.make()

    def make(self, **options: Any) -> None:
        self.webhook = Webhook(
            "https://hook.example/mail?token=s3cret",
            SECRET,
            deadline=10,
            reactor=self.clock,
            backOff=BackOff(self.clock, first=1, draw=lambda: 1.0),
            **options,
        )
        self.poster: Any = self.webhook._poster

    def client(self) -> Client:
        return connect(makeFactory(self.webhook, reactor=self.clock))

    def deliver(self, content: bytes = CONTENT, *recipients: str) -> Answer:
        return self.client().deliver(content, "joe@x.example", *(recipients or ("ann@y.example",)))

    def reply(self, result: Any) -> str:
        self.poster.result = result
        answer = self.deliver()
        return f"{answer.code} {answer.enhanced}"

    def test_accepted(self) -> None:
        """The envelope and the message are posted; 2xx is 250 with the transaction's id."""
        answer = self.deliver(CONTENT, "ann@y.example", "ben@y.example")
        ((body, headers),) = self.poster.posts
        self.assertEqual(answer.code, 250)
        self.assertIn("Message stored as ", answer.text)
        self.assertIn(b'"rcptTo": ["ann@y.example", "ben@y.example"]', body)
        self.assertIn(b"Return-Path: <joe@x.example>\r\nReceived: from client.example", body)
        self.assertIn(b"\r\n" + CONTENT + b"\r\n--", body)
        self.assertEqual(headers["webhook-id"], headers["Idempotency-Key"])
        self.assertTrue(headers["webhook-signature"][0].startswith("v1,"))

    def test_statuses(self) -> None:
        """What becomes of each status."""
        for status in (200, 201, 204, 299):
            self.assertEqual(self.reply(status), "250 2.6.0")
        for status in (400, 403, 404, 410, 422, 499):
            self.assertEqual(self.reply(status), "550 5.7.1")
        self.assertEqual(self.reply(413), "552 5.3.4")
        for status in (100, 301, 302, 307, 401, 407, 408, 421, 425, 429, 500, 502, 503, 600):
            self.assertEqual(self.reply(status), "451 4.3.0")

    def test_idempotency(self) -> None:
        """The key is the same for the same message again, and for no other."""
        self.reply(503)
        self.reply(200)
        self.deliver(CONTENT + b"more\r\n")
        self.deliver(CONTENT, "ben@y.example")
        keys = [headers["Idempotency-Key"][0] for _, headers in self.poster.posts]
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(len(set(keys)), 3)

    def test_away(self) -> None:
        """If the program is away there is a pause; then it is tried again."""
        for error in (ConnectError(), Unavailable("lost"), DNSLookupError("no such name")):
            self.assertEqual(self.reply(error), "451 4.3.0")
            count = len(self.poster.posts)
            self.assertEqual(self.reply(200), "451 4.3.0")
            self.assertRaises(Unavailable, self.webhook.ready)
            self.assertEqual(len(self.poster.posts), count)
            self.clock.advance(1)
            self.webhook.ready()
            self.assertEqual(self.reply(200), "250 2.6.0")

    def begin(self, client: Client) -> None:
        for line in ("EHLO x", "MAIL FROM:<joe@x.example>", "RCPT TO:<ann@y.example>", "DATA"):
            client.say(line)
        client.send(CONTENT + b".\r\n")

    def test_deadline(self) -> None:
        """A request that takes too long is given up."""
        canceled: list[object] = []
        self.poster.result = Deferred(canceled.append)
        client = self.client()
        self.begin(client)
        self.assertIsNone(client.answer())
        self.clock.advance(10)
        answer = client.answer()
        assert answer is not None
        self.assertEqual(answer.code, 451)
        self.assertEqual(len(canceled), 1)

    def test_busy(self) -> None:
        """No more requests at a time than a bound; the next message waits, but not for ever."""
        self.make(maxRequests=1)
        first = self.poster.result = Deferred()
        clients = [self.client() for _ in range(3)]
        self.begin(clients[0])
        self.begin(clients[1])
        self.assertEqual(len(self.poster.posts), 1)
        self.clock.advance(9)
        self.poster.result = 200
        first.callback(200)
        self.assertEqual(len(self.poster.posts), 2)
        for client in clients[:2]:
            answer = client.answer()
            assert answer is not None
            self.assertEqual(answer.code, 250)
        self.poster.result = Deferred()
        self.begin(clients[2])
        late = self.client()
        self.begin(late)
        self.clock.advance(10)
        answer = late.answer()
        assert answer is not None
        self.assertEqual(answer.code, 451)

    def test_loop(self) -> None:
        """A message that goes in circles is refused, and not posted."""
        answer = self.deliver(b"Received: x\r\n" * 51 + CONTENT)
        self.assertEqual((answer.code, self.poster.posts), (554, []))

    def test_parsed(self) -> None:
        """On wish what is in the message is posted, too; not if it is large."""
        self.make(parsed=True)
        self.deliver(
            b"Subject: =?utf-8?q?=C3=BC?=\r\nContent-Type: image/png; name=a.png\r\n\r\noctets\r\n"
        )
        self.deliver(b"Content-Type: image/png\r\n\r\noctets\r\n")
        body = self.poster.posts[0][0]
        description = body.partition(b'name="parsed"')[2].split(b"\r\n")[3]
        self.assertEqual(json.loads(description)["subject"], "ü")
        self.assertIn(b'name="attachment0"; filename="a.png"', body)
        self.assertIn(b'name="attachment0"; filename="attachment0"', self.poster.posts[1][0])
        self.patch(handler, "MAX_PARSED", 10)
        self.deliver()
        self.assertNotIn(b'name="parsed"', self.poster.posts[-1][0])

    def test_spoolClosed(self) -> None:
        """The copy of the message is thrown away, whatever happens."""
        closed = closedSpools(self)
        self.reply(200)
        self.reply(500)
        self.assertEqual(len(closed), 2)

    def test_repr(self) -> None:
        """The log has the host only: a path may be a secret."""
        self.assertEqual(repr(self.webhook), "<Webhook https://hook.example>")
        webhook = Webhook("http://8.8.8.8:80/x", SECRET, reactor=self.clock)
        self.assertEqual(repr(webhook), "<Webhook http://8.8.8.8:80>")

    def test_close(self) -> None:
        """To close it closes the connections."""
        self.webhook.close()
        self.assertTrue(self.poster.isClosed)

    def test_wrong(self) -> None:
        """What can't work is refused, without telling what may be a secret."""
        for url, text in (
            ("hook.example", "must begin with https://"),
            ("ftp://hook.example", "must begin with https://"),
            ("https:///x", "must begin with https://"),
            ("https://hook:s3cret", "the URL isn't valid"),
            ("https://joe:s3cret@hook.example", "no login in the URL"),
            ("http://127.0.0.1/", "127.0.0.1 is private"),
            ("http://[::1]/", "give the host's name"),
            ("http://localhost:80/", "localhost is private"),
        ):
            error = self.assertRaises(ConfigurationError, Webhook, url, SECRET, reactor=self.clock)
            self.assertIn(text, str(error))
            self.assertNotIn("s3cret", str(error))
        error = self.assertRaises(ConfigurationError, Webhook, "https://x.example", "short")
        self.assertIn("16 octets", str(error))
        ca = self.mktemp()
        self.assertRaises(ConfigurationError, Webhook, "https://x.example", SECRET, ca=ca)

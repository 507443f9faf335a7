"""The web server below the API."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import HOST, ask, connectWeb, deliver, get, openInbox, parseAnswer
from twisted_smtpserver.inbox import api, site
from twisted_smtpserver.inbox.answers import Answer, putAside
from twisted_smtpserver.inbox.contents import PIECE
from twisted_smtpserver.inbox.send import MAX_BODY


class RouteTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        """A path that isn't there, and a method that a path doesn't have."""
        inbox = openInbox()
        for path in ("/nothing", "/static/../api.py", "/static/%2e%2e/api.py", "/view/a/b/c", "//"):
            self.assertEqual(get(inbox, path).status, 404, path)
        answer = ask(inbox, "POST", "/api/v1/messages")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, PUT, DELETE"))
        self.assertEqual(ask(inbox, "BREW", "/").status, 405)

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        answer = ask(openInbox(), "HEAD", "/livez")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["Content-Length"], "2")

    def test_page(self) -> None:
        """The page is at its addresses, whole, with a policy that lets only its own files run."""
        inbox = openInbox()
        page = get(inbox, "/")
        policy = page.headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'; script-src 'self';", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        for path in ("/search?q=x", "/view/0123456789"):
            self.assertEqual(get(inbox, path).body, page.body)

    def test_secrecy(self) -> None:
        """Nothing tells what serves it, and nothing is kept by caches or given to sniffers."""
        headers = get(openInbox(), "/").headers
        self.assertNotIn("Server", headers)
        self.assertEqual(headers["Cache-Control"], "no-store")
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Referrer-Policy"], "no-referrer")


class FailureTests(SynchronousTestCase):
    def test_bug(self) -> None:
        """Of a bug the browser learns that there is one, and the log which."""
        inbox = openInbox(runInThread=lambda *_: fail(ZeroDivisionError("secret")))
        answer = get(inbox, "/readyz")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gone(self) -> None:
        """A browser that leaves takes its question along."""
        canceled: list[Any] = []
        waiting: Deferred[Any] = Deferred(canceled.append)
        inbox = openInbox(runInThread=lambda *_: waiting)
        protocol, transport = connectWeb(inbox)
        protocol.dataReceived(f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        inbox.site.clock.advance(0)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(canceled, [waiting])
        self.assertEqual(transport.value(), b"")


class LargeTests(SynchronousTestCase):
    """A download of several pieces."""

    def setUp(self) -> None:
        self.inbox = openInbox(maxOctets=2**23)
        self.content = b"\n" + b"x\n" * PIECE
        deliver(self.inbox, self.content)
        self.protocol, transport = connectWeb(self.inbox)
        self.transport: Any = transport
        self.sizes: list[int] = []
        write = self.transport.write

        def counted(octets: bytes) -> None:
            self.sizes.append(len(octets))
            write(octets)
            if len(octets) == PIECE:
                self.transport.producer.pauseProducing()

        self.patch(self.transport, "write", counted)
        line = "GET /api/v1/message/latest/raw HTTP/1.1"
        self.protocol.dataReceived(f"{line}\r\nHost: {HOST}\r\n\r\n".encode())
        self.inbox.site.clock.advance(0)

    def test_pace(self) -> None:
        """It is read and written in pieces, as the browser takes them."""
        for pieces in (1, 2, 3):
            self.assertEqual(self.sizes.count(PIECE), pieces)
            self.transport.producer.resumeProducing()
        self.assertEqual(max(self.sizes), PIECE)
        answer = parseAnswer(self.transport.value())
        self.assertEqual(answer.body, self.content.replace(b"\n", b"\r\n"))
        self.assertFalse(self.transport.disconnecting)

    def test_deleted(self) -> None:
        """When the message is deleted meanwhile, the browser learns that it hasn't got all."""
        ask(self.inbox, "DELETE", "/api/v1/messages")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.sizes.count(PIECE), 1)
        self.assertTrue(self.transport.disconnecting)


class AsideTests(SynchronousTestCase):
    """An answer that is large."""

    def test_aside(self) -> None:
        """It waits in a file, and comes whole, whatever it is."""
        inbox = openInbox(maxOctets=2**23)
        text = "".join(f"<p>{number}</p>\n" for number in range(20_000))
        deliver(inbox, f"Content-Type: text/html\n\n{text}".encode())
        files = []

        def counted(answer: Answer) -> Answer:
            found = putAside(answer)
            files.append((found.file is not None, found.body == b""))
            return found

        self.patch(api, "putAside", counted)
        self.assertEqual(get(inbox, "/api/v1/message/latest").json()["HTML"], text)
        self.assertTrue(get(inbox, "/view/latest.html").text.endswith(text))
        deliver(inbox, b"\n" + text.encode())
        self.assertEqual(get(inbox, "/view/latest.txt").text, text)
        self.assertEqual(files, [(True, True)] * 3)


class BoundTests(SynchronousTestCase):
    def test_announced(self) -> None:
        """A body that says that it is too large is refused before it comes."""
        protocol, transport = connectWeb(openInbox())
        head = (
            f"POST /api/v1/send HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
        )
        protocol.dataReceived(head.encode())
        self.assertEqual(parseAnswer(transport.value()).status, 413)
        self.assertTrue(transport.disconnecting)

    def test_unannounced(self) -> None:
        """A body in chunks is refused when it is too large."""
        self.patch(site.InboxRequest, "mostOctets", 10)
        protocol, transport = connectWeb(openInbox())
        head = f"POST /api/v1/send HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        protocol.dataReceived(head.encode() + b"8\r\n12345678\r\n")
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"8\r\n12345678\r\n")
        self.assertEqual(parseAnswer(transport.value()).status, 413)
        answered = transport.value()
        protocol.dataReceived(b"8\r\n12345678\r\n0\r\n\r\n")
        self.assertEqual(transport.value(), answered)

    def test_forms(self) -> None:
        """No form is parsed: that could take for ever."""
        body = b"--b\r\n\r\n" * 1000
        kind = "multipart/form-data; boundary=b"
        answer = ask(openInbox(), "POST", "/api/v1/send", body, Content_Type=kind)
        self.assertEqual(answer.status, 400)

    def test_connections(self) -> None:
        """There is a bound for connections; one that ends makes room."""
        self.patch(site, "MAX_CONNECTIONS", 2)
        inbox = openInbox()
        first, _ = connectWeb(inbox)
        self.assertIsNotNone(connectWeb(inbox)[0])
        self.assertIsNone(connectWeb(inbox)[0])
        first.connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(connectWeb(inbox)[0])

    def test_idle(self) -> None:
        """A connection on which nothing happens is closed."""
        inbox = openInbox()
        _, transport = connectWeb(inbox)
        inbox.desk._clock.advance(site.IDLE_TIME - 1)
        self.assertFalse(transport.disconnecting)
        inbox.desk._clock.advance(2)
        self.assertTrue(transport.disconnecting)

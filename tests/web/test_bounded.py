"""The bounds of a web server, for a body that may be there."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.support.figures import request
from twisted_smtpserver.web.bounded import BoundedConnections, BoundedRequest, QuietSite


class Small(BoundedRequest):
    """Up to ten octets."""

    mostOctets = 10


class Echo(Resource):
    """Answers with what came."""

    isLeaf = True

    def render_POST(self, asked: Any) -> bytes:
        """Echo."""
        body: bytes = asked.content.read()
        return body


class BoundedTests(SynchronousTestCase):
    def ask(self, head: str, body: bytes) -> bytes:
        site = BoundedConnections(QuietSite(Echo(), requestFactory=Small), 5)
        octets = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n".encode()
        protocol, transport = request(site, octets + body)
        site.closeAll()
        protocol.connectionLost(None)
        answer: bytes = transport.value()
        return answer

    def test_body(self) -> None:
        """A body within the bound is there; a larger one is refused, announced or not."""
        chunk = b"5\r\n12345\r\n"
        for head, body, expected in (
            ("Content-Length: 10", b"1234567890", b"1234567890"),
            ("Content-Length: 11", b"12345678901", b" 413 "),
            ("Transfer-Encoding: chunked", chunk * 2 + b"0\r\n\r\n", b"1234512345"),
            ("Transfer-Encoding: chunked", chunk * 3 + b"0\r\n\r\n", b" 413 "),
        ):
            self.assertIn(expected, self.ask(head, body), head)

    def test_forms(self) -> None:
        """No form is parsed: a body is nothing but octets."""
        head = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 6"
        self.assertIn(b"--b\r\n\r", self.ask(head, b"--b\r\n\r"))

"""Messages that go on from the inbox to a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.stores.forward.nexthop import NextHop
from tests.support.webtalk import WebAnswer, ask, deliver, openInbox
from twisted_smtpserver import Rejection
from twisted_smtpserver.inbox import Inbox
from twisted_smtpserver.inbox.contents import PIECE
from twisted_smtpserver.inbox.release import MAX_RECIPIENTS, release, withCRLF
from twisted_smtpserver.inbox.search import Condition
from twisted_smtpserver.session import Session
from twisted_smtpserver.stores.forward import Forward
from twisted_smtpserver.testing import runInline

MESSAGE = b"Subject: Hello\n\nText\n"


class Relay:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.octets: list[bytes] = []
        self.refusal: Exception | None = None
        self.isClosed = False
        self.pieces = 0
        self.began: Callable[[], object] = int

    async def onData(self, stream: Any, session: Session) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sessions.append(session)
        pieces = []
        async for piece in stream:
            pieces.append(piece)
            self.began()
        self.pieces = len(pieces)
        self.octets.append(b"".join(pieces))

    def close(self) -> Deferred[None]:
        self.isClosed = True
        return succeed(None)


class ReleaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = Relay()
        self.inbox = openInbox(relay=self.relay, maxOctets=2**23)

    def release(self, *recipients: object) -> WebAnswer:
        wanted = {"To": list(recipients)}
        return ask(self.inbox, "POST", "/api/v1/message/latest/release", wanted)

    def test_released(self) -> None:
        """The message goes to whom somebody chose, from whom it was sent by."""
        deliver(self.inbox, MESSAGE)
        with capturedLogs() as events:
            answer = self.release("carl@example.org", "dora@example.org")
        self.assertEqual(answer.text, "ok")
        self.assertIn("to carl@example.org, dora@example.org", formatEvent(events[-1]))
        [session], [octets] = self.relay.sessions, self.relay.octets
        self.assertEqual(octets, MESSAGE.replace(b"\n", b"\r\n"))
        envelope = session.envelope
        assert envelope.mailFrom is not None
        self.assertEqual(envelope.mailFrom.address, "ann@example.org")
        self.assertEqual(list(map(str, envelope.rcptTo)), ["carl@example.org", "dora@example.org"])
        self.assertEqual((envelope.mailFrom.args, envelope.smtpUtf8), ({}, False))

    def test_eightBit(self) -> None:
        """What isn't ASCII is declared, wherever it is: the content, the header, an address."""
        both = {"BODY": "8BITMIME", "SMTPUTF8": True}
        for message, recipient, parameters in (
            ("Subject: a\n\nä\n", "a@x.test", {"BODY": "8BITMIME"}),
            ("Subject: ä\n\na\n", "a@x.test", both),
            ("Subject: a\n\na\n", "ä@x.test", {"SMTPUTF8": True}),
            ("Subject: a\n\n" + "ä" * PIECE + "\n", "a@x.test", {"BODY": "8BITMIME"}),
            ("Subject: " + "a\n b" * PIECE + "ä\n", "a@x.test", both),
        ):
            deliver(self.inbox, message.encode())
            self.release(recipient)
            envelope = self.relay.sessions[-1].envelope
            assert envelope.mailFrom is not None
            self.assertEqual(envelope.mailFrom.args, parameters, message)

    def test_newlines(self) -> None:
        """Lines end in CRLF, whatever the inbox has accepted; nothing can end the message early."""
        for stored, sent in {
            b"a\nb\n.\nc": b"a\r\nb\r\n.\r\nc\r\n",
            b"a\rb\r": b"a\r\nb\r\n",
            b"a\r\n": b"a\r\n",
            b"": b"\r\n",
            b"xxx\r\ny": b"xxx\r\ny\r\n",
        }.items():
            read = Deferred.fromCoroutine(collect(stored))
            self.assertEqual(self.successResultOf(read), sent)

    def test_large(self) -> None:
        """A large message is read in pieces, as the other server takes them."""
        deliver(self.inbox, MESSAGE + b"x\n" * PIECE)
        self.release("carl@example.org")
        [octets] = self.relay.octets
        self.assertEqual(octets, (MESSAGE + b"x\n" * PIECE).replace(b"\n", b"\r\n"))
        self.assertGreater(self.relay.pieces, 3)

    def test_deleted(self) -> None:
        """A message that is deleted meanwhile isn't sent."""
        deliver(self.inbox, MESSAGE + b"x\n" * PIECE)
        store = self.inbox.desk.store
        self.relay.began = lambda: store.delete(Condition())
        self.assertEqual(self.release("carl@example.org").status, 404)
        self.assertEqual(self.relay.octets, [])

    def test_wrong(self) -> None:
        """Recipients that aren't, or are too many; nothing is sent."""
        deliver(self.inbox, MESSAGE)
        wrong: list[list[object]] = [
            [],
            [7],
            ["nobody"],
            ["a@x.test> SIZE=1"],
            ["a@x.test\r\nDATA"],
            ["a@x.test"] * (MAX_RECIPIENTS + 1),
        ]
        for recipients in wrong:
            self.assertEqual(self.release(*recipients).status, 400, recipients)
        path = "/api/v1/message/latest/release"
        self.assertEqual(ask(self.inbox, "POST", path, {"To": "a@x.test"}).status, 400)
        self.assertEqual(
            ask(self.inbox, "POST", "/api/v1/message/no/release", {"To": []}).status, 404
        )
        self.assertEqual(self.relay.sessions, [])

    def test_refused(self) -> None:
        """What the other server says is told, in bounds."""
        deliver(self.inbox, MESSAGE)
        self.relay.refusal = Rejection("No such user " + "x" * 5000, 550)
        answer = self.release("carl@example.org")
        self.assertEqual(answer.status, 502)
        self.assertIn("The other server refused it: 550 No such user", answer.text)
        self.assertLess(len(answer.text), 600)

    def test_offered(self) -> None:
        """The page knows whether there is such a button."""
        for inbox, isOffered in ((self.inbox, True), (openInbox(), False)):
            settings = ask(inbox, "GET", "/api/v1/webui").json()
            self.assertEqual(settings["MessageRelay"]["Enabled"], isOffered)


async def inPieces(octets: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(octets), 4):
        yield octets[start : start + 4]


async def collect(octets: bytes) -> bytes:
    return b"".join([piece async for piece in withCRLF(inPieces(octets))])


class ForwardTests(TestCase):
    @inlineCallbacks
    def test_forward(self) -> Any:
        """Forward sends it to a real server, by a real socket."""
        hop = NextHop()
        port = hop.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(hop.kill()))
        forward = Forward(f"smtp://127.0.0.1:{port}", hostName="inbox.example")
        self.addCleanup(forward.close)
        octets = "Subject: a\n\n.ä\n".encode()
        read = partial(inPieces, octets)
        yield Deferred.fromCoroutine(release(forward, read, "ann@example.org", ["b@x.test"]))
        self.assertTrue(hop.kept[0].endswith(octets.replace(b"\n", b"\r\n")))
        self.assertEqual(str(hop.envelopes[0].mailFrom), "ann@example.org")

    @inlineCallbacks
    def test_close(self) -> Any:
        """The relay is closed with the page."""
        relay = Relay()
        inbox = Inbox(("127.0.0.1", 0), relay=relay, runInThread=runInline)
        inbox.startService()
        self.addCleanup(inbox.close)
        yield inbox.stopService()
        self.assertTrue(relay.isClosed)

"""Postfix as a client: it delivers to us by SMTP, and by LMTP over TCP and a unix socket."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue, inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.postfix import Postfix
from twisted_smtpserver import Rejection, SMTPHandler, SMTPServerFactory

SENDER = "sender@client.example"
GOOD = ["one@server.example", "two@server.example"]
BAD = "bad@server.example"
MESSAGE = b"Subject: hello\nFrom: sender@client.example\n\n.\n..dots\nend\n"


class Inbox(SMTPHandler):
    """Keeps what it accepts; has no mailbox for one of the recipients."""

    def __init__(self) -> None:
        self.accepted: DeferredQueue[tuple[str, bytes]] = DeferredQueue()
        self.types: set[str] = set()

    async def onData(self, stream, session):
        """Accept for all but one, if each is asked about; refuse nothing else."""
        self.types.add(session.transmissionType)
        envelope = session.envelope
        content = await stream.read()
        results: dict[str, object] = {}
        for recipient in envelope.recipients:
            if recipient.address == BAD and envelope.perRecipient:
                results[recipient.address] = Rejection("Mailbox full", 552, "5.2.2")
            else:
                results[recipient.address] = None
                self.accepted.put((recipient.address, content))
        return results if envelope.perRecipient else None


class PostfixTests(TestCase):
    """Real Postfix."""

    timeout = 90

    def setUp(self) -> None:
        """It needs to be there, and root to be started."""
        self.program = need("postfix")
        if os.getuid() != 0:
            raise SkipTest("Postfix has to be started by root")

    def serve(self, handler, transport: str, tls: str = "none", **options) -> Postfix:
        """Our server on a port, and Postfix in front of it."""
        port: Any = reactor.listenTCP(
            0, SMTPServerFactory(handler, logger=False, **options), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        return self.start(transport.format(port=port.getHost().port), tls)

    def start(self, transport: str, tls: str = "none") -> Postfix:
        """Postfix alone."""
        postfix = Postfix(self.program, transport, tls)
        self.addCleanup(postfix.stop)
        return postfix

    @inlineCallbacks
    def assertOneBounces(self, handler, postfix):
        """Two get the message, and the sender gets a bounce for the third, and for it only."""
        postfix.send(SENDER, [*GOOD, BAD], MESSAGE)
        received = {}
        while len(received) < 3:
            recipient, content = yield handler.accepted.get()
            self.assertNotIn(recipient, received)
            received[recipient] = content
        self.assertEqual(set(received), {*GOOD, SENDER})
        for recipient in GOOD:
            self.assertTrue(received[recipient].endswith(b"\r\n.\r\n..dots\r\nend\r\n"))
        bounce = received[SENDER]
        self.assertIn(b"Mailbox full", bounce)
        self.assertIn(b"Final-Recipient: rfc822; bad@server.example", bounce)
        for recipient in GOOD:
            self.assertNotIn(b"Final-Recipient: rfc822; " + recipient.encode(), bounce)

    @inlineCallbacks
    def test_lmtpOverTCP(self):
        """LMTP over TCP: one of three is refused, and only that one bounces."""
        handler = Inbox()
        postfix = self.serve(handler, "lmtp:inet:127.0.0.1:{port}", lmtp=True)
        yield self.assertOneBounces(handler, postfix)
        self.assertEqual(handler.types, {"LMTP"})

    @inlineCallbacks
    def test_lmtpOverUnixSocket(self):
        """LMTP over a unix socket."""
        handler = Inbox()
        folder = Path(tempfile.mkdtemp(prefix="lmtp-"))
        folder.chmod(0o755)
        self.addCleanup(folder.rmdir)
        path = str(folder / "socket")
        port = reactor.listenUNIX(
            path, SMTPServerFactory(handler, logger=False, lmtp=True), mode=0o666
        )
        self.addCleanup(port.stopListening)
        yield self.assertOneBounces(handler, self.start(f"lmtp:unix:{path}"))

    @inlineCallbacks
    def test_smtp(self):
        """SMTP with STARTTLS, pipelined."""
        handler = Inbox()
        postfix = self.serve(handler, "smtp:[127.0.0.1]:{port}", "encrypt", selfSigned=True)
        postfix.send(SENDER, GOOD, MESSAGE)
        received = {}
        while len(received) < len(GOOD):
            recipient, content = yield handler.accepted.get()
            received[recipient] = content
        self.assertEqual(set(received), set(GOOD))
        self.assertTrue(content.endswith(b"\r\n.\r\n..dots\r\nend\r\n"))
        self.assertEqual(handler.types, {"ESMTPS"})

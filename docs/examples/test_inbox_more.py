"""More of what the testing how-to shows."""

import os

from inbox import Inbox
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConnectionLost, SMTPHandler
from twisted_smtpserver.testing import RecordingHandler, connect


class Slow(SMTPHandler):
    """Takes its time with each recipient."""

    def __init__(self):
        self.answers = []

    def onRcptTo(self, address, session):
        self.answers.append(Deferred())
        return self.answers[-1]


class Reader(SMTPHandler):
    """Remembers why it couldn't read a message."""

    reason = None

    async def onData(self, stream, session):
        try:
            await stream.read()
        except ConnectionLost as reason:
            self.reason = reason


class InboxTests(SynchronousTestCase):
    def test_saved(self):
        """The octets in the file are those that were sent."""
        client = connect(Inbox())
        answer = client.deliver(b"Subject: hi\r\n\r\n.dot\r\n", "joe@example.org")
        self.assertEqual(answer.code, 250)
        name = answer.text.removeprefix("Message saved as ")
        self.addCleanup(os.remove, f"{name}.eml")
        with open(f"{name}.eml", "rb") as file:
            self.assertEqual(file.read(), b"Subject: hi\r\n\r\n.dot\r\n")

    def test_dialogue(self):
        """Line by line: everything that a client can do wrong can be said."""
        client = connect(Inbox())
        self.assertEqual(client.greeting and client.greeting.code, 220)
        hello = client.say("EHLO client.example")
        self.assertIn("PIPELINING", hello.lines)
        self.assertEqual(client.say("RCPT TO:<ann@example.com>").code, 503)
        answers = client.pipeline("MAIL FROM:<>", "RCPT TO:<Postmaster>", "DATA")
        self.assertEqual([answer.code for answer in answers], [250, 250, 354])


class SlowTests(SynchronousTestCase):
    def test_order(self):
        """No answer comes before the handler has answered, and then they come in order."""
        handler = Slow()
        client = connect(handler)
        client.pipeline("EHLO client.example", "MAIL FROM:<joe@example.org>")
        self.assertEqual(client.pipeline("RCPT TO:<ann@example.com>", "NOOP"), [])
        handler.answers[0].callback(None)
        client.settle()
        self.assertEqual([answer.code for answer in client.answers()], [250, 250])

    def test_timeout(self):
        """A hook that takes longer than ``handlerTimeout`` is canceled."""
        client = connect(Slow(), handlerTimeout=60)
        client.pipeline("EHLO client.example", "MAIL FROM:<joe@example.org>")
        client.send(b"RCPT TO:<ann@example.com>\r\n")
        client.wait(60)
        self.assertEqual([answer.code for answer in client.answers()], [451])


class LeavingTests(SynchronousTestCase):
    def test_inTheMiddle(self):
        """A handler that reads learns that its client left, and of nothing else."""
        handler = Reader()
        client = connect(handler)
        client.pipeline("EHLO client.example", "MAIL FROM:<>", "RCPT TO:<a@example.com>", "DATA")
        client.send(b"Subject: half of a mess")
        client.lose()
        self.assertIsInstance(handler.reason, ConnectionLost)


class SecureTests(SynchronousTestCase):
    def test_startTLS(self):
        """The handshake is a real one, in memory."""
        handler = RecordingHandler()
        client = connect(handler, selfSigned=True)
        client.say("EHLO client.example")
        self.assertEqual(client.say("STARTTLS").code, 220)
        client.startTLS("localhost")
        self.assertEqual(client.say("EHLO client.example").code, 250)
        tls = client.session.tls
        self.assertEqual(tls and tls.serverName, "localhost")
        self.assertEqual(handler.calls, ["onConnect", "onHello", "onSecure", "onHello"])

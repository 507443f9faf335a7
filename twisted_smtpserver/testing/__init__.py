"""
Tools for two kinds of tests.

To test your *handler*, use the client in memory. It needs no sockets, no threads and no waiting::

    class InboxTests(SynchronousTestCase):
        def test_strangersAreRefused(self):
            client = connect(Inbox())
            client.say("EHLO client.example")
            client.say("MAIL FROM:<joe@example.org>")
            answer = client.say("RCPT TO:<nobody@example.net>")
            self.assertEqual((answer.code, answer.enhanced), (550, "5.7.1"))

Time stands still until ``client.clock.advance(seconds)``.

To test a program that *sends* mail, use :class:`CapturingServer`, a real server that keeps the
messages that arrive. In pytest it is the fixture ``smtpserver``.
"""

from twisted.internet.task import Clock

from twisted_smtpserver.testing._client import Answer, Client, connect, makeFactory, runInline
from twisted_smtpserver.testing._faults import Fault
from twisted_smtpserver.testing._handler import ReceivedMessage, RecordingHandler
from twisted_smtpserver.testing._mailbox import CapturedMessage, NoSuchMail
from twisted_smtpserver.testing._server import CapturingServer
from twisted_smtpserver.testing._transport import MemoryTransport

__all__ = [
    "Answer",
    "CapturedMessage",
    "CapturingServer",
    "Client",
    "Clock",
    "Fault",
    "MemoryTransport",
    "NoSuchMail",
    "ReceivedMessage",
    "RecordingHandler",
    "connect",
    "makeFactory",
    "runInline",
]

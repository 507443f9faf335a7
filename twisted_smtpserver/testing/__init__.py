"""
Test your handler: a client in memory, without sockets, threads or waiting.

::

    class InboxTests(SynchronousTestCase):
        def test_strangersAreRefused(self):
            client = connect(Inbox())
            client.say("EHLO client.example")
            client.say("MAIL FROM:<joe@example.org>")
            answer = client.say("RCPT TO:<nobody@example.net>")
            self.assertEqual((answer.code, answer.enhanced), (550, "5.7.1"))

Time stands still until ``client.clock.advance(seconds)``.
"""

from twisted.internet.task import Clock

from twisted_smtpserver.testing._client import Answer, Client, connect, makeFactory, runInline
from twisted_smtpserver.testing._handler import ReceivedMessage, RecordingHandler
from twisted_smtpserver.testing._transport import MemoryTransport

__all__ = [
    "Answer",
    "Client",
    "Clock",
    "MemoryTransport",
    "ReceivedMessage",
    "RecordingHandler",
    "connect",
    "makeFactory",
    "runInline",
]

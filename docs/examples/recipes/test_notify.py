"""A test for trial: the server runs on the reactor that the program under test uses."""

from twisted.internet import endpoints, reactor
from twisted.mail.smtp import sendmail
from twisted.trial.unittest import TestCase

from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.testing import RecordingHandler


async def notify(address, host, port):
    """The program under test."""
    mail = b"Subject: The build is green\n\n"  # sendmail makes CRLF of LF
    await sendmail(host, "ci@example.com", [address], mail, port=port)


class NotifyTests(TestCase):
    async def setUp(self):
        self.inbox = RecordingHandler()
        endpoint = endpoints.serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        self.listening = await endpoint.listen(SMTPServerFactory(self.inbox))

    async def tearDown(self):
        await self.listening.stopListening()
        await self.listening.factory.shutdown()

    async def test_green(self):
        await notify("ann@example.org", "127.0.0.1", self.listening.getHost().port)
        [mail] = self.inbox.messages
        self.assertIn(b"green", mail.content)
        self.assertEqual(mail.envelope.rcptTo[0].address, "ann@example.org")

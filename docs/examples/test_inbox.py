from inbox import Inbox
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import connect


class InboxTests(SynchronousTestCase):
    def test_strangersAreRefused(self):
        client = connect(Inbox())
        answer = client.deliver(b"Subject: hi\r\n", "joe@example.org", "ann@example.net")
        self.assertEqual((answer.code, answer.enhanced), (550, "5.7.1"))

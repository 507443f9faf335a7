"""REQUIRETLS over the wire: RFC 8689."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import connect

REQUIRETLS = "MAIL FROM:<joe@example.org> REQUIRETLS"


class RequireTLSTests(SynchronousTestCase):
    """A message that must never travel in clear."""

    def test_onlyUnderTLS(self):
        """It is offered and accepted when STARTTLS is done; before, the answer names the cure."""
        client = connect(extensions=["REQUIRETLS"], selfSigned=True)
        self.assertNotIn("REQUIRETLS", client.say("EHLO client.example").lines)
        answer = client.say(REQUIRETLS)
        self.assertEqual((answer.code, answer.enhanced), (530, "5.7.0"))
        self.assertIn("STARTTLS", answer.text)
        self.assertIsNone(client.session.envelope.mailFrom)
        client.say("STARTTLS")
        client.startTLS()
        self.assertIn("REQUIRETLS", client.say("EHLO client.example").lines)
        self.assertEqual(client.say(REQUIRETLS).code, 250)
        self.assertTrue(client.session.envelope.requireTLS)

    def test_absent(self):
        """The envelope doesn't say so if MAIL didn't."""
        client = connect(extensions=["REQUIRETLS"], secured=True)
        client.say("EHLO client.example")
        client.say("MAIL FROM:<joe@example.org>")
        self.assertFalse(client.session.envelope.requireTLS)

    def test_value(self):
        """It takes no value."""
        client = connect(extensions=["REQUIRETLS"], secured=True)
        client.say("EHLO client.example")
        answer = client.say(REQUIRETLS + "=YES")
        self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"))

    def test_offByDefault(self):
        """It is off unless asked for."""
        client = connect(secured=True)
        self.assertNotIn("REQUIRETLS", client.say("EHLO client.example").lines)
        self.assertEqual(client.say(REQUIRETLS).code, 555)

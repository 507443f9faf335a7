"""BINARYMIME and the other values of BODY over the wire: RFC 3030."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import Client, RecordingHandler, connect


def greeted(handler: object = None, **options) -> Client:
    """A client that has said hello to a server with BINARYMIME."""
    client = connect(handler, extensions=["BINARYMIME"], **options)
    client.say("EHLO client.example")
    return client


class BinaryMimeTests(SynchronousTestCase):
    """BODY=BINARYMIME, RFC 3030 section 3."""

    def test_offer(self):
        """It is off unless asked for, and never offered without CHUNKING."""
        hello = "EHLO client.example"
        self.assertNotIn("BINARYMIME", connect().say(hello).lines)
        lines = connect(extensions=["BINARYMIME"]).say(hello).lines
        self.assertIn("BINARYMIME", lines)
        self.assertIn("CHUNKING", lines)
        lines = connect(extensions=["BINARYMIME"], disabledCommands=["BDAT"]).say(hello).lines
        self.assertNotIn("BINARYMIME", lines)
        self.assertNotIn("CHUNKING", lines)

    def test_values(self):
        """All three values of BODY are known then, and no fourth one."""
        client = greeted()
        for value in ("7BIT", "8BITMIME", "BINARYMIME"):
            self.assertEqual(client.say(f"MAIL FROM:<joe@example.org> BODY={value}").code, 250)
            self.assertEqual(client.session.envelope.bodyType, value)
            client.say("RSET")
        answer = client.say("MAIL FROM:<joe@example.org> BODY=16BIT")
        self.assertEqual(
            (answer.code, answer.text), (501, "BODY must be one of 7BIT, 8BITMIME, BINARYMIME")
        )

    def test_withoutChunking(self):
        """Without CHUNKING the other two are left."""
        client = greeted(disabledCommands=["BDAT"])
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> BODY=BINARYMIME").code, 501)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> BODY=8BITMIME").code, 250)

    def test_onlyBdat(self):
        """Content that isn't lines comes by BDAT as it is; DATA is refused."""
        handler = RecordingHandler()
        client = greeted(handler)
        client.say("MAIL FROM:<joe@example.org> BODY=BINARYMIME")
        client.say("RCPT TO:<jane@example.com>")
        answer = client.say("DATA")
        self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))
        content = bytes(range(256)) + b"\n.\r.\n\r"
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        self.assertEqual([answer.code for answer in client.answers()], [250])
        self.assertEqual(handler.messages[0].content, content)

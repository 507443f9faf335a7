"""SIZE, 8BITMIME, SMTPUTF8 and LIMITS over the wire."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import Answer, Client, connect


def greeted(**options) -> Client:
    """A client that has said hello."""
    client = connect(**options)
    client.say("EHLO client.example")
    return client


def keywords(**options) -> tuple[str, ...]:
    """What a server offers."""
    return connect(**options).say("EHLO client.example").lines


def mail(client: Client, parameters: str) -> Answer:
    """Say MAIL, in a transaction of its own."""
    client.say("RSET")
    return client.say(f"MAIL FROM:<joe@example.org> {parameters}")


class SizeTests(SynchronousTestCase):
    """RFC 1870."""

    def test_offer(self):
        """The limit is told if there is one and it isn't hidden."""
        self.assertIn("SIZE", keywords())
        self.assertIn("SIZE 1000", keywords(size=1000))
        self.assertIn("SIZE", keywords(size=1000, hideSize=True))

    def test_declared(self):
        """A declared size is checked against the limit, hidden or not."""
        for options in ({}, {"hideSize": True}):
            client = greeted(size=1000, **options)
            self.assertEqual(mail(client, "SIZE=1000").code, 250)
            self.assertEqual(client.session.envelope.mailFrom.values["SIZE"], 1000)
            answer = mail(client, "SIZE=1001")
            self.assertEqual((answer.code, answer.enhanced), (552, "5.3.4"))
        self.assertEqual(mail(greeted(), "SIZE=" + "9" * 20).code, 250)

    def test_refused(self):
        """It is a number of at most 20 digits."""
        client = greeted()
        for parameter, text in (
            ("SIZE", "SIZE needs a number"),
            ("SIZE=x", "SIZE needs a number"),
            ("SIZE=-1", "SIZE needs a number"),
            ("SIZE=١", "SIZE needs a number"),
            ("SIZE=" + "1" * 21, "SIZE has too many digits"),
        ):
            answer = mail(client, parameter)
            self.assertEqual((answer.code, answer.enhanced, answer.text), (501, "5.5.4", text))


class EightBitMimeTests(SynchronousTestCase):
    """RFC 6152."""

    def test_body(self):
        """BODY is 7BIT, which is the default, or 8BITMIME, in any case."""
        client = greeted()
        for parameter, expected in (
            ("", "7BIT"),
            ("BODY=7BIT", "7BIT"),
            ("BODY=8bitmime", "8BITMIME"),
        ):
            self.assertEqual(mail(client, parameter).code, 250)
            self.assertEqual(client.session.envelope.bodyType, expected)

    def test_refused(self):
        """Nothing else, and BINARYMIME only where it is offered."""
        client = greeted()
        for parameter in ("BODY", "BODY=9BIT", "BODY=BINARYMIME"):
            answer = mail(client, parameter)
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "BODY must be one of 7BIT, 8BITMIME"),
            )
        self.assertEqual(mail(client, "BODY=7BIT BODY=8BITMIME").code, 501)


class SmtpUtf8Tests(SynchronousTestCase):
    """RFC 6531."""

    def test_flag(self):
        """MAIL says so or not; there is no value."""
        client = greeted()
        mail(client, "SMTPUTF8")
        self.assertTrue(client.session.envelope.smtpUtf8)
        mail(client, "")
        self.assertFalse(client.session.envelope.smtpUtf8)
        answer = mail(client, "SMTPUTF8=1")
        self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"))

    def test_verify(self):
        """VRFY takes the parameter, and tells nobody anything (RFC 6531 section 3.7.4.2)."""
        client = greeted()
        for argument in ("joe", "joe SMTPUTF8", "jörg smtputf8", "jörg", "SMTPUTF8"):
            answer = client.say(f"VRFY {argument}")
            self.assertEqual((answer.code, answer.enhanced), (252, "2.1.5"))
            self.assertTrue(answer.text.isascii())

    def test_verifyRefused(self):
        """The parameter takes no value, and names are UTF-8."""
        client = greeted()
        answer = client.say("VRFY joe SMTPUTF8=1")
        self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"))
        self.assertEqual(answer.text, "SMTPUTF8 takes no value")
        answer = client.say(b"VRFY j\xf6rg SMTPUTF8")
        self.assertEqual((answer.code, answer.text), (501, "The name is not UTF-8"))


class LimitsTests(SynchronousTestCase):
    """RFC 9422."""

    def test_recipients(self):
        """The limit of recipients is told, in six digits at most, and kept."""
        self.assertIn("LIMITS RCPTMAX=1000", keywords())
        self.assertIn("LIMITS RCPTMAX=999999", keywords(maxRecipients=999999))
        self.assertIn("LIMITS RCPTMAX=999999", keywords(maxRecipients=1000000))
        client = greeted(maxRecipients=1)
        mail(client, "")
        client.say("RCPT TO:<jane@example.com>")
        answer = client.say("RCPT TO:<jack@example.com>")
        self.assertEqual((answer.code, answer.enhanced), (452, "4.5.3"))

"""The AUTH parameter of MAIL over the wire: RFC 4954 section 5."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import Answer, Client, connect


def greeted(login: bool = True, **options) -> Client:
    """A client that has said hello, and has logged in unless told not to."""
    client = connect(
        onAuth=lambda credentials, session: "joe",
        authOptional=True,
        allowInsecureAuth=True,
        **options,
    )
    client.say("EHLO client.example")
    if login:
        client.say("AUTH PLAIN AGpvZQBzZXNhbWU=")
    return client


def mail(client: Client, parameter: str) -> Answer:
    """Say MAIL, in a transaction of its own."""
    client.say("RSET")
    return client.say(f"MAIL FROM:<joe@example.org> {parameter}")


class SubmitterTests(SynchronousTestCase):
    """Who submitted the message first."""

    def test_values(self):
        """A mailbox in xtext, or <>."""
        client = greeted()
        for value, expected in (
            ("<>", ""),
            ("e+3Dmc2@example.com", "e=mc2@example.com"),
            ("joe@example.com", "joe@example.com"),
            ("joe@[192.0.2.1]", "joe@[192.0.2.1]"),
            ("+22joe+20smith+22@example.com", '"joe smith"@example.com'),
        ):
            answer = mail(client, f"AUTH={value}")
            self.assertEqual((answer.code, answer.enhanced), (250, "2.1.0"), value)
            self.assertEqual(client.session.envelope.mailFrom.values["AUTH"], expected)
            self.assertEqual(client.session.envelope.mailFrom.args["AUTH"], value)

    def test_refused(self):
        """All else is refused."""
        client = greeted()
        for parameter in (
            "AUTH",
            "AUTH=joe",
            "AUTH=<joe@example.com>",
            "AUTH=joe@",
            "AUTH=@example.com",
            "AUTH=+40a.example:joe@example.com",
            "AUTH=joe@example.com+3E+20SIZE",
            "AUTH=joe@example.com+20x",
            "AUTH=joe+20smith@example.com",
            "AUTH=joe@example.com+0D+0A",
            "AUTH=joe+2@example.com",
            "AUTH=jörg@example.com",
            "AUTH=+3C+3E",
        ):
            answer = mail(client, parameter)
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "AUTH needs a mailbox in xtext, or <>"),
                parameter,
            )

    def test_stranger(self):
        """From who hasn't logged in it is accepted, and counts like <>."""
        client = greeted(login=False)
        self.assertEqual(mail(client, "AUTH=boss@example.com").code, 250)
        mailFrom = client.session.envelope.mailFrom
        self.assertEqual(mailFrom.values["AUTH"], "")
        self.assertEqual(mailFrom.args["AUTH"], "boss@example.com")
        self.assertEqual(mail(client, "AUTH=boss").code, 501)

    def test_absent(self):
        """Without the parameter there is no value."""
        client = greeted()
        mail(client, "")
        self.assertNotIn("AUTH", client.session.envelope.mailFrom.values)

    def test_notOffered(self):
        """Where AUTH isn't offered, the parameter is unknown."""
        client = connect()
        client.say("EHLO client.example")
        self.assertEqual(mail(client, "AUTH=<>").code, 555)
        self.assertEqual(mail(greeted(False, disabledCommands=["AUTH"]), "AUTH=<>").code, 555)

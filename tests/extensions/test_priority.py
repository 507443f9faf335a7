"""MT-PRIORITY over the wire: RFC 6710."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Accepted, ConfigurationError
from twisted_smtpserver.extensions.priority import MtPriority
from twisted_smtpserver.testing import Answer, Client, connect


def greeted(extension: object = "MT-PRIORITY", hello: str = "EHLO", **options) -> Client:
    """A client that has said hello."""
    client = connect(extensions=[extension], **options)
    client.say(f"{hello} client.example")
    return client


def mail(client: Client, parameter: str) -> Answer:
    """Say MAIL, in a transaction of its own."""
    client.say("RSET")
    return client.say(f"MAIL FROM:<joe@example.org> {parameter}")


def priority(client: Client) -> object:
    """The priority of the transaction."""
    mailFrom = client.session.envelope.mailFrom
    return None if mailFrom is None else mailFrom.values["MT-PRIORITY"]


class OfferTests(SynchronousTestCase):
    """The EHLO keyword, RFC 6710 section 7."""

    def keywords(self, **options):
        return connect(**options).say("EHLO client.example").lines

    def test_offByDefault(self):
        """It is off unless asked for."""
        self.assertNotIn("MT-PRIORITY", self.keywords())

    def test_profile(self):
        """The profile is told if it has a name."""
        self.assertIn("MT-PRIORITY", self.keywords(extensions=["MT-PRIORITY"]))
        self.assertIn(
            "MT-PRIORITY STANAG4406", self.keywords(extensions=[MtPriority("STANAG4406")])
        )

    def test_badProfile(self):
        """A name that isn't one of the grammar is a mistake."""
        for profile in ("a b", "x" * 21, "ü"):
            self.assertRaises(ConfigurationError, MtPriority, profile)


class MtPriorityTests(SynchronousTestCase):
    """MT-PRIORITY=, RFC 6710 sections 4.1 and 7."""

    def test_values(self):
        """All 19 priorities are taken from those who may raise them."""
        client = greeted(MtPriority(mayRaise=lambda session: True))
        for number in range(-9, 10):
            answer = mail(client, f"MT-PRIORITY={number}")
            self.assertEqual((answer.code, answer.enhanced), (250, "2.1.0"))
            self.assertEqual(priority(client), number)

    def test_refused(self):
        """All else is a syntax error."""
        client = greeted()
        for parameter in (
            "MT-PRIORITY",
            "MT-PRIORITY=10",
            "MT-PRIORITY=-10",
            "MT-PRIORITY=+3",
            "MT-PRIORITY=-0",
            "MT-PRIORITY=03",
            "MT-PRIORITY=high",
            "MT-PRIORITY=٣",
        ):
            answer = mail(client, parameter)
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.2", "MT-PRIORITY must be a number from -9 to 9"),
                parameter,
            )

    def test_untrusted(self):
        """A stranger's positive priority becomes 0, and they are told; lower ones are theirs."""
        client = greeted()
        answer = mail(client, "MT-PRIORITY=4")
        self.assertEqual(
            (answer.code, answer.enhanced, answer.text),
            (250, "2.3.6", "0 is the new priority of the message"),
        )
        self.assertEqual(priority(client), 0)
        self.assertEqual(client.session.envelope.mailFrom.args["MT-PRIORITY"], "4")
        self.assertEqual(mail(client, "MT-PRIORITY=1").enhanced, "2.3.6")
        for number in (-9, 0):
            self.assertEqual(mail(client, f"MT-PRIORITY={number}").enhanced, "2.1.0")
            self.assertEqual(priority(client), number)

    def test_absent(self):
        """Who says nothing has no priority changed."""
        client = greeted()
        self.assertEqual(mail(client, "").enhanced, "2.1.0")
        self.assertRaises(KeyError, priority, client)

    def test_loggedIn(self):
        """Who has logged in may go first."""
        client = greeted(onAuth=lambda credentials, session: "joe", allowInsecureAuth=True)
        client.say("AUTH PLAIN AGpvZQBzZXNhbWU=")
        self.assertEqual(mail(client, "MT-PRIORITY=4").enhanced, "2.1.0")
        self.assertEqual(priority(client), 4)

    def test_lmtp(self):
        """So may who speaks LMTP."""
        client = greeted(hello="LHLO", lmtp=True)
        mail(client, "MT-PRIORITY=4")
        self.assertEqual(priority(client), 4)

    def test_handlerChanges(self):
        """The handler may assign another one and say so."""
        new = Accepted("3 is the new priority", enhanced="2.3.6")
        client = greeted(onMailFrom=lambda address, session: new)
        answer = mail(client, "")
        self.assertEqual((answer.code, answer.enhanced, answer.text), (250, "2.3.6", new.text))

    def test_onlyMail(self):
        """It belongs to MAIL."""
        client = greeted()
        mail(client, "")
        self.assertEqual(client.say("RCPT TO:<jane@example.com> MT-PRIORITY=3").code, 555)

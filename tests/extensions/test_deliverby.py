"""DELIVERBY over the wire: RFC 2852."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.extensions.deliverby import Deadline, DeliverBy
from twisted_smtpserver.testing import Answer, Client, connect


def greeted(extension: object = "DELIVERBY") -> Client:
    """A client that has said hello."""
    client = connect(extensions=[extension])
    client.say("EHLO client.example")
    return client


def mail(client: Client, parameter: str) -> Answer:
    """Say MAIL, in a transaction of its own."""
    client.say("RSET")
    return client.say(f"MAIL FROM:<joe@example.org> {parameter}")


class OfferTests(SynchronousTestCase):
    """The EHLO keyword, RFC 2852 section 2."""

    def keywords(self, **options):
        return connect(**options).say("EHLO client.example").lines

    def test_offByDefault(self):
        """It is off unless asked for."""
        self.assertNotIn("DELIVERBY", self.keywords())

    def test_byName(self):
        """Asked for by its name there is no shortest time."""
        self.assertIn("DELIVERBY", self.keywords(extensions=["deliverby"]))

    def test_minimum(self):
        """The shortest time is told."""
        self.assertIn("DELIVERBY 120", self.keywords(extensions=[DeliverBy(minimum=120)]))
        for minimum in (0, 999999999):
            lines = self.keywords(extensions=[DeliverBy(minimum)])
            self.assertIn(f"DELIVERBY {minimum}", lines)

    def test_badMinimum(self):
        """One of more than nine digits, or a negative one, is a mistake."""
        for minimum in (-1, 10**9):
            self.assertRaises(ConfigurationError, DeliverBy, minimum)


class ByTests(SynchronousTestCase):
    """BY, RFC 2852 section 4."""

    def test_values(self):
        """Seconds with or without sign, a mode, maybe a trace; the letters in any case."""
        client = greeted()
        for value, expected in (
            ("120;R", Deadline(120, "R")),
            ("+120;RT", Deadline(120, "R", trace=True)),
            ("1;r", Deadline(1, "R")),
            ("0;N", Deadline(0, "N")),
            ("-60;nt", Deadline(-60, "N", trace=True)),
            ("-999999999;N", Deadline(-999999999, "N")),
            ("999999999;R", Deadline(999999999, "R")),
            ("000000001;R", Deadline(1, "R")),
        ):
            self.assertEqual(mail(client, f"BY={value}").code, 250, value)
            self.assertEqual(client.session.envelope.mailFrom.values["BY"], expected)

    def test_syntax(self):
        """All else is refused."""
        client = greeted()
        for parameter in (
            "BY",
            "BY=120",
            "BY=120;",
            "BY=;R",
            "BY=120;X",
            "BY=120;RX",
            "BY=120;NR",
            "BY=120;T",
            "BY=1000000000;N",
            "BY=--1;N",
            "BY=1.5;N",
            "BY=120;RT;",
            "BY=١;N",
        ):
            answer = mail(client, parameter)
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "BY needs seconds and a mode, as in 120;R or -60;NT"),
                parameter,
            )

    def test_returnNeedsTime(self):
        """With mode R the time must be positive: a syntax error otherwise."""
        client = greeted()
        for value in ("0;R", "-1;R", "+0;RT", "-0;r"):
            answer = mail(client, f"BY={value}")
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "BY: with mode R the time must be positive"),
            )

    def test_minimum(self):
        """With mode R it must be at least the shortest time; that is no matter of syntax."""
        client = greeted(DeliverBy(minimum=120))
        answer = mail(client, "BY=119;R")
        self.assertEqual((answer.code, answer.enhanced), (555, "5.5.4"))
        self.assertIn("120", answer.text)
        for value in ("120;R", "119;N", "-5;N"):
            self.assertEqual(mail(client, f"BY={value}").code, 250)

    def test_onlyMail(self):
        """BY belongs to MAIL."""
        client = greeted()
        mail(client, "")
        self.assertEqual(client.say("RCPT TO:<jane@example.com> BY=120;R").code, 555)

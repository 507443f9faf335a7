"""RRVS over the wire: RFC 7293."""

from __future__ import annotations

from datetime import datetime, timezone

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.extensions.rrvs import ValidSince
from twisted_smtpserver.testing import Answer, Client, connect

MOMENT = datetime(2014, 4, 3, 23, 1, tzinfo=timezone.utc)


class RRVSTests(SynchronousTestCase):
    """RRVS=, RFC 7293 section 3.1."""

    def setUp(self) -> None:
        self.client: Client = connect(extensions=["RRVS"])
        self.hello = self.client.say("EHLO client.example")
        self.client.say("MAIL FROM:<joe@example.org>")

    def rcpt(self, parameter: str) -> Answer:
        return self.client.say(f"RCPT TO:<jane@example.com> {parameter}")

    def test_offer(self):
        """It is offered, without parameters, if asked for."""
        self.assertIn("RRVS", self.hello.lines)
        self.assertNotIn("RRVS", connect().say("EHLO client.example").lines)

    def test_values(self):
        """A date-time, and maybe what to do without support: R is the default."""
        for value, expected in (
            ("2014-04-03T23:01:00Z", ValidSince(MOMENT, "R")),
            ("2014-04-03T23:01:00Z;C", ValidSince(MOMENT, "C")),
            ("2014-04-03T23:01:00Z;r", ValidSince(MOMENT, "R")),
            ("2014-04-04T01:01:00+02:00;c", ValidSince(MOMENT, "C")),
        ):
            self.assertEqual(self.rcpt(f"RRVS={value}").code, 250)
            self.assertEqual(self.client.session.envelope.rcptTo[-1].values["RRVS"], expected)

    def test_refused(self):
        """All else is refused, fractions of a second, too."""
        for parameter in (
            "RRVS",
            "RRVS=2014-04-03",
            "RRVS=2014-04-03T23:01:00",
            "RRVS=2014-04-03T23:01:00.5Z",
            "RRVS=2014-02-30T23:01:00Z",
            "RRVS=2014-04-03T23:01:00Z;",
            "RRVS=2014-04-03T23:01:00Z;X",
            "RRVS=2014-04-03T23:01:00Z;C;R",
            "RRVS=1396566060",
        ):
            answer = self.rcpt(parameter)
            self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"), parameter)
            self.assertIn("2014-04-03T23:01:00Z;C", answer.text)

    def test_onlyRcpt(self):
        """It belongs to RCPT."""
        self.client.say("RSET")
        answer = self.client.say("MAIL FROM:<joe@example.org> RRVS=2014-04-03T23:01:00Z")
        self.assertEqual(answer.code, 555)

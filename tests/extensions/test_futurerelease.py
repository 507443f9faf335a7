"""FUTURERELEASE over the wire: RFC 4865."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.extensions.futurerelease import FutureRelease
from twisted_smtpserver.testing import Answer, Client, connect

NOW = datetime(2026, 10, 12, 10, 0, 0, tzinfo=timezone.utc)


def loggedIn(*extensions: object) -> Client:
    """A client that has logged in."""
    client = connect(
        onAuth=lambda credentials, session: "joe",
        authOptional=True,
        allowInsecureAuth=True,
        extensions=extensions or [FutureRelease(86400, now=lambda: NOW)],
    )
    client.say("EHLO client.example")
    client.say("AUTH PLAIN AGpvZQBzZXNhbWU=")
    return client


def mail(client: Client, parameter: str) -> Answer:
    """Say MAIL, in a transaction of its own."""
    client.say("RSET")
    return client.say(f"MAIL FROM:<joe@example.org> {parameter}")


class OfferTests(SynchronousTestCase):
    """The EHLO keyword, RFC 4865 sections 3 and 4.2."""

    def test_submissionOnly(self):
        """It is offered and accepted after the login, and not before."""
        client = connect(
            onAuth=lambda credentials, session: "joe",
            authOptional=True,
            allowInsecureAuth=True,
            extensions=[FutureRelease(86400, now=lambda: NOW)],
        )
        line = "FUTURERELEASE 86400 2026-10-13T10:00:00Z"
        self.assertNotIn(line, client.say("EHLO client.example").lines)
        self.assertEqual(mail(client, "HOLDFOR=60").code, 555)
        client.say("RSET")
        client.say("AUTH PLAIN AGpvZQBzZXNhbWU=")
        self.assertIn(line, client.say("EHLO client.example").lines)
        self.assertEqual(mail(client, "HOLDFOR=60").code, 250)

    def test_byName(self):
        """Asked for by its name it holds messages for 30 days, from now on."""
        client = loggedIn("FUTURERELEASE")
        lines = client.say("EHLO client.example").lines
        self.assertTrue(
            any(re.fullmatch(r"FUTURERELEASE 2592000 20[0-9-]{8}T[0-9:]{8}Z", x) for x in lines)
        )

    def test_offByDefault(self):
        """It is off unless asked for."""
        self.assertEqual(mail(loggedIn("DSN"), "HOLDFOR=60").code, 555)

    def test_badInterval(self):
        """An interval that can't be told is a mistake."""
        for interval in (0, 10**9):
            self.assertRaises(ConfigurationError, FutureRelease, interval)
        for interval in (1, 999999999):
            client = loggedIn(FutureRelease(interval))
            self.assertEqual(mail(client, f"HOLDFOR={interval}").code, 250)


class HoldForTests(SynchronousTestCase):
    """HOLDFOR, RFC 4865 section 3."""

    def test_values(self):
        """Seconds, up to the longest interval."""
        client = loggedIn()
        for seconds in (1, 60, 86400):
            self.assertEqual(mail(client, f"HOLDFOR={seconds}").code, 250)
            self.assertEqual(client.session.envelope.mailFrom.values["HOLDFOR"], seconds)

    def test_tooLong(self):
        """A longer one is refused."""
        answer = mail(loggedIn(), "HOLDFOR=86401")
        self.assertEqual(
            (answer.code, answer.enhanced, answer.text),
            (501, "5.5.4", "HOLDFOR is longer than 86400 seconds"),
        )

    def test_refused(self):
        """It is a positive number without leading zeros, of nine digits at most."""
        client = loggedIn()
        for parameter in (
            "HOLDFOR",
            "HOLDFOR=0",
            "HOLDFOR=-1",
            "HOLDFOR=+1",
            "HOLDFOR=01",
            "HOLDFOR=1000000000",
            "HOLDFOR=1h",
            "HOLDFOR=١",
        ):
            answer = mail(client, parameter)
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "HOLDFOR needs a number of seconds in 1..999999999"),
                parameter,
            )


class HoldUntilTests(SynchronousTestCase):
    """HOLDUNTIL, RFC 4865 section 3."""

    def test_values(self):
        """A moment in UTC, up to the latest one."""
        client = loggedIn()
        for value, expected in (
            ("2026-10-12T10:00:01Z", NOW.replace(second=1)),
            ("2026-10-13T10:00:00Z", NOW.replace(day=13)),
            ("2026-10-13T10:00:00+00:00", NOW.replace(day=13)),
            ("2026-10-13T09:00:00.50Z", NOW.replace(day=13, hour=9, microsecond=500000)),
        ):
            self.assertEqual(mail(client, f"HOLDUNTIL={value}").code, 250)
            self.assertEqual(client.session.envelope.mailFrom.values["HOLDUNTIL"], expected)

    def test_tooLate(self):
        """A later one is refused, and one that isn't in the future."""
        client = loggedIn()
        for value, text in (
            ("2026-10-13T10:00:01Z", "HOLDUNTIL is later than 2026-10-13T10:00:00Z"),
            ("2026-10-12T10:00:00Z", "HOLDUNTIL is not in the future"),
            ("2025-10-12T10:00:00Z", "HOLDUNTIL is not in the future"),
        ):
            answer = mail(client, f"HOLDUNTIL={value}")
            self.assertEqual((answer.code, answer.enhanced, answer.text), (501, "5.5.4", text))

    def test_refused(self):
        """It is a date-time in UTC."""
        client = loggedIn()
        for parameter in (
            "HOLDUNTIL",
            "HOLDUNTIL=60",
            "HOLDUNTIL=2026-10-12",
            "HOLDUNTIL=2026-10-12T13:00:00+02:00",
            "HOLDUNTIL=2026-10-12T13:00:00",
        ):
            answer = mail(client, parameter)
            self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"), parameter)
            self.assertIn("in UTC", answer.text)


class ConflictTests(SynchronousTestCase):
    """What doesn't go together."""

    def test_both(self):
        """HOLDFOR and HOLDUNTIL exclude each other."""
        answer = mail(loggedIn(), "HOLDFOR=60 HOLDUNTIL=2026-10-12T11:00:00Z")
        self.assertEqual(
            (answer.code, answer.enhanced, answer.text),
            (501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude each other"),
        )

    def test_deadline(self):
        """The message must not be sent after its deadline (RFC 4865 section 5.2.2)."""
        client = loggedIn(FutureRelease(86400, now=lambda: NOW), "DELIVERBY")
        for hold in ("HOLDFOR=61", "HOLDUNTIL=2026-10-12T10:01:01Z"):
            for parameters in (f"{hold} BY=60;R", f"BY=60;N {hold}"):
                answer = mail(client, parameters)
                self.assertEqual(
                    (answer.code, answer.enhanced, answer.text),
                    (501, "5.5.4", "BY is over before the message would be sent"),
                )
        for parameters in ("HOLDFOR=60 BY=60;R", "BY=-5;N", "HOLDFOR=9", "BY=9;R"):
            self.assertEqual(mail(client, parameters).code, 250)

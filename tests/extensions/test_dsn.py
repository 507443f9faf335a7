"""DSN over the wire: RFC 3461, RFC 6533."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.session import EnvelopeDSN, RecipientDSN
from twisted_smtpserver.testing import Answer, Client, connect


class DSNTestCase(SynchronousTestCase):
    """A client that has said hello to a server with DSN."""

    def setUp(self) -> None:
        self.client: Client = connect(extensions=["DSN"])
        self.hello = self.client.say("EHLO client.example")

    def mail(self, parameters: str = "") -> Answer:
        """Say MAIL, in a transaction of its own."""
        self.client.say("RSET")
        return self.client.say(f"MAIL FROM:<joe@example.org> {parameters}")

    def rcpt(self, parameters: str | bytes = "") -> Answer:
        """Say RCPT, in a transaction of its own."""
        self.mail()
        octets = parameters if isinstance(parameters, bytes) else parameters.encode("utf-8")
        return self.client.say(b"RCPT TO:<jane@example.com> " + octets)

    def assertRefused(self, answer: Answer, text: str) -> None:
        self.assertEqual((answer.code, answer.enhanced, answer.text), (501, "5.5.4", text))


class OfferTests(DSNTestCase):
    """When DSN is offered."""

    def test_keyword(self):
        """It is offered without parameters to who asked for it."""
        self.assertIn("DSN", self.hello.lines)

    def test_offByDefault(self):
        """It isn't otherwise, and its parameters are unknown then."""
        client = connect()
        self.assertNotIn("DSN", client.say("EHLO client.example").lines)
        answer = client.say("MAIL FROM:<joe@example.org> RET=HDRS")
        self.assertEqual((answer.code, answer.text), (555, "RET parameter unrecognized"))
        client.say("MAIL FROM:<joe@example.org>")
        client.say("RCPT TO:<jane@example.com>")
        self.assertIsNone(client.session.envelope.dsn)
        self.assertIsNone(client.session.envelope.rcptTo[0].dsn)

    def test_wrongCommand(self):
        """RET and ENVID belong to MAIL, NOTIFY and ORCPT to RCPT."""
        for parameter in ("NOTIFY=NEVER", "ORCPT=rfc822;a@b.example"):
            self.assertEqual(self.mail(parameter).code, 555)
        for parameter in ("RET=FULL", "ENVID=x"):
            self.assertEqual(self.rcpt(parameter).code, 555)


class RetTests(DSNTestCase):
    """RET, RFC 3461 section 4.3."""

    def test_values(self):
        """FULL or HDRS, in any case."""
        for value, expected in (("FULL", "FULL"), ("hdrs", "HDRS"), ("Full", "FULL")):
            self.assertEqual(self.mail(f"RET={value}").code, 250)
            self.assertEqual(self.client.session.envelope.dsn, EnvelopeDSN(ret=expected))

    def test_refused(self):
        """Nothing else, and not without a value or twice."""
        for parameter in ("RET=BODY", "RET=FULLX", "RET"):
            self.assertRefused(self.mail(parameter), "RET must be FULL or HDRS")
        self.assertEqual(self.mail("RET=FULL RET=FULL").code, 501)

    def test_absent(self):
        """The envelope has a dsn with every MAIL."""
        self.mail()
        self.assertEqual(self.client.session.envelope.dsn, EnvelopeDSN(None, None))


class EnvidTests(DSNTestCase):
    """ENVID, RFC 3461 section 4.4."""

    def test_decoded(self):
        """The value is xtext; the typed one is decoded, the argument is as sent."""
        self.assertEqual(self.mail("ENVID=QQ+2B31+3D41+2059 RET=HDRS").code, 250)
        envelope = self.client.session.envelope
        self.assertEqual(envelope.dsn, EnvelopeDSN("HDRS", "QQ+31=41 59"))
        self.assertEqual(envelope.mailFrom.args["ENVID"], "QQ+2B31+3D41+2059")
        self.assertEqual(envelope.mailFrom.values["ENVID"], "QQ+31=41 59")

    def test_length(self):
        """It may have 100 characters."""
        self.assertEqual(self.mail("ENVID=" + "x" * 100).code, 250)
        self.assertRefused(self.mail("ENVID=" + "x" * 101), "ENVID is longer than 100 characters")

    def test_refused(self):
        """It needs a value, which is xtext and stands for printable ASCII."""
        self.assertRefused(self.mail("ENVID"), "ENVID needs an envelope identifier")
        for value in ("a+", "a+2", "a+2b", "a+0D+0A", "a+80", "ü", "+7F"):
            self.assertRefused(
                self.mail(f"ENVID={value}"), "ENVID must be printable ASCII in xtext"
            )
        self.assertEqual(self.mail("ENVID=").code, 501)


class NotifyTests(DSNTestCase):
    """NOTIFY, RFC 3461 section 4.1."""

    def notify(self) -> tuple[str, ...]:
        dsn = self.client.session.envelope.rcptTo[0].dsn
        assert dsn is not None
        return dsn.notify

    def test_values(self):
        """NEVER, or a list of the others in any order and case."""
        for value, expected in (
            ("NEVER", ("NEVER",)),
            ("never", ("NEVER",)),
            ("SUCCESS", ("SUCCESS",)),
            ("Failure,delay", ("FAILURE", "DELAY")),
            ("DELAY,SUCCESS,FAILURE", ("DELAY", "SUCCESS", "FAILURE")),
        ):
            self.assertEqual(self.rcpt(f"NOTIFY={value}").code, 250)
            self.assertEqual(self.notify(), expected)

    def test_neverAlone(self):
        """NEVER goes with nothing else, not even itself."""
        for value in ("NEVER,SUCCESS", "SUCCESS,NEVER", "NEVER,NEVER"):
            self.assertRefused(self.rcpt(f"NOTIFY={value}"), "NOTIFY: NEVER must be alone")

    def test_refused(self):
        """Nothing else, no empty element, not without a value."""
        text = "NOTIFY must be NEVER or a list of SUCCESS, FAILURE, DELAY"
        for parameter in (
            "NOTIFY",
            "NOTIFY=ALWAYS",
            "NOTIFY=SUCCESS,",
            "NOTIFY=,SUCCESS",
            "NOTIFY=SUCCESS;FAILURE",
        ):
            self.assertRefused(self.rcpt(parameter), text)

    def test_twice(self):
        """No condition is given twice."""
        self.assertRefused(
            self.rcpt("NOTIFY=SUCCESS,FAILURE,success"), "NOTIFY has a condition twice"
        )

    def test_absent(self):
        """Every recipient has a dsn."""
        self.rcpt()
        self.assertEqual(self.client.session.envelope.rcptTo[0].dsn, RecipientDSN((), None))


class OrcptTests(DSNTestCase):
    """ORCPT, RFC 3461 section 4.2 and RFC 6533 section 3."""

    def orcpt(self) -> str | None:
        dsn = self.client.session.envelope.rcptTo[0].dsn
        assert dsn is not None
        return dsn.orcpt

    def test_decoded(self):
        """The address is xtext; of another type than utf-8 it stands for printable ASCII."""
        for value, expected in (
            ("rfc822;Dana@Ivory.example.net", "rfc822;Dana@Ivory.example.net"),
            ("RFC822;a+2Bb@example.com", "RFC822;a+b@example.com"),
            ("rfc822;+22a+20b+22@example.com", 'rfc822;"a b"@example.com'),
            ("x400;/C+3Dus/", "x400;/C=us/"),
            ("rfc822;a;b@example.com", "rfc822;a;b@example.com"),
        ):
            self.assertEqual(self.rcpt(f"ORCPT={value}").code, 250)
            self.assertEqual(self.orcpt(), expected)

    def test_utf8(self):
        """The type utf-8 has a form in ASCII and one in UTF-8, with or without MAIL's SMTPUTF8."""
        for value in ("utf-8;j\\x{F6}rg@ex\\x{E4}mple.com", "UTF-8;jörg@exämple.com"):
            self.assertEqual(self.rcpt(f"ORCPT={value}").code, 250)
            self.assertEqual((self.orcpt() or "").lower(), "utf-8;jörg@exämple.com")
        self.client.say("RSET")
        self.client.say("MAIL FROM:<joe@example.org> SMTPUTF8")
        answer = self.client.say("RCPT TO:<jürgen@example.com> ORCPT=utf-8;jürgen@example.com")
        self.assertEqual(answer.code, 250)
        self.assertEqual(self.orcpt(), "utf-8;jürgen@example.com")

    def test_utf8Refused(self):
        """A malformed one is refused, one that is no UTF-8 as well."""
        text = "ORCPT: the address must be utf-8-addr-xtext (RFC 6533)"
        for value in ("utf-8;a+2Bb@c.example", "utf-8;\\x{41}", "utf-8;\\x{D800}", "utf-8;a\\b"):
            self.assertRefused(self.rcpt(f"ORCPT={value}"), text)
        self.assertEqual(self.rcpt(b"ORCPT=utf-8;\xff@c.example").code, 501)

    def test_asciiRefused(self):
        """Of another type it can't have UTF-8, controls or broken xtext."""
        text = "ORCPT: the address must be printable ASCII in xtext"
        for value in ("rfc822;jörg@c.example", "rfc822;a+0D+0Ab", "rfc822;a+4", "x400;+C3+BC"):
            self.assertRefused(self.rcpt(f"ORCPT={value}"), text)

    def test_syntax(self):
        """It needs a type, a semicolon and an address."""
        text = "ORCPT needs a type and an address, as in rfc822;user@example.com"
        for parameter in (
            "ORCPT",
            "ORCPT=jane@example.com",
            "ORCPT=;jane@example.com",
            "ORCPT=rfc822;",
            "ORCPT=rfc(822;jane@example.com",
            "ORCPT=ü;jane@example.com",
        ):
            self.assertRefused(self.rcpt(parameter), text)

    def test_length(self):
        """It may have 500 characters."""
        self.assertEqual(self.rcpt("ORCPT=rfc822;" + "x" * 493).code, 250)
        self.assertRefused(
            self.rcpt("ORCPT=rfc822;" + "x" * 494), "ORCPT is longer than 500 characters"
        )

    def test_together(self):
        """It goes with NOTIFY."""
        self.rcpt("NOTIFY=SUCCESS ORCPT=rfc822;a@b.example")
        self.assertEqual(
            self.client.session.envelope.rcptTo[0].dsn,
            RecipientDSN(("SUCCESS",), "rfc822;a@b.example"),
        )

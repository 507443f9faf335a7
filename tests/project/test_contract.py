"""Rows of the contract in the documentation that no other test proves over the wire."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import MemoryTransport, connect


class SessionTests(SynchronousTestCase):
    """What handlers see of a connection."""

    def test_unixSocket(self) -> None:
        """On a unix socket there are no addresses, and the client is called localhost."""
        address = UNIXAddress("/run/smtp")
        session = connect(transport=MemoryTransport(address, address)).session
        self.assertEqual(
            (
                session.localAddress,
                session.localPort,
                session.remoteAddress,
                session.remotePort,
                session.peerAddress,
                session.peerPort,
                session.clientHostname,
            ),
            (None, None, None, None, None, None, "localhost"),
        )

    def test_lmtp(self) -> None:
        """The session says whether LMTP is spoken."""
        self.assertTrue(connect(lmtp=True).session.lmtp)
        self.assertFalse(connect().session.lmtp)


class AddressTests(SynchronousTestCase):
    """What handlers see of MAIL and RCPT."""

    def test_parts(self) -> None:
        """The address, its parts, and what was sent."""
        client = connect()
        client.say("EHLO client.example")
        client.say("MAIL FROM:<>")
        sender = client.session.envelope.mailFrom
        assert sender is not None
        self.assertEqual((sender.address, sender.local, sender.domain), ("", "", None))
        for path, address, local, domain in (
            ("Joe@Example.COM", "Joe@example.com", "Joe", "example.com"),
            ('"j. @x"@example.com', '"j. @x"@example.com', "j. @x", "example.com"),
            ("@relay.example:joe@example.com", "joe@example.com", "joe", "example.com"),
            ("joe@xn--mnchen-3ya.de", "joe@münchen.de", "joe", "münchen.de"),
            ("joe@[192.0.2.1]", "joe@[192.0.2.1]", "joe", "[192.0.2.1]"),
            ("postMASTER", "postMASTER", "postMASTER", None),
        ):
            self.assertEqual(client.say(f"RCPT TO:<{path}>").code, 250)
            recipient = client.session.envelope.rcptTo[-1]
            self.assertEqual(
                (recipient.address, recipient.local, recipient.domain, recipient.raw),
                (address, local, domain, path),
            )

    def test_args(self) -> None:
        """Parameters are as they were sent, under upper-case keywords; there may be none."""
        client = connect(extensions=["DSN"])
        client.say("EHLO client.example")
        client.say("MAIL FROM:<joe@example.org> size=5 SmtpUtf8 envid=a+2Bb")
        client.say("RCPT TO:<ann@example.com>")
        envelope = client.session.envelope
        assert envelope.mailFrom is not None and envelope.dsn is not None
        self.assertEqual(envelope.mailFrom.args, {"SIZE": "5", "SMTPUTF8": True, "ENVID": "a+2Bb"})
        self.assertEqual(envelope.dsn.envid, "a+b")
        self.assertEqual(envelope.rcptTo[0].args, {})


class StartTLSTests(SynchronousTestCase):
    """The command STARTTLS."""

    def test_badInput(self) -> None:
        """Parameters are 501, before the hello it is 503, and so is a second one."""
        client = connect(selfSigned=True)
        self.assertEqual(client.say("STARTTLS").code, 503)
        client.say("EHLO client.example")
        self.assertEqual(client.say("STARTTLS now").code, 501)
        self.assertEqual(client.say("STARTTLS").code, 220)
        client.startTLS()
        client.say("EHLO client.example")
        self.assertEqual(client.say("STARTTLS").code, 503)

    def test_withoutCertificate(self) -> None:
        """Without a certificate it is 502."""
        client = connect()
        self.assertFalse("STARTTLS" in client.say("EHLO client.example").lines)
        self.assertEqual(client.say("STARTTLS").code, 502)

"""Tests for :mod:`twisted_smtpserver.sasl.external`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Challenge, Credentials, Done, Failed, Reason, SaslContext
from twisted_smtpserver.sasl.external import External

CONTEXT = SaslContext("mx.example.com", peerIdentity="client.example.com")


class ExternalTests(SynchronousTestCase):
    """EXTERNAL (RFC 4422 appendix A)."""

    def test_certificateSaysWho(self) -> None:
        """An empty response takes the certificate's name, initial or not."""
        done = Done(
            Credentials(
                "EXTERNAL", "client.example.com", authcid="client.example.com", verified=True
            )
        )
        self.assertEqual(External(CONTEXT).step(b""), done)
        asked = External(CONTEXT)
        self.assertEqual(asked.step(None), Challenge(b""))
        self.assertEqual(asked.step(b""), done)

    def test_authzidIsExposed(self) -> None:
        """Whom the client wants to act as is said, but doesn't become the user name."""
        step = External(CONTEXT).step(b"root")
        assert isinstance(step, Done)
        self.assertEqual(step.credentials.username, "client.example.com")
        self.assertEqual(step.credentials.authzid, "root")
        self.assertIs(step.credentials.authzidDiffers, True)

    def test_refusesWithoutCertificate(self) -> None:
        """Without a verified and usable name nobody is let in, whatever they say they are."""
        for identity in (None, "", "a\nb", "a\udcff", "x" * 256):
            for response in (b"", b"root"):
                with self.subTest(identity=identity, response=response):
                    mechanism = External(SaslContext("mx", peerIdentity=identity))
                    self.assertEqual(mechanism.step(response), Failed(Reason.CREDENTIALS))

    def test_refusesMalformed(self) -> None:
        """A bad authorization identity is malformed."""
        for response in (b"\0", b"a\nb", b"\xff", b"x" * 256):
            with self.subTest(response=response):
                self.assertEqual(External(CONTEXT).step(response), Failed(Reason.MALFORMED))

"""Signatures."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.stores.webhook.signature import readSecret, sign


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class SignatureTests(SynchronousTestCase):
    def test_vector(self) -> None:
        """It is what the Standard Webhooks project's own library makes of the same request."""
        key = readSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        signing = sign(
            key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, pieces(b'{"test": ', b"2432232314}")
        )
        signature = self.successResultOf(Deferred.fromCoroutine(signing))
        self.assertEqual(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

    def test_plainSecret(self) -> None:
        """A secret of another form is the key itself."""
        self.assertEqual(readSecret("sixteen octets ü"), "sixteen octets ü".encode())

    def test_badSecrets(self) -> None:
        """What is too short, or no base64, is refused, and not shown."""
        for secret in ("", "short", "whsec_c2hvcnQ=", "whsec_!!!!not base64 at all!!!!"):
            error = self.assertRaises(ConfigurationError, readSecret, secret)
            self.assertNotIn(secret or "''", str(error))

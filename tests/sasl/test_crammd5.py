"""Tests for :mod:`twisted_smtpserver.sasl.crammd5`."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Challenge, Done, Failed, Reason, SaslContext
from twisted_smtpserver.sasl.crammd5 import CramMD5

CONTEXT = SaslContext("mx.example.com", random=lambda n: b"\xab" * n, clock=lambda: 697170952.9)
DIGEST = b"b913a602c7eda7a495b4e6e7334d3890"


def keyedMD5(key: bytes, text: bytes) -> str:
    """HMAC-MD5 as RFC 2104 §2 spells it out, without the hmac module."""
    if len(key) > 64:
        key = hashlib.md5(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.md5(bytes(octet ^ 0x36 for octet in key) + text).digest()
    return hashlib.md5(bytes(octet ^ 0x5C for octet in key) + inner).hexdigest()


def challenged(context: SaslContext = CONTEXT) -> tuple[CramMD5, bytes]:
    """A mechanism and the challenge it sent."""
    mechanism = CramMD5(context)
    step = mechanism.step(None)
    assert isinstance(step, Challenge)
    return mechanism, step.data


class CramMD5Tests(SynchronousTestCase):
    """CRAM-MD5 (RFC 2195)."""

    def test_challenge(self) -> None:
        """The challenge has the form of a message id, with randomness, seconds and our name."""
        self.assertEqual(challenged()[1], b"<" + b"ab" * 16 + b".697170952@mx.example.com>")

    def test_challengeIsUnpredictable(self) -> None:
        """Two challenges in the same second have nothing in common but their form."""
        context = SaslContext("mx.example.com", clock=lambda: 1.0)
        first, second = challenged(context)[1], challenged(context)[1]
        self.assertNotEqual(first, second)
        self.assertTrue(re.fullmatch(rb"<[0-9a-f]{32}\.1@mx\.example\.com>", first))

    def test_challengeIsASCII(self) -> None:
        """A host name that isn't ASCII doesn't break the exchange."""
        context = SaslContext("m\u00fcx", random=CONTEXT.random, clock=CONTEXT.clock)
        self.assertTrue(challenged(context)[1].endswith(b"@m?x>"))

    def test_example(self) -> None:
        """The response of RFC 2195 §2 gives name, challenge and digest; none is verified yet."""
        mechanism, sent = challenged()
        step = mechanism.step(b"tim " + DIGEST)
        assert isinstance(step, Done)
        self.assertEqual(step.credentials.method, "CRAM-MD5")
        self.assertEqual(step.credentials.username, "tim")
        self.assertEqual(step.credentials.authcid, "tim")
        self.assertEqual(step.credentials.challenge, sent)
        self.assertEqual(step.credentials.challengeResponse, DIGEST.decode())
        self.assertIs(step.credentials.verified, False)

    def test_keyedDigestOfTheTest(self) -> None:
        """The test's own keyed digest gives the RFC's result."""
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        self.assertEqual(keyedMD5(b"tanstaaftanstaaf", challenge), DIGEST.decode())

    def test_exchange(self) -> None:
        """A client that knows the password validates, whatever its length; others don't."""
        for password in ("x", "p\u00e4ss", "y" * 64, "z" * 65):
            with self.subTest(password=password):
                mechanism, sent = challenged()
                step = mechanism.step(b"tim " + keyedMD5(password.encode(), sent).encode())
                assert isinstance(step, Done)
                self.assertIs(step.credentials.validatePassword(password), True)
                self.assertIs(step.credentials.validatePassword(password + "x"), False)

    def test_nameWithSpaces(self) -> None:
        """The digest stands behind the last space."""
        step = challenged()[0].step(b"Tim  the Enchanter  " + DIGEST)
        assert isinstance(step, Done)
        self.assertEqual(step.credentials.username, "Tim  the Enchanter ")

    def test_refusesInitialResponse(self) -> None:
        """A client can't answer before it was challenged."""
        for response in (b"", b"tim " + DIGEST):
            with self.subTest(response=response):
                mechanism = CramMD5(CONTEXT)
                self.assertEqual(mechanism.step(response), Failed(Reason.MALFORMED))
                self.assertEqual(mechanism.step(None), Failed(Reason.MALFORMED))

    def test_refusesMalformed(self) -> None:
        """What isn't a name, a space and 32 lower-case digits is malformed."""
        for response in (
            b"",
            b"tim",
            DIGEST,
            b" " + DIGEST,
            b"tim " + DIGEST[1:],
            b"tim " + DIGEST + b"0",
            b"tim " + DIGEST + b"\n",
            b"tim " + DIGEST.upper(),
            b"tim\t" + DIGEST,
            b"t\nm " + DIGEST,
            b"t\xffm " + DIGEST,
            b"t" * 256 + b" " + DIGEST,
        ):
            with self.subTest(response=response):
                self.assertEqual(challenged()[0].step(response), Failed(Reason.MALFORMED))

    @settings(deadline=None, max_examples=200)
    @given(st.binary(), st.sampled_from([b"", b" " + DIGEST, b" " + DIGEST[1:]]))
    def test_isTotal(self, name: bytes, digest: bytes) -> None:
        """Whatever comes in is refused, or is what the credentials say."""
        step = challenged()[0].step(name + digest)
        if isinstance(step, Done):
            got = step.credentials
            self.assertEqual(f"{got.username} {got.challengeResponse}".encode(), name + digest)
        else:
            self.assertEqual(step, Failed(Reason.MALFORMED))

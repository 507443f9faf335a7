"""Tests for :mod:`twisted_smtpserver.sasl.xoauth2` and :mod:`twisted_smtpserver.sasl.bearer`."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Challenge, Credentials, Done, Failed, Reason, SaslContext
from twisted_smtpserver.sasl.bearer import bearerToken
from twisted_smtpserver.sasl.xoauth2 import XOAuth2

CONTEXT = SaslContext("mx.example.com")
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"


class BearerTokenTests(SynchronousTestCase):
    """The credential of RFC 6750 §2.1."""

    def test_takes(self) -> None:
        """The scheme's case and the number of spaces don't matter; the token is kept as it is."""
        for octets, token in (
            (b"Bearer abc", "abc"),
            (b"bearer a-b._~+/c==", "a-b._~+/c=="),
            (b"BeArEr   x", "x"),
        ):
            with self.subTest(octets=octets):
                self.assertEqual(bearerToken(octets), token)

    def test_refuses(self) -> None:
        """Other schemes and what is no token is refused."""
        for octets in (
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer\tx",
            b"Bearerx",
            b" Bearer x",
            b"Basic x",
            b"Bearer x ",
            b"Bearer x y",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer x\n",
            b"Bearer \xc3\xb6",
            b'Bearer "x"',
        ):
            with self.subTest(octets=octets):
                self.assertIsNone(bearerToken(octets))


class XOAuth2Tests(SynchronousTestCase):
    """XOAUTH2."""

    def test_example(self) -> None:
        """Google's published example, as an initial response and as an answer."""
        response = base64.b64decode(
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNr"
            "QmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
        )
        done = Done(Credentials("XOAUTH2", "someuser@example.com", accessToken=TOKEN))
        self.assertEqual(XOAuth2(CONTEXT).step(response), done)
        asked = XOAuth2(CONTEXT)
        self.assertEqual(asked.step(None), Challenge(b""))
        self.assertEqual(asked.step(response), done)

    def test_refusesMalformed(self) -> None:
        """Anything else is malformed."""
        for response in (
            b"",
            b"\x01",
            b"user=jo\x01auth=Bearer x\x01",
            b"user=jo\x01auth=Bearer x",
            b"user=jo\x01auth=Bearer x\x01\x01\x01",
            b"user=jo\x01\x01auth=Bearer x\x01\x01",
            b"auth=Bearer x\x01user=jo\x01\x01",
            b"User=jo\x01auth=Bearer x\x01\x01",
            b"user=\x01auth=Bearer x\x01\x01",
            b"user=j\no\x01auth=Bearer x\x01\x01",
            b"user=\xff\x01auth=Bearer x\x01\x01",
            b"user=" + b"u" * 256 + b"\x01auth=Bearer x\x01\x01",
            b"user=jo\x01auth=\x01\x01",
            b"user=jo\x01auth=Basic x\x01\x01",
            b"user=jo\x01auth=Bearer x\n\x01\x01",
        ):
            with self.subTest(response=response):
                self.assertEqual(XOAuth2(CONTEXT).step(response), Failed(Reason.MALFORMED))

    def test_errorChallenge(self) -> None:
        """The challenge is JSON in ASCII with what the handler said, and a status in any case."""
        mechanism = XOAuth2(CONTEXT)
        self.assertIs(mechanism.usesErrorChallenge, True)
        data = {"status": "400", "schemes": "bearer mac", "scope": "https://mail/\u00f6\r\n"}
        sent = mechanism.errorChallenge(data)
        self.assertTrue(sent.isascii() and b"\n" not in sent)
        self.assertEqual(json.loads(sent), data)
        self.assertEqual(
            json.loads(mechanism.errorChallenge({})), {"status": "401", "schemes": "bearer"}
        )

    @settings(deadline=None, max_examples=200)
    @given(st.binary(), st.binary() | st.just(b"Bearer abc"))
    def test_isTotal(self, user: bytes, authorization: bytes) -> None:
        """Whatever comes in is refused, or has a name and a token."""
        step = XOAuth2(CONTEXT).step(b"user=%s\x01auth=%s\x01\x01" % (user, authorization))
        if isinstance(step, Done):
            self.assertEqual(step.credentials.username.encode(), user)
            self.assertEqual(step.credentials.accessToken, bearerToken(authorization))
            self.assertTrue(step.credentials.accessToken)
        else:
            self.assertEqual(step, Failed(Reason.MALFORMED))

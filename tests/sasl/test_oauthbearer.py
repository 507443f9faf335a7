"""Tests for :mod:`twisted_smtpserver.sasl.oauthbearer`."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import (
    Challenge,
    Credentials,
    Done,
    Failed,
    Reason,
    SaslContext,
    Step,
)
from twisted_smtpserver.sasl.oauthbearer import OAuthBearer

CONTEXT = SaslContext("mx.example.com", plusOffered=True)
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def first(response: bytes) -> Step:
    """The step on an initial response."""
    return OAuthBearer(CONTEXT).step(response)


class OAuthBearerTests(SynchronousTestCase):
    """OAUTHBEARER (RFC 7628)."""

    def test_example(self) -> None:
        """The SMTP example of RFC 7628 §4.1, as an initial response and as an answer."""
        response = base64.b64decode(
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVh"
            "cmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
        )
        done = Done(
            Credentials(
                "OAUTHBEARER",
                "user@example.com",
                accessToken=TOKEN,
                authzid="user@example.com",
                host="server.example.com",
                port=587,
            )
        )
        self.assertEqual(first(response), done)
        asked = OAuthBearer(CONTEXT)
        self.assertEqual(asked.step(None), Challenge(b""))
        self.assertEqual(asked.step(response), done)

    def test_nameIsOptional(self) -> None:
        """Without an authorization identity the user name is empty: the token says it."""
        self.assertEqual(
            first(b"n,,\x01auth=Bearer x\x01\x01"),
            Done(Credentials("OAUTHBEARER", "", accessToken="x")),
        )

    def test_nameIsUnescaped(self) -> None:
        """Comma and equals sign are escaped in the GS2 header (RFC 5801 §4)."""
        step = first(b"y,a=a=2Cb=3D,\x01auth=Bearer x\x01\x01")
        assert isinstance(step, Done)
        self.assertEqual(step.credentials.username, "a,b=")
        self.assertIs(step.credentials.authzidDiffers, False)

    def test_ignoresUnknownKeys(self) -> None:
        """Unknown and reserved keys are ignored, in any order (RFC 7628 §3.1)."""
        step = first(b"n,,\x01x=a=b, c\x01qs=\x01auth=Bearer x\x01port=65535\x01Z=\r\n\t\x01\x01")
        self.assertEqual(step, Done(Credentials("OAUTHBEARER", "", accessToken="x", port=65535)))

    def test_discovery(self) -> None:
        """A client without a token is told what it needs, and then fails (RFC 7628 §4.3)."""
        for dummy in (b"\x01", b"", b"n,,\x01auth=Bearer x\x01\x01"):
            with self.subTest(dummy=dummy):
                mechanism = OAuthBearer(CONTEXT)
                step = mechanism.step(b"n,a=jo,\x01host=h\x01port=143\x01auth=\x01\x01")
                assert isinstance(step, Challenge)
                self.assertEqual(json.loads(step.data), {"status": "invalid_token"})
                self.assertEqual(mechanism.step(dummy), Failed(Reason.CREDENTIALS))
                self.assertEqual(mechanism.step(dummy), Failed(Reason.MALFORMED))

    def test_refusesMalformed(self) -> None:
        """What isn't of the grammar is malformed, a client that requires a binding included."""
        for response in (
            b"",
            b"\x01",
            b"n,,",
            b"n,,\x01",
            b"n,,\x01\x01",
            b"n,,auth=Bearer x\x01\x01",
            b"n,,\x01auth=Bearer x\x01",
            b"n,,\x01auth=Bearer x",
            b"n,,\x01auth=Bearer x\x01\x01\x01",
            b"n,,\x01\x01auth=Bearer x\x01\x01",
            b"p=tls-exporter,,\x01auth=Bearer x\x01\x01",
            b"F,n,,\x01auth=Bearer x\x01\x01",
            b"n,a=,\x01auth=Bearer x\x01\x01",
            b"n,a=\x01,\x01auth=Bearer x\x01\x01",
            b"n,,\x01host=h\x01\x01",
            b"n,,\x01auth=Basic x\x01\x01",
            b"n,,\x01AUTH=Bearer x\x01\x01",
            b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
            b"n,,\x01x=1\x01x=1\x01auth=Bearer x\x01\x01",
            b"n,,\x01=1\x01auth=Bearer x\x01\x01",
            b"n,,\x01x2=1\x01auth=Bearer x\x01\x01",
            b"n,,\x01x=\xc3\xb6\x01auth=Bearer x\x01\x01",
            b"n,,\x01host=\x01auth=Bearer x\x01\x01",
            b"n,,\x01host=a b\x01auth=Bearer x\x01\x01",
            b"n,,\x01host=" + b"h" * 256 + b"\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=0\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=025\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=65536\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=1000000\x01auth=Bearer x\x01\x01",
            b"n,,\x01port=-1\x01auth=Bearer x\x01\x01",
        ):
            with self.subTest(response=response):
                self.assertEqual(first(response), Failed(Reason.MALFORMED))

    def test_errorChallenge(self) -> None:
        """The status that RFC 7628 §3.2.2 requires is there, unless the handler gave another."""
        mechanism = OAuthBearer(CONTEXT)
        self.assertIs(mechanism.usesErrorChallenge, True)
        self.assertEqual(
            json.loads(mechanism.errorChallenge({"scope": "mail"})),
            {"status": "invalid_token", "scope": "mail"},
        )
        self.assertEqual(
            json.loads(mechanism.errorChallenge({"status": "insufficient_scope"})),
            {"status": "insufficient_scope"},
        )

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.binary(max_size=5)
            | st.sampled_from([b"n,,", b"n,a=jo,", b"\x01", b"auth=Bearer x", b"port=1", b"auth="])
        ).map(b"".join)
    )
    def test_isTotal(self, response: bytes) -> None:
        """Whatever comes in fails, is discovery, or has a token."""
        step = first(response)
        if isinstance(step, Done):
            token = step.credentials.accessToken
            assert token
            self.assertIn(b"\x01auth=Bearer " + token.encode() + b"\x01", response)
            self.assertIs(step.credentials.verified, False)
        elif not isinstance(step, Challenge):
            self.assertEqual(step, Failed(Reason.MALFORMED))

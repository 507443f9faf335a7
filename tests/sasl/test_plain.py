"""Tests for :mod:`twisted_smtpserver.sasl.plain`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Challenge, Credentials, Done, Failed, Reason, SaslContext
from twisted_smtpserver.sasl.plain import Plain

CONTEXT = SaslContext("mx.example.com")


class PlainTests(SynchronousTestCase):
    """PLAIN (RFC 4616)."""

    def test_examples(self) -> None:
        """The two examples of RFC 4616 §4: without and with an authorization identity."""
        for response, credentials in (
            (
                b"\0tim\0tanstaaftanstaaf",
                Credentials("PLAIN", "tim", password="tanstaaftanstaaf", authcid="tim"),
            ),
            (
                b"Ursel\0Kurt\0xipj3plmq",
                Credentials("PLAIN", "Kurt", password="xipj3plmq", authcid="Kurt", authzid="Ursel"),
            ),
        ):
            with self.subTest(response=response):
                self.assertEqual(Plain(CONTEXT).step(response), Done(credentials))
                asked = Plain(CONTEXT)
                self.assertEqual(asked.step(None), Challenge(b""))
                self.assertEqual(asked.step(response), Done(credentials))

    def test_takesTheLongest(self) -> None:
        """Names of 255 octets and a password of 1024 are taken."""
        step = Plain(CONTEXT).step(b"\0".join((b"z" * 255, b"c" * 255, b"p" * 1024)))
        self.assertIsInstance(step, Done)

    def test_refusesMalformed(self) -> None:
        """Wrong numbers of NULs, missing, overlong and bad parts are malformed, and final."""
        for response in (
            b"",
            b"tim",
            b"tim\0secret",
            b"\0tim\0secret\0",
            b"\0\0tim\0secret",
            b"\0\0secret",
            b"\0tim\0",
            b"z" * 256 + b"\0tim\0secret",
            b"\0" + b"c" * 256 + b"\0secret",
            b"\0tim\0" + b"p" * 1025,
            b"\0t\nm\0secret",
            b"\0t\xc2\x85m\0secret",
            b"\x7f\0tim\0secret",
            b"\0t\xffm\0secret",
            b"\xff\0tim\0secret",
            b"\0tim\0\xff",
        ):
            with self.subTest(response=response[:20]):
                mechanism = Plain(CONTEXT)
                self.assertEqual(mechanism.step(response), Failed(Reason.MALFORMED))
                self.assertEqual(mechanism.step(b"\0tim\0secret"), Failed(Reason.MALFORMED))

    @settings(deadline=None, max_examples=200)
    @given(st.binary() | st.lists(st.sampled_from([b"\0", b"x", b"\xff"])).map(b"".join))
    def test_isTotal(self, response: bytes) -> None:
        """Whatever comes in is refused, or is what the credentials say."""
        step = Plain(CONTEXT).step(response)
        if isinstance(step, Done):
            got = step.credentials
            parts = (got.authzid or "", got.authcid or "", got.password or "")
            self.assertEqual("\0".join(parts).encode(), response)
            self.assertTrue(got.username == got.authcid and got.password and not got.verified)
        else:
            self.assertEqual(step, Failed(Reason.MALFORMED))

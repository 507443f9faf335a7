"""Tests for :mod:`twisted_smtpserver.sasl.login`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Challenge, Credentials, Done, Failed, Reason, SaslContext
from twisted_smtpserver.sasl.login import Login

CONTEXT = SaslContext("mx.example.com")
TIM = Done(Credentials("LOGIN", "tim", password="a b\tc", authcid="tim"))


class LoginTests(SynchronousTestCase):
    """LOGIN."""

    def test_prompts(self) -> None:
        """Name and password are asked for in turn, with the prompts that clients expect."""
        mechanism = Login(CONTEXT)
        self.assertEqual(mechanism.step(None), Challenge(b"Username:"))
        self.assertEqual(mechanism.step(b"tim"), Challenge(b"Password:"))
        self.assertEqual(mechanism.step(b"a b\tc"), TIM)

    def test_initialResponseIsTheName(self) -> None:
        """An initial response saves the first prompt."""
        mechanism = Login(CONTEXT)
        self.assertEqual(mechanism.step(b"tim"), Challenge(b"Password:"))
        self.assertEqual(mechanism.step(b"a b\tc"), TIM)

    def test_refusesBadNames(self) -> None:
        """Such a name is malformed, asked for or not, and no password is asked for."""
        for name in (b"", b"t\0m", b"t\nm", b"\xff", b"t" * 256):
            for first in (True, False):
                with self.subTest(name=name, first=first):
                    mechanism = Login(CONTEXT)
                    if not first:
                        mechanism.step(None)
                    self.assertEqual(mechanism.step(name), Failed(Reason.MALFORMED))
                    self.assertEqual(mechanism.step(b"x"), Failed(Reason.MALFORMED))

    def test_refusesBadPasswords(self) -> None:
        """Such a password is malformed."""
        for password in (b"", b"\0", b"\xff", b"p" * 1025):
            with self.subTest(password=password):
                mechanism = Login(CONTEXT)
                mechanism.step(b"tim")
                self.assertEqual(mechanism.step(password), Failed(Reason.MALFORMED))

"""Tests for :mod:`twisted_smtpserver.sasl.credentials`."""

from __future__ import annotations

import dataclasses
import hmac

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Authenticated, Credentials


class CredentialsTests(SynchronousTestCase):
    """What ``onAuth`` gets."""

    def test_reprShowsNoSecret(self) -> None:
        """Only the method and the name, escaped, are in the repr, the str and the format."""
        credentials = Credentials(
            "PLAIN",
            "jo\n",
            password="hush-password",
            accessToken="hush-token",
            authcid="hush-authcid",
            authzid="hush-authzid",
            challenge=b"hush-challenge",
            challengeResponse="hush-response",
            host="hush-host",
        )
        self.assertEqual(repr(credentials), r"<Credentials method='PLAIN' username='jo\n'>")
        self.assertEqual(f"{credentials}", repr(credentials))

    def test_isFrozen(self) -> None:
        """Nobody can change who is logging in."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            Credentials("PLAIN", "jo").username = "root"  # type: ignore[misc]
        with self.assertRaises(dataclasses.FrozenInstanceError):
            Authenticated("jo").user = "root"  # type: ignore[misc]

    def test_isNotVerifiedByDefault(self) -> None:
        """A handler that trusts ``verified`` isn't fooled by an omission."""
        self.assertIs(Credentials("PLAIN", "jo").verified, False)

    def test_validatesPassword(self) -> None:
        """A clear password is compared with text and with octets."""
        credentials = Credentials("LOGIN", "jo", password="gehe\u00efm")
        self.assertIs(credentials.validatePassword("gehe\u00efm"), True)
        self.assertIs(credentials.validatePassword("gehe\u00efm".encode()), True)
        for wrong in ("", "geheim", "gehe\u00efm ", b"gehe\xefm", "\udcff"):
            with self.subTest(wrong=wrong):
                self.assertIs(credentials.validatePassword(wrong), False)

    def test_emptyPassword(self) -> None:
        """An empty password is never the right one, even where it was sent or proved."""
        digest = hmac.digest(b"", b"<1@x>", "md5").hex()
        for credentials in (
            Credentials("PLAIN", "jo", password=""),
            Credentials("CRAM-MD5", "jo", challenge=b"<1@x>", challengeResponse=digest),
        ):
            for empty in ("", b""):
                self.assertIs(credentials.validatePassword(empty), False)

    def test_validatesChallengeResponse(self) -> None:
        """The example of RFC 2195 §2 validates, and any other password or digest doesn't."""
        credentials = Credentials(
            "CRAM-MD5",
            "tim",
            challenge=b"<1896.697170952@postoffice.reston.mci.net>",
            challengeResponse="b913a602c7eda7a495b4e6e7334d3890",
        )
        self.assertIs(credentials.validatePassword("tanstaaftanstaaf"), True)
        self.assertIs(credentials.validatePassword(b"tanstaaftanstaaf"), True)
        self.assertIs(credentials.validatePassword("tanstaaf"), False)
        other = dataclasses.replace(credentials, challengeResponse="0" * 32)
        self.assertIs(other.validatePassword("tanstaaftanstaaf"), False)

    def test_comparesInConstantTime(self) -> None:
        """Both kinds of comparison go through :func:`hmac.compare_digest`."""
        calls: list[object] = []

        def compare(a: object, b: object) -> bool:
            calls.append((a, b))
            return a == b

        self.patch(
            __import__("twisted_smtpserver.sasl.credentials", fromlist=["hmac"]).hmac,
            "compare_digest",
            compare,
        )
        Credentials("PLAIN", "jo", password="x").validatePassword("y")
        Credentials("CRAM-MD5", "jo", challenge=b"c", challengeResponse="r").validatePassword("y")
        self.assertEqual(len(calls), 2)

    def test_refusesToValidateWithoutPassword(self) -> None:
        """Elsewhere there is nothing to compare: that raises, rather than answer no or yes."""
        for credentials in (
            Credentials("XOAUTH2", "jo", accessToken="x"),
            Credentials("SCRAM-SHA-256", "jo", verified=True),
            Credentials("CRAM-MD5", "jo", challenge=b"x"),
            Credentials("CRAM-MD5", "jo", challengeResponse="x"),
        ):
            with self.subTest(method=credentials.method):
                with self.assertRaises(TypeError) as caught:
                    credentials.validatePassword("x")
                self.assertIn(credentials.method, str(caught.exception))

    def test_authzidDiffers(self) -> None:
        """It is true only if the client named somebody else."""
        for authzid, differs in ((None, False), ("jo", False), ("Jo", True), ("root", True)):
            with self.subTest(authzid=authzid):
                self.assertIs(Credentials("X", "jo", authzid=authzid).authzidDiffers, differs)


class AuthenticatedTests(SynchronousTestCase):
    """What ``onAuth`` may return."""

    def test_reprShowsTypeOnly(self) -> None:
        """The repr of a user object may have secrets in it, so it isn't shown."""
        shown = repr(Authenticated({"hash": "hush"}, "hush"))
        self.assertEqual(shown, "<Authenticated user of type dict>")

    def test_takesAnyUser(self) -> None:
        """Any object is a user, one without truth included, and there need be no message."""
        for user in ("jo", b"jo", 0, {}, object()):
            with self.subTest(user=user):
                self.assertIs(Authenticated(user).user, user)
        self.assertIsNone(Authenticated("jo").message)
        self.assertEqual(Authenticated("jo", "Hello").message, "Hello")

    def test_neverComparesUser(self) -> None:
        """A user object with an ``==`` of its own (a database column, say) is left in peace."""

        class Prickly:
            def __eq__(self, other: object) -> bool:
                raise AssertionError("compared")

            __hash__ = None  # type: ignore[assignment]

        Authenticated(Prickly())

    def test_refusesNobody(self) -> None:
        """What a failed look-up or check yields is no user."""
        for nobody in (None, False, True, "", b""):
            with self.subTest(nobody=nobody), self.assertRaises(ValueError):
                Authenticated(nobody)

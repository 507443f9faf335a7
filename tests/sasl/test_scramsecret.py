"""Tests for :mod:`twisted_smtpserver.sasl.scramsecret`."""

from __future__ import annotations

import base64
import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import FakeSecrets, ScramSecret, scramSecret, scramsecret

#: The secret behind the example of RFC 7677 §3, in the form that PostgreSQL stores.
STORED = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
#: The same of the empty password.
EMPTY = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
    "AJ6h8dbzJdqPups1RHMsUwUwWmoe55vzkmldCT32rlY=:"
    "PaPyzvmMvez2KHVzr2IQl1SyC/VgZCEXKozJyWErWOE="
)
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


class ScramSecretTests(SynchronousTestCase):
    """What is stored of a password."""

    def test_makesKnownSecret(self) -> None:
        """The password of RFC 7677's example gives the keys that others derive from it."""
        self.assertEqual(scramSecret("pencil", SALT).toString(), STORED)

    def test_roundTrip(self) -> None:
        """What was written is read again."""
        secret = ScramSecret(b"s", 10_000_000, b"k" * 32, b"v" * 32)
        self.assertEqual(ScramSecret.fromString(secret.toString()), secret)
        self.assertEqual(ScramSecret.fromString(STORED), scramSecret("pencil", SALT))

    def test_saltIsRandom(self) -> None:
        """Two users with the same password have different secrets, of 16 octets of salt."""
        first, second = scramSecret("pencil"), scramSecret("pencil")
        self.assertEqual(len(first.salt), 16)
        self.assertNotEqual(first.salt, second.salt)
        self.assertNotEqual(first.storedKey, second.storedKey)

    def test_usesIterations(self) -> None:
        """More iterations make another secret, and the default is RFC 7677's minimum."""
        self.assertEqual(scramSecret("pencil", SALT).iterations, 4096)
        more = scramSecret("pencil", SALT, 4097)
        self.assertEqual(more.iterations, 4097)
        self.assertNotEqual(more.storedKey, scramSecret("pencil", SALT).storedKey)

    def test_preparesPassword(self) -> None:
        """Clients apply SASLprep, so the stored secret must have it applied, too."""
        self.assertEqual(scramSecret("\u2168\u00ad", SALT), scramSecret("IX", SALT))

    def test_refusesBadPasswords(self) -> None:
        """Empty and prohibited passwords are refused, and the error doesn't show them."""
        for password in ("", "\u00ad", "hush\x07"):
            with self.subTest(password=password):
                with self.assertRaises(ValueError) as caught:
                    scramSecret(password)
                self.assertNotIn("hush", str(caught.exception))

    def test_emptyPassword(self) -> None:
        """A secret that another program made of the empty password is known, others aren't."""
        self.assertTrue(ScramSecret.fromString(EMPTY).isOfEmptyPassword())
        pencil = ScramSecret.fromString(STORED)
        for most in (scramsecret.MOST_HARMLESS, 0):
            self.patch(scramsecret, "MOST_HARMLESS", most)
            self.patch(scramsecret, "_HARMLESS", set())
            self.assertFalse(pencil.isOfEmptyPassword())
            self.assertEqual(scramsecret._HARMLESS, {pencil.storedKey})
        self.patch(scramsecret, "_derive", None)  # it isn't made again
        self.assertFalse(pencil.isOfEmptyPassword())

    def test_boundsIterationsBeforeWork(self) -> None:
        """An absurd count is refused rather than computed."""
        for iterations in (0, 4095, 10_000_001, 2**31):
            with self.subTest(iterations=iterations), self.assertRaises(ValueError):
                scramSecret("pencil", SALT, iterations)

    def test_boundsFields(self) -> None:
        """A secret outside of the bounds can't be made."""
        key = b"k" * 32
        for salt, iterations, stored, server in (
            (b"", 4096, key, key),
            (b"s" * 1025, 4096, key, key),
            (b"s", 4095, key, key),
            (b"s", 10_000_001, key, key),
            (b"s", 4096, key[:-1], key),
            (b"s", 4096, key, key + b"k"),
        ):
            with self.subTest(iterations=iterations), self.assertRaises(ValueError):
                ScramSecret(salt, iterations, stored, server)
        ScramSecret(b"s" * 1024, 10_000_000, key, key)

    def test_refusesOtherStrings(self) -> None:
        """Anything but the one form is refused, and the error doesn't show it."""
        for text in (
            "",
            "hush",
            STORED[:-1],
            STORED + "\n",
            " " + STORED,
            STORED.replace("256", "1"),
            STORED.replace("4096", "4095"),
            STORED.replace("4096", "04096"),
            STORED.replace("4096", "999999999"),
            STORED.replace("4096", "\u0664096"),
            STORED.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            STORED.replace("W22Z", "W22"),
            STORED.replace("WG5d", ""),
            STORED.replace(":wfPL", ":"),
        ):
            with self.subTest(text=text):
                with self.assertRaises(ValueError) as caught:
                    ScramSecret.fromString(text)
                self.assertNotIn("hush", str(caught.exception))
                self.assertNotIn("PLwcE6nTWh", str(caught.exception))

    def test_reprShowsNoKey(self) -> None:
        """The repr has the iterations only, and nobody can change a key."""
        secret = ScramSecret.fromString(STORED)
        self.assertEqual(repr(secret), "<ScramSecret iterations=4096>")
        with self.assertRaises(dataclasses.FrozenInstanceError):
            secret.storedKey = b""  # type: ignore[misc]


class FakeSecretsTests(SynchronousTestCase):
    """What users who don't exist seem to have stored."""

    def test_bounds(self) -> None:
        """A guessable key and iterations that no user could have are refused at once."""
        with self.assertRaises(ValueError):
            FakeSecrets(b"k" * 15)
        with self.assertRaises(ValueError):
            FakeSecrets(iterations=4095)
        self.assertEqual(FakeSecrets(b"k" * 16, 4097).secretOf("ann").iterations, 4097)

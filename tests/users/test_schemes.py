"""The ways to keep a password."""

from __future__ import annotations

import contextlib
import ctypes
import random
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.users import libcrypt, schemes
from twisted_smtpserver.users.schemes import SCHEMES, Scheme, identify


class SchemeTests(SynchronousTestCase):
    def cheap(self, name: str) -> str:
        """A hash of "sesame" that costs little."""
        if name == "bcrypt":
            import bcrypt

            return bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode().replace("$2b", "$2y")
        if name == "argon2id":
            import argon2

            return argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("sesame")
        self.patch(schemes, "_SHA512_ROUNDS", 1000)
        self.patch(schemes, "_SCRAM_ITERATIONS", 4096)
        return SCHEMES[name].make(b"sesame")

    def test_verify(self) -> None:
        """The right password, and no other; nor any for a decoy, which costs the same."""
        for name, scheme in SCHEMES.items():
            kept = self.cheap(name)
            self.assertIs(identify(kept), scheme)
            self.assertTrue(scheme.verify(kept, b"sesame"), name)
            self.assertFalse(scheme.verify(kept, b"Sesame"), name)
            decoy = scheme.decoy(kept)
            self.assertEqual(scheme.costOf(decoy), scheme.costOf(kept))
            self.assertFalse(scheme.verify(decoy, b"sesame"), name)

    def test_make(self) -> None:
        """What is made anew can be checked, is another each time, and costs what it should."""
        costs = {"bcrypt": 10, "argon2id": (19456, 2, 1), "sha512-crypt": 50000, "scram": 50000}
        for name, scheme in SCHEMES.items():
            kept = scheme.make(b"sesame")
            self.assertTrue(scheme.verify(kept, b"sesame"), name)
            self.assertEqual(scheme.costOf(kept), costs[name])
            self.assertEqual(identify(kept).costOf(scheme.decoy(kept)), costs[name])
        self.assertNotEqual(SCHEMES["scram"].make(b"sesame"), SCHEMES["scram"].make(b"sesame"))

    def test_longPasswords(self) -> None:
        """bcrypt looks at 72 octets: longer passwords are never right, and can't be kept."""
        scheme = SCHEMES["bcrypt"]
        import bcrypt

        kept = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
        self.assertTrue(scheme.verify(kept, b"x" * 72))
        self.assertFalse(scheme.verify(kept, b"x" * 73))
        error = self.assertRaises(ValueError, scheme.make, b"x" * 73)
        self.assertEqual(
            str(error), "bcrypt takes passwords of at most 72 octets: choose another scheme"
        )

    def test_prohibited(self) -> None:
        """What SASLprep prohibits can be no SCRAM password, and is wrong without an error."""
        kept = self.cheap("scram")
        self.assertFalse(SCHEMES["scram"].verify(kept, b"\x07"))

    def test_costs(self) -> None:
        """A hash that would cost too much is refused before anybody pays for it."""
        salt = "c29tZXNhbHQ$" + "A" * 43
        digest = "x" * 86
        scram = self.cheap("scram")
        for kept, reason in {
            "$2b$31$" + "O" * 53: "bcrypt's cost must be 4 to 15",
            "$2b$03$" + "O" * 53: "bcrypt's cost must be 4 to 15",
            f"$argon2id$v=19$m=4194304,t=1,p=1${salt}": "memory (m=) must be at most 262144 KiB",
            f"$argon2id$v=19$m=120,t=1,p=16${salt}": "at least 8 for each lane",
            f"$argon2id$v=19$m=64,t=11,p=1${salt}": "passes (t=) must be at most 10",
            f"$argon2id$v=19$m=640,t=1,p=17${salt}": "lanes (p=)",
            f"$6$rounds=1000001$salt${digest}": "rounds must be at most 1000000",
            scram.replace("$4096", "$1000001"): "SCRAM's iterations must be at most 1000000",
            scram.replace("$4096", "$4095"): "iterations must be 4096",
        }.items():
            error = self.assertRaises(ValueError, identify(kept).costOf, kept)
            self.assertIn(reason, str(error))
            self.assertIn("set the password again with: python -m", str(error))

    def test_libraries(self) -> None:
        """What passes as a hash, the libraries take: none of them fails at the login."""
        chance = random.Random(5)
        passed = 0
        for name, length in (("bcrypt", 53), ("argon2id", 66)):  # of salt and digest
            hashed = self.cheap(name)
            for _ in range(200):
                place = chance.randrange(len(hashed) - length, len(hashed))
                changed = hashed[:place] + chance.choice("AQgwOeu.$/z") + hashed[place + 1 :]
                with contextlib.suppress(ValueError):
                    SCHEMES[name].costOf(changed)
                    self.assertIn(SCHEMES[name].verify(changed, b"x"), (True, False))
                    passed += 1
        self.assertGreater(passed, 100)

    def test_malformed(self) -> None:
        """A hash that was cut off is refused."""
        for name, scheme in SCHEMES.items():
            self.assertRaises(ValueError, scheme.costOf, self.cheap(name)[:-30])
        argon2 = "v=19$m=64,t=1,p=1$c29tZXNhbHQ$"
        for kept in (
            "$2x$04$" + "a" * 53,
            f"$argon2i${argon2}" + "A" * 43,
            f"$argon2id${argon2}" + "A" * 17,  # no octets have so many characters
        ):
            self.assertRaises(ValueError, identify(kept).costOf, kept)

    def test_otherHashes(self) -> None:
        """Kinds that are broken or unknown are refused; the error names the cure, not the hash."""
        for kept in ("$apr1$abc$def", "$1$abc$def", "$5$abc$def", "{SHA}abc", "{PLAIN}abc"):
            for plainText in (False, True):
                error = self.assertRaises(ValueError, identify, kept, plainText)
                self.assertIn(
                    "this kind of hash isn't supported: set the password again", str(error)
                )
                self.assertNotIn("abc", str(error))

    def test_plainText(self) -> None:
        """Plain text is taken only if the operator says so."""
        error = self.assertRaises(ValueError, identify, "sesame")
        self.assertIn("need --auth-plain-text, or Htpasswd(plainText=True)", str(error))
        self.assertNotIn("sesame", str(error))
        scheme = identify("sesame", plainText=True)
        self.assertTrue(scheme.verify("sesame", b"sesame"))
        self.assertFalse(scheme.verify("sesame", b"Sesame"))
        self.assertNotEqual(scheme.decoy("sesame"), "sesame")
        self.assertEqual(scheme.costOf("sesame"), scheme.costOf("x"))
        self.assertIs(identify("$ecret", plainText=True), scheme)
        self.assertRaises(ValueError, identify, "", True)

    def test_missingLibraries(self) -> None:
        """Where a library isn't installed, the error names the command that installs it."""
        for name, module in (("bcrypt", "bcrypt"), ("argon2id", "argon2")):
            kept = self.cheap(name)
            missing: Any = {module: None}
            self.addCleanup(sys.modules.__setitem__, module, sys.modules[module])
            sys.modules.update(missing)
            error = self.assertRaises(ValueError, SCHEMES[name].costOf, kept)
            self.assertIn(
                f'these hashes need {module}: pip install "twisted-smtpserver[passwords]"',
                str(error),
            )

    def test_abstract(self) -> None:
        """A way to keep passwords has to say all of it."""
        scheme = Scheme()
        for call, arguments in (
            (scheme.costOf, ("",)),
            (scheme.verify, ("", b"")),
            (scheme.make, (b"",)),
            (scheme.decoy, ("",)),
        ):
            function: Any = call
            self.assertRaises(NotImplementedError, function, *arguments)


class LibcryptTests(SynchronousTestCase):
    """The system's sha512-crypt."""

    def setUp(self) -> None:
        libcrypt.sha512crypt.cache_clear()
        self.addCleanup(libcrypt.sha512crypt.cache_clear)

    def test_specification(self) -> None:
        """It does what its specification's examples say."""
        crypt = libcrypt.sha512crypt()
        setting = "$6$rounds=10000$saltstringsaltstring"
        self.assertEqual(
            crypt(b"Hello world!", setting),
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp"
            "8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        )
        self.assertNotIn("$6$", crypt(b"Hello world!", "no setting"))

    def test_missing(self) -> None:
        """Without it, or with one that computes something else, that is said."""

        def wrong(name: str | None) -> Any:
            if name is None:
                raise OSError(name)

            class Library:
                class crypt_r:  # noqa: N801
                    restype: Any
                    argtypes: Any

                    def __new__(cls, *arguments: object) -> Any:
                        return None

            return Library

        self.patch(ctypes, "CDLL", wrong)
        error = self.assertRaises(ValueError, libcrypt.sha512crypt)
        self.assertEqual(str(error), "sha512-crypt needs the system's libcrypt (Debian: libcrypt1)")

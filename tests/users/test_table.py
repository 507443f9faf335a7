"""The content of a file of users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import Credentials, ScramSecret, scramSecret
from twisted_smtpserver.tables.watched import TableError
from twisted_smtpserver.users import schemes
from twisted_smtpserver.users.schemes import Bcrypt, PlainText, Scram
from twisted_smtpserver.users.table import UserTable, preparedName

KEY = b"k" * 32
BCRYPT = "$2b$04$POKv0rOMixJap1RyzPpPTe.jnrfFCFP/.9uYXWkmW/YojAYg5TvK2"  # sesame
SLOW = BCRYPT.replace("$04$", "$10$")


def numbered(*lines: str) -> Iterator[tuple[int, str]]:
    yield from enumerate(lines, 1)


def table(*lines: str, plainText: bool = False) -> UserTable:
    return UserTable.parse(numbered(*lines), plainText)


class CountingTestCase(SynchronousTestCase):
    """Counts the hashes that are made."""

    def setUp(self) -> None:
        self.checks: list[tuple[str, Any, bytes]] = []
        for kind in (Bcrypt, Scram, PlainText):
            self.patch(kind, "verify", self.count(kind.verify))

    def count(self, verify: Any) -> Any:
        def counting(scheme: Any, kept: str, password: bytes) -> bool:
            self.checks.append((scheme.name, scheme.costOf(kept), password))
            return bool(verify(scheme, kept, password))

        return counting

    def checked(self, known: UserTable, name: str, password: str) -> list[tuple[str, Any, bytes]]:
        """The hashes that a check made; the password must be wrong."""
        del self.checks[:]
        self.assertFalse(known.check(name, password))
        return self.checks


class UserTableTests(CountingTestCase):
    def test_check(self) -> None:
        """The right password, and no other; nobody else's, and no empty one."""
        known = table(f"joe:{BCRYPT}", "ann:" + scramSecret("open").toString())
        self.assertTrue(known.check("joe", "sesame"))
        self.assertTrue(known.check("ann", "open"))
        for name, password in (("joe", "open"), ("ann", "sesame"), ("eve", "open"), ("joe", "")):
            self.assertFalse(known.check(name, password))
        self.assertEqual(str(known), "2 users")
        self.assertIn("ann", known)
        self.assertNotIn("eve", known)

    def test_unknownUser(self) -> None:
        """Somebody who isn't there costs what a wrong password does: as most users have it."""
        known = table(f"joe:{BCRYPT}", f"ann:{BCRYPT}", f"sue:{SLOW}")
        self.assertEqual(self.checked(known, "joe", "wrong"), [("bcrypt", 4, b"wrong")])
        self.assertEqual(self.checked(known, "eve", "wrong"), [("bcrypt", 4, b"wrong")])
        self.assertEqual(self.checked(known, "", "wrong"), [("bcrypt", 4, b"wrong")])

    def test_decoy(self) -> None:
        """Nobody can log in as somebody who isn't there, not with a user's password either."""
        for known in (
            table(f"joe:{BCRYPT}"),
            table("joe:" + scramSecret("sesame").toString()),
            table("joe:sesame", plainText=True),
        ):
            self.assertTrue(known.check("joe", "sesame"))
            self.assertEqual(len(self.checked(known, "eve", "sesame")), 1)

    def test_decoyHit(self) -> None:
        """Even a password that fits the decoy would be wrong."""
        known = table("joe:sesame", plainText=True)
        self.patch(PlainText, "verify", lambda scheme, kept, password: True)
        self.assertFalse(known.check("eve", "any"))

    def test_mostCommon(self) -> None:
        """The decoy of a mixed file is as most users' hashes are, by which they are checked."""
        scram = scramSecret("open", iterations=5000).toString()
        known = table(f"joe:{BCRYPT}", f"joe:{scram}", f"ann:{scram}", f"sue:{scram}")
        self.assertEqual(self.checked(known, "eve", "x"), [("scram", 5000, b"x")])
        known = table(f"joe:{BCRYPT}", f"joe:{scram}", f"ann:{BCRYPT}", f"ann:{scram}")
        self.assertEqual(self.checked(known, "eve", "x"), [("bcrypt", 4, b"x")])

    def test_dispose(self) -> None:
        """An old table can be emptied while a check goes on."""
        known = table(f"joe:{BCRYPT}", "joe:" + scramSecret("open").toString())
        check = known.begin("joe")
        known.dispose()
        self.assertEqual(len(known), 0)
        self.assertTrue(check("sesame"))

    def test_count(self) -> None:
        """To count users needs no look at each of them, as they may be many."""
        known = table(f"joe:{BCRYPT}", "joe:" + scramSecret("open").toString(), f"ann:{BCRYPT}")
        self.patch(known, "_kept", None)
        self.patch(known, "_scram", None)
        self.assertEqual(str(known), "2 users")

    def test_nobody(self) -> None:
        """With an empty file nobody logs in, and nothing is offered that couldn't work."""
        known = table()
        self.assertEqual(self.checked(known, "joe", "sesame"), [])
        self.assertEqual(known.mechanisms, ("PLAIN", "LOGIN"))

    def test_spellings(self) -> None:
        """
        A password is prepared by SASLprep; as it was sent it is tried, too, for hashes of other
        programs, and for unknown users likewise.
        """
        import bcrypt

        sent = "pa\u0301ss"
        for kept in ("p\u00e1ss", sent):
            text = bcrypt.hashpw(kept.encode(), bcrypt.gensalt(4)).decode()
            known = table(f"joe:{text}")
            self.assertTrue(known.check("joe", sent))
            self.assertEqual(len(self.checked(known, "eve", sent)), 2)

    def test_impossible(self) -> None:
        """What no password can be isn't hashed, whoever it is for."""
        known = table(f"joe:{BCRYPT}")
        for password in ("", "x\0y", "x" * 1025):
            for name in ("joe", "eve"):
                self.assertEqual(self.checked(known, name, password), [])
        self.assertFalse(known.check("joe", "\ud800"))

    def test_mechanisms(self) -> None:
        """A mechanism is offered if each user can log in by it."""
        scram = scramSecret("open").toString()
        plain = ("PLAIN", "LOGIN")
        both = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", *plain)
        self.assertEqual(table(f"joe:{scram}").mechanisms, both)
        self.assertEqual(table(f"joe:{scram}", f"ann:{BCRYPT}").mechanisms, plain)
        self.assertEqual(table(f"joe:{scram}", f"joe:{BCRYPT}").mechanisms, both)
        self.assertEqual(table("joe:open", plainText=True).mechanisms, (*plain, "CRAM-MD5"))
        mixed = table("joe:open", f"ann:{BCRYPT}", plainText=True)
        self.assertEqual(mixed.mechanisms, plain)
        mixed = table("joe:open", f"joe:{scram}", plainText=True)
        self.assertEqual(mixed.mechanisms, both)

    def test_scramSecret(self) -> None:
        """A user's own; everybody else seems to have one like most users, the same each time."""
        few = scramSecret("open", iterations=5000)
        many = scramSecret("open", iterations=6000).toString()
        known = table(f"joe:{few.toString()}", f"ann:{many}", f"sue:{many}")
        self.assertEqual(known.scramSecret("joe", KEY), few)
        fake = known.scramSecret("eve", KEY)
        self.assertEqual((fake.iterations, len(fake.salt)), (6000, len(few.salt)))
        self.assertEqual(known.scramSecret("eve", KEY), fake)
        self.assertNotEqual(known.scramSecret("eve", b"x" * 32), fake)
        self.assertIsInstance(table().scramSecret("eve", KEY), ScramSecret)

    def proof(self, name: str, password: str) -> Credentials:
        import hmac

        digest = hmac.digest(password.encode(), b"<1@x>", "md5").hex()
        return Credentials("CRAM-MD5", name, challenge=b"<1@x>", challengeResponse=digest)

    def test_proof(self) -> None:
        """CRAM-MD5 needs the password itself."""
        known = table("joe:open", f"ann:{BCRYPT}", plainText=True)
        self.assertTrue(known.checkProof("joe", self.proof("joe", "open")))
        for name, password in (("joe", "x"), ("ann", BCRYPT), ("eve", ""), ("eve", "open")):
            self.assertFalse(known.checkProof(name, self.proof(name, password)))

    def test_wrong(self) -> None:
        """What can't be used is said with the line's number, and nothing of the line."""
        shape = "line 2: a line must be: name, colon, hash"
        twice = "line 2: an earlier line has the same name and the same kind of hash"
        for line, reason in {
            "sesame": shape,
            ":sesame": shape,
            f"a\u0007b:{BCRYPT}": shape,
            f"{'x' * 256}:{BCRYPT}": shape,
            f"joe:{BCRYPT}": twice,
            "ann:sesame": "line 2: this is not a hash: set the password again with: python -m",
            "ann:": "line 2: the password is empty",
            "ann:$2b$31$" + BCRYPT[7:]: "line 2: bcrypt's cost must be 4 to 15",
        }.items():
            error = self.assertRaises(TableError, table, f"joe:{BCRYPT}", line)
            self.assertTrue(str(error).startswith(reason), f"{line}: {error}")
            self.assertNotIn("sesame", str(error))

    def test_names(self) -> None:
        """Names are compared as SASLprep makes them."""
        self.assertEqual(preparedName("Jose\u0301"), "Jos\u00e9")
        for impossible in ("", "a\nb", "\u0007", "\ud800", "\u00ad"):
            self.assertEqual(preparedName(impossible), "")
        self.assertTrue(table(f"jos\u00e9:{BCRYPT}").check(preparedName("jose\u0301"), "sesame"))


class CostTests(SynchronousTestCase):
    """Reading a long file."""

    def test_linear(self) -> None:
        """Each line is looked at once, and makes no hash."""
        calls: list[str] = []
        costOf = Bcrypt.costOf

        def counting(scheme: Bcrypt, kept: str) -> object:
            calls.append(kept)
            return costOf(scheme, kept)

        self.patch(Bcrypt, "costOf", counting)
        self.patch(schemes.Bcrypt, "verify", None)
        known = table(*(f"u{number}:{BCRYPT}" for number in range(2000)))
        self.assertEqual((len(known), len(calls)), (2000, 2000))

"""
The forms in which a password is stored: bcrypt, argon2id, sha512-crypt, SCRAM-SHA-256, and plain
text.

All of them that take time do so in code that lets other threads run meanwhile. What a line of a
file may cost is bounded: one login must not take the server's memory, or its processors for long.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Hashable
from typing import Any

from twisted_smtpserver.sasl import ScramSecret, scramSecret
from twisted_smtpserver.users.libcrypt import sha512crypt

__all__ = ["SCHEMES", "Scheme", "identify"]

#: The most rounds of bcrypt, as a power of two: some two seconds.
MAX_BCRYPT_COST = 15
#: The most memory of an argon2id hash, in KiB, and the most passes over it.
MAX_ARGON2_MEMORY = 256 * 2**10
MAX_ARGON2_PASSES = 10
MAX_ARGON2_LANES = 16
#: The most rounds of sha512-crypt: some seconds.
MAX_SHA512_ROUNDS = 1_000_000
#: The most iterations of a SCRAM secret: a second.
MAX_SCRAM_ITERATIONS = 1_000_000

#: bcrypt uses this many octets of a password, and ignores further ones.
BCRYPT_OCTETS = 72

# What new hashes cost. Mail programs log in for each message: some 50 ms for each is enough.
_BCRYPT_COST = 10
_ARGON2 = {"time_cost": 2, "memory_cost": 19 * 2**10, "parallelism": 1}
_SHA512_ROUNDS = 50_000
_SCRAM_ITERATIONS = 50_000

_LETTERS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LIKE_A_HASH = re.compile(r"\$[0-9a-z-]{1,16}\$|\{[A-Z0-9.-]+\}", re.IGNORECASE)
_CURE = "set the password again with: python -m twisted_smtpserver passwd FILE NAME"


class Scheme:
    """
    One form in which a password is stored.

    :cvar name: what ``passwd --scheme`` calls it.
    :cvar prefix: what its hashes begin with.
    """

    name: str
    prefix: re.Pattern[str]

    def costOf(self, kept: str) -> Hashable:
        """
        Check a hash.

        :param kept: from the file.
        :returns: what it costs to check a password against it: the same for the same cost.
        :raises ValueError: if it is malformed, or costs too much; the text names the cure.
        """
        raise NotImplementedError

    def verify(self, kept: str, password: bytes) -> bool:
        """
        Check a password, which takes time.

        :param kept: a hash that :meth:`costOf` has found right.
        :param password: not empty, and without NUL.
        """
        raise NotImplementedError

    def make(self, password: bytes) -> str:
        """
        Hash a password.

        :raises ValueError: if this way can't keep it.
        """
        raise NotImplementedError

    def decoy(self, kept: str) -> str:
        """
        :param kept: a hash.
        :returns: one that costs the same, and that no password is known for.
        """
        raise NotImplementedError


class Bcrypt(Scheme):
    """bcrypt, as ``htpasswd -B`` writes it, too."""

    name = "bcrypt"
    prefix = re.compile(r"\$2[abxy]\$")
    # A salt of 16 octets leaves four bits of its last character, which must be zero.
    _form = re.compile(r"\$2[aby]\$([0-3][0-9])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

    def costOf(self, kept: str) -> Hashable:
        """See :class:`Scheme`."""
        match = self._form.fullmatch(kept)
        if match is None:
            raise _unusable("the bcrypt hash is malformed")
        cost = int(match[1])
        if not 4 <= cost <= MAX_BCRYPT_COST:
            raise _unusable(f"bcrypt's cost must be 4 to {MAX_BCRYPT_COST}")
        _library("bcrypt")
        return cost

    def verify(self, kept: str, password: bytes) -> bool:
        """See :class:`Scheme`. A password of more than 72 octets is never right."""
        isRight = _library("bcrypt").checkpw(password[:BCRYPT_OCTETS], kept.encode("ascii"))
        return bool(isRight) and len(password) <= BCRYPT_OCTETS

    def make(self, password: bytes) -> str:
        """See :class:`Scheme`."""
        if len(password) > BCRYPT_OCTETS:
            raise ValueError(
                f"bcrypt takes passwords of at most {BCRYPT_OCTETS} octets: choose another scheme"
            )
        library = _library("bcrypt")
        return str(library.hashpw(password, library.gensalt(_BCRYPT_COST)), "ascii")

    def decoy(self, kept: str) -> str:
        """See :class:`Scheme`."""
        return kept[:-31] + _random(31)


class Argon2id(Scheme):
    """Argon2id (RFC 9106), the default for new hashes."""

    name = "argon2id"
    prefix = re.compile(r"\$argon2(?:i|d|id)\$")
    _form = re.compile(
        r"\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,9})"
        r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,171})"
    )

    def costOf(self, kept: str) -> Hashable:
        """See :class:`Scheme`."""
        match = self._form.fullmatch(kept)
        if match is None or not all(map(_isBase64, match.group(4, 5))):
            raise _unusable("the hash is not an argon2id hash of version 19")
        memory, passes, lanes = map(int, match.group(1, 2, 3))
        if not 8 * lanes <= memory <= MAX_ARGON2_MEMORY:  # RFC 9106 §3.1
            raise _unusable(
                f"argon2id's memory (m=) must be at most {MAX_ARGON2_MEMORY} KiB, and at least 8"
                " for each lane (p=)"
            )
        if passes > MAX_ARGON2_PASSES or lanes > MAX_ARGON2_LANES:
            raise _unusable(
                f"argon2id's passes (t=) must be at most {MAX_ARGON2_PASSES}, and its lanes (p=)"
                f" {MAX_ARGON2_LANES}"
            )
        _library("argon2")
        return memory, passes, lanes

    def verify(self, kept: str, password: bytes) -> bool:
        """See :class:`Scheme`."""
        argon2 = _library("argon2")
        try:
            return bool(
                argon2.low_level.verify_secret(kept.encode("ascii"), password, argon2.Type.ID)
            )
        except argon2.exceptions.VerifyMismatchError:
            return False

    def make(self, password: bytes) -> str:
        """See :class:`Scheme`."""
        return str(_library("argon2").PasswordHasher(**_ARGON2).hash(password))

    def decoy(self, kept: str) -> str:
        """See :class:`Scheme`."""
        # A multiple of 4 octets, so that whatever stands there is canonical base64.
        head, _, digest = kept.rpartition("$")
        return f"{head}${_random(len(digest) - 1, _LETTERS[2:])}A"


class Sha512Crypt(Scheme):
    """sha512-crypt, as ``openssl passwd -6`` and :file:`/etc/shadow` have it."""

    name = "sha512-crypt"
    prefix = re.compile(r"\$6\$")
    _form = re.compile(
        r"\$6\$(?:rounds=([1-9][0-9]{3,8})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
    )
    _default = 5000

    def costOf(self, kept: str) -> Hashable:
        """See :class:`Scheme`."""
        match = self._form.fullmatch(kept)
        if match is None:
            raise _unusable("the sha512-crypt hash is malformed")
        rounds = int(match[1] or self._default)
        if rounds > MAX_SHA512_ROUNDS:
            raise _unusable(f"sha512-crypt's rounds must be at most {MAX_SHA512_ROUNDS}")
        sha512crypt()  # is it there?
        return rounds

    def verify(self, kept: str, password: bytes) -> bool:
        """See :class:`Scheme`."""
        return hmac.compare_digest(sha512crypt()(password, kept), kept)

    def make(self, password: bytes) -> str:
        """See :class:`Scheme`."""
        return sha512crypt()(password, f"$6$rounds={_SHA512_ROUNDS}${_random(16)}$")

    def decoy(self, kept: str) -> str:
        """See :class:`Scheme`."""
        return kept[:-86] + _random(86)


class Scram(Scheme):
    """A secret of SCRAM-SHA-256 (RFC 5803), against which a password can be checked, too."""

    name = "scram"
    prefix = re.compile(r"SCRAM-SHA-256\$")

    def costOf(self, kept: str) -> Hashable:
        """See :class:`Scheme`."""
        try:
            secret = ScramSecret.fromString(kept)
        except ValueError as error:
            raise _unusable(f"the SCRAM secret can't be used: {error}") from None
        if secret.iterations > MAX_SCRAM_ITERATIONS:
            raise _unusable(f"SCRAM's iterations must be at most {MAX_SCRAM_ITERATIONS}")
        return secret.iterations

    def verify(self, kept: str, password: bytes) -> bool:
        """See :class:`Scheme`."""
        secret = ScramSecret.fromString(kept)
        try:
            made = scramSecret(password.decode("utf-8"), secret.salt, secret.iterations)
        except ValueError:  # SASLprep prohibits it, whoever has said it
            return False
        return hmac.compare_digest(made.storedKey, secret.storedKey)

    def make(self, password: bytes) -> str:
        """See :class:`Scheme`."""
        return scramSecret(password.decode("utf-8"), iterations=_SCRAM_ITERATIONS).toString()

    def decoy(self, kept: str) -> str:
        """See :class:`Scheme`."""
        secret = ScramSecret.fromString(kept)
        keys = secrets.token_bytes(32), secrets.token_bytes(32)
        return ScramSecret(secret.salt, secret.iterations, *keys).toString()


class PlainText(Scheme):
    """The password itself, which every reader of the file knows."""

    name = "plain"
    prefix = re.compile("")

    def costOf(self, kept: str) -> Hashable:
        """See :class:`Scheme`."""
        return 0

    def verify(self, kept: str, password: bytes) -> bool:
        """See :class:`Scheme`."""
        return hmac.compare_digest(kept.encode("utf-8"), password)

    def decoy(self, kept: str) -> str:
        """See :class:`Scheme`."""
        return secrets.token_hex(16)


#: The ways to keep a password, but for plain text, by their names.
SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (Argon2id(), Bcrypt(), Sha512Crypt(), Scram())
}

_PLAIN = PlainText()


def identify(kept: str, plainText: bool = False) -> Scheme:
    """
    Tell in which form a password is stored.

    :param kept: what stands behind the name in a file.
    :param plainText: whether it may be the password itself.
    :raises ValueError: if it isn't known, or may not be used; the text shows nothing of it.
    """
    for scheme in SCHEMES.values():
        if scheme.prefix.match(kept):
            return scheme
    if _LIKE_A_HASH.match(kept):
        raise ValueError(f"this kind of hash isn't supported: {_CURE}")
    if not kept:
        raise ValueError("the password is empty")
    if not plainText:
        raise ValueError(
            f"this is not a hash: {_CURE}; passwords in plain text need --auth-plain-text,"
            " or Htpasswd(plainText=True)"
        )
    return _PLAIN


def _unusable(reason: str) -> ValueError:
    return ValueError(f"{reason}: {_CURE}")


def _isBase64(text: str) -> bool:
    """Whether it is base64 without padding, as the library wants it (RFC 4648 §3.5)."""
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False
    return base64.b64encode(octets).rstrip(b"=") == text.encode("ascii")


def _random(length: int, letters: str = _LETTERS) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))


def _library(name: str) -> Any:
    """
    Import the library that hashes.

    :raises ValueError: if it isn't installed.
    """
    try:
        if name == "bcrypt":
            import bcrypt

            return bcrypt
        import argon2

        return argon2
    except ImportError:
        raise ValueError(
            f'these hashes need {name}: pip install "twisted-smtpserver[passwords]"'
        ) from None

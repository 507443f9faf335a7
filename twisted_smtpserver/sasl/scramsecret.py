"""
What a server stores of a password for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from twisted_smtpserver.sasl.names import saslprep

#: The fewest iterations that are accepted (RFC 7677 §4), and the default.
MIN_ITERATIONS = 4096
#: The most: some ten seconds of work, which the client has to do at each login.
MAX_ITERATIONS = 10_000_000
#: Octets in a salt that is made here.
SALT_LENGTH = 16
#: Octets that the key of :class:`FakeSecrets` has at least.
MIN_KEY_LENGTH = 16
#: What the salts of unknown users are made from in this process, unless there is another key.
PROCESS_KEY = secrets.token_bytes(32)
#: Octets in a salt from elsewhere; the client is sent it in one line.
MAX_SALT_LENGTH = 1024

#: Secrets that are known not to be of the empty password: each costs as much as a login of its
#: client, and is asked about at each.
MOST_HARMLESS = 10_000

_HARMLESS: set[bytes] = set()  # their stored keys
_KEY_LENGTH = hashlib.sha256().digest_size
_SCHEME = "SCRAM-SHA-256"
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_STORED = re.compile(rf"{_SCHEME}\$([1-9][0-9]{{0,7}}):({_BASE64})\$({_BASE64}):({_BASE64})")


def checkIterations(iterations: int) -> None:
    """
    :raises ValueError: unless the count is within the bounds.
    """
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise ValueError(f"iterations must be {MIN_ITERATIONS} to {MAX_ITERATIONS}")


@dataclass(frozen=True, slots=True, repr=False)
class ScramSecret:
    """
    One user's secret. It doesn't reveal the password, but a thief of it can try passwords against
    it and play the server's part: keep it as you would a password hash.

    :ivar salt: the salt, 1 to 1024 octets.
    :ivar iterations: how often PBKDF2 goes round: 4096 to 10,000,000.
    :ivar storedKey: 32 octets, against which the client's proof is checked.
    :ivar serverKey: 32 octets, with which the server proves itself.
    :raises ValueError: if a value is outside of these bounds.
    """

    salt: bytes
    iterations: int
    storedKey: bytes
    serverKey: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.salt) <= MAX_SALT_LENGTH:
            raise ValueError(f"a salt has 1 to {MAX_SALT_LENGTH} octets")
        checkIterations(self.iterations)
        if len(self.storedKey) != _KEY_LENGTH or len(self.serverKey) != _KEY_LENGTH:
            raise ValueError(f"the keys have {_KEY_LENGTH} octets each")

    def __repr__(self) -> str:
        return f"<ScramSecret iterations={self.iterations}>"

    def isOfEmptyPassword(self) -> bool:
        """
        Whether it was made of the empty password. :func:`scramSecret` makes none of those, but
        other programs do.

        The first time this takes as long as making a secret, so it is for a thread.
        """
        if self.storedKey in _HARMLESS:
            return False
        if hmac.compare_digest(_derive("", self.salt, self.iterations).storedKey, self.storedKey):
            return True
        if len(_HARMLESS) >= MOST_HARMLESS:
            _HARMLESS.clear()
        _HARMLESS.add(self.storedKey)
        return False

    def toString(self) -> str:
        """
        For the database: ``SCRAM-SHA-256$iterations:salt$storedKey:serverKey``, the octets in
        base64 (RFC 5803 §3 has the form; PostgreSQL uses it, too).
        """
        salt, storedKey, serverKey = (
            base64.b64encode(octets).decode("ascii")
            for octets in (self.salt, self.storedKey, self.serverKey)
        )
        return f"{_SCHEME}${self.iterations}:{salt}${storedKey}:{serverKey}"

    @classmethod
    def fromString(cls, text: str) -> ScramSecret:
        """
        Read what :meth:`toString` wrote.

        :raises ValueError: if it is something else. The text of the error shows nothing of it.
        """
        match = _STORED.fullmatch(text)
        if match is None:
            raise ValueError(f"not of the form {_SCHEME}$iterations:salt$storedKey:serverKey")
        salt, storedKey, serverKey = (base64.b64decode(part) for part in match.group(2, 3, 4))
        return cls(salt, int(match[1]), storedKey, serverKey)


@dataclass(frozen=True, slots=True, repr=False)
class FakeSecrets:
    """
    What users who don't exist seem to have stored: the same at each attempt (RFC 5802 §5.1, s=),
    so that nobody learns who has an account.

    :ivar key: from it and the name comes the salt; at least 16 octets. By default a random one of
        this process. Give one that outlives restarts (and one for all servers of a cluster) if
        names are to stay unguessable: real salts don't change on restart.
    :ivar iterations: give what real users have: 4096 to 10,000,000.
    :raises ValueError: if a value is outside of these bounds.
    """

    key: bytes = PROCESS_KEY
    iterations: int = MIN_ITERATIONS

    def __post_init__(self) -> None:
        if len(self.key) < MIN_KEY_LENGTH:
            raise ValueError(f"the key of fake secrets needs at least {MIN_KEY_LENGTH} octets")
        checkIterations(self.iterations)

    def __repr__(self) -> str:
        return f"<FakeSecrets iterations={self.iterations}>"

    def secretOf(self, username: str) -> ScramSecret:
        """
        :param username: the name of nobody.
        :returns: a secret that nobody's password fits.
        """
        salt = self._derive(b"salt:", username)[:SALT_LENGTH]
        storedKey = self._derive(b"stored:", username)
        return ScramSecret(salt, self.iterations, storedKey, self._derive(b"server:", username))

    def _derive(self, label: bytes, username: str) -> bytes:
        return hmac.digest(self.key, label + username.encode("utf-8"), "sha256")


#: Those of this process, with the fewest iterations.
PROCESS_FAKES = FakeSecrets()


def scramSecret(
    password: str, salt: bytes | None = None, iterations: int = MIN_ITERATIONS
) -> ScramSecret:
    """
    Make a user's secret, once, when the password is set.

    This keeps the processor busy for some milliseconds at 4096 iterations and for seconds at
    millions: more than a few thousand belong into a thread.

    :param password: the password; it is prepared with SASLprep, as clients do it.
    :param salt: by default 16 random octets. A given salt must be this user's own.
    :param iterations: 4096 to 10,000,000. The more, the longer each guess takes somebody who
        stole the secret, and each login the client. Keep it the same for all users, and tell it to
        :class:`FakeSecrets`.
    :raises ValueError: if a value is outside of its bounds, or the password is empty or has
        characters that SASLprep prohibits, such as controls.
    """
    prepared = saslprep(password)
    if not prepared:
        raise ValueError("the password is empty or has characters that SASLprep prohibits")
    checkIterations(iterations)
    return _derive(prepared, secrets.token_bytes(SALT_LENGTH) if salt is None else salt, iterations)


def _derive(prepared: str, salt: bytes, iterations: int) -> ScramSecret:
    salted = hashlib.pbkdf2_hmac("sha256", prepared.encode("utf-8"), salt, iterations)
    clientKey = hmac.digest(salted, b"Client Key", "sha256")
    return ScramSecret(
        salt,
        iterations,
        hashlib.sha256(clientKey).digest(),
        hmac.digest(salted, b"Server Key", "sha256"),
    )

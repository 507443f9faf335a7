"""
What a client presents to log in, and what a handler answers.

Neither shows a secret in its ``repr``.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """
    What a finished SASL exchange yields; ``onAuth`` gets it.

    A field that the mechanism doesn't yield is ``None``. No text here has controls in it, but for
    :attr:`password`, which is exactly what the client sent.

    :ivar method: the mechanism's name, ``"PLAIN"`` for example.
    :ivar username: the user's name. For OAUTHBEARER it is the authorization identity and may be
        empty: then the token alone says who it is (RFC 7628 §3.1).
    :ivar password: the password in clear (PLAIN, LOGIN).
    :ivar accessToken: the OAuth 2.0 bearer token (XOAUTH2, OAUTHBEARER).
    :ivar authcid: the authentication identity: whose secret was presented or proved. ``None`` for
        the OAuth mechanisms, where the token says it.
    :ivar authzid: the authorization identity: whom the client wants to act as (RFC 4422 §2);
        ``None`` if it didn't say.
    :ivar challenge: CRAM-MD5's challenge.
    :ivar challengeResponse: CRAM-MD5's answer: the keyed digest, 32 lower-case hexadecimal digits.
    :ivar verified: whether the exchange itself proved the identity (SCRAM, EXTERNAL). If not,
        ``onAuth`` has to check the secret.
    :ivar host: the host that the client believes to talk to (OAUTHBEARER).
    :ivar port: the port that it believes to talk to.
    """

    method: str
    username: str
    password: str | None = None
    accessToken: str | None = None
    authcid: str | None = None
    authzid: str | None = None
    challenge: bytes | None = None
    challengeResponse: str | None = None
    verified: bool = False
    host: str | None = None
    port: int | None = None

    def __repr__(self) -> str:
        return f"<Credentials method={self.method!r} username={self.username!r}>"

    @property
    def authzidDiffers(self) -> bool:
        """Whether the client wants to act as somebody else than :attr:`username`."""
        return self.authzid is not None and self.authzid != self.username

    def validatePassword(self, password: str | bytes) -> bool:
        """
        Compare with the user's password, in constant time.

        :param password: the right password; text counts as UTF-8.
        :returns: whether the client sent it (PLAIN, LOGIN) or proved to know it (CRAM-MD5). An
            empty password never matches, so a user without a password can't log in.
        :raises TypeError: if the mechanism isn't one of the three.
        """
        if isinstance(password, str):
            # What came over the wire is valid UTF-8, so a lone surrogate can't equal it; the plain
            # codec would raise an exception that carries the whole password.
            password = password.encode("utf-8", "surrogatepass")
        if self.password is not None:
            same = hmac.compare_digest(self.password.encode("utf-8"), password)
            return same and bool(password)
        if self.challenge is not None and self.challengeResponse is not None:
            expected = hmac.digest(password, self.challenge, "md5").hex()
            same = hmac.compare_digest(expected, self.challengeResponse)
            return same and bool(password)
        raise TypeError(
            f"{self.method} carries no password to validate: only PLAIN, LOGIN and CRAM-MD5 do"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Authenticated:
    """
    What ``onAuth`` returns to log somebody in as an arbitrary object.

    :ivar user: the user: any object but ``None``, a bool, empty text, or something that would have
        to be awaited first.
    :ivar message: the text of the 235; by default the usual one.
    :ivar authzid: the authorization identity that is granted. A client that asks to act as somebody
        else (:attr:`Credentials.authzidDiffers`) is refused unless this is whom it asked for.
    :raises ValueError: if ``user`` is none. That is a bug in the handler (``Authenticated(db.get(
        name))``, say), which must not become a login.
    """

    user: object
    message: str | None = None
    authzid: str | None = None

    def __post_init__(self) -> None:
        empty = isinstance(self.user, str | bytes) and not self.user
        if self.user is None or isinstance(self.user, bool) or empty:
            raise ValueError("Authenticated() needs a user")
        if hasattr(self.user, "__await__"):
            raise ValueError("Authenticated() was given a coroutine or a Deferred: await it first")
        if not isinstance(self.message, str | None):
            raise ValueError("the message of Authenticated() must be text")

    def __repr__(self) -> str:
        # A user object's own repr may well show its password hash.
        return f"<Authenticated user of type {type(self.user).__name__}>"

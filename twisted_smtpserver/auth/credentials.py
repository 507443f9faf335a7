"""What a client presented to log in, with a door to twisted.cred."""

from __future__ import annotations

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface import implementer

from twisted_smtpserver.sasl import credentials as sasl


class Credentials(sasl.Credentials):
    """
    What ``onAuth`` is given: :class:`twisted_smtpserver.sasl.credentials.Credentials`, and
    :meth:`forCred`.
    """

    __slots__ = ()

    def forCred(self) -> _Password | _Proof:
        """
        What twisted.cred's checkers want.

        :returns: an :class:`~twisted.cred.credentials.IUsernamePassword` or an
            :class:`~twisted.cred.credentials.IUsernameHashedPassword`, in bytes.
        :raises TypeError: for bearer tokens, which twisted.cred has no interface for.
        """
        if self.password is not None:
            return _Password(self)
        if self.challengeResponse is not None or self.verified:
            return _Proof(self)
        raise TypeError(f"twisted.cred has no credentials for {self.method}")


@implementer(IUsernamePassword)
class _Password:
    """
    A password in clear, for twisted.cred.

    :ivar username: the user's name in UTF-8.
    :ivar password: the password in UTF-8.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.username: bytes = credentials.username.encode("utf-8")
        self.password: bytes = (credentials.password or "").encode("utf-8")
        self._credentials = credentials

    def checkPassword(self, password: bytes) -> bool:
        """Compare with the right password, in constant time."""
        return self._credentials.validatePassword(password)


@implementer(IUsernameHashedPassword)
class _Proof:
    """
    A proof of knowing the password (CRAM-MD5), or of the identity itself (SCRAM, EXTERNAL), for
    twisted.cred.

    :ivar username: the user's name in UTF-8.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.username: bytes = credentials.username.encode("utf-8")
        self._credentials = credentials

    def checkPassword(self, password: bytes) -> bool:
        """
        :param password: the right password.
        :returns: whether the client knows it. Where the exchange has proved the identity already,
            all that is left to the checker is whether there is such a user.
        """
        return self._credentials.verified or self._credentials.validatePassword(password)

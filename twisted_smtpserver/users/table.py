"""
The content of a file of users: a line for each, ``name:hash``, as Apache's htpasswd has it.

A user may have two lines, if one of them is a SCRAM secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

from twisted_smtpserver.sasl import Credentials, FakeSecrets, ScramSecret
from twisted_smtpserver.sasl.names import MAX_PASSWORD, decodeName, saslprep
from twisted_smtpserver.sasl.scramsecret import MIN_ITERATIONS
from twisted_smtpserver.tables.watched import Lines, TableError
from twisted_smtpserver.users.schemes import PlainText, Scheme, Scram, identify

__all__ = ["UserTable", "preparedName"]

_SCRAM = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


def preparedName(name: str) -> str:
    """
    :param name: a user's, as it was sent or stands in a file.
    :returns: what it is looked up by (SASLprep, RFC 4013); empty if it can't be a name.
    """
    prepared = saslprep(name) or ""
    return prepared if decodeName(prepared.encode("utf-8", "replace")) is not None else ""


@dataclass(frozen=True, slots=True)
class _Kept:
    """
    What is kept of a password.

    :ivar scheme: how.
    :ivar cost: what it costs to check one.
    :ivar text: the hash.
    """

    scheme: Scheme
    cost: Hashable
    text: str


class UserTable:
    """
    The users.

    :ivar mechanisms: the SASL mechanisms by which each of them can log in.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._scram: dict[str, _Kept] = {}
        # What an unknown user's password is checked against; None if there is nobody.
        self._decoy: _Kept | None = None
        self._iterations = MIN_ITERATIONS
        self.mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")

    @classmethod
    def parse(cls, lines: Lines, plainText: bool = False) -> UserTable:
        """
        Read the file.

        :param plainText: whether passwords may be in plain text.
        :raises TableError: if a line can't be used.
        """
        table = cls()
        for number, line in lines:
            try:
                table._add(line, plainText)
            except ValueError as error:
                raise TableError(str(error), number) from None
        if len(table):
            table._complete()
        return table

    def _add(self, line: str, plainText: bool) -> None:
        text, colon, kept = line.partition(":")
        name = preparedName(text)
        if not colon or not name:
            raise ValueError("a line is: name, colon, hash")
        scheme = identify(kept, plainText)
        users = self._scram if isinstance(scheme, Scram) else self._kept
        if name in users:
            raise ValueError("there is such a line for this name already")
        users[name] = _Kept(scheme, scheme.costOf(kept), kept)

    def _complete(self) -> None:
        """Find out what most users have, and what all of them have."""
        checked = {**self._scram, **self._kept}
        samples = {(kept.scheme, kept.cost): kept for kept in checked.values()}
        costs = Counter((kept.scheme, kept.cost) for kept in checked.values())
        sample = samples[costs.most_common(1)[0][0]]
        self._decoy = _Kept(sample.scheme, sample.cost, sample.scheme.decoy(sample.text))
        iterations = Counter(kept.text.split("$")[1] for kept in self._scram.values())
        if iterations:
            self._iterations = int(iterations.most_common(1)[0][0].partition(":")[0])
        if self._scram.keys() >= self._kept.keys():
            self.mechanisms = (*_SCRAM, *self.mechanisms)
        if not self._scram and {type(scheme) for scheme, _ in costs} == {PlainText}:
            self.mechanisms += ("CRAM-MD5",)

    def __str__(self) -> str:
        return f"{len(self)} users"

    def __len__(self) -> int:
        return len(self._kept.keys() | self._scram.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._kept or name in self._scram

    def check(self, name: str, password: str) -> bool:
        """
        (In a thread.) Check a password. It takes the same time for a user who doesn't exist.

        :param name: as :func:`preparedName` returned it.
        :param password: as it was sent.
        """
        kept = self._kept.get(name) or self._scram.get(name)
        against = kept or self._decoy
        if against is None:
            return False
        isRight = False
        for spelling in _spellings(password):
            isRight |= against.scheme.verify(against.text, spelling)
        return isRight and kept is not None

    def checkProof(self, name: str, credentials: Credentials) -> bool:
        """
        Check the answer to CRAM-MD5's challenge, for which a password in plain text is needed.

        :param name: as :func:`preparedName` returned it.
        :param credentials: what was presented.
        """
        kept = self._kept.get(name)
        isKnown = kept is not None and isinstance(kept.scheme, PlainText)
        text = kept.text if kept is not None else ""
        return credentials.validatePassword(text) and isKnown

    def scramSecret(self, name: str, key: bytes) -> ScramSecret:
        """
        :param name: as :func:`preparedName` returned it.
        :param key: what the secrets of unknown users are made of.
        :returns: the user's secret. Whoever isn't known seems to have one like the others, which no
            password is known for.
        """
        kept = self._scram.get(name)
        if kept is None:
            return FakeSecrets(key, self._iterations).secretOf(name)
        return ScramSecret.fromString(kept.text)


def _spellings(password: str) -> list[bytes]:
    """
    What may have been hashed: the password prepared by SASLprep, and as it was sent, for hashes
    that other programs have made. Nothing, if it is no password at all.
    """
    spellings = dict.fromkeys((saslprep(password) or password, password))
    octets = [text.encode("utf-8", "surrogatepass") for text in spellings]
    return [each for each in octets if 0 < len(each) <= MAX_PASSWORD and b"\0" not in each]

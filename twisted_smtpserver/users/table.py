"""
The content of a file of users: a line for each, ``name:hash``, as Apache's htpasswd has it.

A user may have two lines, if one of them is a SCRAM secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial

from twisted_smtpserver.sasl import Credentials, FakeSecrets, ScramSecret
from twisted_smtpserver.sasl.names import MAX_PASSWORD, decodeName, saslprep
from twisted_smtpserver.sasl.scramsecret import MIN_ITERATIONS
from twisted_smtpserver.tables.watched import Lines, TableError, empty, inTurns
from twisted_smtpserver.users.schemes import SCHEMES, PlainText, Scheme, Scram, identify

__all__ = ["UserTable", "preparedName"]

SCRAM = SCHEMES[Scram.name]

_Cost = tuple[Scheme, Hashable]
_SCRAM = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


def preparedName(name: str) -> str:
    """
    :param name: a user's, as it was sent or stands in a file.
    :returns: what it is looked up by (SASLprep, RFC 4013); empty if it can't be a name.
    """
    prepared = saslprep(name) or ""
    return prepared if decodeName(prepared.encode("utf-8", "replace")) is not None else ""


class UserTable:
    """
    The users.

    :ivar mechanisms: the SASL mechanisms by which each of them can log in.
    """

    def __init__(self) -> None:
        # Nothing but text: the garbage collector doesn't look at it, however many users there are.
        self._kept: dict[str, str] = {}
        self._scram: dict[str, str] = {}
        # How many passwords are checked at which cost, and a hash with that cost.
        self._costs: Counter[_Cost] = Counter()
        self._samples: dict[_Cost, str] = {}
        self._iterations: Counter[int] = Counter()
        self._commonIterations = MIN_ITERATIONS
        self._count = 0
        # The hash that an unknown user's password is checked against; empty if there are no users.
        self._decoy = ""
        self._plainText = False
        self.mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")

    @classmethod
    def parse(cls, lines: Lines, plainText: bool = False) -> UserTable:
        """
        Read the file.

        :param plainText: whether passwords may be in plain text.
        :raises TableError: if a line can't be used.
        """
        table = cls()
        table._plainText = plainText
        for number, line in lines:
            try:
                table._add(line)
            except ValueError as error:
                raise TableError(str(error), number) from None
        if len(table):
            table._complete()
        return table

    def _add(self, line: str) -> None:
        text, colon, kept = line.partition(":")
        name = preparedName(text)
        if not colon or not name:
            raise ValueError("a line must be: name, colon, hash")
        scheme = self._schemeOf(kept)
        isScram = isinstance(scheme, Scram)
        users = self._scram if isScram else self._kept
        if name in users:
            raise ValueError("an earlier line has the same name and the same kind of hash")
        cost = scheme, scheme.costOf(kept)
        self._count += name not in self
        users[name] = kept
        self._samples.setdefault(cost, kept)
        if isScram:
            self._iterations[ScramSecret.fromString(kept).iterations] += 1
        # A password is checked against a user's other hash, not against the SCRAM secret.
        if not isScram or name not in self._kept:
            self._costs[cost] += 1
        if not isScram and name in self._scram:
            self._costs[SCRAM, SCRAM.costOf(self._scram[name])] -= 1

    def _schemeOf(self, kept: str) -> Scheme:
        return identify(kept, self._plainText)

    def _complete(self) -> None:
        """Find the costs that most users have, and the mechanisms that all of them have."""
        ((scheme, cost), _), *_ = self._costs.most_common(1)
        self._decoy = scheme.decoy(self._samples[scheme, cost])
        if self._scram:
            ((self._commonIterations, _),) = self._iterations.most_common(1)
        if all(name in self._scram for name in inTurns(self._kept)):
            self.mechanisms = (*_SCRAM, *self.mechanisms)
        if not self._scram and {type(scheme) for scheme, _ in self._samples} == {PlainText}:
            self.mechanisms += ("CRAM-MD5",)

    def __str__(self) -> str:
        return f"{len(self)} users"

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return name in self._kept or name in self._scram

    def dispose(self) -> None:
        """(In a thread.) Free the memory: there is a newer table."""
        self._count = 0
        empty(self._kept)
        empty(self._scram)

    def check(self, name: str, password: str) -> bool:
        """
        Check a password, which takes time.

        :param name: as :func:`preparedName` returned it.
        :param password: as it was sent.
        """
        return self.begin(name)(password)

    def begin(self, name: str) -> Callable[[str], bool]:
        """
        Begin to check a password: the slow part doesn't need the table.

        :param name: as :func:`preparedName` returned it.
        :returns: says whether a password is right. It is for a thread, and takes the same time for
            a user who doesn't exist.
        """
        kept = self._kept.get(name) or self._scram.get(name)
        against = kept or self._decoy
        if not against:
            return lambda password: False
        return partial(_verify, self._schemeOf(against), against, kept is not None)

    def checkProof(self, name: str, credentials: Credentials) -> bool:
        """
        Check the answer to CRAM-MD5's challenge, for which a password in plain text is needed.

        :param name: as :func:`preparedName` returned it.
        :param credentials: what was presented.
        """
        kept = self._kept.get(name, "")
        isKnown = bool(kept) and isinstance(self._schemeOf(kept), PlainText)
        return credentials.validatePassword(kept) and isKnown

    def scramSecret(self, name: str, key: bytes) -> ScramSecret:
        """
        :param name: as :func:`preparedName` returned it.
        :param key: what the secrets of unknown users are made of.
        :returns: the user's secret. An unknown user seems to have one like the others, which no
            password is known for.
        """
        kept = self._scram.get(name)
        if kept is None:
            return FakeSecrets(key, self._commonIterations).secretOf(name)
        return ScramSecret.fromString(kept)


def _verify(scheme: Scheme, against: str, isKnown: bool, password: str) -> bool:
    isRight = False
    for spelling in _spellings(password):
        isRight |= scheme.verify(against, spelling)
    return isRight and isKnown


def _spellings(password: str) -> list[bytes]:
    """
    What may have been hashed: the password prepared by SASLprep, and as it was sent, for hashes
    that other programs have made. Nothing, if it is no password at all.
    """
    spellings = dict.fromkeys((saslprep(password) or password, password))
    octets = [text.encode("utf-8", "surrogatepass") for text in spellings]
    return [each for each in octets if 0 < len(each) <= MAX_PASSWORD and b"\0" not in each]

"""Logins from a file of users with hashed passwords."""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from typing import Any

from twisted.internet.threads import deferToThread
from zope.interface import implementer

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.hooks import Hook
from twisted_smtpserver.interfaces import IAuthHandler, IScramHandler
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.sasl import ScramSecret
from twisted_smtpserver.sasl.scramsecret import PROCESS_KEY
from twisted_smtpserver.session import Session
from twisted_smtpserver.tables.watched import WatchedFile
from twisted_smtpserver.users.checks import Checks
from twisted_smtpserver.users.table import UserTable, preparedName
from twisted_smtpserver.wire.ip import addressBlock

__all__ = ["Htpasswd"]


@implementer(IAuthHandler, IScramHandler)
class Htpasswd:
    """
    A stage that lets the users of a file log in::

        Chain(Htpasswd("users"), Maildir("mail"))

    The file is as htpasswd has it, a line ``name:hash`` for each user: argon2id, bcrypt,
    sha512-crypt, or a SCRAM secret, which a user may have in addition to one of the others.
    ``python -m twisted_smtpserver passwd`` writes it. A file that has changed is read again; if the
    new one is broken, the old one stays in use.

    Passwords are checked in threads, a few at a time; when too many wait, clients get 454 4.7.0.
    For a user who doesn't exist, a password is checked, too, against a hash of the kind that most
    users have. Names and passwords are compared as SASLprep (RFC 4013) makes them.

    PLAIN and LOGIN work for all users. SCRAM-SHA-256 is offered as long as each user has a SCRAM
    secret, if ``authMethods`` has it; in a chain, let this stage be the last one that knows SCRAM.

    :param path: the file.
    :param plainText: whether passwords in plain text are taken.
    :param saltKey: as the option ``scramSaltKey``.
    :param later: don't read the file before :meth:`load` is called, where it must be read by
        another user than the one who starts the program.
    :param clock: the time; by default the reactor.
    :param runInThread: where the file is read again, and passwords are checked; by default the
        reactor's thread pool.
    :raises ConfigurationError: if the file can't be read or used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        plainText: bool = False,
        saltKey: bytes | None = None,
        later: bool = False,
        clock: Any = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        parse = partial(UserTable.parse, plainText=plainText)
        self._file = WatchedFile(path, parse, clock=clock, runInThread=runInThread)
        self._checks = Checks(runInThread=runInThread)
        self._saltKey = saltKey or PROCESS_KEY
        if not later:
            self.load()

    def load(self) -> UserTable:
        """
        Read the file now, which blocks.

        :returns: its content.
        :raises ConfigurationError: if it can't be read or used.
        """
        return self._file.load()

    def __repr__(self) -> str:
        return f"<Htpasswd {self._file.path!r}>"

    async def onAuth(self, credentials: Credentials, session: Session) -> str | None:
        """See :meth:`~twisted_smtpserver.interfaces.IAuthHandler.onAuth`."""
        table = await self._file.content()
        name = preparedName(credentials.username)
        if credentials.verified:
            isRight = name in table
        elif credentials.password is not None:
            client = _clientOf(session)
            isRight = await self._checks.run(client, table.begin(name), credentials.password)
        elif credentials.challengeResponse is not None:
            isRight = table.checkProof(name, credentials)
        else:
            return None  # a token
        return name if isRight else None

    @property
    def scramSecret(self) -> Hook | None:
        """The hook of SCRAM, as long as each user has a SCRAM secret."""
        hasAll = "SCRAM-SHA-256" in self._file.latest.mechanisms
        return self._findSecret if hasAll else None

    async def _findSecret(self, username: str, mechanism: str, session: Session) -> ScramSecret:
        table = await self._file.content()
        return table.scramSecret(preparedName(username), self._saltKey)


def _clientOf(session: Session) -> Hashable:
    address = session.remoteAddress
    return session.id if address is None else addressBlock(address)

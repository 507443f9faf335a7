"""A file that says which senders each user may use."""

from __future__ import annotations

import os
import re
from typing import Any

from twisted.internet.threads import deferToThread

from twisted_smtpserver.handlers.policies.rates import nameOfUser
from twisted_smtpserver.handlers.policies.sender import isOwn
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.sasl.names import saslprep
from twisted_smtpserver.session import Address
from twisted_smtpserver.tables.addresses import keyOf, readAddress, readDomain
from twisted_smtpserver.tables.watched import Lines, TableError, WatchedFile, empty

__all__ = ["SenderTable", "Senders"]

_ANYBODY = "*"
# Around each address that is kept of a line: no line has it in it. What is kept may be long and is
# searched at each MAIL, so it isn't split.
_BREAK = "\n"
_BETWEEN = re.compile(r"[\s,]+")


class SenderTable:
    """
    Which senders each user may use. A line is a login name, blanks, and addresses separated by
    commas; for ``@example.com`` any address of that domain, for ``*`` any at all.
    """

    def __init__(self) -> None:
        # Nothing but text: the garbage collector doesn't look at it, however many users there are.
        self._users: dict[str, str] = {}

    @classmethod
    def parse(cls, lines: Lines) -> SenderTable:
        """
        Read the file.

        :raises TableError: if a line can't be used.
        """
        table = cls()
        for number, line in lines:
            name, *texts = _BETWEEN.split(line.strip(", "))
            prepared = saslprep(name)
            if not prepared or not texts:
                raise TableError("a line must be: login name, blanks, addresses", number)
            if prepared in table._users:
                raise TableError("an earlier line has the same login name", number)
            keys = [_readKey(text, number) for text in texts]
            table._users[prepared] = _BREAK.join(["", *keys, ""])
        return table

    def __str__(self) -> str:
        return f"{len(self._users)} login names"

    def dispose(self) -> None:
        """(In a thread.) Free the memory: there is a newer table."""
        empty(self._users)

    def allows(self, name: str, address: Address) -> bool:
        """
        :param name: the user's login name.
        :param address: the sender that they want to use.
        """
        keys = self._users.get(saslprep(name) or "", "")
        wanted = (keyOf(address.local, address.domain), f"@{address.domain}", _ANYBODY)
        return any(f"{_BREAK}{each}{_BREAK}" in keys for each in wanted)


def _readKey(text: str, number: int) -> str:
    if text == _ANYBODY:
        return text
    if text[0] == "@":
        return f"@{readDomain(text, number)}"
    path = readAddress(text, number)
    return keyOf(path.local, path.domain)


class Senders:
    """
    Says which senders each user may use: ``SenderMatchesLogin(Senders("senders"))``. Each user may
    always use their own login name. The file is read again when it has changed.

    :param path: the file; :class:`SenderTable` says what is in it.
    :param later: don't read the file before :meth:`load` is called, where it must be read by
        another user than the one who starts the program.
    :param clock: the time; by default the reactor.
    :param runInThread: where the file is read again; by default the reactor's thread pool.
    :raises ConfigurationError: if the file can't be read or used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        later: bool = False,
        clock: Any = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self._file = WatchedFile(path, SenderTable.parse, clock=clock, runInThread=runInThread)
        if not later:
            self.load()

    def load(self) -> None:
        """
        Read the file now, which blocks.

        :raises ConfigurationError: if it can't be read or used.
        """
        self._file.load()

    async def __call__(self, user: Any, address: Address) -> bool:
        """
        :param user: what ``onAuth`` returned.
        :param address: the sender that the user wants to use.
        """
        table = await self._file.content()
        name = nameOfUser(user)
        return isOwn(user, address) or (name is not None and table.allows(name, address))

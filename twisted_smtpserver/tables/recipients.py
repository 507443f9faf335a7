"""Recipients from a file: others are refused, and aliases become the addresses they mean."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, Rejection, asRejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.handlers.check import checkHandler, descriptorsPerClient
from twisted_smtpserver.handlers.transactions import Transactions
from twisted_smtpserver.hooks import Hook, findHook, invoke
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.hooks.ready import askReady
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.tables.recipientfile import RecipientTable, Target
from twisted_smtpserver.tables.watched import WatchedFile
from twisted_smtpserver.wire.path import Path
from twisted_smtpserver.wire.text import escape

__all__ = ["MAX_AT_ONCE", "MAX_TARGETS", "KnownRecipients", "Recipients"]

_log = Logger()

#: How many addresses the aliases of one transaction may stand for together, each counted as often
#: as it is meant.
MAX_TARGETS = 10_000

#: How many of them are dealt with before other work gets a turn.
MAX_AT_ONCE = 10


@dataclass
class _Transaction:
    """
    What the recipients of a transaction stand for.

    :ivar targets: by the recipient, as the client named it.
    :ivar unique: all targets so far.
    :ivar count: how many targets those have together that stand for several.
    """

    targets: dict[Address, list[Address]] = field(default_factory=dict)
    unique: dict[tuple[str, str | None], Address] = field(default_factory=dict)
    count: int = 0


class Recipients:
    """
    Puts a file of recipients before a store::

        Recipients(Maildir("mail"), "recipients")

    A recipient that isn't in the file is refused with 550 5.1.1. The store sees the addresses that
    aliases stand for, each once; ``raw`` of each still is what the client named. The file is read
    again when it has changed; :mod:`~twisted_smtpserver.tables.recipientfile` says what is in it.

    The client's reply is about the recipient that it named: an alias is accepted only if the store
    accepts the message for all addresses it stands for. A temporary refusal has precedence.

    It has all the hooks of the store.

    :param store: the handler that stores; it has ``onData``.
    :param path: the file.
    :param delimiter: what separates a name from a detail: ``joe+news@example.com`` is
        ``joe@example.com`` unless it has a line of its own. Several characters if each of them
        does, none if nothing does.
    :param relayForUsers: whether those who have logged in may also send to addresses that aren't
        in the file. The store sees them as they are.
    :param later: don't read the file before :meth:`load` is called, where it must be read by
        another user than the one who starts the program.
    :param clock: the time; by default the reactor.
    :param runInThread: where the file is read again; by default the reactor's thread pool.
    :raises ConfigurationError: if the file can't be read or used, or the store can't store.
    :ivar gate: a stage for a :class:`~twisted_smtpserver.Chain` that refuses unknown recipients
        early, before stages that cost more.
    """

    def __init__(
        self,
        store: object,
        path: str | os.PathLike[str],
        *,
        delimiter: str = "+",
        relayForUsers: bool = False,
        later: bool = False,
        clock: Any = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        if findHook(store, "onData") is None:
            raise ConfigurationError(f"{store!r} can't store messages: it has no onData")
        checkHandler(store)
        self._store = store
        self._relayForUsers = relayForUsers
        parse = partial(RecipientTable.parse, delimiter=delimiter)
        self._clock = clock
        self._file = WatchedFile(path, parse, clock=clock, runInThread=runInThread)
        self._transactions = Transactions(_Transaction)
        self.gate = KnownRecipients(self)
        if not later:
            self.load()

    def load(self) -> None:
        """
        Read the file now, which blocks.

        :raises ConfigurationError: if it can't be read or used.
        """
        if not self._file.load().namesPostmaster:
            _log.warn(
                "{path} doesn't say who reads mail to postmaster, which is always accepted (RFC "
                "5321 section 4.5.1): add a line such as: postmaster joe@example.com",
                path=self._file.path,
            )

    def __getattr__(self, name: str) -> Hook:
        # Only what isn't found otherwise gets here.
        if name not in HOOKS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        hook: Hook = getattr(self._store, name)
        return hook

    @property
    def descriptorsPerClient(self) -> int:
        """See :func:`~twisted_smtpserver.handlers.check.descriptorsPerClient`: the store's."""
        return descriptorsPerClient(self._store)

    async def ready(self) -> None:
        """Whether the store is ready."""
        await askReady([self._store])

    def __repr__(self) -> str:
        return f"<Recipients {self._file.path!r} before {self._store!r}>"

    async def find(self, address: Address, session: Session) -> list[Address]:
        """
        Look a recipient up.

        :returns: the addresses that it stands for, each once.
        :raises Rejection: 550 5.1.1 if it isn't known.
        """
        return list(_addresses(await self._lookUp(address, session), address))

    async def _lookUp(self, address: Address, session: Session) -> Sequence[Target]:
        table = await self._file.content()
        found = table.find(address.local, address.domain)
        return self._relayed(session) if found is None else found

    def _relayed(self, session: Session) -> Sequence[Target]:
        """What an address stands for that isn't in the file."""
        if self._relayForUsers and session.user is not None:
            return ()
        raise Rejection("No such recipient here", 550, "5.1.1")

    async def check(self, address: Address, session: Session) -> None:
        """
        Say whether a recipient is known.

        :raises Rejection: 550 5.1.1 if it isn't.
        """
        table = await self._file.content()
        if not table.knows(address.local, address.domain):
            self._relayed(session)

    async def onRcptTo(self, address: Address, session: Session) -> Any:
        """
        Ask the store about each address that the recipient stands for.

        :raises Rejection: 550 5.1.1 if it isn't known; 452 4.5.3 if it stands for too many; what
            the store says.
        """
        transaction = self._transactions.of(session)
        targets = await self._lookUp(address, session)
        isAlias = len(targets) > 1
        if isAlias and transaction.count + len(targets) > MAX_TARGETS:
            raise Rejection("Too many recipients", 452, "4.5.3")
        found = []
        answers = []
        for number, each in enumerate(_addresses(targets, address), 1):
            if not number % MAX_AT_ONCE:  # the client may name many such recipients
                await deferLater(self._clock or theReactor(), 0)
            if each.key not in transaction.unique:
                answers.append(await _call(self._store, "onRcptTo", each, session))
            found.append(each)
        transaction.count += len(found) if isAlias else 0
        self._note(transaction, address, found)
        return answers[0] if len(found) == 1 and answers else None

    @staticmethod
    def _note(transaction: _Transaction, address: Address, found: Sequence[Address]) -> None:
        unique = transaction.unique
        transaction.targets[address] = [unique.setdefault(each.key, each) for each in found]

    async def onData(self, stream: IncomingMessage, session: Session) -> object:
        """
        Give the message to the store.

        :returns: what the store does, about the recipients that the client named.
        """
        envelope = session.envelope
        named = list(envelope.rcptTo)
        transaction = self._transactions.of(session)
        for address in named:
            if address not in transaction.targets:  # a filter has added it, who may name anybody
                self._note(transaction, address, await self._added(address, session))
        groups = [transaction.targets[address] for address in named]
        targets = list({each: None for group in groups for each in group})
        envelope.rcptTo[:] = targets
        try:
            result = await _call(self._store, "onData", stream, session)
        finally:
            envelope.rcptTo[:] = named
        if isinstance(result, str) or not isinstance(result, (Mapping, Sequence)):
            return result
        found = _forNamed(result, targets, groups)
        return [_worst(*each, envelope) for each in zip(found, groups, named, strict=True)]

    async def _added(self, address: Address, session: Session) -> list[Address]:
        try:
            return await self.find(address, session)
        except Rejection:
            return [address]

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
        """Forget the recipients, and tell the store."""
        self._transactions.pop(session)
        hook = findHook(self._store, "onTransactionEnd")
        return None if hook is None else hook(envelope, outcome, session)


class KnownRecipients(SMTPHandler):
    """
    A stage that refuses unknown recipients.

    :param recipients: the stage that knows them.
    """

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients

    async def onRcptTo(self, address: Address, session: Session) -> None:
        """Refuse an unknown recipient: 550 5.1.1."""
        await self._recipients.check(address, session)


def _addresses(found: Sequence[Target], named: Address) -> Iterator[Address]:
    """The addresses that a recipient stands for; itself, if the file has none."""
    return (_target(each, named) for each in found) if found else iter((named,))


def _target(found: Target, named: Address) -> Address:
    """An address of the file as a recipient, with what the client said about the one it named."""
    local, domain, text = found
    if (local, domain) == named.key:
        return named
    target = Address(Path(local, domain, text, named.raw, not text.isascii()), named.args)
    target.values, target.dsn = named.values, named.dsn
    return target


def _forNamed(
    result: Any, targets: Sequence[Address], groups: Sequence[Sequence[Address]]
) -> list[list[object]]:
    """
    Sort the store's results, one for each target, by the recipients that the client named.

    :raises ValueError: (or KeyError) if they aren't one for each target: a bug of the store's.
    """
    if isinstance(result, Mapping):
        result = [result[each if each in result else each.address] for each in targets]
    results = dict(zip(targets, result, strict=True))
    return [[results[each] for each in group] for group in groups]


def _worst(
    results: list[object], group: Sequence[Address], named: Address, envelope: Envelope
) -> object:
    """
    One result of several: the worst, because 250 would lose the message for somebody.

    :param results: those of the addresses that a recipient stands for.
    :param group: these addresses.
    :param named: the recipient.
    """
    failed = [each for each in results if isinstance(each, BaseException)]
    if not failed:
        return results[0]
    if len(failed) < len(results):
        _log.warn(
            "Message {id} is stored, but not for {refused}; the client, which named {named}, "
            "got a refusal",
            id=envelope.id,
            refused=[
                escape(each.address)
                for each, result in zip(group, results, strict=True)
                if isinstance(result, BaseException)
            ],
            named=escape(named.address),
        )
    return next(filter(_isTemporary, failed), failed[0])


def _isTemporary(error: BaseException) -> bool:
    refused = asRejection(error)
    return refused is None or refused.code is None or refused.code < 500


async def _call(store: object, name: str, *arguments: object) -> Any:
    """The result of a store's hook; ``None`` if it has no such hook."""
    hook = findHook(store, name)
    result = None if hook is None else invoke(hook, *arguments)
    return await result if isinstance(result, Deferred) else result

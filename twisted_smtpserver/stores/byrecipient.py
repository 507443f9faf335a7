"""Different stores for different recipients."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError, Rejection, asRejection
from twisted_smtpserver.filters.message import Replay
from twisted_smtpserver.filters.spool import MEMORY, Spool
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.handlers.check import descriptorsPerClient
from twisted_smtpserver.handlers.transactions import Transactions
from twisted_smtpserver.hooks import findHook, invoke
from twisted_smtpserver.hooks.ready import askReady
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.stores.base import oneAnswer, outcomes

__all__ = ["ByRecipient"]

_log = Logger()

#: The key for all other recipients.
OTHERS = "*"

_NOT_HERE = Rejection("No mail is accepted for this recipient", 550, "5.7.1")


@dataclass
class _Share:
    """
    One store's part of a transaction.

    :ivar store: the store.
    :ivar session: the session as the store sees it: its envelope has the store's recipients only.
    """

    store: Any
    session: Session

    @property
    def envelope(self) -> Envelope:
        return self.session.envelope


class ByRecipient(SMTPHandler):
    """
    Gives each message to the store of each of its recipients::

        ByRecipient({
            "example.com": Maildir("mail"),
            "tickets@example.com": Webhook("https://tickets.example/mail", secret),
            "*": Forward("smtp+starttls://relay.example.net"),
        })

    The stores are searched for a recipient's address first, then for its domain, then for ``"*"``.
    If none is found, the recipient is refused with 550 5.7.1.

    An LMTP client gets each store's reply for its recipients. An SMTP client gets one answer: 250
    if all stores have accepted; else a refusal, a temporary one if any is. The log says which
    recipients have the message. Clients that send to one recipient at a time never get there.

    A store is asked from the first of its recipients on: ``onMailFrom``, ``onRcptTo``, ``onData``
    and ``onTransactionEnd`` are called, and see an envelope with its recipients only; then
    ``onClose``, because the next transaction has another session. If a message is for one store,
    that reads the client's stream; if for several, it is put aside first.

    :param stores: handlers with ``onData``, by address, domain or ``"*"``.
    :param memory: as for :class:`~twisted_smtpserver.filters.spool.Spool`, and so is ``folder``.
    :param runInThread: runs what waits for the disk; by default, in the reactor's thread pool.
    :raises ConfigurationError: if there is no store, or a store has no ``onData``.
    """

    def __init__(
        self,
        stores: Mapping[str, object],
        *,
        memory: int = MEMORY,
        folder: str | os.PathLike[str] | None = None,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        if not stores:
            raise ConfigurationError("ByRecipient: give a domain, and the store for its mail")
        for key, store in stores.items():
            if findHook(store, "onData") is None:
                raise ConfigurationError(f"ByRecipient: {key}: {store!r} has no onData")
        self._stores = {_normalized(key): store for key, store in stores.items()}
        self._memory = memory
        self._folder = folder
        self._runInThread = runInThread
        # The shares in each transaction, in the order in which they were needed.
        self._transactions: Transactions[list[_Share]] = Transactions(list)

    @property
    def descriptorsPerClient(self) -> int:
        """See :func:`~twisted_smtpserver.handlers.check.descriptorsPerClient`: one is a file's."""
        return 1 + sum(map(descriptorsPerClient, self._stores.values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}: {store!r}" for key, store in self._stores.items())
        return f"<ByRecipient {shown}>"

    async def ready(self) -> None:
        """Whether all stores are ready."""
        await askReady(dict.fromkeys(self._stores.values()))

    async def onRcptTo(self, address: Address, session: Session) -> Any:
        """
        Ask the recipient's store.

        :raises Rejection: what it says; 550 if there is none.
        """
        share = await self._shareFor(address, session)
        result = await _call(share.store, "onRcptTo", address, share.session)
        share.envelope.rcptTo.append(address)
        return result

    async def _shareFor(self, address: Address, session: Session) -> _Share:
        store = self._find(address)
        if store is None:
            raise _NOT_HERE
        shares = self._transactions.of(session)
        for share in shares:
            if share.store is store:
                return share
        share = _Share(store, _copyFor(session))
        try:
            await _call(store, "onMailFrom", _sender(session), share.session)
        except BaseException:
            await _leave(share)
            raise
        shares.append(share)
        return share

    def _find(self, address: Address) -> object | None:
        for key in (address.address, address.domain, OTHERS):
            store = self._stores.get(_normalized(key or ""))
            if store is not None:
                return store
        return None

    async def onData(self, stream: IncomingMessage, session: Session) -> object:
        """
        Give the message to the stores.

        :returns: each recipient's result if the client gets each, otherwise the one for all.
        :raises Rejection: if the client gets one reply, and the message isn't accepted for all.
        """
        envelope = session.envelope
        results: dict[int, object] = {}  # by the recipient's number
        shares = await self._settleShares(session, results)
        if len(shares) == 1 and not results:
            (share,) = shares
            return await _call(share.store, "onData", stream, share.session)
        if results and not envelope.perRecipient:
            # No store has the message yet, so one answer is true for all recipients.
            return oneAnswer(list(results.values()), self, envelope)
        await self._storeAside(stream, shares, session, results)
        ordered = [results[number] for number in range(len(envelope.rcptTo))]
        return ordered if envelope.perRecipient else oneAnswer(ordered, self, envelope)

    async def _settleShares(self, session: Session, results: dict[int, object]) -> list[_Share]:
        """
        Make the shares fit the envelope's recipients. Another stage may have refused a recipient
        that a store had accepted, and a filter may have changed the recipients.

        :param results: gets the refusals.
        """
        envelope = session.envelope
        shares = self._transactions.of(session)
        wanted = {id(address) for address in envelope.rcptTo}
        for share in shares:
            kept = [address for address in share.envelope.rcptTo if id(address) in wanted]
            wanted -= {id(address) for address in kept}
            share.envelope.rcptTo[:] = kept
        for number, address in enumerate(envelope.rcptTo):
            if id(address) in wanted:
                try:
                    await self.onRcptTo(address, session)
                except Rejection as refused:
                    results[number] = refused
        return [share for share in shares if share.envelope.rcptTo]

    async def _storeAside(
        self,
        stream: IncomingMessage,
        shares: Sequence[_Share],
        session: Session,
        results: dict[int, object],
    ) -> None:
        """Spool the message, and give it to each store."""
        numbers = {id(each): number for number, each in enumerate(session.envelope.rcptTo)}
        spool = Spool(self._memory, self._folder, runInThread=self._runInThread)
        try:
            with outcomes(self, session.envelope):  # a disk that is full
                await spool.fill(stream)
            storing = [Deferred.fromCoroutine(self._store(share, spool)) for share in shares]
            try:
                for share, waiting in zip(shares, storing, strict=True):
                    for address, result in zip(share.envelope.rcptTo, await waiting, strict=True):
                        results[numbers[id(address)]] = result
            except BaseException:
                for waiting in storing:
                    waiting.addErrback(lambda _: None)
                    waiting.cancel()
                raise
        finally:
            spool.close()

    async def _store(self, share: _Share, spool: Spool) -> list[object]:
        """The results of a store, one for each of its recipients."""
        replay = Replay(spool, self._runInThread)
        try:
            result = await _call(share.store, "onData", replay.stream, share.session)
            replay.checkRead()
            return [_refusal(each, share) for each in _expanded(result, share.envelope)]
        except CancelledError:
            raise
        except Exception as error:
            return [_refusal(error, share)] * len(share.envelope.rcptTo)
        finally:
            replay.stop()

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
        """Tell the stores that had a part in it."""
        shares = self._transactions.pop(session)
        if shares is None:
            return None
        telling = [Deferred.fromCoroutine(_endShare(share, outcome)) for share in shares]
        return DeferredList(telling, fireOnOneErrback=True, consumeErrors=True)

    def close(self) -> Deferred[Any]:
        """
        Close the stores that can be closed.

        :returns: fires when they are.
        """
        closing = [
            Deferred.fromCoroutine(_value(invoke(store.close)))
            for store in {id(each): each for each in self._stores.values()}.values()
            if hasattr(store, "close")
        ]
        return DeferredList(closing)


async def _endShare(share: _Share, outcome: str) -> None:
    try:
        await _call(share.store, "onTransactionEnd", share.envelope, outcome, share.session)
    finally:
        await _leave(share)


async def _leave(share: _Share) -> None:
    """The session that the store saw isn't used any more."""
    share.session.forgetEnvelope()
    await _call(share.store, "onClose", share.session)


def _normalized(key: str) -> str:
    """Domains are the same in any case, local parts aren't (RFC 5321 §2.4)."""
    local, at, domain = key.rpartition("@")
    return f"{local}{at}{domain.lower()}"


def _copyFor(session: Session) -> Session:
    """The session with an envelope of its own, which has no recipients yet."""
    session.data  # noqa: B018  # it is made when it is asked for, and must be the same in both
    view = copy.copy(session)
    view.envelope = copy.copy(session.envelope)
    view.envelope.rcptTo = []
    return view


def _sender(session: Session) -> Address:
    sender = session.envelope.mailFrom
    assert sender is not None  # there is a RCPT
    return sender


async def _call(store: object, name: str, *arguments: object) -> Any:
    """The result of a store's hook; ``None`` if it has no such hook."""
    hook = findHook(store, name)
    return None if hook is None else await _value(invoke(hook, *arguments))


async def _value(result: Any) -> Any:
    return await result if isinstance(result, Deferred) else result


def _refusal(result: object, share: _Share) -> object:
    """A store's result. An exception that isn't a refusal is a bug: it is logged, and refuses."""
    if not isinstance(result, BaseException):
        return result
    refused = asRejection(result)
    if refused is None:
        _log.failure(
            "Message {id} isn't stored by {store}",
            Failure(result),
            id=share.envelope.id,
            store=share.store,
        )
        refused = Rejection("Local error in processing", 451, "4.3.0")
    elif refused.code is None:
        refused = Rejection(refused.text, 450, refused.enhanced)  # the default of onData
    return refused


def _expanded(result: Any, envelope: Envelope) -> list[object]:
    """One result for each recipient (see :func:`~twisted_smtpserver.results.messageReplies`)."""
    recipients = envelope.rcptTo
    if isinstance(result, Mapping):
        return [result[each if each in result else each.address] for each in recipients]
    if isinstance(result, Sequence) and not isinstance(result, str):
        if len(result) != len(recipients):
            raise ValueError(f"{len(result)} results for {len(recipients)} recipients")
        return list(result)
    return [result] * len(recipients)

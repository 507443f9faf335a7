"""
A handler that has each message judged before it is stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import CoroutineType
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, MessageIncomplete, Rejection
from twisted_smtpserver.filters.authentication import Trust
from twisted_smtpserver.filters.header import makeField, makeFields
from twisted_smtpserver.filters.message import Message, Replay
from twisted_smtpserver.filters.recipients import forOriginal
from twisted_smtpserver.filters.spool import MEMORY, Spool
from twisted_smtpserver.handlers.chain import Chain
from twisted_smtpserver.handlers.check import checkCall, descriptorsPerClient
from twisted_smtpserver.hooks import Hook, findHook, invoke
from twisted_smtpserver.hooks.calling import asDeferred
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.hooks.ready import askReady
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.log.serverlog import client
from twisted_smtpserver.message.files import RunInThread, storageRefusal
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.message.stream import MessageStream
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.text import escape

__all__ = ["TIMEOUT", "Filtered"]

_log = Logger()

#: A filter's own hooks, besides those of a handler, and their arguments.
_CALLS = {"onMessage": ("message", "session"), "onDataCommand": ("session",)}

#: The defaults of a filter's refusal.
_REFUSED = Reply(550, "5.7.1", "Message refused")

#: How many messages of a client that sends one upon the other are judged before other work gets a
#: turn, and how many fields a message may have that is judged at once.
MESSAGES_AT_ONCE = 4
FIELDS_AT_ONCE = 100

#: How long a filter may take for a message unless told otherwise, in seconds.
TIMEOUT = 120.0


class Filtered:
    """
    Puts filters before a store: ``Filtered(Maildir("mail"), Milter("unix:/run/rspamd.sock"))``.

    Each message is received whole and put aside. The filters judge it one after the other. Then the
    store gets it as a stream like any other, with the filters' fields in front. The first refusal
    is the answer, and the store sees nothing of the message.

    A Filtered has all hooks that its filters and its store have. The filters' hooks are called
    before the store's, as in a :class:`~twisted_smtpserver.Chain`. A Filtered may be a stage of a
    Chain.

    A filter that raises anything but a Rejection is a bug like any other: 451 with an incident id,
    and nothing is stored. A filter that takes too long gets 451, too, and the log names it. If the
    disk is full, the answer is 452 4.3.1.

    :param store: the handler that stores messages; it has ``onData``.
    :param filters: see :class:`~twisted_smtpserver.filters.interfaces.IMessageFilter`.
    :param quarantine: the handler that stores messages which a filter puts into quarantine. Without
        one such a message is refused with 451 4.7.1, and the log says why.
    :param authservId: the name under which our own filters report who sent a message (RFC 8601
        §2.5), usually the host's. Fields ``Authentication-Results:`` with this name that came with
        a message are removed before the first filter sees it; those that a filter adds make
        ``session.envelope.authentication``. By default it is this machine's name.
    :param timeout: how long each filter may take for a message, in seconds, unless it has a
        ``timeout`` of its own. The server's ``handlerTimeout`` is for all filters and the store
        together.
    :param memory: how many octets of a message stay in memory.
    :param folder: the folder for the file of a larger message; by default the system's folder for
        temporary files. See :class:`~twisted_smtpserver.filters.spool.Spool` for both.
    :param runInThread: runs what waits for the disk; by default, in the reactor's thread pool.
    :param reactor: the clock for timeouts; by default the reactor.
    :raises ConfigurationError: if the store has no ``onData``, or something isn't a filter.
    """

    def __init__(
        self,
        store: object,
        *filters: object,
        quarantine: object = None,
        authservId: str | None = None,
        timeout: float = TIMEOUT,
        memory: int = MEMORY,
        folder: str | os.PathLike[str] | None = None,
        runInThread: RunInThread = deferToThread,
        reactor: IReactorTime | None = None,
    ) -> None:
        for each in filters:
            if not callable(getattr(each, "onMessage", None)):
                raise ConfigurationError(f"{each!r} is not a filter: it has no onMessage")
            if findHook(each, "onData") is not None:
                raise ConfigurationError(f"{each!r} is not a filter: it has onData, like a store")
            for name, arguments in _CALLS.items():
                if hasattr(each, name):
                    checkCall(type(each).__name__, name, getattr(each, name), arguments)
        for each in (store, quarantine):
            if each is not None and findHook(each, "onData") is None:
                raise ConfigurationError(f"{each!r} can't store messages: it has no onData")
        self._filters: tuple[Any, ...] = filters
        self._askedAtData: list[Any] = [each for each in filters if hasattr(each, "onDataCommand")]
        self._store: Any = store
        self._quarantine = quarantine
        chain = Chain(*filters, store, otherHooks=tuple(_CALLS))
        # Most filters have no hook of a handler: then the store's hooks are looked up directly.
        isStage = any(findHook(each, name) for each in filters for name in HOOKS)
        self._stages: Any = chain if isStage else store
        self._trust = Trust(authservId)
        self._timeout = timeout
        self._memory = memory
        self._folder = folder
        self._runInThread = runInThread
        self._reactor = reactor
        # Whose the latest message was, and how many came from there without one of another session.
        self._latest = ""
        self._inRow = 0

    @property
    def descriptorsPerClient(self) -> int:
        """See :func:`~twisted_smtpserver.handlers.check.descriptorsPerClient`; one for a file."""
        return 1 + sum(map(descriptorsPerClient, (*self._filters, self._store)))

    def __repr__(self) -> str:
        return f"<Filtered {', '.join(map(repr, self._filters))} before {self._stages!r}>"

    async def ready(self) -> None:
        """Whether the store is ready, and the filters that say so."""
        await askReady([self._stages])

    async def onData(self, stream: IncomingMessage, session: Session) -> Any:
        """
        Receive a message, have it judged, and have it stored.

        :returns: the store's result.
        :raises Rejection: a filter's or the store's refusal; 452 if there is no room for the
            message.
        """
        for each in self._askedAtData:
            answer = self._ask(each, each.onDataCommand, session)
            if isinstance(answer, CoroutineType):
                await answer
        spool = Spool(self._memory, self._folder, runInThread=self._runInThread)
        message: Message | None = None
        try:
            original = await _receive(stream, spool, session)
            message = await Message.of(spool, session.envelope)
            if self._isTurn(session) or message.headerLines() > FIELDS_AT_ONCE:
                await deferLater(self._clock(), 0)
            return await self._judgeAndStore(message, session, original)
        finally:
            if message is not None:
                message.close()
            spool.close()

    def _isTurn(self, session: Session) -> bool:
        """Whether a client has sent so many messages in a row that others need a turn."""
        if session.id != self._latest:  # others had theirs
            self._latest = session.id
            self._inRow = 0
        self._inRow = (self._inRow + 1) % MESSAGES_AT_ONCE
        return self._inRow == 0

    async def _judgeAndStore(
        self, message: Message, session: Session, original: MessageStream | None
    ) -> Any:
        envelope = session.envelope
        before = list(envelope.rcptTo)
        self._trust.removeForged(message)
        for each in self._filters:
            fields = self._ask(each, each.onMessage, message, session)
            if isinstance(fields, CoroutineType):
                fields = await fields
            if fields:
                message.header.prepend(
                    makeFields(fields) if isinstance(fields, Mapping) else fields
                )
            if message.isChanged:
                self._trust.readResults(message)
            if message.discard or not envelope.rcptTo:
                text = "Message {id} is discarded by {filter}, client {client}"
                _note(text, session, filter=_named(each))
                return None
        store = self._store
        if message.quarantine is not None:
            store = self._quarantineFor(message, session)
        whole = message.small() if original is not None and not message.isChanged else None
        outer = self._trust.handOn(message)
        try:
            if original is not None and whole is not None:
                original.unread(whole)
                result = await _called(store, original, session)
            else:
                result = await self._replay(message, store, session)
        finally:
            self._trust.handedOn(outer)
        return forOriginal(result, before, envelope.rcptTo) if envelope.perRecipient else result

    async def _replay(self, message: Message, store: Any, session: Session) -> Any:
        """Have a message stored that isn't any more as it came, or that isn't in memory."""
        replay = Replay(message, self._runInThread)
        try:
            result = await _called(store, replay.stream, session)
            replay.checkRead()
        finally:
            replay.stop()
        return result

    def _ask(self, each: object, function: Hook, *arguments: Any) -> Any:
        """
        Call a filter.

        :returns: its answer; or a coroutine that waits for it.
        """
        session: Session = arguments[-1]
        try:
            result = invoke(function, *arguments)
        except Rejection as error:
            _refused(each, error, session)
        # Nearly all return None, and to look whether something is a Deferred takes long.
        if result is None or not isinstance(result, Deferred):
            return result
        return self._inTime(each, result, session)

    async def _inTime(self, each: object, awaited: Deferred[Any], session: Session) -> Any:
        """Wait for a filter, and cancel it when its time is over."""
        timeout = getattr(each, "timeout", self._timeout)
        if timeout is not None:
            awaited.addTimeout(timeout, self._clock())
        try:
            return await awaited
        except DeadlineError:
            _log.error(
                "Message {id} isn't accepted: {filter} took longer than {seconds} s",
                id=session.envelope.id,
                filter=_named(each),
                seconds=timeout,
            )
            raise Rejection("Processing took too long, try again later", 451, "4.3.0") from None
        except Rejection as error:
            _refused(each, error, session)

    def _quarantineFor(self, message: Message, session: Session) -> Any:
        if self._quarantine is None:
            _log.error(
                "Message {id} isn't accepted: a filter wants it in quarantine ({reason}), and there"
                " is none: give Filtered(quarantine=…), or twistd's --quarantine",
                id=session.envelope.id,
                reason=escape(message.quarantine or ""),
            )
            raise Rejection("Message held back, try again later", 451, "4.7.1")
        reason = escape(message.quarantine or "")
        text = "Message {id} goes into quarantine, client {client}: {reason}"
        _note(text, session, reason=reason)
        message.header.prepend(makeField("X-Quarantine", reason))
        return self._quarantine

    def _clock(self) -> Any:
        if self._reactor is None:
            self._reactor = theReactor()
        return self._reactor


class _StagesHook:
    """
    A hook that a Filtered has if a filter or the store has it. (With ``__getattr__`` each look for
    one would begin with an AttributeError.)

    :param name: the hook's.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Filtered | None, owner: type[Filtered]) -> Any:
        return self if instance is None else getattr(instance._stages, self._name)


for _name in HOOKS:
    if _name not in vars(Filtered):
        setattr(Filtered, _name, _StagesHook(_name))


async def _receive(stream: IncomingMessage, spool: Spool, session: Session) -> MessageStream | None:
    """
    Put a message aside.

    :returns: the stream, if the message came in one piece: that can be given back to it.
    """
    try:
        if not isinstance(stream, MessageStream):
            await spool.fill(stream)
            return None
        async for octets in stream:
            if not spool.keep(octets):
                await spool.spill(octets)
            elif stream.isEmptied and spool.size == len(octets):
                return stream
    except MessageIncomplete:  # one kind of it is an OSError as well
        raise
    except OSError as error:
        raise _notPutAside(error, session) from error
    return None


async def _called(store: Any, stream: MessageStream, session: Session) -> Any:
    """What the store answers."""
    result = store.onData(stream, session)
    if isinstance(result, CoroutineType):  # most stores: awaited without a Deferred
        return await result
    return await _value(asDeferred(result))


def _notPutAside(error: OSError, session: Session) -> Rejection:
    """Log that there is no room for a message."""
    _log.error(
        "Message {id} can't be spooled for the filters: {error}",
        id=session.envelope.id,
        error=error,
    )
    return storageRefusal(error)


def _refused(each: object, error: Rejection, session: Session) -> NoReturn:
    """Log a filter's refusal, and raise it with what it leaves out."""
    reply = error.toReply(_REFUSED)
    said = f"{reply.code} {escape(reply.text)}"
    text = "Message {id} is refused by {filter}, client {client}: {reply}"
    _note(text, session, filter=_named(each), reply=said)
    if error.code is not None:
        raise error
    raise Rejection(reply.text, reply.code, reply.enhanced, policy=error.policy) from error


async def _value(result: Any) -> Any:
    return await result if isinstance(result, Deferred) else result


def _named(each: object) -> object:
    """A filter's name for the log: its class says more than its address in memory."""
    return f"<{type(each).__qualname__}>" if type(each).__repr__ is object.__repr__ else each


def _note(text: str, session: Session, **values: object) -> None:
    """Log what became of a message."""
    _log.info(
        text,
        id=session.envelope.id,
        client=client(session),
        **values,
    )

"""
Several handlers in a row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers.check import CheckedHandler, checkHandler, descriptorsPerClient
from twisted_smtpserver.hooks import Hook, findHook, invoke
from twisted_smtpserver.hooks.ready import askReady
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.session import Session

_log = Logger()

Calls = Iterator[Callable[[], Any]]


class Chain(CheckedHandler):
    """
    A handler made of handlers, its *stages*: ``Chain(greylist, users, Maildir("mail"))``.

    A stage takes part in a hook if it has it when the hook is called; a default of
    :class:`~twisted_smtpserver.handlers.SMTPHandler` doesn't count. A hook that no stage has, the
    chain doesn't have either. A stage may be a chain.

    * ``onConnect``, ``onSecure``, ``onHello``, ``onMailFrom``, ``onRcptTo``: the stages are asked
      in order; the first refusal ends it. The result is the first one that isn't ``None``.
    * ``onAuth``, ``scramSecret``: in order, too; the first result that isn't ``None`` ends it.
    * ``onData``: the one stage that has it.
    * ``onClose``: every stage that ``onConnect`` got to, whether the stage has that hook or not, in
      reverse order. The stage that refused is the last one it got to.
    * ``onTransactionEnd``, ``onError``: all stages in order.

    What one stage raises from the last three doesn't keep the others from being called; then the
    first exception is raised again, and the others are logged.

    Nothing waits unless a stage does. Canceling the result cancels the stage that is waited for.

    :param stages: the handlers.
    :param isPart: whether it is to be a stage of another chain. Then it needs no ``onData``.
    :param otherHooks: names of further hooks that the stages may have, because the maker of the
        chain calls them.
    :ivar stages: the handlers.
    :ivar otherHooks: these names.
    :raises ConfigurationError: if not exactly one stage has ``onData``, or a stage has something
        like a hook that is none.
    """

    def __init__(
        self, *stages: object, isPart: bool = False, otherHooks: Collection[str] = ()
    ) -> None:
        self.stages = stages
        self.otherHooks = otherHooks
        self._isPart = isPart
        self._reached: WeakKeyDictionary[Session, int] = WeakKeyDictionary()
        for stage in stages:
            checkHandler(stage, otherHooks)
        self._checkData()

    def __getattr__(self, name: str) -> Hook:
        # Python calls this only for names that it doesn't find otherwise, such as a hook that was
        # assigned to the chain itself.
        if name not in HOOKS or not self._having(name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return functools.partial(_COMBINED.get(name, Chain._askAll), self, name)

    @property
    def descriptorsPerClient(self) -> int:
        """See :func:`~twisted_smtpserver.handlers.check.descriptorsPerClient`."""
        return sum(map(descriptorsPerClient, self.stages))

    def __repr__(self) -> str:
        return f"<Chain of {', '.join(map(repr, self.stages))}>"

    async def ready(self) -> None:
        """Whether all stages are ready; see :class:`~twisted_smtpserver.metrics.StoreWatch`."""
        await askReady(self.stages)

    def _having(self, name: str) -> list[object]:
        """The stages that have a hook."""
        return [stage for stage in self.stages if findHook(stage, name) is not None]

    def _checkData(self) -> None:
        having = self._having("onData")
        if not having and not self._isPart:
            raise ConfigurationError("a Chain needs a stage with onData: Discard(), for example")
        if len(having) > 1:
            stages = " and ".join(map(repr, having))
            raise ConfigurationError(f"only one stage of a chain can have onData, not {stages}")

    def _calls(self, name: str, arguments: Sequence[Any], stages: Iterable[object]) -> Calls:
        for stage in stages:
            hook = findHook(stage, name)
            if hook is not None:
                yield functools.partial(invoke, hook, *arguments)

    def _askAll(self, name: str, *arguments: Any) -> Any:
        return _firstAnswer(self._calls(name, arguments, self.stages), stop=False)

    def _askUntilAnswered(self, name: str, *arguments: Any) -> Any:
        return _firstAnswer(self._calls(name, arguments, self.stages), stop=True)

    def _tellAll(self, name: str, *arguments: Any) -> Any:
        return _everyone(self._calls(name, arguments, self.stages))

    def _store(self, name: str, *arguments: Any) -> Any:
        self._checkData()  # a hook may have been assigned since
        return next(self._calls(name, arguments, self.stages))()

    def _connect(self, name: str, session: Session) -> Any:
        return _firstAnswer(self._calls(name, [session], self._noted(session)), stop=False)

    def _noted(self, session: Session) -> Iterator[object]:
        """The stages, noting for :meth:`_close` how many of them were got to."""
        for number, stage in enumerate(self.stages, 1):
            # After XCLIENT a second pass may end earlier than the first.
            self._reached[session] = max(number, self._reached.get(session, 0))
            yield stage

    def _close(self, name: str, session: Session) -> Any:
        # If no stage has onConnect the chain was never asked, and no stage has refused.
        reached = self._reached.pop(session, len(self.stages))
        return _everyone(self._calls(name, [session], self.stages[:reached][::-1]))


_COMBINED: dict[str, Callable[..., Any]] = {
    "onAuth": Chain._askUntilAnswered,
    "scramSecret": Chain._askUntilAnswered,
    "onConnect": Chain._connect,
    "onData": Chain._store,
    "onClose": Chain._close,
    "onTransactionEnd": Chain._tellAll,
    "onError": Chain._tellAll,
}


def _firstAnswer(calls: Calls, stop: bool) -> Any:
    """
    Make calls in order until one raises.

    :param stop: whether the first answer ends it.
    :returns: the first result that isn't ``None``, or a Deferred of it.
    """
    answer = None
    for call in calls:
        result = call()
        if isinstance(result, Deferred):
            return Deferred.fromCoroutine(_firstAnswerLater(answer, result, calls, stop))
        answer = result if answer is None else answer
        if stop and answer is not None:
            break
    return answer


async def _firstAnswerLater(answer: Any, waiting: Deferred[Any], calls: Calls, stop: bool) -> Any:
    result = await waiting
    answer = result if answer is None else answer
    if stop and answer is not None:
        return answer
    rest = await _value(_firstAnswer(calls, stop))
    return rest if answer is None else answer


def _everyone(calls: Calls, error: Exception | None = None) -> Any:
    """
    Make all calls in order, whatever they raise.

    :param error: what was raised before.
    :returns: ``None``, or a Deferred of it.
    :raises Exception: the first exception, after the last call.
    """
    for call in calls:
        try:
            result = call()
        except Exception as raised:
            error = _first(error, raised)
            continue
        if isinstance(result, Deferred):
            return Deferred.fromCoroutine(_everyoneLater(result, calls, error))
    if error is not None:
        raise error
    return None


async def _everyoneLater(waiting: Deferred[Any], calls: Calls, error: Exception | None) -> None:
    try:
        await waiting
    except Exception as raised:
        error = _first(error, raised)
    await _value(_everyone(calls, error))


def _first(first: Exception | None, later: Exception) -> Exception:
    if first is None:
        return later
    _log.failure("Another stage of the chain failed, too", Failure(later))
    return first


async def _value(result: Any) -> Any:
    return await result if isinstance(result, Deferred) else result

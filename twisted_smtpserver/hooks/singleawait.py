"""What a stream's reader waits for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")


class SingleAwait(Deferred[_T]):
    """
    A Deferred for one ``await``, and nothing else.

    If a :class:`~twisted_smtpserver.hooks.coroutines.CoroutineRunner` waits, the result goes there
    directly, at a tenth of what it costs to run callbacks. To all others it is any Deferred. It is
    fired by :meth:`fire` only, and not before it is awaited.

    :ivar waiter: called with the result, or a Failure.
    """

    waiter: Callable[[Any], None] | None = None

    def __await__(self) -> Generator[Any, Any, _T]:
        result: _T = yield self  # who runs the coroutine sends it
        return result

    def fire(self, result: Any) -> None:
        """
        End the wait.

        :param result: the result, or a Failure.
        """
        if self.waiter is None:
            self.callback(result)
        else:
            self.called = True
            self.waiter(result)

"""Hooks that block, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twisted_smtpserver.errors import ConfigurationError

_T = TypeVar("_T")


def blocking(function: Callable[..., _T]) -> Callable[..., Deferred[_T]]:
    """
    Turn a function that blocks into a hook, by running it in the reactor's thread pool.

    ::

        SMTPServerFactory(onRcptTo=blocking(lookUpInTheDatabase))

    :param function: it must not touch anything of Twisted's but through ``callFromThread``; reading
        the session and the address is fine. It can't be interrupted: after ``handlerTimeout`` its
        result is thrown away.
    :returns: a callable with the same arguments, whose result is a Deferred.
    :raises ConfigurationError: for an ``async def``, which is a hook as it is.
    """
    if iscoroutinefunction(function):
        raise ConfigurationError("blocking() is for plain functions: an async def never blocks")

    def runInThread(*arguments: object, **keywords: object) -> Deferred[_T]:
        return deferToThread(function, *arguments, **keywords)

    return runInThread

"""Asking handlers whether they are ready."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred

from twisted_smtpserver.hooks.calling import invoke


async def askReady(handlers: Iterable[object]) -> None:
    """
    Ask handlers, one after another, whether they can do their work now: those that have a method
    ``ready()``.

    :param handlers: the handlers.
    :raises Exception: what the first one raises, or fails with, that can't.
    """
    for handler in handlers:
        ready = getattr(handler, "ready", None)
        if callable(ready):
            result = invoke(ready)
            if isinstance(result, Deferred):
                await result

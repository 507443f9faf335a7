"""Whether the reactor's threads are at work."""

from __future__ import annotations

from typing import Any

__all__ = ["threadsWork"]


def threadsWork(reactor: Any) -> bool:
    """
    Whether a thread of the reactor's pool does something, is about to, or has a result that nobody
    was told yet. None can be stopped.

    :param reactor: a reactor, or a clock, which has no threads.
    """
    pool = getattr(reactor, "threadpool", None)
    return pool is not None and bool(pool.q.qsize() or pool.working or reactor.threadCallQueue)

"""How long hooks take, for those who count it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.interfaces import IMetrics

_Accepted = Callable[[Any], Outcome]
_Failed = Callable[[BaseException], Outcome]


def timed(
    metrics: IMetrics, hook: str, accepted: _Accepted, failed: _Failed
) -> tuple[_Accepted, _Failed]:
    """
    Count how long a hook takes, from now to whichever of the two is called.

    :param metrics: what counts.
    :param hook: its name.
    :param accepted: called with its result.
    :param failed: called with what it raised.
    :returns: what to call instead of these two.
    """
    began = perf_counter()

    def acceptedInTime(result: Any) -> Outcome:
        metrics.hookEnded(hook, perf_counter() - began)
        return accepted(result)

    def failedInTime(error: BaseException) -> Outcome:
        metrics.hookEnded(hook, perf_counter() - began)
        return failed(error)

    return acceptedInTime, failedInTime

"""The outcome of a command: one reply or several, now or after a while, or later."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from typing import Any, Union

from twisted.internet.defer import Deferred

from twisted_smtpserver.replies import Reply


class Later(Enum):
    """The type of :data:`LATER`."""

    LATER = "the reply comes later"


#: The reply comes later, by a call of ``respond``: octets or a TLS handshake come first.
LATER = Later.LATER

#: What a verb returns. A refusal that is a single :class:`~twisted_smtpserver.replies.Reply` counts
#: as an error of the client's; in a list it doesn't, because it was counted elsewhere.
Outcome = Union[Reply, list[Reply], Later, "Deferred[Outcome]", "Coroutine[Any, Any, Outcome]"]


def withoutEnhanced(outcome: Outcome) -> Outcome:
    """
    Leave the enhanced status codes out, as in the greeting and in answers to a hello (RFC 2034 §4).

    :param outcome: an outcome of any kind.
    :returns: the same without.
    """
    if isinstance(outcome, Reply):
        return outcome if outcome.enhanced is None else outcome.plain
    if isinstance(outcome, list):
        return [reply.plain for reply in outcome]
    if isinstance(outcome, Deferred):
        outcome.addCallback(withoutEnhanced)
    return outcome

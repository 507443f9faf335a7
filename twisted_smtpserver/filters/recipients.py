"""
Results for the recipients that the client named, where a filter has changed who gets the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted_smtpserver.session import Address

__all__ = ["forOriginal"]


def forOriginal(result: Any, before: Sequence[Address], after: Sequence[Address]) -> Any:
    """
    Turn a store's result into one for the recipients that the client knows of (RFC 2033 §4.2).

    Whom a filter took away from the list is answered as accepted; what became of those that it
    added isn't the client's business.

    :param result: what ``onData`` returned: one value, or one for each of ``after``.
    :param before: the recipients that the client named.
    :param after: those that the store was given.
    :returns: the result; if it was one for each, a list in the order of ``before``.
    :raises ValueError: (or KeyError) if they aren't one for each: a bug of the store's.
    """
    if list(before) == list(after) or isinstance(result, str):
        return result
    if isinstance(result, Mapping):
        result = [result[each if each in result else each.address] for each in after]
    elif not isinstance(result, Sequence):
        return result
    results = dict(zip(after, result, strict=True))
    return [results.get(address) for address in before]

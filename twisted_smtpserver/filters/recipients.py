"""
Results for the recipients that the client named, if a filter has changed the recipients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted_smtpserver.session import Address

__all__ = ["forOriginal"]


def forOriginal(result: Any, before: Sequence[Address], after: Sequence[Address]) -> Any:
    """
    Turn a store's result into one for the recipients that the client named (RFC 2033 §4.2).

    A recipient that a filter has removed counts as accepted. The client isn't told about recipients
    that a filter has added.

    :param result: what ``onData`` returned: one value, or one for each of ``after``.
    :param before: the recipients that the client named.
    :param after: the recipients that the store was given.
    :returns: the result; if it was one for each recipient, a list in the order of ``before``.
    :raises ValueError: (or KeyError) if the number of results is wrong: a bug of the store.
    """
    if list(before) == list(after) or isinstance(result, str):
        return result
    if isinstance(result, Mapping):
        result = [result[each if each in result else each.address] for each in after]
    elif not isinstance(result, Sequence):
        return result
    results = dict(zip(after, result, strict=True))
    return [results.get(address) for address in before]

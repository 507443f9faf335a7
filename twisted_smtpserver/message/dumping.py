"""JSON of what may be large, such as a parsed message, in slices none of which takes long."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from twisted_smtpserver.message.largebytes import LargeBytes

# Characters that are written at once: a control takes six octets and 10 ns.
_SLICE = 64 * 1024

# Values that are written at once.
_MANY = 100


def dumping(value: Any, depth: int = 2) -> Generator[None, None, bytes]:
    """
    Write a value as JSON.

    :param value: what can be written so. Its dicts and lists are taken apart as deep as ``depth``
        says; what is deeper in it is small.
    :param depth: how many levels are taken apart.
    :returns: (in the end, after a ``yield`` for each slice) it, in ASCII.
    """
    written = LargeBytes()
    yield from _dump(value, depth, written)
    return written.take()


def _dump(value: Any, depth: int, written: LargeBytes) -> Generator[None, None, None]:
    if isinstance(value, str) and len(value) > _SLICE:
        written.add(b'"')
        for start in range(0, len(value), _SLICE):
            written.add(_dumps(value[start : start + _SLICE])[1:-1])
            yield
        written.add(b'"')
    elif depth and isinstance(value, (dict, list)):
        yield from _dumpMany(value, depth, written)
    else:
        written.add(_dumps(value))


def _dumpMany(
    value: dict[str, Any] | list[Any], depth: int, written: LargeBytes
) -> Generator[None, None, None]:
    isDict = isinstance(value, dict)
    written.add(b"{" if isDict else b"[")
    for number, each in enumerate(value):
        if number:
            written.add(b", ")
        if isinstance(value, dict):
            written.add(_dumps(each) + b": ")
        yield from _dump(value[each] if isinstance(value, dict) else each, depth - 1, written)
        if number % _MANY == _MANY - 1:
            yield
    written.add(b"}" if isDict else b"]")


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")

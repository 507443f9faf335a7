"""Long work in slices, with the slices counted."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")


def countSlices(steps: Generator[None, None, _T]) -> tuple[_T, int]:
    """
    Do all of it.

    :param steps: the work.
    :returns: its result, and after how many slices others had a turn.
    """
    slices = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, slices
        slices += 1

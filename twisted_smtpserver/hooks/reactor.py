"""The one way to the reactor."""

from __future__ import annotations

from typing import Any


def theReactor() -> Any:
    """
    Import the reactor. The first import of it chooses its kind, so call this only when needed.

    :returns: the reactor of the process.
    """
    from twisted.internet import reactor

    return reactor

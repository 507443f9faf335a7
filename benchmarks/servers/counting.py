"""What a server program says to the benchmark."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version


class Counts:
    """
    :ivar messages: how many came.
    :ivar octets: how many octets of content they had.
    """

    def __init__(self) -> None:
        self.messages = self.octets = 0

    def add(self, octets: int) -> None:
        """One more message."""
        self.messages += 1
        self.octets += octets

    def report(self) -> None:
        """Write them, at the very end."""
        print(json.dumps({"messages": self.messages, "octets": self.octets}), flush=True)


def listening(port: int, *distributions: str) -> None:
    """Say where, and what it is that listens."""
    names = ", ".join(f"{name} {version(name)}" for name in distributions)
    if "twisted_smtpserver" in sys.modules:
        form = "compiled" if sys.modules["twisted_smtpserver"].isCompiled else "pure"
        names += f", {form}, Python {platform.python_version()}"
    print(json.dumps({"port": port, "version": names}), flush=True)

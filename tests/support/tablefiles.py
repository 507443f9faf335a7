"""Files of users, recipients and senders for tests, and what the log says of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


class TableTestCase(SynchronousTestCase):
    """A file, and the log."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self._time = 1_000_000_000
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def write(self, *lines: str) -> Path:
        """Write the file anew, at another time than before."""
        self.path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
        self._time += 1
        os.utime(self.path, (self._time, self._time))
        return self.path

    @property
    def log(self) -> list[str]:
        """What was logged."""
        return [formatEvent(event) for event in self.events if "log_format" in event]

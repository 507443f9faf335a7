"""A client that means well, in the midst of an attack."""

from __future__ import annotations

import contextlib
import re
import smtplib
import threading
import time
from pathlib import Path

from tests.support.liveserver import PATIENCE

_NAME = re.compile(rb"^X-Name: (\w+)\r\n", re.MULTILINE)


class Sender(threading.Thread):
    """
    Sends one message after the other.

    :param port: where to.
    :ivar accepted: the messages that were answered 250.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._count = 0
        self._isOver = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        """Until :meth:`stop` is called."""
        while not self._isOver.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._deliver()
            time.sleep(0.02)

    def _deliver(self) -> None:
        with smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE) as client:
            while not self._isOver.is_set():
                self._count += 1
                name = f"m{self._count}"
                client.sendmail("a@b.example", "c@d.example", f"X-Name: {name}\r\n\r\nx\r\n")
                self.accepted.append(name)

    def stop(self) -> None:
        """Send no more."""
        self._isOver.set()
        self.join(PATIENCE)

    def lost(self, maildir: Path) -> int:
        """How many of the messages that were accepted aren't stored, or more than once."""
        texts = [path.read_bytes() for path in (maildir / "new").glob("*")]
        stored = [match[1].decode() for text in texts if (match := _NAME.search(text))]
        return sum(stored.count(name) != 1 for name in self.accepted)

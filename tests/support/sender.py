"""A client in a thread, for servers that are restarted or killed under load."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Callable


class Sender(threading.Thread):
    """
    Sends messages until it is told to stop. A subclass says how: by :meth:`run`.

    :param port: the server's, on 127.0.0.1.
    :param name: what the identifiers of its messages begin with.
    :param progress: released for each message that was answered 250.
    :ivar accepted: the identifiers of those messages.
    :ivar isDone: set it to stop.
    """

    def __init__(self, port: int, name: str, progress: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self.isDone = threading.Event()
        self.port = port
        self._prefix = name
        self._progress = progress
        self._number = 0

    def send(self, client: smtplib.SMTP, make: Callable[[str], bytes]) -> None:
        """
        Send a message.

        :param make: makes its content, which has the identifier in it.
        """
        self._number += 1
        identifier = f"{self._prefix}-{self._number}"
        client.sendmail("a@client.example", "b@server.example", make(identifier))
        self.accepted.append(identifier)
        self._progress.release()

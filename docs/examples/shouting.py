"""Filters of one's own, before a Maildir."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet.threads import deferToThread

from twisted_smtpserver import Maildir, Rejection, Session
from twisted_smtpserver.filters import Filtered, Message


class NoShouting:
    """Refuses messages whose subject is in capitals, and marks the others."""

    def onMessage(self, message: Message, session: Session) -> Any:
        subject = message.header.get("Subject")
        if len(subject) > 10 and subject.isupper():
            raise Rejection("Please don't shout")
        return {"X-Volume": "low"}


class NotTwice:
    """Throws away a message that came before."""

    def __init__(self, most: int = 100_000) -> None:
        self._known: dict[str, None] = {}
        self._most = most

    async def onMessage(self, message: Message, session: Session) -> None:
        digest = await deferToThread(self._digest, message)
        message.discard = digest in self._known
        self._known[digest] = None
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def _digest(self, message: Message) -> str:
        digest = hashlib.sha256()
        with message.open() as file:
            while octets := file.read(65536):
                digest.update(octets)
        return digest.hexdigest()


def makeHandler() -> Filtered:
    return Filtered(Maildir("mail"), NoShouting(), NotTwice())

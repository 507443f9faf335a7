"""What is in each message of the inbox: source, texts, parts."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.inbox.queries import find, where, which

__all__ = ["PIECE", "Content", "Contents", "MessageGone", "insertPieces"]

#: How much of a message, or of a part's content, is in one row, in octets.
PIECE = 64 * 1024


class MessageGone(Exception):
    """A message was deleted while it was read."""


@dataclass(frozen=True)
class Content:
    """
    Octets to download: where they are, and what is known of them.

    :ivar seq: the message's number.
    :ivar number: the part's; 0 is the message itself.
    :ivar size: how many octets there are.
    """

    seq: int
    number: int
    size: int
    contentType: str
    fileName: str = ""


def insertPieces(database: sqlite3.Connection, seq: int, number: int, octets: bytes) -> None:
    """
    Write a message, or a part's content.

    :param database: in a transaction.
    :param seq: the message's number.
    :param number: the part's; 0 is the message itself.
    :param octets: what to write.
    """
    for start in range(0, len(octets), PIECE):
        piece = octets[start : start + PIECE]
        database.execute("INSERT INTO piece VALUES (?, ?, ?, ?)", (seq, number, start, piece))


class Contents:
    """
    Reads; each method blocks, and may be called in any thread. If there is no such message, the
    result is ``None``.

    :param database: where the messages are.
    :param lock: its holder may use the database.
    """

    def __init__(self, database: sqlite3.Connection, lock: threading.Lock) -> None:
        self._database = database
        self._lock = lock

    def headers(self, identifier: str) -> list[tuple[str, str]] | None:
        """
        The header fields, in order.

        :param identifier: the message's id, or ``"latest"``.
        :returns: ``None`` if there is no such message.
        """
        found = self._body(identifier, "headers")
        return found and [(name, value) for name, value in json.loads(found)]

    def raw(self, identifier: str) -> Content | None:
        """
        The message as it was received.

        :param identifier: its id, or ``"latest"``.
        """
        with self._lock:
            found = find(self._database, identifier, "seq, size")
        if found is None:
            return None
        seq, size = found
        return Content(seq, 0, size, "text/plain", f"{identifier}.eml")

    def sender(self, content: Content) -> str | None:
        """
        A message's reverse-path.

        :param content: the message.
        """
        with self._lock:
            row: tuple[str] | None = self._database.execute(
                "SELECT json_extract(detail, '$.ReturnPath') FROM body WHERE seq = ?",
                (content.seq,),
            ).fetchone()
        return None if row is None else row[0]

    def piece(self, content: Content, position: int) -> bytes:
        """
        A piece of what is to be downloaded.

        :param content: it.
        :param position: where the piece begins.
        :returns: the octets, of which there is one at least.
        :raises MessageGone: if the message was deleted.
        """
        with self._lock:
            row = self._database.execute(
                "SELECT octets FROM piece WHERE seq = ? AND number = ? AND position = ?",
                (content.seq, content.number, position),
            ).fetchone()
        if row is None:
            raise MessageGone
        octets: bytes = row[0]
        return octets

    def text(self, identifier: str) -> str | None:
        """
        The text.

        :param identifier: the message's id, or ``"latest"``.
        """
        text: str | None = self._body(identifier, "text")
        return text

    def html(self, identifier: str) -> tuple[str, str] | None:
        """
        The HTML.

        :param identifier: the message's id, or ``"latest"``.
        :returns: the message's id, and the HTML, which may be empty.
        """
        with self._lock:
            row: tuple[str, str] | None = self._database.execute(
                f"SELECT id, html FROM body JOIN message USING (seq) {where(identifier)}",
                which(identifier),
            ).fetchone()
        return row

    def _body(self, identifier: str, column: str) -> Any:
        with self._lock:
            row = self._database.execute(
                f"SELECT {column} FROM body JOIN message USING (seq) {where(identifier)}",
                which(identifier),
            ).fetchone()
        return row and row[0]

    def part(self, identifier: str, partId: str) -> Content | None:
        """
        An attachment, or a picture of the HTML.

        :param identifier: the message's id, or ``"latest"``.
        :param partId: the part's.
        """
        return self._part(identifier, "number", partId)

    def byContentId(self, identifier: str, contentId: str) -> Content | None:
        """
        What ``cid:`` in the HTML refers to (RFC 2392).

        :param identifier: the message's id.
        :param contentId: the part's ``Content-ID``.
        """
        return self._part(identifier, "contentId", contentId)

    def _part(self, identifier: str, column: str, value: str) -> Content | None:
        with self._lock:
            found = find(self._database, identifier, "seq")
            row = (
                found
                and self._database.execute(
                    "SELECT seq, number, size, contentType, fileName FROM part"
                    f" WHERE seq = ? AND {column} = ? ORDER BY number LIMIT 1",
                    (*found, value),
                ).fetchone()
            )
        return Content(*row) if row else None

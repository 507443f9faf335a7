"""What is in each message of the inbox: source, texts, parts."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.inbox.queries import find, where, which

__all__ = ["Content", "Contents"]


@dataclass(frozen=True)
class Content:
    """Octets to download, and what is known of them."""

    content: bytes
    contentType: str
    fileName: str = ""


class Contents:
    """
    Reads; each method blocks, and may be called in any thread. If there is no such message, the
    result is ``None``.

    :param database: where the messages are.
    :param lock: who has it may use the database.
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

    def raw(self, identifier: str) -> bytes | None:
        """
        The message as it was received.

        :param identifier: its id, or ``"latest"``.
        """
        octets: bytes | None = self._body(identifier, "raw")
        return octets

    def original(self, identifier: str) -> tuple[bytes, str] | None:
        """
        The message as it was received, and its reverse-path.

        :param identifier: its id, or ``"latest"``.
        """
        with self._lock:
            row: tuple[bytes, str] | None = self._database.execute(
                "SELECT raw, json_extract(detail, '$.ReturnPath') FROM body"
                f" JOIN message USING (seq) {where(identifier)}",
                which(identifier),
            ).fetchone()
        return row

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
                    "SELECT content, contentType, fileName FROM part"
                    f" WHERE seq = ? AND {column} = ? ORDER BY number LIMIT 1",
                    (*found, value),
                ).fetchone()
            )
        return Content(*row) if row else None

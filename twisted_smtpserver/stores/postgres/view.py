"""What can be asked of a message in the database without reading its octets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from twisted_smtpserver.stores.postgres.record import inJSON

#: So many octets of a message are looked at for its header.
HEADER_SIZE = 64 * 1024


@dataclass(frozen=True)
class View:
    """
    A message's columns for asking, in JSON.

    :ivar headers: the header fields in order, each a list of name and value.
    :ivar parsed: the parsed view; ``None`` where there is none.
    """

    headers: str
    parsed: str | None

    @classmethod
    def of(cls, content: IO[bytes], size: int) -> View:
        """
        :param content: the message, in a file that can be seeked.
        :param size: how many octets it has.
        """
        content.seek(0)
        head = content.read(HEADER_SIZE)
        return cls(inJSON(_fields(head)), None)


def _fields(head: bytes) -> list[list[str]]:
    found: list[list[str]] = []
    for line in head.split(b"\r\n"):
        if not line:
            break
        text = line.decode("utf-8", "replace")
        if line[:1] in b" \t" and found:
            found[-1][1] += " " + text.strip()
        elif b":" in line:
            name, _, value = text.partition(":")
            found.append([name.strip(), value.strip()])
    return found

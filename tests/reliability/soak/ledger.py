"""Who was told what of which message, and what is in the store."""

from __future__ import annotations

import collections
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_TRACE = re.compile(
    rb"Return-Path: <[^\r\n]*>\r\nReceived: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.DOTALL
)
_NAME = re.compile(rb"^Message-ID: <(soak[0-9]+)@", re.MULTILINE)


@dataclass(slots=True)
class Message:
    """
    One message that a client began to send.

    :ivar length: of its content, in octets.
    :ivar digest: the content's hash.
    :ivar fate: ``begun``: not sent to its end, so it must not be stored; ``open``: sent, and nobody
        knows the answer, so it may be stored, once; ``accepted``: answered 250, so it is stored;
        ``refused``: it is not.
    :ivar stored: how often it was found.
    :ivar isWhole: whether what was found is what was sent.
    """

    length: int
    digest: bytes
    fate: str = "begun"
    stored: int = 0
    isWhole: bool = True


class Ledger:
    """
    The accounts of a run.

    :param maildir: where the server stores.
    :ivar counts: clients that did what they had to, by their kind.
    :ivar codes: the replies, by command and code.
    :ivar failures: what clients reported that should not have been.
    """

    def __init__(self, maildir: Path) -> None:
        self.maildir = maildir
        self.messages: dict[str, Message] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.codes: collections.Counter[tuple[str, int]] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self.unknown: list[str] = []

    def message(self, size: int) -> tuple[str, bytes]:
        """
        A new message.

        :param size: about how long.
        :returns: its name, and its content with CRLF.
        """
        name = f"soak{len(self.messages) + 1}"
        head = f"Message-ID: <{name}@client.example>\r\nFrom: joe@example.org\r\n"
        head += "To: jane@example.com\r\nSubject: soak\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
        lines = f".{name:x<59}\r\n{name:y<70}\r\n" * max(1, size // 134)
        content = f"{head}\r\n{lines}end of {name}\r\n".encode()
        self.messages[name] = Message(len(content), hashlib.sha256(content).digest())
        return name, content

    def answered(self, name: str, code: int, isSure: bool = True) -> None:
        """
        A client got the answer to a message.

        :param isSure: whether a refusal means that it isn't stored.
        """
        if code == 250:
            self.messages[name].fate = "accepted"
        elif isSure:
            self.messages[name].fate = "refused"

    def sweep(self) -> None:
        """Account for what is in the store, and remove it: the disk is bounded, too."""
        for path in list((self.maildir / "new").glob("*")):
            try:
                octets = path.read_bytes()
                path.unlink()
            except FileNotFoundError:
                continue  # the folder was taken away just now; it comes back
            found = _NAME.search(octets)
            message = self.messages.get(found[1].decode()) if found else None
            if message is None:
                self.unknown.append(path.name)
                continue
            message.stored += 1
            content = octets[-message.length :]
            trace = octets[: -message.length]
            if not (_TRACE.fullmatch(trace) and hashlib.sha256(content).digest() == message.digest):
                message.isWhole = False

    def faults(self) -> dict[str, list[str]]:
        """What is wrong; nothing, one hopes."""
        messages = self.messages.items()
        found = {
            "answered 250, and missing": [
                n for n, m in messages if m.fate == "accepted" and not m.stored
            ],
            "stored more than once": [n for n, m in messages if m.stored > 1],
            "stored, though refused": [n for n, m in messages if m.fate == "refused" and m.stored],
            "stored, though never sent to the end": [
                n for n, m in messages if m.fate == "begun" and m.stored
            ],
            "stored, but changed": [n for n, m in messages if not m.isWhole],
            "stored, and nobody's": self.unknown,
        }
        return {what: names for what, names in found.items() if names}

    def fates(self) -> dict[str, tuple[int, int]]:
        """How many messages had which fate, and how many of those were stored."""
        return {
            fate: (
                sum(m.fate == fate for m in self.messages.values()),
                sum(m.fate == fate and m.stored > 0 for m in self.messages.values()),
            )
            for fate in ("accepted", "refused", "begun", "open")
        }

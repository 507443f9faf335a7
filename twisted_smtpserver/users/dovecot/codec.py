"""Lines of Dovecot's authentication protocol, version 1: words between tabs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DovecotError", "Verdict", "authRequest", "parseVerdict", "splitLine"]

#: The kinds of answers to a request.
VERDICTS = (b"OK", b"FAIL", b"CONT")

_ESCAPED = {"\0": "\x010", "\x01": "\x011", "\t": "\x01t", "\r": "\x01r", "\n": "\x01n"}
_UNESCAPED = {"0": "\0", "1": "\x01", "t": "\t", "r": "\r", "n": "\n"}
_TO_ESCAPE = re.compile("[\0\x01\t\r\n]")
_TO_UNESCAPE = re.compile("\x01(.)", re.DOTALL)


class DovecotError(Exception):
    """
    Dovecot violated the protocol.

    :param reason: what, without anything that it said.
    """


@dataclass(frozen=True)
class Verdict:
    """
    The answer to a request.

    :ivar kind: ``OK``, ``FAIL`` or ``CONT``.
    :ivar number: the request's.
    :ivar values: the parameters; one without a value has an empty one.
    """

    kind: bytes
    number: int
    values: Mapping[str, str]

    @property
    def isTemporary(self) -> bool:
        """Whether a failure says nothing about the password."""
        return "temp" in self.values or self.values.get("code") == "temp_fail"


def escapeWord(text: str) -> str:
    """
    :param text: any text.
    :returns: a word of a line.
    """
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match[0]], text)


def splitLine(line: bytes) -> tuple[bytes, list[str]]:
    """
    :param line: without its end.
    :returns: the command, and its words.
    :raises DovecotError: if it isn't UTF-8.
    """
    command, *words = line.split(b"\t")
    try:
        texts = [word.decode("utf-8") for word in words]
    except UnicodeDecodeError:
        raise DovecotError("a line isn't UTF-8") from None
    return command, [_TO_UNESCAPE.sub(_unescape, text) for text in texts]


def _unescape(match: re.Match[str]) -> str:
    return _UNESCAPED.get(match[1], match[1])


def parseVerdict(command: bytes, words: list[str]) -> Verdict:
    """
    :param command: one of :data:`VERDICTS`.
    :param words: the words after it.
    :raises DovecotError: if they are malformed.
    """
    if not words or not re.fullmatch("[0-9]{1,10}", words[0], re.ASCII):
        raise DovecotError("an answer has no id")
    pairs = (word.partition("=") for word in words[1:])
    return Verdict(command, int(words[0]), {name: value for name, _, value in pairs})


def authRequest(
    number: int, username: str, password: str, parameters: Mapping[str, str | None]
) -> bytes:
    """
    Ask whether a password is right, as SASL's PLAIN does (RFC 4616).

    :param number: the request's.
    :param username: without NUL.
    :param password: without NUL.
    :param parameters: further parameters for Dovecot; a value of ``None`` is left out, an empty one
        makes a word without ``=``.
    :returns: the line with its end.
    """
    words = ["AUTH", str(number), "PLAIN"]
    for name, value in parameters.items():
        if value is not None:
            words.append(escapeWord(f"{name}={value}" if value else name))
    response = f"\0{username}\0{password}".encode()
    # It comes last: Dovecot takes all that follows for a part of it.
    words.append(f"resp={base64.b64encode(response).decode('ascii')}")
    return "\t".join(words).encode() + b"\n"

"""Addresses and domains as an operator writes them in a file."""

from __future__ import annotations

import unicodedata

from twisted_smtpserver.tables.watched import TableError
from twisted_smtpserver.wire.domain import Problem, parseDomain, parseLiteral
from twisted_smtpserver.wire.path import Path, parseForwardPath

__all__ = ["keyOf", "localKey", "readAddress", "readDomain"]


def localKey(local: str) -> str:
    """
    The form in which local parts are compared: case and composition don't matter. The receiver of
    mail may decide so (RFC 5321 §2.4), and a file is about mail that is received here.

    :param local: without quotes.
    """
    return local.lower() if local.isascii() else unicodedata.normalize("NFC", local.casefold())


def keyOf(local: str, domain: str | None) -> str:
    """
    The key by which an address is looked up.

    :param local: the local part, without quotes.
    :param domain: as in :class:`~twisted_smtpserver.Address`.
    """
    return f"{localKey(local)}@{domain or ''}"


def readAddress(text: str, line: int) -> Path:
    """
    :param text: for example ``joe@bücher.example``.
    :param line: where it stands.
    :returns: the address; its domain in lower case and in U-labels.
    :raises TableError: if it is none.
    """
    parsed = parseForwardPath(f"<{text}>".encode())
    if not isinstance(parsed, tuple) or parsed[1] or parsed[0].domain is None or text[0] == "@":
        raise TableError("an address must be written as joe@example.com", line)
    return parsed[0]


def readDomain(text: str, line: int) -> str:
    """
    :param text: for example ``@example.com``.
    :param line: where it stands.
    :returns: the domain, in lower case and in U-labels.
    :raises TableError: if it is none.
    """
    octets = text[1:].encode()
    parsed = parseLiteral(octets) if octets.startswith(b"[") else parseDomain(octets)
    if isinstance(parsed, Problem):
        raise TableError(f"a domain must be written as @example.com ({parsed.text})", line)
    return parsed

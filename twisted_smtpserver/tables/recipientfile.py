"""
The file of recipients: who receives mail, and under which other addresses.

::

    joe@example.com                                 as it is
    sales@example.com    joe@example.com, ann@example.com
    @example.org                                    every address of the domain, as it is
    @example.net         joe@example.com            all other addresses of the domain
    postmaster           ann@example.com            RFC 5321 §4.5.1: of every domain
    *                                               every other address
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted_smtpserver.tables.addresses import keyOf, localKey, readAddress, readDomain
from twisted_smtpserver.tables.watched import Lines, TableError, empty, inTurns

__all__ = ["MAX_EXPANSION", "RecipientTable"]

#: How many addresses one may stand for, and how many aliases may lead to them.
MAX_EXPANSION = 1000

#: An address: its local part without quotes, its domain, and as text.
Target = tuple[str, str, str]

_POSTMASTER = "postmaster"
_EVERYBODY = "*"
# Between the parts of what is kept of a line: no line has it in it.
_BREAK = "\n"
_KEY = re.compile(r'("(?:[^"\\]|\\.)*"[^\s,]*|[^\s,]+)(?:\s+(\S.*))?')


class RecipientTable:
    """
    Who receives mail.

    :param delimiter: the characters that separate a name from a detail, as ``+`` does in
        ``joe+news@example.com``; empty for none.
    :ivar domains: the domains that the file names.
    """

    def __init__(self, delimiter: str = "+") -> None:
        self._delimiter = delimiter
        # By an address's key, "@domain", or a word: the parts of all targets; empty for "as it is".
        # Nothing but text: the garbage collector doesn't look at it, however many lines there are.
        self._entries: dict[str, str] = {}
        self.domains: set[str] = set()

    @classmethod
    def parse(cls, lines: Lines, delimiter: str = "+") -> RecipientTable:
        """
        Read the file.

        :raises TableError: if a line can't be used.
        """
        table = cls(delimiter)
        numbers: dict[str, int] = {}
        for number, line in lines:
            key, targets = table._readLine(line, number)
            if key in numbers:
                raise TableError(f"line {numbers[key]} has the same address", number)
            numbers[key] = number
            table._entries[key] = _BREAK.join(part for target in targets for part in target)
        for key, kept in inTurns(table._entries.items()):
            if kept and not table._expand(key, kept, numbers[key]):
                raise TableError("the alias leads back to itself", numbers[key])
        empty(numbers)
        return table

    def _readLine(self, line: str, number: int) -> tuple[str, tuple[Target, ...]]:
        match = _KEY.fullmatch(line)
        if match is None:
            raise TableError("a line must be: address, blanks, targets separated by commas", number)
        texts = [text.strip() for text in (match[2] or "").strip(", \t").split(",")]
        if len(texts) > MAX_EXPANSION:
            raise TableError(f"there are more than {MAX_EXPANSION} targets", number)
        targets = tuple(_target(text, number) for text in texts if text)
        return self._readKey(match[1], targets, number)

    def _readKey(
        self, text: str, targets: tuple[Target, ...], number: int
    ) -> tuple[str, tuple[Target, ...]]:
        if text == _EVERYBODY:
            return text, targets
        if text.lower() == _POSTMASTER:
            return _POSTMASTER, targets
        if text[0] == "@":
            domain = readDomain(text, number)
            self.domains.add(domain)
            return f"@{domain}", targets
        target = _target(text, number)
        local, domain, _ = target
        self.domains.add(domain)
        return keyOf(local, domain), targets or (target,)

    def __str__(self) -> str:
        return f"{len(self._entries)} lines, {len(self.domains)} domains"

    def dispose(self) -> None:
        """(In a thread.) Free the memory: there is a newer table."""
        empty(self._entries)
        for _ in inTurns(range(len(self.domains))):
            self.domains.pop()

    @property
    def namesPostmaster(self) -> bool:
        """Whether a line says who reads mail to postmaster."""
        keys = [_POSTMASTER, _EVERYBODY, *(f"{_POSTMASTER}@{domain}" for domain in self.domains)]
        return any(key in self._entries for key in keys)

    def knows(self, local: str, domain: str | None) -> bool:
        """
        Whether a recipient is known, which is faster than finding the addresses that it stands for.

        :param local: as for :meth:`find`, and so is the other one.
        """
        known, _ = self._own(keyOf(local, domain))
        return known is not None or self._wild(local, domain)[0] is not None

    def find(self, local: str, domain: str | None) -> Sequence[Target] | None:
        """
        Look a recipient up.

        :param local: the local part without quotes.
        :param domain: as in :class:`~twisted_smtpserver.Address`.
        :returns: the addresses that it stands for, each once; none of them if it stands for itself
            as it was sent; ``None`` if it isn't known.
        """
        key = keyOf(local, domain)
        known, kept = self._own(key)
        if known is None:
            known, kept = self._wild(local, domain)
        if known is None:
            return None
        return self._expand(known, kept)

    def _own(self, key: str) -> tuple[str | None, str]:
        """The line of an address, or of the one without its detail."""
        if key in self._entries:
            return key, self._entries[key]
        local, _, domain = key.rpartition("@")
        for place, character in enumerate(local):
            if character in self._delimiter and place:
                short = f"{local[:place]}@{domain}"
                return (short, self._entries[short]) if short in self._entries else (None, "")
        return None, ""

    def _wild(self, local: str, domain: str | None) -> tuple[str | None, str]:
        """The line for all addresses of a domain, for the postmaster, or for everybody."""
        isServed = domain is None or domain in self.domains
        isPostmaster = isServed and localKey(local) == _POSTMASTER
        keys = [_POSTMASTER] if isPostmaster else []
        keys += [f"@{domain}", _EVERYBODY]
        for key in keys:
            if key in self._entries:
                return key, self._entries[key]
        # RFC 5321 §4.5.1: mail to postmaster is always taken.
        return (_POSTMASTER, "") if isPostmaster else (None, "")

    def _expand(self, key: str, kept: str, number: int | None = None) -> list[Target]:
        """
        Follow aliases to their ends. An alias that names itself is delivered under its own name.

        :raises TableError: if that leads too far.
        """
        found: dict[Target, None] = {}
        followed = {key}
        waiting = [(key, target) for target in reversed(_targets(kept))]
        while waiting:
            source, target = waiting.pop()
            known, further = self._own(keyOf(*target[:2]))
            if known is None or known == source:
                found[target] = None
            elif known not in followed:
                followed.add(known)
                waiting += [(known, target) for target in reversed(_targets(further))]
            if len(found) > MAX_EXPANSION or len(followed) > MAX_EXPANSION:
                raise TableError(f"it leads to more than {MAX_EXPANSION} addresses", number)
        return list(found)


def _targets(kept: str) -> list[Target]:
    parts = kept.split(_BREAK) if kept else []
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))


def _target(text: str, number: int) -> Target:
    path = readAddress(text, number)
    return path.local, path.domain or "", path.address

"""
Fields of addresses (RFC 5322 §3.4), as people's programs write them. Total, and linear: groups,
comments and routes are taken apart without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from itertools import islice
from typing import NamedTuple

from twisted_smtpserver.message.bounds import MAX_MAILBOXES
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.words import cleanText, decodeWords, plainText

# A quoted string; an angle-addr, a domain-literal, closed or not; an escape; what separates; text.
# A quote that is never closed is a letter. No repetition is in another one, so all is linear.
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|<[^<>]*>?|\[[^\[\]]*\]?|\\.|[,;:()]|[^"<\[\\,;:()]+|.', re.DOTALL
)
_IN_COMMENT = re.compile(r"\(+|\)+|(?:[^()\\]+|\\.|\\\Z)+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# More tokens than real mailboxes have, with their names and comments.
_MAX_TOKENS = 6 * MAX_MAILBOXES
# Tokens of a comment: what follows after this many counts as part of it.
_MAX_COMMENT = 1000
# Characters of a mailbox, or of its name, that are looked at.
_MAX_MAILBOX = 4096
# Tokens that are dealt with at once.
_MANY = 100

_BLANKS = re.compile(r"\s+")


class Mailbox(NamedTuple):
    """
    Who sent a message, or is to get it (RFC 5322 §3.4).

    :ivar name: the display name, decoded; empty if there is none.
    :ivar address: ``joe@example.org``; it may be anything, as the message says, and nobody checked
        it. Empty if there is none.
    """

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


def parseMailboxes(value: str) -> tuple[Mailbox, ...]:
    """
    Parse a field such as From or To.

    :param value: the field's value; its length is bounded by the caller.
    :returns: the mailboxes in order, those of groups included; no more than
        :data:`~twisted_smtpserver.message.bounds.MAX_MAILBOXES`.
    """
    return finish(parsingMailboxes(value))


def parsingMailboxes(value: str) -> Generator[None, None, tuple[Mailbox, ...]]:
    """
    The same in slices, none of which takes long.

    :param value: as for :func:`parseMailboxes`.
    :returns: (in the end, after a ``yield`` for each slice) the same.
    """
    found: list[Mailbox] = []
    one = _One()
    position, end, tokens = 0, len(value), 0
    while position < end and len(found) < MAX_MAILBOXES and tokens < _MAX_TOKENS:
        tokens += 1
        if tokens % _MANY == 0:
            yield
        token = _TOKEN.match(value, position)
        assert token is not None  # its last branch takes anything
        position = token.end()
        text = token[0]
        if text == "(":
            position = one.comment(value, position)
        elif text in ",;":
            one.endInto(found)
        elif text == ":" and not one.address:  # what came before names a group (RFC 5322 §3.4)
            one = _One()
        else:
            one.take(text)
    one.endInto(found)
    return tuple(found[:MAX_MAILBOXES])


class _One:
    """A mailbox in the making."""

    __slots__ = ("address", "comments", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.comments: list[str] = []
        self.address = ""

    def take(self, token: str) -> None:
        if token[0] == "<" and not self.address:
            self.address = token[1:].removesuffix(">")
        elif self.words or token.strip():
            self.words.append(token)

    def comment(self, value: str, position: int) -> int:
        """Take what stands in parentheses; returns where it ends."""
        depth, start = 1, position
        for token in islice(_IN_COMMENT.finditer(value, position), _MAX_COMMENT):
            length = token.end() - token.start()
            if token[0][0] == "(":
                depth += length
            elif token[0][0] == ")" and length >= depth:
                end = token.start() + depth
                self.comments.append(value[start : end - 1])
                return end
            elif token[0][0] == ")":
                depth -= length
        self.comments.append(value[start:])
        return len(value)

    def endInto(self, found: list[Mailbox]) -> None:
        """The mailbox is complete."""
        if self.address or self.words:
            found.append(self._mailbox())
        self.words, self.comments, self.address = [], [], ""

    def _mailbox(self) -> Mailbox:
        address = self.address
        if address or not any("@" in word for word in self.words):
            name = decodeWords("".join(map(_unquoted, self.words))[:_MAX_MAILBOX])
        else:
            # joe@example.org (Joe), or "joe b"@example.org: the words are the address
            address = "".join(self.words)
            name = decodeWords(" ".join(self.comments)[:_MAX_MAILBOX])
        if address[:1] == "@":  # a route before it (RFC 5322 §4.4)
            address = address.rpartition(":")[2]
        address = _BLANKS.sub(" ", address[:_MAX_MAILBOX])
        for old, new in ((" .", "."), (". ", "."), (" @", "@"), ("@ ", "@")):
            address = address.replace(old, new)
        return Mailbox(_BLANKS.sub(" ", name), cleanText(plainText(address)))


def _unquoted(word: str) -> str:
    if word[0] != '"' or word == '"':
        return word
    inner = word[1:].removesuffix('"')
    return _ESCAPE.sub(r"\1", inner) if "\\" in inner else inner

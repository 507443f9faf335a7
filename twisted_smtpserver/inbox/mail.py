"""
What the inbox makes of a parsed message. The parser is total and bounded; so is what is done here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from itertools import islice

from twisted_smtpserver.message.mailboxes import Mailbox
from twisted_smtpserver.message.parsed import Attachment, ParsedMessage

SNIPPET_LENGTH = 250

#: How many characters of a text are read for the snippet.
_SNIPPET_SOURCE = 20_000

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\Z")

#: How the HTML refers to parts (RFC 2392), and how often that is looked at.
_CID = re.compile(r"cid:([^\s\"'<>()&\\]{1,250})", re.IGNORECASE)
_MAX_CIDS = 10_000

# All of these are linear: none can match in two ways.
_HIDDEN = re.compile(r"<(script|style|title|template)(?=[\s/>])", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>?")
_ABSURD = re.compile(r"&#[xX]?[0-9a-fA-F]{8,}")  # int() isn't linear


def textOf(page: str) -> str:
    """
    The words of a page, for searching.

    :param page: HTML, or a piece of it.
    """
    shown = " ".join(_shown(page))
    text = html.unescape(_ABSURD.sub(" ", _TAG.sub(" ", shown)))
    return " ".join(text.split())


def _shown(page: str) -> Iterable[str]:
    """Remove the elements that a browser doesn't show."""
    lower, position = page.lower(), 0
    if len(lower) != len(page):  # a few letters have no lower case of the same length
        page = lower
    while (match := _HIDDEN.search(page, position)) is not None:
        yield page[position : match.start()]
        end = lower.find(f"</{match[1].lower()}", match.end())
        if end < 0:
            return
        position = end
    yield page[position:]


def snippetOf(message: ParsedMessage) -> str:
    """
    The beginning of a message's text, in one line.

    :param message: the message.
    """
    text = message.text[:_SNIPPET_SOURCE] or textOf(message.html[:_SNIPPET_SOURCE])
    return " ".join(text.split())[:SNIPPET_LENGTH]


def typeOf(attachment: Attachment) -> str:
    """
    An attachment's type, if it is one.

    :param attachment: the attachment.
    """
    kind = attachment.contentType
    return kind if _TYPE.match(kind) else "application/octet-stream"


def inlines(message: ParsedMessage) -> list[bool]:
    """
    Which attachments are parts of the text, in order.

    :param message: the message.
    """
    # The HTML is read once: there may be many attachments.
    named = {match[1] for match in islice(_CID.finditer(message.html), _MAX_CIDS)}
    return [each.isInline or each.contentId in named for each in message.attachments]


def shorten(boxes: Iterable[Mailbox], room: int) -> list[dict[str, str]]:
    """
    As many mailboxes as there is room for, in the form that the API has.

    :param boxes: the mailboxes.
    :param room: how many characters they may have.
    """
    shortened = []
    for box in boxes:
        room -= len(box.name) + len(box.address)
        if room < 0:
            break
        shortened.append({"Name": box.name, "Address": box.address})
    return shortened

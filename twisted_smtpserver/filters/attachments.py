"""
A filter that refuses messages with attachments of some kinds.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.message.parsed import Attachment, ParsedMessage, parsing
from twisted_smtpserver.message.slices import runInSlices
from twisted_smtpserver.session import Session

__all__ = ["PROGRAMS", "BlockAttachments"]

#: Endings of files that Windows runs when somebody opens them.
PROGRAMS = (
    *(".bat", ".cmd", ".com", ".cpl", ".exe", ".hta", ".iso", ".jar", ".js", ".jse", ".lnk"),
    *(".msi", ".pif", ".ps1", ".scr", ".vbe", ".vbs", ".wsf", ".wsh"),
)

#: The depth to which messages within messages are searched.
MAX_DEPTH = 5

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/([a-z0-9!#$&^_.+-]+|\*)\Z")


class BlockAttachments:
    """
    Refuses messages that have an attachment of some kind with 550 5.7.1:
    ``BlockAttachments(".exe", "application/x-msdownload", "video/*")``.

    The filter believes the name and the type that the message gives, and doesn't open archives. Use
    a virus scanner to look inside (:class:`~twisted_smtpserver.filters.Milter`).

    :param kinds: endings of file names with their dot, and content types, in any case; by default
        :data:`PROGRAMS`.
    :raises ConfigurationError: if a kind is neither an ending nor a type.
    """

    def __init__(self, *kinds: str) -> None:
        self._kinds = tuple(kind.lower() for kind in kinds or PROGRAMS)
        for kind in self._kinds:
            if not kind.startswith(".") and not _TYPE.match(kind):
                raise ConfigurationError(
                    f"BlockAttachments: {kind!r} is neither an ending such as '.exe' nor a type"
                    " such as 'video/*'"
                )

    def __repr__(self) -> str:
        return f"<BlockAttachments {', '.join(self._kinds)}>"

    async def onMessage(self, message: Message, session: Session) -> None:
        """Refuse a message with such an attachment: 550 5.7.1."""
        async for attachment in _attachments(await message.parsed()):
            if self._isBlocked(attachment):
                text = f"Attachments of this kind aren't accepted: {_shown(attachment)}"
                raise Rejection(text, policy="attachments")

    def _isBlocked(self, attachment: Attachment) -> bool:
        name = attachment.name.lower().rstrip(". ")  # Windows removes these, too
        type_ = attachment.contentType
        family = f"{type_.partition('/')[0]}/*"
        return name.endswith(self._kinds) or type_ in self._kinds or family in self._kinds


async def _attachments(parsed: ParsedMessage, depth: int = 1) -> AsyncIterator[Attachment]:
    for attachment in parsed.attachments:
        yield attachment
        if attachment.contentType == "message/rfc822" and depth < MAX_DEPTH:
            inner = await runInSlices(parsing(attachment.content))
            async for each in _attachments(inner, depth + 1):
                yield each


def _shown(attachment: Attachment) -> str:
    return attachment.name[:80] or attachment.contentType[:80]

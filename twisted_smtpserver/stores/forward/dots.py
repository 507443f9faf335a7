"""Dot-stuffing (RFC 5321 §4.5.2), on chunks of any size."""

from __future__ import annotations

from twisted_smtpserver.errors import BareNewline
from twisted_smtpserver.wire.newlines import NewlineFilter

_CRLF = b"\r\n"


class DotStuffer:
    """
    Make content fit for DATA. ``bytes.replace`` does the work; only the seams between two chunks
    need a separate check.

    A CR or LF by itself is refused (RFC 5321 §2.3.8): the next hop may take ``<LF>.<LF>`` for the
    end of the message, and what follows for commands.
    """

    __slots__ = ("_atLineStart", "_newlines")

    def __init__(self) -> None:
        self._newlines = NewlineFilter("reject")  # it also keeps a CR until its LF is there
        self._atLineStart = True

    def feed(self, chunk: bytes) -> bytes:
        """
        Stuff the next octets.

        :param chunk: some content, cut anywhere.
        :returns: what can be sent by now, perhaps nothing.
        :raises BareNewline: see above.
        """
        content = self._newlines.feed(chunk)
        if self._newlines.bareNewline:
            raise BareNewline
        if not content:
            return b""
        isDotted = self._atLineStart and content.startswith(b".")
        self._atLineStart = content.endswith(_CRLF)
        if b"." in content:  # base64 has none
            content = content.replace(b"\r\n.", b"\r\n..")
        return b"." + content if isDotted else content

    def end(self) -> bytes:
        """
        The content is complete.

        :returns: what ends it. A last line without its CRLF gets one.
        :raises BareNewline: if it ends in a CR.
        """
        self._newlines.end()
        if self._newlines.bareNewline:
            raise BareNewline
        return b".\r\n" if self._atLineStart else b"\r\n.\r\n"

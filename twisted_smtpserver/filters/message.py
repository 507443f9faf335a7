"""
A message as filters see it, and as the store gets it.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from twisted_smtpserver.filters.header import Header, parseHeader
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.message.bounds import MAX_HEADER
from twisted_smtpserver.message.files import RunInThread
from twisted_smtpserver.message.parsed import ParsedMessage
from twisted_smtpserver.message.stream import READ_LIMIT, MessageStream, forgottenRead
from twisted_smtpserver.session import Envelope

__all__ = ["Message", "Replay"]


class Message:
    """
    A message that has been received, and isn't stored yet.

    ``async for chunk in message`` yields its octets in chunks, with the changes of the header, as
    often as you like.

    :param spool: the octets as they came.
    :param envelope: the sender and the recipients.
    :param start: its first octets: all, or more than
        :data:`~twisted_smtpserver.message.bounds.MAX_HEADER`.
    :ivar envelope: the :class:`~twisted_smtpserver.session.Envelope`.
    :ivar discard: set it to throw the message away; the client gets 250.
    :ivar quarantine: set it to a reason, and the message goes into quarantine instead of the store.
    :raises MessageTooComplex: if its header section is too long.
    """

    def __init__(self, spool: Spool, envelope: Envelope, start: bytes) -> None:
        self.envelope = envelope
        self.discard = False
        self.quarantine: str | None = None
        self._spool = spool
        self._start = start
        self._header: Header | None = None
        self._headerEnd = 0
        self._body: Spool | None = None  # what has replaced it
        if len(start) > MAX_HEADER:
            self._readHeader()

    @property
    def header(self) -> Header:
        """The header section, which may be changed."""
        return self._readHeader() if self._header is None else self._header

    def _readHeader(self) -> Header:
        self._header, self._headerEnd = parseHeader(self._start)
        # Behind the header comes an empty line, unless another line ended it.
        rest = self._start[self._headerEnd : self._headerEnd + 2]
        self._separator = b"\r\n" if rest == b"\r\n" else b"\n" if rest[:1] == b"\n" else b""
        self._isHeaderEnded = bool(self._separator) or not rest
        return self._header

    @property
    def isHeaderEnded(self) -> bool:
        """Whether an empty line, or nothing, follows the header."""
        if self._header is None:
            self._readHeader()
        return self._isHeaderEnded

    def mayHave(self, name: bytes) -> bool:
        """
        Check quickly whether there may be a field of a name.

        :param name: in lower case.
        """
        end = self._start.find(b"\r\n\r\n")
        return name in (self._start if end < 0 else self._start[:end]).lower()

    def headerLines(self) -> int:
        """Count quickly how many lines the header section has at most; no field is without one."""
        end = self._start.find(b"\r\n\r\n")
        return self._start.count(b"\n", 0, len(self._start) if end < 0 else end + 2)

    @classmethod
    async def of(cls, spool: Spool, envelope: Envelope) -> Message:
        """
        Make a message of a filled spool.

        :raises MessageTooComplex: if its header section is too long.
        :raises OSError: if the file system fails.
        """
        start = spool.gathered(MAX_HEADER + 1)
        while len(start) <= MAX_HEADER and len(start) < spool.size:
            start += await spool.read(len(start), MAX_HEADER + 1 - len(start))
        return cls(spool, envelope, start)

    @property
    def size(self) -> int:
        """How many octets came in."""
        return self._spool.size

    @property
    def isChanged(self) -> bool:
        """Whether a filter has changed it."""
        isHeaderChanged = self._header is not None and self._header.changed
        return isHeaderChanged or self._body is not None

    def newSpool(self) -> Spool:
        """Make an empty spool with the message's settings; close it after use."""
        return self._spool.another()

    def replaceBody(self, body: Spool) -> None:
        """
        Replace the body.

        :param body: the new body; it is closed with the message.
        """
        if self._body is not None:
            self._body.close()
        self._body = body

    def close(self) -> None:
        """Close the body's replacement."""
        if self._body is not None:
            self._body.close()

    # -- Reading -----------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._changed() if self.isChanged else self._spool.chunks()

    async def _changed(self) -> AsyncIterator[bytes]:
        yield self._head()
        async for octets in self.body(withSeparator=True):
            yield octets

    def body(self, withSeparator: bool = False) -> AsyncIterator[bytes]:
        """
        Iterate over the body in chunks.

        :param withSeparator: whether to begin with the empty line.
        """
        spool, start = self._place()
        if self._body is None and withSeparator:
            start -= len(self._separator)
        return spool.chunks(start)

    def _place(self) -> tuple[Spool, int]:
        if self._body is not None:
            return self._body, 0
        if self._header is None:
            self._readHeader()
        return self._spool, self._headerEnd + len(self._separator)

    def _head(self) -> bytes:
        """The header; with an empty line, unless the body begins with one."""
        octets = self.header.toBytes()
        if octets and not octets.endswith(b"\n"):
            octets += b"\r\n"
        # Without an empty line, a body might be taken for more of the header.
        if self._body is not None or not self._isHeaderEnded:
            octets += b"\r\n"
        return octets

    def small(self) -> bytes | None:
        """All octets, if they are few and in memory, as those of most messages are."""
        if len(self._start) < self._spool.size or self._body is not None:
            return None
        if not self.isChanged:
            return self._start
        return self._head() + self._start[self._headerEnd :]

    async def parsed(self, limit: int = READ_LIMIT) -> ParsedMessage:
        """
        Parse the message: subject, texts, attachments … decoded.

        :param limit: how many octets to hold in memory at most.
        :raises MessageTooLarge: if the message has more.
        :raises OSError: if the file system fails.
        """
        replay = Replay(self, deferToThread)
        try:
            return await replay.stream.parsed(limit)
        finally:
            replay.stop()

    def open(self) -> IO[bytes]:
        """
        Open the message for reading in another thread. Close it after use.

        :returns: a binary file. It can't be written to.
        :raises ValueError: if the message is gone already.
        """
        if not self.isChanged:
            return self._spool.open()
        spool, start = self._place()
        start -= 0 if self._body is not None else len(self._separator)
        file = spool.open()
        file.seek(start)
        return io.BufferedReader(_Joined(self._head(), file))


class _Joined(io.RawIOBase):
    """A header, and a file after it."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = memoryview(head)
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)
        octets: bytes | memoryview = self._head[: len(room)]
        self._head = self._head[len(octets) :]
        octets = octets or self._file.read(len(room))
        room[: len(octets)] = octets
        return len(octets)

    def close(self) -> None:
        self._file.close()
        super().close()


class Source(Protocol):
    """Where a :class:`Replay` has its octets from: a Message, or a Spool."""

    def small(self) -> bytes | None:
        """All octets, if they are few and in memory."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the octets in chunks."""


class Replay:
    """
    Feeds a stream from a message: at once if it is small, else at the reader's pace.

    :param source: the message.
    :param runInThread: see :class:`~twisted_smtpserver.message.stream.MessageStream`.
    :ivar stream: the :class:`~twisted_smtpserver.interfaces.IMessageStream`.
    """

    def __init__(self, source: Source, runInThread: RunInThread) -> None:
        self.stream = MessageStream(self, 0, runInThread)
        self._source = source
        self._gate: Deferred[None] | None = None
        self._pumping: Deferred[None] | None = None
        octets = source.small()
        self._isFed = bool(octets)
        if octets:
            self.stream.feed(octets, isLast=True)

    def checkRead(self) -> None:
        """
        Check that the reader has waited for the read that it began.

        :raises RuntimeError: if it hasn't: nobody knows whether it will store the message.
        """
        forgotten = self.stream.forgotten()
        if forgotten:
            raise forgottenRead(forgotten)

    def stop(self) -> None:
        """End: the reader is done, or was canceled."""
        self.stream.discard()
        if self._pumping is not None:
            self._pumping.cancel()
        self.stream.detach()

    def wanted(self) -> None:
        """(The stream's call.) The store reads for the first time."""
        if not self._isFed:
            self._isFed = True  # an inner Filtered may have read, and given back
            self._pumping = Deferred.fromCoroutine(self._pump())

    def pause(self) -> None:
        """(The stream's call.) The reader doesn't keep up."""
        self._gate = Deferred()

    def resume(self) -> None:
        """(The stream's call.) The reader wants more."""
        assert self._gate is not None
        gate, self._gate = self._gate, None
        gate.callback(None)

    async def _pump(self) -> None:
        try:
            async for octets in self._source:
                self.stream.feed(octets)
                if self._gate is not None:
                    await self._gate
        except Exception as error:
            self.stream.fail(error)
        else:
            self.stream.end()

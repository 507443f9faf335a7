"""
The message stream: the protocol feeds octets, and the handler reads them in its own way.

The stream holds at most :data:`HIGH_WATER` unread octets, plus the one chunk that crossed the mark:
then it asks its flow, the message transfer, to stop the socket.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from email.message import EmailMessage
from typing import IO, Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import classImplements

from twisted_smtpserver.errors import MessageTooLarge
from twisted_smtpserver.hooks.singleawait import SingleAwait
from twisted_smtpserver.interfaces import IMessageStream
from twisted_smtpserver.message.emailmessage import building
from twisted_smtpserver.message.files import saveToFile, saveToPath
from twisted_smtpserver.message.largebytes import LargeBytes
from twisted_smtpserver.message.parsed import ParsedMessage, parsing
from twisted_smtpserver.message.pipe import Pipe
from twisted_smtpserver.message.slices import RunInSlices, runInSlices

#: Octets that wait for a reader before the socket is paused.
HIGH_WATER = 65536

_BLANKS = (b" ", b"\t")

# Join more chunks than this: a small chunk's overhead is larger than its octets.
_MOST_CHUNKS = 64

#: The default limit of :meth:`MessageStream.read`, in octets.
READ_LIMIT = 32 * 2**20

RunInThread = Callable[..., "Deferred[Any]"]

_T = TypeVar("_T")


class Flow(Protocol):
    """The side that feeds the stream."""

    def wanted(self) -> None:
        """The handler reads for the first time."""

    def pause(self) -> None:
        """Send nothing until :meth:`resume`, or as little as possible."""

    def resume(self) -> None:
        """Send again."""


class _NoFlow:
    """The flow of a stream whose message is over."""

    def wanted(self) -> None:
        """Do nothing: it is too late."""

    def pause(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""


_NO_FLOW = _NoFlow()


class MessageStream:
    """
    See :class:`~twisted_smtpserver.interfaces.IMessageStream`.

    :param flow: the side that feeds the stream.
    :param sizeLimit: octets after which the message is too large; 0 for no limit.
    :param runInThread: :func:`twisted.internet.threads.deferToThread`, or a substitute.
    :param runInSlices: :func:`~twisted_smtpserver.message.slices.runInSlices`, or a substitute.
    """

    __slots__ = (
        "__weakref__",
        "_buffered",
        "_chunks",
        "_discarding",
        "_ended",
        "_flow",
        "_paused",
        "_prepended",
        "_reader",
        "_runInSlices",
        "_runInThread",
        "_sizeLimit",
        "_underWay",
        "_wanted",
        "_wasRead",
        "byteLength",
        "failure",
        "sizeExceeded",
    )

    def __init__(
        self,
        flow: Flow,
        sizeLimit: int,
        runInThread: RunInThread,
        runInSlices: RunInSlices = runInSlices,
    ) -> None:
        self.byteLength = 0
        self.sizeExceeded = False
        self._flow = flow
        self._sizeLimit = sizeLimit
        self._runInThread = runInThread
        self._runInSlices = runInSlices
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._prepended = False
        self._underWay: tuple[str, Deferred[Any]] | None = None
        self._wanted = False
        self._wasRead = False  # to its end, and the reader was told
        self._ended = False
        self._discarding = False
        #: Why this message can't be accepted, whatever its handler says; ``None`` if it can.
        self.failure: Exception | None = None
        self._reader: SingleAwait[bytes] | None = None

    # -- The feeding side: the message transfer calls these -----------------------------------

    @property
    def isPaused(self) -> bool:
        """Whether the socket waits for the reader."""
        return self._paused

    def feed(self, octets: bytes, isLast: bool = False) -> None:
        """
        Take the next octets of the content.

        :param octets: at least one.
        :param isLast: whether the message ends here; :meth:`end` isn't called then. A reader that
            learns the end together with the octets need not wait once more.
        """
        self.byteLength += len(octets)
        if self._sizeLimit and self.byteLength > self._sizeLimit and not self.sizeExceeded:
            self.sizeExceeded = True
            self.fail(MessageTooLarge())
        if self._discarding or self.failure is not None:
            return
        if self._prepended and self.byteLength == len(octets):  # the content's first octets
            octets = _ownLine(octets) + octets
        self._ended = isLast
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.fire(octets)
            return
        self._chunks.append(octets)
        if len(self._chunks) >= _MOST_CHUNKS:
            self._chunks[:] = [b"".join(self._chunks)]
        self._buffered += len(octets)
        if self._buffered >= HIGH_WATER and not self._paused:
            self._paused = True
            self._flow.pause()

    def end(self) -> None:
        """End the message."""
        self._ended = True
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.fire(b"")

    def fail(self, error: Exception) -> None:
        """
        Fail the message: it can't be accepted. Only the first reason counts.

        :param error: raised to every reader from now on.
        """
        if self.failure is not None:
            return
        self.failure = error
        self._drop()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.fire(Failure(error))

    def detach(self) -> None:
        """
        Forget the flow. The two refer to each other, and would wait for the garbage collector.
        """
        self._flow = _NO_FLOW

    def forgotten(self) -> str:
        """
        Name the method that the handler called and didn't wait for before it returned.

        :returns: the method's name, ``"saveTo"`` for example; ``""`` if there is none.
        """
        if self._underWay is None:
            return ""
        name, result = self._underWay
        # It will fail, and the handler doesn't listen.
        result.addErrback(lambda failure: None)
        return name

    def discard(self) -> None:
        """Throw away the rest of the message: the handler has ended."""
        if self._discarding:
            return
        self._discarding = True
        if self._chunks or self._paused:
            self._drop()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.fire(Failure(_tooLate()))

    def _drop(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        self._unpause()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._flow.resume()

    # -- The reading side: the handler's --------------------------------------------------------

    def _next(self) -> bytes | SingleAwait[bytes]:
        """All octets that are there; ``b""`` at the end; an awaitable if none are there yet."""
        if not self._wanted:
            self._wanted = True
            self._flow.wanted()
        if self.failure is not None:
            raise self.failure
        if self._chunks:
            octets = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            self._buffered = 0
            self._unpause()
            return octets
        if self._discarding:
            raise _tooLate()
        if self._ended:
            return b""
        if self._reader is not None:
            raise RuntimeError("the stream is being read already: it can have only one reader")
        self._reader = SingleAwait(self._cancelReader)
        return self._reader

    def _cancelReader(self, reader: Deferred[bytes]) -> None:
        self._reader = None
        assert isinstance(reader, SingleAwait)
        reader.fire(Failure(CancelledError()))

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._wasRead:
            raise _readAlready()
        return self

    async def __anext__(self) -> bytes:
        octets = self._next()
        if not isinstance(octets, bytes):
            octets = await octets
        if not octets:
            self._wasRead = True
            raise StopAsyncIteration
        return octets

    @property
    def isEmptied(self) -> bool:
        """Whether the message has come in whole, and all of it was read."""
        return self._ended and not self._chunks

    def unread(self, octets: bytes) -> None:
        """
        Take octets back that were read: the next reader gets them, as if nobody had read before.

        :param octets: all that was read. The reader wasn't told yet that it was at the end.
        """
        self._chunks.insert(0, octets)
        self._buffered += len(octets)
        self._wanted = False  # prepend() is possible again

    def _begin(self, name: str, reading: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Begin to read in one of the ways below, and note that until its end."""
        if self._wasRead:
            reading.close()
            raise _readAlready()
        result = Deferred.fromCoroutine(reading)
        if not result.called:
            self._underWay = name, result
            result.addBoth(self._over)
        return result

    def _over(self, result: _T) -> _T:
        self._underWay = None
        return result

    def read(self, limit: int = READ_LIMIT) -> Deferred[bytes]:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.read`."""
        return self._begin("read", self._read(limit))

    async def _read(self, limit: int) -> bytes:
        first = b""  # nearly always all there is
        gathered: LargeBytes | None = None
        length = 0
        async for chunk in self:
            length += len(chunk)
            if length > limit:
                first, gathered = b"", None  # the traceback would keep them
                raise MessageTooLarge
            if not first:
                first = chunk
                continue
            if gathered is None:
                gathered = LargeBytes()
                gathered.add(first)
            gathered.add(chunk)
        return first if gathered is None else gathered.take()

    def message(self, limit: int = READ_LIMIT) -> Deferred[EmailMessage]:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.message`."""
        return self._begin("message", self._message(limit))

    async def _message(self, limit: int) -> EmailMessage:
        message: EmailMessage = await self._runInSlices(building(await self._read(limit)))
        return message

    def parsed(self, limit: int = READ_LIMIT) -> Deferred[ParsedMessage]:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.parsed`."""
        return self._begin("parsed", self._parsed(limit))

    async def _parsed(self, limit: int) -> ParsedMessage:
        parsed: ParsedMessage = await self._runInSlices(parsing(await self._read(limit)))
        return parsed

    def pipeTo(self, consumer: IConsumer) -> Deferred[int]:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.pipeTo`."""
        return self._begin("pipeTo", Pipe(self, consumer).run())

    def saveTo(self, target: str | os.PathLike[str] | IO[bytes]) -> Deferred[int]:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.saveTo`."""
        if isinstance(target, (str, os.PathLike)):
            return self._begin("saveTo", saveToPath(self, target, self._runInThread))
        if not hasattr(target, "write") or isinstance(target, io.TextIOBase):
            raise TypeError('saveTo() takes a path, or a file opened in binary mode, as with "wb"')
        return self._begin("saveTo", saveToFile(self, target, self._runInThread))

    def prepend(self, octets: bytes) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IMessageStream.prepend`."""
        if self._wanted:
            raise RuntimeError("call prepend() before reading")
        if not isinstance(octets, bytes):
            raise TypeError(f"prepend() takes octets, not {type(octets).__name__}: encode() text")
        if not octets or self.failure is not None:
            return
        if not self._prepended and self._chunks:
            octets += _ownLine(self._chunks[0])
        self._prepended = True
        self._chunks.insert(0, octets)


classImplements(MessageStream, IMessageStream)


def forgottenRead(name: str) -> RuntimeError:
    """
    The error of a handler that hasn't waited for what it was reading.

    :param name: what :meth:`MessageStream.forgotten` returned.
    """
    return RuntimeError(
        f"onData returned before stream.{name}() was done: await it, or return its Deferred"
    )


def _ownLine(content: bytes) -> bytes:
    """
    Return an empty line if the content begins with a blank, else nothing.

    Such content would continue the header field before it (RFC 5322 §2.2.3). The empty line ends
    the header section; Postfix does the same.
    """
    return b"\r\n" if content[:1] in _BLANKS else b""


def _readAlready() -> Exception:
    # Nothing at all would be read: a file that is saved now would be empty.
    return RuntimeError(
        "the message was read to its end already, and can be read once: keep what read() "
        "returns, and give that to parseMessage() or write it"
    )


def _tooLate() -> Exception:
    # Not an end of file: a reader in the background must not take a part for the whole message.
    return RuntimeError("onData has returned, and what it left unread is gone")

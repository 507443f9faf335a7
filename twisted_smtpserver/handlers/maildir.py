"""
Messages as files in a Maildir.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import socket
import stat
import time
from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from twisted_smtpserver.errors import MessageIncomplete, Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.headers import HopCounter, receivedHeader, returnPathHeader
from twisted_smtpserver.message.files import (
    DurableFile,
    RunInThread,
    saveStream,
    storageRefusal,
    syncDirectory,
)
from twisted_smtpserver.message.groupcommit import GroupCommit
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Session

_log = Logger()

# The Maildir specification: a file that wasn't touched for so long was left by a crash.
_STALE_SECONDS = 36 * 3600

# Several handlers of one process may write to the same Maildir.
_deliveries = itertools.count(1)


class Maildir(SMTPHandler):
    """
    Stores each accepted message, for any recipient, as one file of a Maildir.

    A message is answered 250 when it is on the disk: written to ``tmp``, synced, renamed into
    ``new``, and that directory synced, too. ``Return-Path:`` and ``Received:`` are put before it; a
    ``Return-Path:`` that it had already stays, below. Everything else is octet for octet what the
    client sent. That includes the line endings, CRLF: a message in BINARYMIME, a signature or a
    checksum survives only so, and programs that read Maildirs take either kind.

    When the disk or the quota is full the client gets 452 4.3.1, for any other trouble with the
    file system 451 4.3.0; the log tells what it was. No part of the message is left in ``new``.

    :param path: the Maildir. It is created if need be, with mode 0700, by the user that the process
        runs as at this moment; files older than 36 hours are removed from its ``tmp``.
    :param hostName: our name in ``Received:`` and in file names; by default this machine's.
    :param maxHops: a message with more ``Received:`` fields than this is going in circles, and is
        refused with 554 5.4.6 (RFC 5321 §6.3; it suggests 100 at least, and today's paths are
        much shorter than 50).
    :param runInThread: where the disk is waited for; by default the reactor's thread pool.
    :raises OSError: if the Maildir can't be created.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        hostName: str | None = None,
        maxHops: int = 50,
        runInThread: RunInThread = deferToThread,
    ) -> None:
        self.path = os.path.abspath(path)
        self.hostName = hostName or socket.gethostname()
        self.maxHops = maxHops
        self._runInThread = runInThread
        self._commit = GroupCommit(runInThread)
        self._create()
        self._cleanUp()

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """
        Store a message.

        :returns: the text for the client, which has the transaction's id.
        :raises Rejection: if the message has too many hops, or can't be stored.
        """
        identifier = session.envelope.id
        name = self._uniqueName()
        durable = DurableFile(self._inside("tmp", name), self._inside("new", name))
        trace = returnPathHeader(session.envelope) + receivedHeader(session, hostName=self.hostName)
        stream.prepend(trace)
        try:
            # Our own Received: counts as one hop.
            limited = _Limited(stream, self.maxHops + 1)
            await saveStream(limited, durable, self._runInThread, self._commit)
        except MessageIncomplete:  # one kind of it is an OSError as well
            raise
        except OSError as error:
            _log.error(
                "Message {id} can't be stored in {path}: {error}",
                id=identifier,
                path=self.path,
                error=error,
            )
            raise storageRefusal(error) from error
        return f"Message stored as {identifier}"

    def ready(self) -> Deferred[None]:
        """
        Check that there is disk space for messages, and permission to write them.

        :returns: a Deferred that fails with OSError if not.
        """
        return self._runInThread(self._checkRoom)

    def _checkRoom(self) -> None:
        for name in ("tmp", "new"):
            folder = self._inside(name)
            if not os.access(folder, os.W_OK | os.X_OK):
                reason = errno.EACCES if os.path.isdir(folder) else errno.ENOENT
                raise OSError(reason, os.strerror(reason), folder)
        system = os.statvfs(self.path)
        # Some file systems don't report a number of files.
        if not system.f_bavail or (system.f_files and not system.f_favail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def __repr__(self) -> str:
        return f"<Maildir {self.path}>"

    def _inside(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    def _uniqueName(self) -> str:
        """
        A name as the Maildir specification has it: time, delivery, host.

        The clock may be set back, and in a container each process has the same id; what was drawn
        at random still differs.
        """
        seconds, microseconds = divmod(time.time_ns() // 1000, 10**6)
        # Neither character may be in a name; the specification has a substitute for each.
        host = self.hostName.replace("/", r"\057").replace(":", r"\072")
        drawn = secrets.token_hex(8)
        return f"{seconds}.M{microseconds}P{os.getpid()}Q{next(_deliveries)}R{drawn}.{host}"

    def _create(self) -> None:
        created = False
        for directory in (self.path, *map(self._inside, ("tmp", "new", "cur"))):
            if not os.path.isdir(directory):
                os.makedirs(directory, 0o700, exist_ok=True)  # another process may be as far
                created = True
        if created:  # a synced message is lost if the way to it is
            syncDirectory(self.path)
            syncDirectory(os.path.dirname(self.path))
            # Say it: if the Maildir should exist already, a disk isn't mounted, or a flag is wrong.
            _log.info("Created the Maildir {path}", path=self.path)

    def _cleanUp(self) -> None:
        oldest = time.time() - _STALE_SECONDS
        with os.scandir(self._inside("tmp")) as entries:
            for entry in entries:
                # Another program may be removing the same files.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
                        os.unlink(entry.path)


class _Limited:
    """A message whose reading fails when it has too many hops."""

    def __init__(self, stream: IncomingMessage, maxHops: int) -> None:
        self._chunks: AsyncIterator[bytes] = stream.__aiter__()
        self._maxHops = maxHops
        self._hops = HopCounter()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.__anext__()
        self._hops.feed(chunk)
        if self._hops.count > self._maxHops:
            raise Rejection("Too many hops", code=554, enhanced="5.4.6")
        return chunk

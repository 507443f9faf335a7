"""
Files that are committed together.

A hop to a thread costs more than all of SMTP, and a sync of a directory as much as that of a file.
So messages that come while others are being written wait for those, and then share one hop and one
sync of the directory. Each is still written, synced and renamed for itself, and none is told to be
safe before the directory is synced that has its name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_smtpserver.message.files import DurableFile, RunInThread, syncDirectory

#: Hops that are under way at a time: while one waits for the disk, another one can write.
MAX_HOPS = 3

#: Files of one hop. Those of one client needn't wait for all others.
MAX_FILES = 32


class _Waiting(NamedTuple):
    """A file to be committed."""

    durable: DurableFile
    octets: bytearray
    done: Deferred[None]


class GroupCommit:
    """
    Commits files, those that come at the same time together.

    :param runInThread: where the disk is waited for.
    """

    def __init__(self, runInThread: RunInThread) -> None:
        self._runInThread = runInThread
        self._waiting: list[_Waiting] = []
        self._hops = 0

    def __call__(self, durable: DurableFile, octets: bytearray) -> Deferred[None]:
        """
        Commit a file.

        :param durable: the file; it can be canceled meanwhile.
        :param octets: the last of it.
        :returns: a Deferred that fires when the file survives a crash, or failed to, and no thread
            works on it any more. To cancel it does nothing.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(_Waiting(durable, octets, done))
        self._begin()
        return done

    def _begin(self) -> None:
        if not self._waiting or self._hops >= MAX_HOPS:
            return
        batch, self._waiting = self._waiting[:MAX_FILES], self._waiting[MAX_FILES:]
        self._hops += 1
        self._runInThread(commitAll, batch).addBoth(self._ended, batch)

    def _ended(self, results: Any, batch: list[_Waiting]) -> None:
        self._hops -= 1
        self._begin()  # first of all: the disk needn't wait for the handlers
        if isinstance(results, Failure):  # no thread could be had
            results = [results] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.done.callback(result)


def commitAll(batch: list[_Waiting]) -> list[Failure | None]:
    """
    Commit files. It blocks.

    :param batch: the files.
    :returns: for each of them ``None``, or why it isn't safe.
    """
    results = [_tried(durable.begin, octets) for durable, octets, _ in batch]
    for number, (durable, _, _) in enumerate(batch):
        if results[number] is None:
            results[number] = _tried(durable.finish)
    synced = {
        directory: _tried(syncDirectory, directory)
        for directory in {
            durable.directory
            for (durable, _, _), result in zip(batch, results, strict=True)
            if result is None
        }
    }
    return [
        synced[waiting.durable.directory] if result is None else result
        for waiting, result in zip(batch, results, strict=True)
    ]


def _tried(function: Any, *arguments: Any) -> Failure | None:
    try:
        function(*arguments)
    except BaseException:  # a CancelledError, too
        return Failure()
    return None

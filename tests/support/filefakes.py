"""What tests that write files share: streams, threads and system calls to order."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.message import files
from twisted_smtpserver.message.files import DurableFile, saveStream


class FakeStream:
    """
    Yields octets, waits for Deferreds and raises exceptions, in the order given.

    :ivar reads: how many times it was asked for something.
    """

    def __init__(self, *parts: bytes | Exception | Deferred[bytes]) -> None:
        self.parts = list(parts)
        self.reads = 0

    def prepend(self, octets: bytes) -> None:
        """Put octets before the others."""
        self.parts.insert(0, octets)

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> bytes:
        self.reads += 1
        if not self.parts:
            raise StopAsyncIteration
        part = self.parts.pop(0)
        if isinstance(part, Exception):
            raise part
        return await part if isinstance(part, Deferred) else part


class FakeThreads:
    """
    Has ``deferToThread``'s signature; a hop runs when it is told to.

    :ivar waiting: the hops that weren't run yet.
    :ivar names: the names of all functions asked for.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.names: list[str] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Ask for a hop."""
        done: Deferred[Any] = Deferred()
        self.names.append(function.__name__)
        self.waiting.append((done, lambda: function(*arguments)))
        return done

    def work(self) -> Callable[[], None]:
        """Run the next hop. Its end is told to the reactor when the result is called."""
        done, function = self.waiting.pop(0)
        result: Any = maybeDeferred(function)
        return lambda: result.chainDeferred(done)

    def run(self) -> None:
        """Run hops until none waits."""
        while self.waiting:
            self.work()()


def atOnce(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Has ``deferToThread``'s signature, and no thread."""
    return maybeDeferred(function, *arguments)


class FakeOS:
    """
    The module :mod:`os`, some of whose functions are recorded or replaced.

    :ivar calls: the recorded calls: the function, and the path that its argument leads to.
    """

    RECORDED = frozenset({"open", "write", "posix_fadvise", "fsync", "close", "rename", "unlink"})

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.replaced: dict[str, Callable[..., Any]] = {}
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in self.RECORDED:
            return original

        def recorded(target: Any, *arguments: Any) -> Any:
            path = self._paths.get(target, "") if isinstance(target, int) else target
            self.calls.append((name, os.path.basename(path)))
            result = self.replaced.get(name, original)(target, *arguments)
            if name == "open":
                self._paths[result] = target
            return result

        return recorded


def failing(number: int) -> Callable[..., Any]:
    """A system call that always fails."""

    def fail(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


class FileCase(SynchronousTestCase):
    """What the tests here share: a directory, and a look at what is in it."""

    def setUp(self) -> None:
        """Make the directory."""
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.temporary = os.path.join(self.directory, "tmp")
        self.final = os.path.join(self.directory, "final")

    def content(self, path: str | None = None) -> bytes:
        """What is in a file."""
        return pathlib.Path(path or self.final).read_bytes()

    def assertLeft(self, *names: str) -> None:
        """These files, and no others, are in the directory."""
        self.assertEqual(sorted(os.listdir(self.directory)), sorted(names))

    def fakeOS(self, **replaced: Callable[..., Any]) -> FakeOS:
        """Record the system calls, and replace some."""
        fake = FakeOS()
        fake.replaced = replaced
        self.patch(files, "os", fake)
        return fake

    def save(
        self, *parts: bytes | Exception | Deferred[bytes], threads: files.RunInThread = atOnce
    ) -> Deferred[int]:
        """Begin to save a stream that has these parts."""
        durable = DurableFile(self.temporary, self.final)
        return Deferred.fromCoroutine(saveStream(FakeStream(*parts), durable, threads))


def closedSpools(case: SynchronousTestCase) -> list[Spool]:
    """
    :returns: the spools that the rest of a test closes, in order.
    """
    closed: list[Spool] = []
    close = Spool.close

    def noted(spool: Spool) -> None:
        closed.append(spool)
        close(spool)

    case.patch(Spool, "close", noted)
    return closed

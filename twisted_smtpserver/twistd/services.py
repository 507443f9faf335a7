"""
What ``twistd smtpserver`` does when it starts, and how it reports that it can't.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.cred.checkers import FilePasswordDB
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import provider

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers import Maildir, fromFunctions
from twisted_smtpserver.handlers.cred import checkFile
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Session
from twisted_smtpserver.shared import RedisState
from twisted_smtpserver.twistd.supervisor import Supervisor

_log = Logger()


class MaildirService(Service):
    """
    A Maildir that is made when the service starts: it must belong to the user that ``twistd --uid``
    becomes, and be inside of ``--chroot`` and ``--rundir``.

    :param path: the Maildir's path.
    :param hostName: as for :class:`~twisted_smtpserver.Maildir`.
    :param flag: the name of the flag that gave the path.
    :ivar handler: the handler that stores messages in the Maildir.
    """

    def __init__(self, path: str, hostName: str | None, flag: str = "maildir") -> None:
        self.handler = fromFunctions(onData=self._onData)
        self.handler.__dict__["ready"] = self.ready  # which is no hook
        self._flag = flag
        self._path = path
        self._hostName = hostName
        self._maildir: Maildir

    def startService(self) -> None:
        """
        Make the Maildir.

        :raises ConfigurationError: (or OSError) if it can't be made.
        """
        super().startService()
        try:
            self._maildir = Maildir(self._path, self._hostName)
        except FileExistsError as error:
            raise ConfigurationError(
                f"--{self._flag}: {error.filename!r} is not a folder"
            ) from error

    def ready(self) -> Deferred[None]:
        """See :meth:`~twisted_smtpserver.Maildir.ready`."""
        return self._maildir.ready()

    def _onData(self, stream: IncomingMessage, session: Session) -> Any:
        return self._maildir.onData(stream, session)


class PasswordFile(Service):
    """
    Checks a file of ``--auth`` when the service starts: the user that ``twistd --uid`` becomes must
    be able to read it, and in ``--chroot`` it is another file.

    :param checker: the checker that reads the file at each login.
    """

    def __init__(self, checker: FilePasswordDB) -> None:
        self._checker = checker

    def startService(self) -> None:
        """
        Check the file.

        :raises ConfigurationError: if it can't be read.
        """
        super().startService()
        try:
            checkFile(self._checker)
        except OSError as error:
            path = self._checker.filename
            raise ConfigurationError(f"--auth: {path!r} can't be read: {error.strerror}") from error


class SharedState(Service):
    """
    Closes the shared state when all connections are closed.

    :param state: what ``--shared-state`` made.
    """

    def __init__(self, state: RedisState) -> None:
        self._state = state

    def close(self) -> Deferred[None]:
        """Close the state; in ``stopService`` connections would still use it."""
        return Deferred.fromCoroutine(self._state.close())


class Server(MultiService):
    """
    Runs all services, and reports in one line why they can't start.

    :param isWorker: whether this is a worker, whose supervisor has warned of root already.
    """

    def __init__(self, isWorker: bool = False) -> None:
        super().__init__()
        self._isWorker = isWorker

    def privilegedStartService(self) -> None:
        """Bind the ports."""
        with _sayingWhy():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start serving."""
        with _sayingWhy():
            super().startService()
        # By now twistd has become the user of --uid.
        if not self._isWorker:
            _warnOfRoot()
        if self.parent is not None:  # twistd's application, to which the process belongs
            _forgetStart()

    def stopService(self) -> Deferred[list[Any]]:
        """Stop serving, then close what that needed."""
        stopping: Deferred[list[Any]] = super().stopService()
        return stopping.addCallback(self._close)

    def _close(self, results: list[Any]) -> Any:
        """Close what messages in flight needed; by now all connections are closed."""
        closing = []
        for service in self:
            if isinstance(service, Supervisor) and service.hasFailed:
                globalLogPublisher.addObserver(_endWithStatusOne)
            elif hasattr(service, "close"):  # a database, for example
                closing.append(maybeDeferred(service.close))
        return gatherResults(closing).addCallback(lambda _: results)


def _forgetStart() -> None:
    """
    Have the garbage collector pass over what was made until now, modules and code above all: it
    stays, and to look through it takes 40 ms each time, in which no client is served.
    """
    gc.collect()
    gc.freeze()


def _warnOfRoot() -> None:
    if os.geteuid() == 0:
        _log.warn(
            "Running as root, which only the ports need: give twistd --uid and --gid, or "
            "systemd's unit User="
        )
    elif os.getegid() == 0:
        _log.warn("Running in root's group, which may read root's files: give twistd --gid, too")


@provider(ILogObserver)
def _endWithStatusOne(event: LogEvent) -> None:
    """
    End the process with status 1 at twistd's last log line. By itself twistd's status is 0 whenever
    the reactor has run.
    """
    if event.get("log_format") == "Server Shut Down.":
        raise SystemExit(1)


@contextlib.contextmanager
def _sayingWhy() -> Iterator[None]:
    try:
        yield
    except Exception:
        sys.excepthook = _showReason
        raise


def _showReason(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """
    Print the reason: Python's hook for an exception that nobody caught.

    A SystemExit instead would end twistd before it reports to its parent process, and before it
    removes its pid file.
    """
    print(oneLine(_reason(error)), file=sys.stderr)  # noqa: T201  # the log, if twistd logs already


def _reason(error: BaseException) -> str:
    lock = getattr(error, "filename2", None)
    if not (isinstance(error, OSError) and isinstance(lock, bytes) and lock.endswith(b".lock")):
        return str(error)
    # Twisted makes this lock next to a unix socket: a link whose target is our process id.
    path = os.fsdecode(lock.removesuffix(b".lock"))
    folder = os.path.dirname(os.path.abspath(path))
    if isinstance(error, FileNotFoundError):
        return f"Couldn't listen on unix:{path}: the folder {folder!r} doesn't exist"
    return f"Couldn't listen on unix:{path}: {folder!r}: {error.strerror}"


def oneLine(text: str) -> str:
    """
    Make an error's text one line that begins with the command's name.

    :param text: the text.
    """
    return "twistd smtpserver: " + " ".join(text.split())

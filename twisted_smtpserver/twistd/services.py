"""
What ``twistd smtpserver`` can only do when it has started, and how it says that it can't.
"""

from __future__ import annotations

import contextlib
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


class LateMaildir(Service):
    """
    A Maildir that is made when the service starts: it must belong to the user that ``twistd --uid``
    becomes, and be inside of ``--chroot`` and ``--rundir``.

    :param path: where.
    :param hostName: as for :class:`~twisted_smtpserver.Maildir`.
    :param flag: the flag that named it.
    :ivar handler: what stores messages in it.
    """

    def __init__(self, path: str, hostName: str | None, flag: str = "maildir") -> None:
        self.handler = fromFunctions(onData=self._onData)
        self._flag = flag
        self._path = path
        self._hostName = hostName
        self._maildir: Maildir

    def startService(self) -> None:
        """
        Make it.

        :raises ConfigurationError: (or OSError) if it can't be made.
        """
        super().startService()
        try:
            self._maildir = Maildir(self._path, self._hostName)
        except FileExistsError as error:
            raise ConfigurationError(
                f"--{self._flag}: {error.filename!r} is not a folder"
            ) from error

    def _onData(self, stream: IncomingMessage, session: Session) -> Any:
        return self._maildir.onData(stream, session)


class PasswordFile(Service):
    """
    Looks into a file of ``--auth`` when the service starts: the user that ``twistd --uid`` becomes
    must be able to, and in ``--chroot`` it is another file.

    :param checker: what reads it at each login.
    """

    def __init__(self, checker: FilePasswordDB) -> None:
        self._checker = checker

    def startService(self) -> None:
        """
        Look.

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
    Leaves a shared state when all connections are gone.

    :param state: what ``--shared-state`` made.
    """

    def __init__(self, state: RedisState) -> None:
        self._state = state

    def close(self) -> Deferred[None]:
        """Leave it. ``stopService`` would be too early."""
        return Deferred.fromCoroutine(self._state.close())


class Server(MultiService):
    """
    All there is to run; says in one line why it can't start.

    :param isWorker: whether a supervisor has said already that it runs as root.
    """

    def __init__(self, isWorker: bool = False) -> None:
        super().__init__()
        self._isWorker = isWorker

    def privilegedStartService(self) -> None:
        """Bind the ports."""
        with _sayingWhy():
            super().privilegedStartService()

    def startService(self) -> None:
        """Begin to serve."""
        with _sayingWhy():
            super().startService()
        # By now, twistd has become the user that it was told.
        if not self._isWorker:
            _warnOfRoot()

    def stopService(self) -> Deferred[list[Any]]:
        """Stop serving, and then what was needed for it."""
        stopping: Deferred[list[Any]] = super().stopService()
        return stopping.addCallback(self._close)

    def _close(self, results: list[Any]) -> Any:
        """All connections are gone."""
        closing = []
        for service in self:
            if isinstance(service, Supervisor) and service.hasFailed:
                globalLogPublisher.addObserver(_endWithStatusOne)
            elif hasattr(service, "close"):  # a database that messages in flight still needed
                closing.append(maybeDeferred(service.close))
        return gatherResults(closing).addCallback(lambda _: results)


def _warnOfRoot() -> None:
    if os.geteuid() == 0:
        _log.warn(
            "Running as root, which is needed for the ports only: give twistd --uid and --gid, or "
            "systemd's unit User="
        )
    elif os.getegid() == 0:
        _log.warn("Running in root's group, and may read its files: give twistd --gid, too")


@provider(ILogObserver)
def _endWithStatusOne(event: LogEvent) -> None:
    """
    Ends the process at the last thing that twistd does, which is to log it. By itself its status is
    0 whenever the reactor has run.
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
    What Python calls when the exception got to the top.

    A SystemExit instead of all this would end twistd before it tells its parent process what
    happened, and before it removes its pid file.
    """
    print(oneLine(_reason(error)), file=sys.stderr)  # noqa: T201  # the log, if twistd logs already


def _reason(error: BaseException) -> str:
    lock = getattr(error, "filename2", None)
    if not (isinstance(error, OSError) and isinstance(lock, bytes) and lock.endswith(b".lock")):
        return str(error)
    # It is what Twisted makes beside a unix socket: our process id, as a link's target.
    path = os.fsdecode(lock.removesuffix(b".lock"))
    folder = os.path.dirname(os.path.abspath(path))
    if isinstance(error, FileNotFoundError):
        return f"Couldn't listen on unix:{path}: the folder {folder!r} doesn't exist"
    return f"Couldn't listen on unix:{path}: {folder!r}: {error.strerror}"


def oneLine(text: str) -> str:
    """
    Whose message it is, and in one line.

    :param text: the message.
    """
    return "twistd smtpserver: " + " ".join(text.split())

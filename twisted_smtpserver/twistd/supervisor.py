"""
The supervisor of ``twistd smtpserver --workers``: it keeps workers running, and serves nobody.

It binds the ports and reads the keys, ``twistd`` drops root's privileges, and then it starts the
workers: see :mod:`twisted_smtpserver.twistd.worker`.

The sockets are handed down, and not bound by each worker with SO_REUSEPORT: so unix sockets and
systemd's are shared as well, and when a worker dies, connections that wait aren't lost with it,
because there is one queue. The price is that all idle workers wake up for what one of them gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessTerminated, ReactorNotRunning
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.twistd.worker import (
    CONTROL,
    ENVIRONMENT,
    RECORD,
    SharedCounts,
    makeLogObserver,
)

_log = Logger()

#: A worker that has lived so long was in order: it is started again at once.
STEADY = 60.0

#: The longest that a worker is waited with, in seconds, after several that didn't.
MAX_DELAY = 60.0

#: What a worker may take beyond ``closeTimeout`` to end, in seconds, before it is killed.
GRACE = 10.0

#: When one has ended before any has served, how long another one may take to do so, in seconds; and
#: how long it may take until all is read that the one has said.
DOUBT = 1.0

#: The longest line of a worker's output that is logged as one, in octets.
MAX_LINE = 2**18

# SIGHUP to the whole process group is for the supervisor alone, from a worker's first moment on:
# the signal is blocked when the worker comes up. The current folder isn't on sys.path: it may be
# one that others can write to.
_START = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP]); "
    f"import os, sys; sys.path[:] = os.environ[{ENVIRONMENT!r}].split(os.pathsep); "
    "from twisted.scripts.twistd import run; run()"
)


def makeCommand(arguments: Sequence[str], reactor: str | None) -> list[str]:
    """
    The command that is a worker.

    :param arguments: those of ``smtpserver``.
    :param reactor: what ``--reactor`` was, if it was given.
    """
    # Folder, umask and user are inherited; the log and the pid file are the supervisor's.
    flags = ["--nodaemon", "--pidfile=", f"--logger={makeLogObserver.__module__}.makeLogObserver"]
    if reactor is not None:
        flags.append(f"--reactor={reactor}")
    return [sys.executable, "-c", _START, *flags, "smtpserver", *arguments]


def asText(read: Mapping[str, Any]) -> dict[str, Any]:
    """
    Options as JSON can carry them.

    :param read: what :func:`~twisted_smtpserver.tls.certificates.readFiles` has returned.
    """
    return {name: _asText(value) for name, value in read.items()}


def _asText(value: Any) -> Any:
    if isinstance(value, Mapping):
        return asText(value)
    # What is outside of the PEM may be in any encoding, and matters to nobody.
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Supervisor(SMTPService):
    """
    Keeps workers running.

    :param listeners: as :class:`~twisted_smtpserver.SMTPService` has them. The factories serve
        nobody here; that they could be made shows that the workers can make them.
    :param count: how many workers.
    :param command: what starts one; see :func:`makeCommand`.
    :param certificates: what :func:`~twisted_smtpserver.tls.certificates.readFiles` has read. The
        factories were made with it, so it is checked, and the workers are handed it.
    :param reactor: by default the reactor.
    :param secrets: what was read from the files of other flags, by the flags' names.
    :ivar workers: the workers.
    :ivar hasFailed: whether it has ended because no worker could be started.
    """

    def __init__(
        self,
        listeners: Iterable[tuple[str | IStreamServerEndpoint, SMTPServerFactory]],
        count: int,
        command: Sequence[str],
        certificates: Mapping[str, Any],
        reactor: Any = None,
        *,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(listeners, reactor)
        self.command = command
        self.secrets = secrets or {}
        self.count = count
        self._certificates = certificates
        self.handed = asText(certificates)
        # Unknown users' salts must not depend on the worker that one meets: that would tell.
        self.saltKey = os.urandom(32).hex()
        # Before twistd goes into its --rundir, where the workers will be.
        self.folder = os.getcwd()
        self._countsFile = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._countsFile.truncate(SharedCounts.size(len(self.factories()), count))
        self.counts = SharedCounts(self._countsFile.fileno(), count)
        self.workers = [_Worker(self, self._reactor, number) for number in range(count)]
        self.hasFailed = False

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        for worker in self.workers:
            worker.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and let the workers stop as gracefully as they would by themselves.

        :returns: a Deferred that fires when all are gone.
        """
        listening = super().stopService()
        timeout = max(factory.options.closeTimeout for factory in self.factories()) + GRACE
        stopping = [listening, *(worker.stop(timeout) for worker in self.workers)]
        return DeferredList(stopping).addCallback(lambda _: None)

    def giveUp(self) -> None:
        """End: what keeps a worker from starting won't be better the next time."""
        self.hasFailed = True
        with contextlib.suppress(ReactorNotRunning):  # it is ending already
            self._reactor.stop()

    def readCertificates(self) -> Mapping[str, Any]:
        """(In a thread.) The files' contents: the workers are to have what is checked here."""
        return readFiles(self._certificates)

    def certificatesReplaced(self, changes: Mapping[str, Any]) -> None:
        """They are good: give them to the workers, those that are there and those that come."""
        super().certificatesReplaced(changes)
        self.handed = asText(changes)
        for worker in self.workers:
            worker.send(self.handed)

    def _bound(self, port: Any, factory: SMTPServerFactory) -> IListeningPort:
        port.stopReading()  # nothing is accepted here
        return super()._bound(port, factory)

    def descriptors(self) -> list[tuple[int, int]]:
        """The sockets: their descriptors and address families, in the order of the flags."""
        ports: list[Any] = list(self.ports)
        return [(port.fileno(), int(port.addressFamily)) for port in ports]

    def countsDescriptor(self) -> int:
        """The file behind :attr:`counts`."""
        return self._countsFile.fileno()


class _Worker:
    """
    A worker as the supervisor sees it: one process after another.

    :param number: from 0; people count from 1.
    """

    def __init__(self, supervisor: Supervisor, reactor: Any, number: int) -> None:
        self.number = number
        self._name = number + 1
        self._supervisor = supervisor
        self._reactor = reactor
        self._process: _Process | None = None
        self._startedAt = 0.0
        self._failures = 0
        self._timer: Any = None
        self._gone: Deferred[None] | None = None

    def start(self) -> None:
        """Start a process."""
        self._timer = None
        self._startedAt = self._reactor.seconds()
        self._process = _Process(self, self._name)
        descriptors = self._supervisor.descriptors()
        # 0, 1 and 2 are the usual; then the control pipe, the counts, and the sockets.
        shared = [self._supervisor.countsDescriptor(), *(number for number, _ in descriptors)]
        numbers = range(CONTROL + 1, CONTROL + 1 + len(shared))
        settings = {
            "number": self.number,
            "workers": self._supervisor.count,
            "counts": numbers[0],
            "sockets": [
                (number, family)
                for number, (_, family) in zip(numbers[1:], descriptors, strict=True)
            ],
            "handed": {**self._supervisor.handed, **self._supervisor.secrets},
            "saltKey": self._supervisor.saltKey,
            "folder": self._supervisor.folder,
        }
        command = self._supervisor.command
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            with _withoutHangUps():
                self._reactor.spawnProcess(
                    self._process,
                    command[0],
                    command,
                    {**os.environ, ENVIRONMENT: os.pathsep.join(sys.path)},
                    childFDs={
                        0: nothing,
                        1: "r",
                        2: "r",
                        CONTROL: "w",
                        **dict(zip(numbers, shared, strict=True)),
                    },
                )
        except Exception as error:  # too many processes, no memory
            self._process = None
            # Of these Python itself is the reason; the others may be over soon.
            isLasting = isinstance(error, (PermissionError, FileNotFoundError))
            self._ended(f"couldn't be started: {error}", isLasting)
        else:
            self.send(settings)
        finally:
            os.close(nothing)

    def send(self, settings: Mapping[str, Any]) -> None:
        """Tell the worker something, if there is one."""
        if self._process is not None:
            # One that has just died has no pipe anymore, and will be told by its successor's start.
            with contextlib.suppress(KeyError):
                self._process.transport.writeToChild(CONTROL, json.dumps(settings).encode() + b"\n")

    def exited(self, pid: int, reason: Failure) -> None:
        """The process is dead."""
        self._process = None
        self._supervisor.counts.forget(self.number)
        # A signal is from somebody else, and says nothing of the next process.
        isLasting = getattr(reason.value, "signal", None) is None
        self._ended(f"(pid {pid}) {_describe(reason)}", isLasting)

    def _ended(self, how: str, isLasting: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gone is not None:
            _log.info("Worker {worker} {how}", worker=self._name, how=how)
            self._gone.callback(None)
            return
        if isLasting and not self._supervisor.counts.hasBegun():
            _log.error("Worker {worker} {how}; none has served yet", worker=self._name, how=how)
            self._timer = self._reactor.callLater(DOUBT, self._judge)
            return
        isSteady = self._reactor.seconds() - self._startedAt >= STEADY
        self._failures = 0 if isSteady else self._failures + 1
        delay = min(MAX_DELAY, 2.0 ** (self._failures - 1)) if self._failures else 0.0
        _log.error(
            "Worker {worker} {how}; starting it again in {delay:g} s",
            worker=self._name,
            how=how,
            delay=delay,
        )
        self._timer = self._reactor.callLater(delay, self.start)

    def _judge(self) -> None:
        """Start again if another worker was luckier."""
        if self._supervisor.counts.hasBegun():
            self.start()
            return
        self._timer = None
        _log.error(
            "No worker serves, so this ends; the reason is above, from worker {worker}",
            worker=self._name,
        )
        self._supervisor.giveUp()

    def stop(self, timeout: float) -> Deferred[None]:
        """
        End the process, and start no other.

        :param timeout: when it is killed, in seconds.
        """
        self._gone = Deferred()
        if self._process is None:
            self._ended("isn't running")
        else:
            # By the end of the pipe: systemd and terminals send the signals to all processes, and
            # Twisted takes the second SIGTERM for an error.
            self._process.transport.closeChildFD(CONTROL)
            self._timer = self._reactor.callLater(timeout, self._kill)
        return self._gone

    def _kill(self) -> None:
        self._timer = None
        _log.error("Worker {worker} doesn't end, and is killed", worker=self._name)
        assert self._process is not None
        self._process.transport.signalProcess("KILL")


@contextlib.contextmanager
def _withoutHangUps() -> Iterator[None]:
    """Block SIGHUP, for the process that is started meanwhile, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe(reason: Failure) -> str:
    """How a process died."""
    if not isinstance(reason.value, ProcessTerminated):
        return "ended"
    number = reason.value.signal
    if number is None:
        return f"ended with status {reason.value.exitCode}"
    with contextlib.suppress(ValueError):  # a real-time signal has no name
        return f"was killed by {signal.Signals(number).name}"
    return f"was killed by signal {number}"


class _Process(ProcessProtocol):
    """What a worker says is logged here, and that it is gone is told."""

    transport: Any

    def __init__(self, worker: _Worker, name: int) -> None:
        self._worker = worker
        self._name = name
        self._buffers = {1: b"", 2: b""}
        self._pid = 0

    def connectionMade(self) -> None:
        self._pid = self.transport.pid
        _log.info("Worker {worker} has pid {pid}", worker=self._name, pid=self._pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._buffers[childFD] + data).split(b"\n")
        if len(rest) > MAX_LINE:
            lines.append(rest)
            rest = b""
        self._buffers[childFD] = rest
        for line in lines:
            _logAgain(self._name, line)

    def childConnectionLost(self, childFD: int) -> None:
        rest = self._buffers.get(childFD)
        if rest:
            _logAgain(self._name, rest)

    # Not processEnded: that waits for whoever else has the worker's output open.
    def processExited(self, reason: Failure) -> None:
        self._worker.exited(self._pid, reason)


def _logAgain(worker: int, line: bytes) -> None:
    """Log what a worker wrote: events as they were, but for its name; other lines as text."""
    if line.startswith(RECORD):
        try:
            event = json.loads(line[len(RECORD) :])
            event["log_level"] = LogLevel.lookupByName(event["log_level"])
            event["log_system"] += f", worker {worker}"
        except (ValueError, KeyError, TypeError):  # cut off, when the worker was killed
            return
        event["log_format"] = "{log_text}"
        event["worker"] = worker
        globalLogPublisher(event)
    elif line:
        _log.warn(
            "Worker {worker} says: {line}", worker=worker, line=line.decode("utf-8", "replace")
        )

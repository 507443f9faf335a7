"""
The supervisor of ``twistd smtpserver --workers``: it keeps workers running, and serves no client.

The supervisor binds the ports and reads the keys, ``twistd`` drops root's privileges, and then the
supervisor starts the workers: see :mod:`twisted_smtpserver.twistd.worker`.

The workers inherit the sockets; they don't bind their own with SO_REUSEPORT. So unix sockets and
systemd's can be shared, too, and there is one queue of connections: when a worker dies, those that
wait aren't lost. The price is that every idle worker wakes up for each connection.
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
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.tls.renewal import INTERVAL
from twisted_smtpserver.twistd.handed import (
    Handed,
    certificateOptions,
    handedCertificates,
    joined,
)
from twisted_smtpserver.twistd.worker import CONTROL, ENVIRONMENT, SharedCounts
from twisted_smtpserver.twistd.workerlog import WorkerOutput, makeLogObserver

_log = Logger()

#: A worker that has run for this many seconds is restarted at once when it exits.
STABLE_SECONDS = 60.0

#: The longest delay before a restart, in seconds, when a worker keeps exiting.
MAX_DELAY = 60.0

#: A worker that hasn't ended this many seconds after ``closeTimeout`` is killed.
KILL_SECONDS = 10.0

#: If a worker exits before any worker has served, wait this many seconds for another to start
#: serving, and for the rest of the first one's output.
FIRST_START_SECONDS = 1.0

# A SIGHUP to the whole process group is for the supervisor alone: a worker starts with the signal
# blocked, and ignores it from here on. The current folder isn't on sys.path, because other users
# may be able to write to it.
_START = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP]); "
    f"import os, sys; sys.path[:] = os.environ[{ENVIRONMENT!r}].split(os.pathsep); "
    "from twisted.scripts.twistd import run; run()"
)


def makeCommand(arguments: Sequence[str], reactor: str | None, sendsLines: bool) -> list[str]:
    """
    Make the command that starts a worker.

    :param arguments: the arguments of ``smtpserver``.
    :param reactor: the value of ``--reactor``, if it was given.
    :param sendsLines: whether the supervisor's log can take lines; otherwise it is sent events.
    """
    # The worker inherits folder, umask and user; the supervisor has the log and the pid file.
    flags = ["--nodaemon", "--pidfile="]
    # Lines come of the flags that the worker has as well.
    toEvents = f"--logger={makeLogObserver.__module__}.makeLogObserver"
    flags.append("--logfile=-" if sendsLines else toEvents)
    if reactor is not None:
        flags.append(f"--reactor={reactor}")
    return [sys.executable, "-c", _START, *flags, "smtpserver", *arguments]


class Supervisor(SMTPService):
    """
    Keeps workers running.

    :param listeners: as for :class:`~twisted_smtpserver.SMTPService`. The factories serve no client
        here; making them shows that the workers can make them, too.
    :param count: how many workers.
    :param command: what starts a worker; see :func:`makeCommand`.
    :param reactor: by default the reactor.
    :param secrets: what was read from files that workers may not be allowed to read. What was in
        the files of certificates is in the factories' options.
    :param groups: the settings; see :class:`~twisted_smtpserver.twistd.layers.Group`.
    :param path: the path of the file of configuration, if there is one.
    :param figures: a :class:`~twisted_smtpserver.metrics.shared.SharedFigures` that the workers
        count in; ``None`` for none.
    :param renewalInterval: as for :class:`~twisted_smtpserver.SMTPService`.
    :ivar exits: how often a worker's process has ended.
    :ivar workers: the workers.
    :ivar hasFailed: whether the supervisor stopped because no worker could start.
    """

    def __init__(
        self,
        listeners: Iterable[tuple[str | IStreamServerEndpoint, SMTPServerFactory]],
        count: int,
        command: Sequence[str],
        reactor: Any = None,
        *,
        secrets: Handed | None = None,
        groups: Sequence[Mapping[str, Any]] = (),
        path: str | None = None,
        figures: Any = None,
        renewalInterval: float = INTERVAL,
    ) -> None:
        super().__init__(listeners, reactor, renewalInterval=renewalInterval)
        self.command = command
        self.count = count
        self._secrets: Handed = secrets or {}
        self._groups, self._path = groups, path
        self.figures = figures
        self._transcripts: Sequence[Mapping[str, Any]] = ()
        self.exits = 0
        # All workers make the same salt for an unknown user; otherwise a client that meets two of
        # them could tell that the user is unknown.
        self.saltKey = os.urandom(32).hex()
        # Before twistd changes to its --rundir, where the workers will run.
        self.folder = os.getcwd()
        self._countsFile = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._countsFile.truncate(SharedCounts.size(len(self.factories()), count))
        self.counts = SharedCounts(self._countsFile.fileno(), count)
        self.workers = [_Worker(self, self._reactor, number) for number in range(count)]
        self.hasFailed = False
        #: What the workers learn of the configuration, at their start and when it changes.
        self.configuration = self._makeConfiguration()

    def startService(self) -> None:
        """Start the workers."""
        super().startService()
        for worker in self.workers:
            worker.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and let the workers stop gracefully.

        :returns: a Deferred that fires when all workers have ended.
        """
        listening = super().stopService()
        timeout = max(factory.options.closeTimeout for factory in self.factories()) + KILL_SECONDS
        stopping = [listening, *(worker.stop(timeout) for worker in self.workers)]
        return DeferredList(stopping).addCallback(lambda _: None)

    @property
    def isServing(self) -> bool:
        """Whether all workers serve."""
        return self.counts.serving() == self.count

    def describe(self) -> str:
        """Describe the server's state for systemd, in one line."""
        return f"{self.counts.serving()} of {self.count} workers serve"

    def stopReactor(self) -> None:
        """Stop twistd: the next worker would fail for the same reason."""
        self.hasFailed = True
        with contextlib.suppress(ReactorNotRunning):  # it is stopping already
            self._reactor.stop()

    def readCertificates(self, factory: SMTPServerFactory) -> Mapping[str, Any]:
        """(In a thread.) Read the files; the workers get the contents that are checked here."""
        return readFiles(certificateOptions(factory.options))

    def certificatesReplaced(self) -> None:
        """Send the new certificates to the workers; those that start later get them, too."""
        super().certificatesReplaced()
        self._handDown()

    def useConfiguration(self, secrets: Handed, groups: Sequence[Mapping[str, Any]]) -> None:
        """
        Pass a new configuration to the workers; the factories have its options already.

        :param secrets: as above.
        :param groups: as above.
        """
        self._secrets, self._groups = secrets, groups
        self._handDown()

    def _handDown(self) -> None:
        self.configuration = self._makeConfiguration()
        for worker in self.workers:
            worker.send(self.configuration)

    def _makeConfiguration(self) -> dict[str, Any]:
        certificates = handedCertificates(factory.options for factory in self.factories())
        handed = joined(self._secrets, certificates)
        return {"handed": handed, "groups": self._groups, "path": self._path}

    def _bound(self, port: Any, factory: SMTPServerFactory) -> IListeningPort:
        port.stopReading()  # the workers accept
        return super()._bound(port, factory)

    def descriptors(self) -> list[tuple[int, int]]:
        """The sockets' descriptors and address families, in the order of the flags."""
        ports: list[Any] = list(self.ports)
        return [(port.fileno(), int(port.addressFamily)) for port in ports]

    def useTranscripts(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """
        Pass the wanted transcripts to the workers; those that start later get them, too.

        :param rules: see :func:`~twisted_smtpserver.twistd.transcript.asJSON`.
        """
        self._transcripts = rules
        for worker in self.workers:
            worker.send(self.transcripts)

    @property
    def transcripts(self) -> dict[str, Any]:
        """The transcripts that workers must write."""
        return {"transcripts": list(self._transcripts)}

    def workerExited(self, number: int) -> None:
        """
        Forget a worker's connections.

        :param number: the worker's number, from 0.
        """
        self.exits += 1
        self.counts.forget(number)
        if self.figures is not None:
            self.figures.forget(number)

    def countsDescriptor(self) -> int:
        """The descriptor of the file behind :attr:`counts`."""
        return self._countsFile.fileno()


class _Worker:
    """
    A worker: one process after another.

    :param number: the worker's number, from 0. The log counts from 1.
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
        # 0, 1 and 2 are the standard streams; then come the control pipe, the counts, the sockets,
        # the figures.
        figures = self._supervisor.figures
        shared = [self._supervisor.countsDescriptor(), *(number for number, _ in descriptors)]
        shared += [] if figures is None else [figures.descriptor]
        numbers = range(CONTROL + 1, CONTROL + 1 + len(shared))
        settings = {
            "number": self.number,
            "workers": self._supervisor.count,
            "counts": numbers[0],
            "sockets": [
                (CONTROL + 2 + place, family) for place, (_, family) in enumerate(descriptors)
            ],
            "figures": None if figures is None else numbers[-1],
            **self._supervisor.configuration,
            **self._supervisor.transcripts,
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
            # These two come from Python's own file; other errors may be over soon.
            isLasting = isinstance(error, (PermissionError, FileNotFoundError))
            self._ended(f"couldn't be started: {error}", isLasting)
        else:
            self.send(settings)
        finally:
            os.close(nothing)

    def send(self, settings: Mapping[str, Any]) -> None:
        """Send settings to the worker's process, if it runs."""
        if self._process is not None:
            # A process that has just died has no pipe; the next one gets the settings at its start.
            with contextlib.suppress(KeyError):
                self._process.transport.writeToChild(CONTROL, json.dumps(settings).encode() + b"\n")

    def exited(self, pid: int, reason: Failure) -> None:
        """(The process's call.) It has ended."""
        self._process = None
        self._supervisor.workerExited(self.number)
        # A signal came from outside; the next process may well run.
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
        if isLasting and not self._supervisor.counts.hasServed():
            _log.error(
                "Worker {worker} {how}; no worker has served yet", worker=self._name, how=how
            )
            self._timer = self._reactor.callLater(FIRST_START_SECONDS, self._restartOrStop)
            return
        isStable = self._reactor.seconds() - self._startedAt >= STABLE_SECONDS
        self._failures = 0 if isStable else self._failures + 1
        delay = min(MAX_DELAY, 2.0 ** (self._failures - 1)) if self._failures else 0.0
        _log.error(
            "Worker {worker} {how}; starting it again in {delay:g} s",
            worker=self._name,
            how=how,
            delay=delay,
        )
        self._timer = self._reactor.callLater(delay, self.start)

    def _restartOrStop(self) -> None:
        """Start again if another worker serves by now; else stop twistd."""
        if self._supervisor.counts.hasServed():
            self.start()
            return
        self._timer = None
        _log.error(
            "No worker could start, so twistd stops; worker {worker} logged the reason above",
            worker=self._name,
        )
        self._supervisor.stopReactor()

    def stop(self, timeout: float) -> Deferred[None]:
        """
        Stop the process, and don't start another.

        :param timeout: after how many seconds the process is killed.
        """
        self._gone = Deferred()
        if self._process is None:
            self._ended("isn't running")
        else:
            # The pipe's end stops it. A SIGTERM could be its second one, which Twisted reports as
            # an error: systemd and terminals send signals to all processes.
            self._process.transport.closeChildFD(CONTROL)
            self._timer = self._reactor.callLater(timeout, self._kill)
        return self._gone

    def _kill(self) -> None:
        self._timer = None
        _log.error("Worker {worker} didn't stop in time: killing it", worker=self._name)
        assert self._process is not None
        self._process.transport.signalProcess("KILL")


@contextlib.contextmanager
def _withoutHangUps() -> Iterator[None]:
    """Block SIGHUP; a process that is started meanwhile inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe(reason: Failure) -> str:
    """Say how a process ended."""
    if not isinstance(reason.value, ProcessTerminated):
        return "ended"
    number = reason.value.signal
    if number is None:
        return f"ended with status {reason.value.exitCode}"
    with contextlib.suppress(ValueError):  # a real-time signal has no name
        return f"was killed by {signal.Signals(number).name}"
    return f"was killed by signal {number}"


class _Process(ProcessProtocol):
    """Logs a worker's output, and reports its end."""

    transport: Any

    def __init__(self, worker: _Worker, name: int) -> None:
        self._worker = worker
        self._name = name
        self._outputs = {1: WorkerOutput(name), 2: WorkerOutput(name)}
        self._pid = 0

    def connectionMade(self) -> None:
        self._pid = self.transport.pid
        _log.info("Worker {worker} has pid {pid}", worker=self._name, pid=self._pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._outputs[childFD].received(data)

    def childConnectionLost(self, childFD: int) -> None:
        if childFD in self._outputs:
            self._outputs[childFD].ended()

    # Not processEnded, which also waits for the worker's children that have its output open.
    def processExited(self, reason: Failure) -> None:
        self._worker.exited(self._pid, reason)

"""
A worker of ``twistd smtpserver --workers``: a process that serves sockets it was handed.

A worker is an ordinary ``twistd smtpserver`` with the same flags. It finds :data:`ENVIRONMENT` set,
and reads from descriptor :data:`CONTROL` what its :mod:`~twisted_smtpserver.twistd.supervisor`
sends: one JSON object a line, the first at the start, another whenever certificates are read again.
The worker ends when that pipe ends, so that no worker outlives a supervisor that is killed.
"""

from __future__ import annotations

import contextlib
import copy
import json
import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import ReactorNotRunning
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.service import SMTPService

_log = Logger()

#: This environment variable makes a process a worker. It holds the supervisor's ``sys.path``.
ENVIRONMENT = "TWISTED_SMTPSERVER_WORKER"

#: The descriptor that a worker reads from its supervisor.
CONTROL = 3

#: Endpoints whose sockets can be shared.
SHAREABLE = ("tcp", "tcp6", "unix", "systemd")


class SharedCounts:
    """
    How many connections each worker has, for each factory.

    Each number has a place in shared memory that only its worker writes, so no lock is needed. Two
    workers that accept at the same moment may exceed a limit by one.

    More places say which workers serve, and whether any has ever served. Shared memory keeps that
    after the worker's death; what a dead worker wrote into a pipe may be lost.

    :param descriptor: a file of as many octets as :meth:`size` says.
    :param workers: how many there are.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        places = memoryview(mmap.mmap(descriptor, 0)).cast("I")
        self._counts = places[: -workers - 1]
        self._serving = places[-workers - 1 : -1]
        self._served = places[-1:]
        self._workers = workers

    @staticmethod
    def size(factories: int, workers: int) -> int:
        """How many octets the counts need."""
        return 4 * (factories * workers + workers + 1)

    def noteServing(self, worker: int) -> None:
        """
        Note that a worker serves.

        :param worker: the worker's number, from 0.
        """
        self._serving[worker] = self._served[0] = 1

    def serving(self) -> int:
        """How many workers serve."""
        return sum(self._serving)

    def hasServed(self) -> bool:
        """Whether any worker has ever served."""
        return bool(self._served[0])

    def report(self, factory: int, worker: int, own: int) -> int:
        """
        Note how many connections a worker has.

        :param factory: the factory's number, from 0.
        :param worker: the worker's number, from 0.
        :param own: how many connections that worker has at that factory.
        :returns: how many connections all workers have at that factory.
        """
        counts = self._counts[factory * self._workers : (factory + 1) * self._workers]
        counts[worker] = own
        return sum(counts)

    def forget(self, worker: int) -> None:
        """Forget a dead worker's connections, and that it served."""
        self._serving[worker] = 0
        for place in range(worker, len(self._counts), self._workers):
            self._counts[place] = 0


# -- The service -----------------------------------------------------------------------------------


class Handover:
    """
    What the supervisor hands over to a worker.

    :param settings: the first line from the pipe.
    :ivar number: the worker's number, from 0.
    :ivar handed: what was read from files, by the flag's name and the flag's value.
    :ivar groups: the settings, those that are common first; see
        :class:`~twisted_smtpserver.twistd.layers.Group`.
    :ivar path: the path of the file of configuration, if there is one.
    :ivar saltKey: the option ``scramSaltKey``.
    :ivar folder: the supervisor's working directory; the command line's paths are relative to it.
    :ivar workers: how many workers there are.
    :ivar transcripts: the rules for transcripts.
    :ivar figures: the descriptor of what they count in; ``None`` for none.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.number: int = settings["number"]
        self.handed: dict[str, dict[str, Any]] = settings["handed"]
        self.groups: list[dict[str, Any]] = settings["groups"]
        self.path: str | None = settings["path"]
        self.saltKey = bytes.fromhex(settings["saltKey"])
        self.folder: str = settings["folder"]
        self.workers: int = settings["workers"]
        self.figures: int | None = settings.get("figures")
        self.transcripts: list[dict[str, Any]] = settings.get("transcripts", [])
        self._sockets: list[tuple[int, int]] = settings["sockets"]
        self._counts = SharedCounts(settings["counts"], settings["workers"])

    @classmethod
    def receive(cls) -> Handover | None:
        """
        Read it from the pipe.

        :returns: ``None`` if this process isn't a worker; also at the second call.
        """
        if os.environ.pop(ENVIRONMENT, None) is None:
            return None
        # Octet by octet, because the next line is for the reactor to read.
        line = bytearray()
        while not line.endswith(b"\n"):
            octet = os.read(CONTROL, 1)
            if not octet:
                raise SystemExit("the supervisor is gone")
            line += octet
        os.set_inheritable(CONTROL, False)  # not for programs that a handler starts
        return cls(json.loads(line))

    def changed(self, configuration: Mapping[str, Any]) -> Handover:
        """
        What was handed over, with another configuration.

        :param configuration: the supervisor's.
        """
        made = copy.copy(self)
        made.handed, made.groups = configuration["handed"], configuration["groups"]
        return made

    def makeService(
        self, factories: Sequence[SMTPServerFactory], reactor: Any = None
    ) -> WorkerService:
        """
        Make the service that serves the sockets.

        :param factories: the listeners' factories, in the order of the flags.
        """
        if reactor is None:
            reactor = theReactor()
        for place, factory in enumerate(dict.fromkeys(factories)):
            # Without maxClients SMTPService replaces this: the limit is the process's own then.
            factory.countAll = self._counter(place)
        listeners = [
            (_adopted(reactor, descriptor, family), factory)
            for (descriptor, family), factory in zip(self._sockets, factories, strict=True)
        ]
        return WorkerService(listeners, reactor, partial(self._counts.noteServing, self.number))

    def _counter(self, place: int) -> Any:
        return lambda own: self._counts.report(place, self.number, own)


def _adopted(reactor: Any, descriptor: int, family: int) -> Any:
    if family == socket.AF_UNIX:
        return _UnixEndpoint(reactor, descriptor)
    return AdoptedStreamServerEndpoint(reactor, descriptor, family)


def _ignore(configuration: Mapping[str, Any]) -> None:
    """Keep the configuration."""


class WorkerService(SMTPService):
    """
    Serves the sockets, uses the supervisor's new certificates, and stops when the supervisor does.

    :param listeners: as for :class:`~twisted_smtpserver.SMTPService`.
    :param reactor: what to listen with.
    :param onStart: called when the service has started. It is the last of twistd's to start.
    """

    def __init__(
        self,
        listeners: Iterable[tuple[IStreamServerEndpoint | str, SMTPServerFactory]],
        reactor: Any,
        onStart: Callable[[], object],
    ) -> None:
        super().__init__(listeners, reactor, renewalInterval=0)  # the supervisor looks
        self._onStart = onStart
        #: Called with the rules for transcripts.
        self.onTranscripts: Callable[[Any], object] = _ignore
        #: Called with the supervisor's new configuration.
        self.onConfiguration: Callable[[Mapping[str, Any]], object] = _ignore

    def startService(self) -> None:
        """Start serving."""
        super().startService()
        self._control = _Control(self._reactor, self)
        self._onStart()

    def reloadCertificates(self) -> Deferred[bool]:
        """Do nothing: the supervisor reads them. (Terminals send SIGHUP to all processes.)"""
        return succeed(False)

    def logCertificates(self, onlyWarnings: bool = False) -> None:
        """Log nothing: the supervisor has logged them."""

    def _logOversights(self) -> None:
        """Log nothing: the supervisor has logged them."""

    def certificatesReplaced(self) -> None:
        """Log that they were replaced."""
        _log.info("New certificates from the supervisor are in use")

    def supervisorGone(self) -> None:
        """Stop, because the supervisor is gone."""
        if not self.running:
            return
        # systemd and terminals send signals to all processes, and Twisted reports an error when a
        # signal comes while it is stopping.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._reactor.callFromThread(self._stopReactor)  # after what a signal asked for

    def _stopReactor(self) -> None:
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()


class _Control(FileDescriptor):
    """The worker's end of the pipe."""

    def __init__(self, reactor: Any, service: WorkerService) -> None:
        super().__init__(reactor)
        self._service = service
        self._buffer = b""
        setNonBlocking(CONTROL)
        self.startReading()

    def fileno(self) -> int:
        return CONTROL

    def doRead(self) -> Any:
        return readFromFD(CONTROL, self._received)

    def _received(self, octets: bytes) -> None:
        *lines, self._buffer = (self._buffer + octets).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "transcripts" in told:
                self._service.onTranscripts(told["transcripts"])
            else:
                self._service.onConfiguration(told)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._service.supervisorGone()


class _UnixEndpoint:
    """
    An endpoint for a unix socket that the supervisor owns.

    Twisted's own endpoint would change the path's mode and remove the path at its end, and the
    other workers would lose their clients.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, factory: SMTPServerFactory) -> Deferred[IListeningPort]:
        return succeed(_UnixPort(self._reactor, self._descriptor, factory))


@implementer(IListeningPort)
class _UnixPort(FileDescriptor):
    """Accepts connections from a unix socket that the supervisor owns."""

    def __init__(self, reactor: Any, descriptor: int, factory: SMTPServerFactory) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._factory = factory
        self.startListening()

    def startListening(self) -> None:
        os.set_inheritable(self._socket.fileno(), False)
        self._factory.doStart()
        self.startReading()

    def stopListening(self) -> Deferred[None]:
        self.stopReading()
        self._socket.close()
        self._factory.doStop()
        return succeed(None)

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(self._socket.getsockname())

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        # One at a time, so that the other workers get some, too.
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:  # another worker was faster
            return
        except OSError as error:
            # Most likely no descriptor is free, and trying again at once wouldn't help.
            _log.error("Can't accept a connection: {error}", error=error)
            self.stopReading()
            self._reactor.callLater(1, self._resume)
            return
        with connection:
            connection.setblocking(False)
            self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, self._factory)

    def _resume(self) -> None:
        if self._socket.fileno() != -1:
            self.startReading()

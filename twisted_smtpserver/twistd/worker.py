"""
A worker of ``twistd smtpserver --workers``: a process that serves sockets it was handed.

It is an ordinary ``twistd smtpserver`` with the same flags, which finds :data:`ENVIRONMENT` set and
reads on descriptor :data:`CONTROL` what its :mod:`~twisted_smtpserver.twistd.supervisor` has for
it: one JSON object a line, the first at the start, the others when certificates were read again.
The end of that pipe is the end of the worker, so that none is left when the supervisor is killed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import ReactorNotRunning
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import LogEvent, Logger, LogLevel, eventAsText
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.log.batches import BatchedLogObserver, madeText, shortened, systemOf
from twisted_smtpserver.service import SMTPService

_log = Logger()

#: The environment variable that makes a worker. It holds the supervisor's ``sys.path``.
ENVIRONMENT = "TWISTED_SMTPSERVER_WORKER"

#: The descriptor that a worker reads from its supervisor.
CONTROL = 3

#: Endpoints whose sockets can be shared.
SHAREABLE = ("tcp", "tcp6", "unix", "systemd")

#: RFC 7464 begins a JSON text with it, and no line that somebody just prints does.
RECORD = b"\x1e"


class SharedCounts:
    """
    How many connections each worker has, for each factory: a place in shared memory for each of
    these numbers, which only the worker itself writes, so that no lock is needed. Two workers that
    accept at the same moment may exceed a limit by one.

    One place more says whether any worker has ever served. What a process has written there is seen
    when it is dead, which can't be said of what it wrote into a pipe.

    :param descriptor: a file of as many octets as :meth:`size` says.
    :param workers: how many there are.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        places = memoryview(mmap.mmap(descriptor, 0)).cast("I")
        self._counts, self._served = places[:-1], places[-1:]
        self._workers = workers

    @staticmethod
    def size(factories: int, workers: int) -> int:
        """How many octets they need."""
        return 4 * (factories * workers + 1)

    def begin(self) -> None:
        """A worker serves."""
        self._served[0] = 1

    def hasBegun(self) -> bool:
        """Whether any worker has ever served."""
        return bool(self._served[0])

    def report(self, factory: int, worker: int, own: int) -> int:
        """
        Say how many connections a worker has, and learn how many all have.

        :param factory: which, from 0; :param worker: likewise.
        :param own: how many that worker has at that factory.
        """
        counts = self._counts[factory * self._workers : (factory + 1) * self._workers]
        counts[worker] = own
        return sum(counts)

    def forget(self, worker: int) -> None:
        """A worker is dead, and its connections with it."""
        for place in range(worker, len(self._counts), self._workers):
            self._counts[place] = 0


# -- The log ---------------------------------------------------------------------------------------


_IN_JSON = frozenset({str, int, float, bool})


def makeLogObserver() -> BatchedLogObserver:
    """What ``--logger`` makes in a worker: it writes events for the supervisor."""
    return BatchedLogObserver(sys.stdout.buffer, _encodeEvent)


def _encodeEvent(event: LogEvent) -> str:
    """
    An event as a line. Of its values those are kept that JSON has; the others are in the text.
    """
    level = event.get("log_level", LogLevel.info).name
    kept: dict[str, Any] = {
        name: value
        for name, value in event.items()
        if type(value) in _IN_JSON and name[:4] != "log_" and name != "text"
    }
    text = madeText(event)
    if text is None:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    kept |= {
        "log_text": shortened(text),
        "log_level": level,
        "log_namespace": event.get("log_namespace", "-"),
        "log_system": systemOf(event),
        "log_time": event.get("log_time"),
    }
    return f"{RECORD.decode()}{json.dumps(kept)}\n"


# -- The service -----------------------------------------------------------------------------------


class Inheritance:
    """
    What a worker has from its supervisor.

    :param settings: the first line.
    :ivar number: the worker's number, from 0.
    :ivar handed: options with files' contents instead of their names.
    :ivar saltKey: the option ``scramSaltKey``.
    :ivar folder: where the command line was given: relative paths in it are relative to that.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.number: int = settings["number"]
        self.handed: dict[str, Any] = settings["handed"]
        self.saltKey = bytes.fromhex(settings["saltKey"])
        self.folder: str = settings["folder"]
        self._sockets: list[tuple[int, int]] = settings["sockets"]
        self._counts = SharedCounts(settings["counts"], settings["workers"])

    @classmethod
    def take(cls) -> Inheritance | None:
        """
        Take it.

        :returns: ``None`` if this process is no worker; also at the second call.
        """
        if os.environ.pop(ENVIRONMENT, None) is None:
            return None
        # Octet by octet, so that nothing of the next line is read: twice in a worker's life.
        line = bytearray()
        while not line.endswith(b"\n"):
            octet = os.read(CONTROL, 1)
            if not octet:
                raise SystemExit("the supervisor is gone")
            line += octet
        os.set_inheritable(CONTROL, False)  # programs that a handler starts have no use for it
        return cls(json.loads(line))

    def makeService(
        self, factories: Sequence[SMTPServerFactory], reactor: Any = None
    ) -> WorkerService:
        """
        The service that serves the sockets.

        :param factories: for each listener, in the order of the flags.
        """
        if reactor is None:
            from twisted.internet import reactor
        for place, factory in enumerate(dict.fromkeys(factories)):
            # Without maxClients the limit is this process's own: then the service counts otherwise.
            factory.countAll = self._counter(place)
        listeners = [
            (_adopted(reactor, descriptor, family), factory)
            for (descriptor, family), factory in zip(self._sockets, factories, strict=True)
        ]
        return WorkerService(listeners, reactor, self._counts.begin)

    def _counter(self, place: int) -> Any:
        return lambda own: self._counts.report(place, self.number, own)


def _adopted(reactor: Any, descriptor: int, family: int) -> Any:
    if family == socket.AF_UNIX:
        return _UnixEndpoint(reactor, descriptor)
    return AdoptedStreamServerEndpoint(reactor, descriptor, family)


class WorkerService(SMTPService):
    """
    Serves the sockets; takes new certificates; and stops when the supervisor does.

    :param listeners: as :class:`~twisted_smtpserver.SMTPService` has them.
    :param reactor: what to listen with.
    :param begun: called when the service has started, which is the last thing to be started.
    """

    def __init__(
        self,
        listeners: Iterable[tuple[IStreamServerEndpoint | str, SMTPServerFactory]],
        reactor: Any,
        begun: Callable[[], object],
    ) -> None:
        super().__init__(listeners, reactor)
        self._begun = begun

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        self._control = _Control(self._reactor, self)
        self._begun()

    def reloadCertificates(self) -> Deferred[bool]:
        """Nothing: the supervisor reads them. (Terminals send SIGHUP to all processes.)"""
        return succeed(False)

    def _tellCertificates(self) -> None:
        """The supervisor did."""

    def _tellOversights(self) -> None:
        """Likewise."""

    def takeCertificates(self, handed: Mapping[str, Any]) -> Deferred[bool]:
        """
        Use certificates that the supervisor has tried already. If that fails here the log says why,
        and the old ones stay in use.

        :param handed: see :func:`~twisted_smtpserver.twistd.supervisor.asText`.
        :returns: as for :meth:`reloadCertificates`.
        """
        return self.replaceCertificates(lambda: handed)

    def certificatesReplaced(self, changes: Mapping[str, Any]) -> None:
        """Say so."""
        _log.info("The supervisor gave new certificates")

    def supervisorGone(self) -> None:
        """Stop: whether it ended or was killed, nobody else looks after this process."""
        if not self.running:
            return
        # systemd and terminals send their signals to all processes, and Twisted takes a signal that
        # comes when it is stopping already for an error.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._reactor.callFromThread(self._stopReactor)  # behind what a signal has asked for

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
            self._service.takeCertificates(json.loads(line))

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._service.supervisorGone()


class _UnixEndpoint:
    """
    Like Twisted's endpoint for a socket that is there already. That one takes the path for its own:
    it changes its mode, and removes it in the end, and with it the other workers' clients' way.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, factory: SMTPServerFactory) -> Deferred[IListeningPort]:
        return succeed(_UnixPort(self._reactor, self._descriptor, factory))


@implementer(IListeningPort)
class _UnixPort(FileDescriptor):
    """Accepts connections from a unix socket that is the supervisor's."""

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
        # One at a time: so the others get some, too.
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:  # somebody else was faster
            return
        except OSError as error:
            # Out of descriptors, most likely. It won't get better by trying at once.
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

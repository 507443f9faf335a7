"""The factory as a service: it listens while the application runs, and stops gracefully."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, succeed
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.connection.listening import (
    acceptFew,
    makeEndpoints,
    namesBacklog,
    speaksTLS,
    widenBacklog,
)
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.hooks.oversights import findOversights
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.tls.renewal import INTERVAL, CertificateWatch, describeEnd, firstEnd
from twisted_smtpserver.tls.replacing import (
    Prepared,
    certificateFiles,
    certificatesOf,
    prepareAll,
    useAll,
)

_log = Logger()

#: How often a certificate that ends soon is warned of, in seconds.
WARNING_INTERVAL = 86400.0


class SMTPService(Service):
    """
    Listens on endpoints::

        application = Application("mail")
        inbox = SMTPServerFactory(Inbox())
        SMTPService([("tcp:25", inbox), ("tcp6:25", inbox)]).setServiceParent(application)

    The ports are bound in ``privilegedStartService``, so that ``twistd --uid`` can take port 25
    before it drops root's privileges; the factories read the keys before that, when they were made.
    While the service runs, it reads the factories' certificates again when their files have
    changed, and at SIGHUP. It warns of a certificate that ends within
    :data:`~twisted_smtpserver.tls.renewal.WARNING_TIME`, at the start and once a day.
    All factories without ``maxClients`` together take as many connections as the process has
    descriptors for.

    :param listeners: pairs of an endpoint and the :class:`SMTPServerFactory` that serves it. The
        endpoint is a description as :func:`twisted.internet.endpoints.serverFromString` takes it,
        or an object. Where it names no ``backlog``,
        :data:`~twisted_smtpserver.connection.listening.BACKLOG` clients may wait to be accepted.
    :param reactor: what to listen with; by default the reactor.
    :param renewalInterval: how often to look whether the files of the certificates have changed, in
        seconds; 0 for never.
    :ivar ports: the ports that are open, each an
        :class:`~twisted.internet.interfaces.IListeningPort`.
    :raises ConfigurationError: if an endpoint's description is wrong, a factory isn't one, or the
        interval is too short.
    """

    def __init__(
        self,
        listeners: Iterable[tuple[str | IStreamServerEndpoint, SMTPServerFactory]],
        reactor: Any = None,
        *,
        renewalInterval: float = INTERVAL,
    ) -> None:
        self._reactor: Any = reactor if reactor is not None else theReactor()
        given = [(where, _checked(factory)) for where, factory in _pairs(listeners)]
        endpoints = makeEndpoints(self._reactor, [where for where, _ in given])
        self._listeners = list(zip(endpoints, [factory for _, factory in given], strict=True))
        self._haveBacklog = [namesBacklog(where) for where, _ in given]
        for factory in self.factories():
            # Without maxClients the process's descriptors are the limit.
            if factory.options.maxClients is None:
                factory.countAll = self._countConnections
            factory.logsOversights = False  # the service logs them, once for all
        self._speakTLS = {factory for where, factory in given if speaksTLS(where)}
        self.ports: list[IListeningPort] = []
        self._served: list[tuple[IListeningPort, SMTPServerFactory]] = []
        self._waiting: list[Deferred[Any]] = []
        self._earlierHandler: Any = None
        self._replacing = DeferredLock()
        #: What SIGHUP does.
        self.onHangUp: Callable[[], Deferred[bool]] = self.reloadCertificates
        self._watch = CertificateWatch(
            renewalInterval,
            self._reactor,
            self._certificateFiles,
            self.reloadCertificates,
            self._runInThread,
        )
        self._warning = LoopingCall(self.logCertificates, onlyWarnings=True)
        self._warning.clock = self._reactor

    def privilegedStartService(self) -> None:
        """
        Bind the ports.

        :raises Exception: the endpoint's error, for example
            :class:`twisted.internet.error.CannotListenError`, if a port can't be bound; then none
            is. An endpoint that fails later (none of Twisted's does) is reported to the handler's
            ``onError``.
        """
        super().privilegedStartService()
        for factory in self.factories():
            if factory.servedBy not in (None, self):
                raise ConfigurationError(
                    "listeners: another SMTPService serves this SMTPServerFactory, and would end it"
                    " for both: put all listeners into one, or make a factory for each"
                )
        try:
            for (endpoint, factory), hasBacklog in zip(
                self._listeners, self._haveBacklog, strict=True
            ):
                self._listen(endpoint, factory, hasBacklog)
        except BaseException:
            self._stopListening()
            raise

    def startService(self) -> None:
        """
        Start serving. Binds the ports if :meth:`privilegedStartService` wasn't called.

        :raises Exception: as :meth:`privilegedStartService`.
        """
        if not self._waiting:
            self.privilegedStartService()
        super().startService()
        self._installSignalHandler()
        self.logCertificates()
        self._logOversights()
        self._watch.start()
        self._warning.start(WARNING_INTERVAL, now=False)

    @property
    def isServing(self) -> bool:
        """Whether clients are served."""
        return bool(self.running)

    def describe(self) -> str:
        """Say how the server does: for systemd, in one line."""
        count = sum(len(factory.connections) for factory in self.factories())
        return f"{count} {'connection' if count == 1 else 'connections'}"

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, then stop serving: see :meth:`SMTPServerFactory.shutdown`.

        :returns: a Deferred that fires when all connections are closed.
        """
        super().stopService()
        self._watch.stop()
        if self._warning.running:
            self._warning.stop()
        stopping = self._stopListening()
        stopping += [factory.shutdown() for factory in self.factories()]
        # Until then a SIGHUP must not end the process: messages are in flight.
        return DeferredList(stopping).addCallback(lambda _: self._restoreSignalHandler())

    def reloadCertificates(self) -> Deferred[bool]:
        """
        Read the certificates again, as SIGHUP does. Open connections keep theirs.

        A thread reads and checks the files. If that fails, the log says why, and the old
        certificates stay in use.

        :returns: a Deferred that fires with whether there are certificates, and all were read.
        """
        if not list(filter(_hasCertificates, self.factories())):
            _log.info("There are no certificates to read again")
            return succeed(False)
        return self.replaceCertificates(self.readCertificates)

    def readCertificates(self, factory: SMTPServerFactory) -> Mapping[str, Any]:
        """
        (In a thread.) Find the options that change when the certificates are read again. By default
        none: only the contents of the files change.

        :param factory: the factory whose options they are.
        :returns: the options' new values, by name.
        """
        return {}

    def replaceCertificates(
        self, read: Callable[[SMTPServerFactory], Mapping[str, Any]]
    ) -> Deferred[bool]:
        """
        Use other certificates for new connections. Replacements run one after another.

        :param read: called in a thread for each factory; returns the changes for
            :meth:`SMTPServerFactory.updateSecureContext`.
        :returns: a Deferred that fires with whether all factories could use them.
        """
        replaced: Deferred[bool] = self._replacing.run(self._replace, read)
        return replaced

    def _replace(self, read: Callable[[SMTPServerFactory], Mapping[str, Any]]) -> Deferred[bool]:
        factories = list(filter(_hasCertificates, self.factories()))
        preparing = self._runInThread(prepareAll, factories, read, self._certificateFiles())
        return preparing.addCallbacks(self._use, _notPrepared)

    def _certificateFiles(self) -> list[str]:
        return certificateFiles(each.options for each in self.factories())

    def _runInThread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return self.factories()[0].runInThread(function, *arguments)

    def _use(self, prepared: Prepared) -> bool:
        """(In the reactor's thread.) Use the new contexts."""
        self._watch.known = prepared.stamps
        isComplete = useAll(prepared, isWatched=self._watch.isOn)
        if prepared.contexts:
            self.certificatesReplaced()
        return isComplete

    def certificatesReplaced(self) -> None:
        """Log that factories have new certificates."""
        _log.info("The certificates were read again")
        self.logCertificates()

    @property
    def certificateExpiry(self) -> datetime | None:
        """When the first of the certificates in use ends, in UTC; ``None`` if there is none."""
        return firstEnd(certificatesOf(self.factories()))

    def logCertificates(self, onlyWarnings: bool = False) -> None:
        """Log each certificate and its last day; one that has expired is easily overlooked."""
        readable = [factory for factory in self.factories() if _hasCertificates(factory)]
        for certificate in certificatesOf(readable):
            text, isWarning = describeEnd(certificate)
            if isWarning:
                _log.warn("{text}", text=text)
            elif not onlyWarnings:
                _log.info("{text}", text=text)

    def _logOversights(self) -> None:
        """Log what may have been overlooked, once for all factories."""
        given = set()
        for factory in self.factories():
            for text in findOversights(factory.options, factory.handler, factory in self._speakTLS):
                if text not in given:
                    factory.log.oversight(text)
                given.add(text)

    def factories(self) -> list[SMTPServerFactory]:
        """The factories, each once."""
        return list(dict.fromkeys(factory for _, factory in self._listeners))

    def portsOf(self, factories: Collection[SMTPServerFactory]) -> list[IListeningPort]:
        """
        :param factories: some of the factories.
        :returns: the open ports that they serve.
        """
        return [port for port, factory in self._served if factory in factories]

    def _countConnections(self, own: int) -> int:
        return sum(len(factory.connections) for factory in self.factories())

    # -- Ports -------------------------------------------------------------------------------------

    def _listen(
        self, endpoint: IStreamServerEndpoint, factory: SMTPServerFactory, hasBacklog: bool
    ) -> None:
        failures: list[Failure] = []
        returned = False

        def failed(failure: Failure) -> None:
            if not returned:
                failures.append(failure)
            elif not failure.check(CancelledError):
                factory.reportError(failure)

        factory.servedBy = self
        listening: Deferred[Any] = endpoint.listen(factory)
        self._waiting.append(listening)
        if not hasBacklog:
            listening.addCallback(_widened)
        listening.addCallbacks(self._bound, failed, callbackArgs=(factory,))
        returned = True
        if failures:
            failures[0].raiseException()

    def _bound(self, port: IListeningPort, factory: SMTPServerFactory) -> IListeningPort:
        acceptFew(port)
        self.ports.append(port)
        self._served.append((port, factory))
        protocol = "LMTP" if factory.options.lmtp else "SMTP"
        if factory.options.secure:
            protocol += " over TLS"
        _log.info("Listening for {what} on {address}", what=protocol, address=port.getHost())
        return port

    def _stopListening(self) -> list[Deferred[Any]]:
        waiting, self._waiting = self._waiting, []
        self.ports = []
        for factory in self.factories():
            factory.servedBy = None
        self._served = []
        for listening in waiting:
            listening.cancel()
            listening.addCallback(lambda port: port and port.stopListening())
        return waiting

    # -- SIGHUP ------------------------------------------------------------------------------------

    def _installSignalHandler(self) -> None:
        # Also where there is nothing to read again: "systemctl reload" mustn't end the server.
        # Python lets no other thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._earlierHandler = signal.signal(signal.SIGHUP, self._hangUp)

    def _restoreSignalHandler(self) -> None:
        # If another handler was installed since then, it may call ours: leave it.
        if signal.getsignal(signal.SIGHUP) == self._hangUp:
            signal.signal(signal.SIGHUP, self._earlierHandler or signal.SIG_DFL)

    def _hangUp(self, number: int, frame: FrameType | None) -> None:
        if self.running:
            self._reactor.callFromThread(self.onHangUp)
        if callable(self._earlierHandler):
            self._earlierHandler(number, frame)


def _pairs(listeners: Any) -> list[tuple[Any, Any]]:
    pairs: list[Any] = [None] if isinstance(listeners, str) else list(listeners)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise ConfigurationError(
            "listeners: give a list of pairs, as in"
            ' SMTPService([("tcp:2525", SMTPServerFactory(handler))])'
        )
    return pairs


def _checked(factory: Any) -> SMTPServerFactory:
    """
    Check that a listener's factory is one.

    :raises ConfigurationError: if it isn't; most likely it is a handler.
    """
    if isinstance(factory, SMTPServerFactory):
        return factory
    name = factory.__name__ if isinstance(factory, type) else type(factory).__name__
    raise ConfigurationError(
        f"listeners: {name} is not an SMTPServerFactory: "
        "a handler goes into one, as in SMTPServerFactory(handler)"
    )


def _widened(port: IListeningPort) -> IListeningPort:
    widenBacklog(port)
    return port


def _notPrepared(failure: Failure) -> bool:
    _log.failure("Keeping the old certificates", failure)
    return False


def _hasCertificates(factory: SMTPServerFactory) -> bool:
    """Whether the factory has certificates that can be read again; a self-made one can't."""
    return factory.contextFactory is not None and not factory.options.selfSigned

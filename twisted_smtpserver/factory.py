"""The factory: a handler and options in, protocols out."""

from __future__ import annotations

import inspect
import resource
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from twisted_smtpserver import replies
from twisted_smtpserver.auth.failures import LoginFailures, SharedLoginFailures
from twisted_smtpserver.commands.gates import GATES, makeSteps
from twisted_smtpserver.commands.verbs import VERBS
from twisted_smtpserver.connection.channel import Channel
from twisted_smtpserver.connection.counts import ClientCounts
from twisted_smtpserver.connection.hub import Hub, isPossible
from twisted_smtpserver.connection.protocol import SMTPProtocol
from twisted_smtpserver.connection.reverselookup import ReverseLookup
from twisted_smtpserver.connection.timeouts import CLOSING_TIME, CommonTimer, IdleTimeout
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.extensions import BUILT_IN, buildExtensions
from twisted_smtpserver.handlers.chain import Chain
from twisted_smtpserver.handlers.check import checkHandler, descriptorsPerClient
from twisted_smtpserver.handlers.functions import fromFunctions
from twisted_smtpserver.handlers.policies.clients import ClientsPerAddress
from twisted_smtpserver.hooks import findHook, invoke
from twisted_smtpserver.hooks.advice import adviceOn
from twisted_smtpserver.hooks.oversights import findOversights
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.interfaces import HOOKS, IMetrics
from twisted_smtpserver.log.serverlog import ServerLog
from twisted_smtpserver.message.slices import RunInSlices, slicesOn
from twisted_smtpserver.message.threads import threadsWork
from twisted_smtpserver.options import OPTION_NAMES, Options, makeOptions, unknownName
from twisted_smtpserver.session import Session
from twisted_smtpserver.tls.certificates import TLSSettings, selfSignedCertificate
from twisted_smtpserver.tls.context import ServerContextFactory
from twisted_smtpserver.wire.ip import clientLiteral

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from twisted_smtpserver.keywords import Keywords

#: File descriptors that are left for everything but connections.
SPARE_DESCRIPTORS = 64

#: If a thread still stores a message when ``closeTimeout`` is over, check again after this many
#: seconds.
THREAD_INTERVAL = 0.1


@dataclass(frozen=True)
class SecureContext:
    """
    Certificates that were read and checked, for :meth:`SMTPServerFactory.useSecureContext`.

    :ivar options: the options with these certificates.
    :ivar contextFactory: the context that was made from them.
    """

    options: Options
    contextFactory: ServerContextFactory | None


class SMTPServerFactory(ServerFactory):
    """
    Makes a server out of a handler::

        SMTPServerFactory(Inbox(), size=10 * 2**20)
        SMTPServerFactory(onData=store, name="mx.example.com")

    :param handler: any object with one or more hooks
        (:mod:`twisted_smtpserver.interfaces`); or give the hooks by name.
    :param options: an :class:`~twisted_smtpserver.options.Options`; or give them by name.
    :param reactor: what the timers run on; by default the reactor.
    :param keywords: options and hooks by their names.
    :ivar connections: the open connections' protocols; each has a ``session``.
    :raises ConfigurationError: if an option or the handler is invalid.
    """

    noisy = False
    #: The gates that each command has to pass, in order.
    gates = GATES
    protocol: Callable[[SMTPServerFactory], SMTPProtocol] = SMTPProtocol

    def __init__(
        self,
        handler: object = None,
        options: Options | None = None,
        reactor: Any = None,
        **keywords: Unpack[Keywords],
    ) -> None:
        given: dict[str, Any] = {**keywords}
        hooks = {name: given.pop(name) for name in list(given) if name in HOOKS}
        _checkNames(given)
        if options is not None and given:
            raise ConfigurationError("give either an Options object or options by name, not both")
        self.options = makeOptions(given) if options is None else options
        self.handler = _sharing(_makeHandler(handler, hooks), self.options)
        self.clock: IReactorTime = reactor if reactor is not None else theReactor()
        #: Runs a function in a thread; see :func:`twisted.internet.threads.deferToThread`.
        self.runInThread: Callable[..., Deferred[Any]] = deferToThread
        #: Does long work in slices; see :func:`~twisted_smtpserver.message.slices.runInSlices`.
        self.runInSlices: RunInSlices = slicesOn(self.clock)
        self._build()
        needed = replies.AUTH_NEEDED
        text = self.options.authRequiredMessage or needed.text
        #: The reply to MAIL before a login that is required.
        self.authNeeded = replies.Reply(needed.code, needed.enhanced, text)
        #: The first reply to a client (RFC 5321 §4.3.1).
        self.greeting = _greeting(self.options)
        #: Called with each new connection's protocol; ``None`` for nothing.
        self.listener: Callable[[SMTPProtocol], object] | None = None
        #: What counts; ``None`` if nothing does.
        self.metrics: IMetrics | None = self.options.metrics
        self.log = ServerLog.fromOptions(self.options)
        self.contextFactory: ServerContextFactory | None = _contextFactory(self.options)
        self.connections: set[SMTPProtocol] = set()
        #: A client's name by its IP address (``None`` on a unix socket), maybe later: the
        #: forward-confirmed reverse name, else ``"[address]"``.
        self.lookUp: Callable[[str | None], str | Deferred[str]] = clientLiteral
        if not self.options.disableReverseLookup:
            self.lookUp = ReverseLookup(self.options.resolver, self.clock).clientHostname
        #: Ends a connection that has lasted for ``maxSessionTime``.
        self.lifetimes = CommonTimer(
            lambda: self.clock, self.options.maxSessionTime, Channel.lastedTooLong
        )
        #: Looks at each connection's idle timeout for the first time.
        self.firstLooks = CommonTimer(lambda: self.clock, CLOSING_TIME, IdleTimeout.look)
        #: The number of connections of each client's address.
        self.counts = ClientCounts(self.options.maxClientsPerAddress)
        self._hub: Hub | None = None  # made for the first connection
        #: The failed logins by the client's address.
        self.loginFailures = _loginFailures(self.options)
        #: The most connections at a time.
        self.maxClients = self.options.maxClients or _clientsByDescriptors(self.handler)
        #: Takes the number of this factory's connections, and returns how many count against
        #: ``maxClients``: with several workers, those of the others, too.
        self.countAll: Callable[[int], int] = lambda own: own
        #: Whether to log, at the first port, what may have been overlooked.
        self.logsOversights = True
        #: The service that listens for it; ``None`` if there is none, or it was stopped.
        self.servedBy: object = None
        self._allGone: Deferred[None] | None = None
        self._closing: IDelayedCall

    def _build(self) -> None:
        self.extensions = buildExtensions(self.options, self.handler)
        self.verbs = VERBS | {verb: pair[1] for verb, pair in self.extensions.verbs.items()}
        for verb in self.options.disabledCommands:
            if verb not in self.verbs:
                raise ConfigurationError(unknownName(verb, self.verbs, "command"))
        keywords = BUILT_IN.keys() | self.extensions.names
        for keyword in self.options.hide:
            if keyword not in keywords:
                raise ConfigurationError(unknownName(keyword, keywords, "extension"))
        self.steps = makeSteps(self.verbs, self.options.disabledCommands, self.options.tlsRequired)

    def startFactory(self) -> None:
        """(Twisted's call, before the first port.) A server that was shut down serves again."""
        _checkHooks(self.handler)
        if self.logsOversights:
            self.logsOversights = False
            for text in findOversights(self.options, self.handler):
                self.log.oversight(text)
        allGone, self._allGone = self._allGone, None
        if allGone is not None and not allGone.called:
            # Otherwise the timer would close the new connections, too.
            allGone.callback(None)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Make a protocol for a new connection; one that sends 421 if there are too many."""
        if self._allGone is not None:
            return _Refusal(replies.SHUTTING_DOWN, self.options.secure)
        if self.countAll(len(self.connections)) >= self.maxClients:
            self.log.refusedConnection(
                str(getattr(addr, "host", "unix")), "maxClients", f" ({self.maxClients})"
            )
            return _Refusal(replies.TOO_MANY_CLIENTS, self.options.secure)
        connection = self.protocol(self)
        # Behind a proxy the client's address comes later, in the PROXY header.
        isCounted = self.options.maxClientsPerAddress is not None and not self.options.useProxy
        if isCounted and not connection.channel.enter(getattr(addr, "host", None)):
            return _Refusal(replies.TOO_MANY_FROM_ADDRESS, self.options.secure)
        if self.metrics is not None:
            self.metrics.connected()
        if self.listener is not None:
            self.listener(connection)
        # Last: what is in here is waited for, and Twisted drops a connection whose making fails.
        self.connections.add(connection)
        self.countAll(len(self.connections))
        return connection

    def reportError(self, failure: Failure, session: Session | None = None, hook: str = "") -> str:
        """
        Log an unexpected failure, and call the handler's ``onError``.

        :param failure: the failure.
        :param session: the client's session, if it was in one.

        :param hook: the name of the hook that failed, if it was one.
        :returns: the incident's id.
        """
        incident = self.log.incident(failure, session, hook, adviceOn(failure.value))
        onError = findHook(self.handler, "onError")
        if onError is not None:
            try:
                result = invoke(onError, failure, session)
            except Exception:
                self.log.incident(Failure(), session)
            else:
                if isinstance(result, Deferred):
                    result.addErrback(self.log.incident, session)
        return incident

    def watch(self, transport: Any) -> None:
        """
        (The protocol's call.) Let a connection be read together with the others, or by itself.

        :param transport: Twisted's own TCP connection.
        """
        reactor = transport.reactor
        isJoint = isinstance(reactor, Hub)
        if isJoint is self.options.jointReads:
            return
        if isJoint:
            reactor.giveBack(transport)
        elif isPossible(reactor):
            if self._hub is None or self._hub.reactor is not reactor:
                try:
                    self._hub = Hub(reactor)
                except OSError:  # this connection has the last descriptor; the next one tries again
                    return
            self._hub.take(transport)

    def connectionGone(self, connection: SMTPProtocol) -> None:
        """(The protocol's call.) A connection was lost."""
        self.connections.discard(connection)
        self.countAll(len(self.connections))
        if self._allGone is not None and not self.connections:
            self._allGone.callback(None)

    def shutdown(self, closeTimeout: float | None = None) -> Deferred[None]:
        """
        Stop gracefully: idle clients get 421, messages in flight may finish.

        :param closeTimeout: after how many seconds the remaining connections are closed; by
            default the option ``closeTimeout``.
        :returns: a Deferred that fires when all connections are closed.
        """
        if self._allGone is None:
            self._allGone = Deferred()
            timeout = self.options.closeTimeout if closeTimeout is None else closeTimeout
            self._closing = self.clock.callLater(timeout, self._closeAll)
            self._allGone.addCallback(self._stopClosing)
            for connection in list(self.connections):
                connection.channel.shutDown()
            if not self.connections and not self._allGone.called:
                self._allGone.callback(None)
        waiter: Deferred[None] = Deferred()
        self._allGone.addCallback(lambda _: waiter.callback(None))
        return waiter

    def _closeAll(self) -> None:
        # A thread can't be stopped, and the process waits for it: a message that a thread may be
        # storing still gets its 250. So does one whose handler says that it stores it.
        waits = threadsWork(self.clock)
        for connection in list(self.connections):
            if not (waits and connection.channel.isStoring):
                connection.channel.cutOff()
        if any(connection.channel.isStoring for connection in self.connections):
            self._closing = self.clock.callLater(THREAD_INTERVAL, self._closeAll)

    def _stopClosing(self, _: object) -> None:
        if self._closing.active():
            self._closing.cancel()

    def updateSecureContext(self, **changes: Any) -> None:
        """
        Use new certificates for new handshakes; connections that are secure keep theirs.

        :param changes: TLS options, for example ``key`` and ``cert``, which take the place of
            ``tls`` or ``selfSigned``; without any, the files named in the options are read again.
        :raises ConfigurationError: if the options make no sense; then nothing changes.
        """
        self.useSecureContext(self.prepareSecureContext(**changes))

    def prepareSecureContext(self, **changes: Any) -> SecureContext:
        """
        Do the first half of :meth:`updateSecureContext`. It takes time and changes nothing, so it
        may run in a thread.

        :param changes: as for :meth:`updateSecureContext`.
        :returns: what :meth:`useSecureContext` takes.
        :raises ConfigurationError: if the options make no sense.
        """
        for name in changes:
            if name not in _CHANGEABLE:
                raise ConfigurationError(unknownName(name, _CHANGEABLE, "TLS option"))
        replaced = [o for name in changes if changes[name] for o in _REPLACED_BY.get(name, ())]
        options = replace(self.options, **{o: getattr(Options, o) for o in replaced} | changes)
        if not options.hasCertificate:
            raise ConfigurationError("a certificate is needed: give key and cert")
        return SecureContext(options, _contextFactory(options))

    def useSecureContext(self, prepared: SecureContext) -> None:
        """
        Do the second half of :meth:`updateSecureContext`, in the reactor's thread.

        :param prepared: what :meth:`prepareSecureContext` returned.
        """
        self.contextFactory = prepared.contextFactory
        self.options = prepared.options
        # STARTTLS may not have been offered before.
        self._build()

    def adopt(self, other: SMTPServerFactory) -> None:
        """
        Use the options of another factory for new connections. Open ones keep theirs.

        :param other: a factory for the same handler, which serves nobody.
        """
        if other.options.loginDelay != self.options.loginDelay:
            self.loginFailures = other.loginFailures
        if not self.options.selfSigned:
            self.contextFactory = other.contextFactory
        self.counts.limit = other.options.maxClientsPerAddress
        if other.options.disableReverseLookup != self.options.disableReverseLookup:
            self.lookUp = other.lookUp  # else the old one, which remembers names
        self.options, self.log = other.options, other.log
        self.extensions, self.verbs, self.steps = other.extensions, other.verbs, other.steps
        self.greeting, self.authNeeded = other.greeting, other.authNeeded
        self.maxClients = other.maxClients


class _Refusal(Protocol):
    """Sends one refusal, and closes."""

    transport: Any

    def __init__(self, reply: replies.Reply, isSecure: bool) -> None:
        self._reply = reply.plain
        self._isSecure = isSecure

    def connectionMade(self) -> None:
        if self._isSecure or ISSLTransport.providedBy(self.transport):
            self.transport.abortConnection()  # not worth a handshake, or the wait for it
            return
        self.transport.write(self._reply.encode())
        self.transport.loseConnection()


def _greeting(options: Options) -> replies.Reply:
    kind = "LMTP" if options.lmtp else "ESMTP"
    banner = f" {options.banner}" if options.banner else ""
    return replies.Reply(220, None, f"{options.name} {kind}{banner}")


def _makeHandler(handler: object, hooks: dict[str, Any]) -> object:
    if handler is None:
        return fromFunctions(**hooks)
    if hooks:
        raise ConfigurationError("give either a handler object or hooks by name, not both")
    if inspect.isroutine(handler):
        name = handler.__name__
        raise ConfigurationError(f"{name} is a function: name its hook, as in onData={name}")
    if isinstance(handler, Chain) and findHook(handler, "onData") is None:
        raise ConfigurationError("a Chain that is part of another Chain can't be the handler")
    _checkHooks(handler)
    if not any(callable(getattr(handler, name, None)) for name in HOOKS):
        raise ConfigurationError(
            f"{type(handler).__name__} has none of the hooks: {', '.join(sorted(HOOKS))}"
        )
    return handler


def _sharing(handler: object, options: Options) -> object:
    """Put the stage that counts a client's connections on all servers before the handler."""
    if options.state is None or options.maxClientsPerAddress is None:
        return handler
    stage = ClientsPerAddress(options.maxClientsPerAddress, options.state)
    return Chain(stage, handler, isPart=findHook(handler, "onData") is None)


def _loginFailures(options: Options) -> LoginFailures | SharedLoginFailures:
    if options.state is None:
        return LoginFailures(options.loginDelay)
    return SharedLoginFailures(options.loginDelay, options.state)


def _checkHooks(handler: object, others: Collection[str] = ()) -> None:
    """Check the hooks of a handler and its stages; some may have been assigned since."""
    checkHandler(handler, others)
    if isinstance(handler, Chain):
        for stage in handler.stages:
            _checkHooks(stage, handler.otherHooks)


def _checkNames(keywords: dict[str, Any]) -> None:
    for name in keywords:
        if name not in OPTION_NAMES:
            raise ConfigurationError(unknownName(name, OPTION_NAMES | set(HOOKS), "option or hook"))


#: The options that are TLS's own settings, under the same names.
_TLS_OPTIONS = (
    "key",
    "cert",
    "ca",
    "passphrase",
    "ciphers",
    "minVersion",
    "requestCert",
    "rejectUnauthorized",
    "sniOptions",
)


_CHANGEABLE = (*_TLS_OPTIONS, "tls", "selfSigned")

#: An option that gives a certificate replaces the options that gave the old one.
_REPLACED_BY = {
    "tls": ("key", "cert", "passphrase", "selfSigned"),
    "key": ("tls", "selfSigned"),
    "cert": ("tls", "selfSigned"),
    "selfSigned": ("tls", "key", "cert", "passphrase"),
}


def _contextFactory(options: Options) -> ServerContextFactory | None:
    if options.tls is not None:
        return ServerContextFactory(tls=options.tls)
    if not options.hasCertificate:
        return None
    given = {name: getattr(options, name) for name in _TLS_OPTIONS}
    settings = TLSSettings(**{name: value for name, value in given.items() if value is not None})
    if options.selfSigned:
        made = selfSignedCertificate()
        settings = replace(settings, key=made.key, cert=made.cert)
    return ServerContextFactory(settings)


def _clientsByDescriptors(handler: object) -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (limit - SPARE_DESCRIPTORS) // (1 + descriptorsPerClient(handler)))

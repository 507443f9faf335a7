"""
``twistd smtpserver``: from the command line to a service.

:mod:`twisted_smtpserver.twistd.commandline` reads the flags.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.endpoints import quoteStringArgument
from twisted.logger import Logger
from twisted.python.reflect import namedAny

from twisted_smtpserver import options as library
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.handlers import Chain, Discard
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.shared import RedisState
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.tls.renewal import INTERVAL
from twisted_smtpserver.twistd import commandline
from twisted_smtpserver.twistd.checks import NEED_LOGIN, STORE_FLAGS
from twisted_smtpserver.twistd.filters import makeFilters
from twisted_smtpserver.twistd.flags import DEFAULT_MAILDIR, LISTENERS, SECRETS
from twisted_smtpserver.twistd.inbox import makeInbox
from twisted_smtpserver.twistd.logins import LOGIN_PART, makeLogins
from twisted_smtpserver.twistd.metrics import MetricsFlag
from twisted_smtpserver.twistd.openness import isOpen, openWarnings
from twisted_smtpserver.twistd.parts import STORE_PART, Parts, flagsOf, handedSecrets
from twisted_smtpserver.twistd.policies import makePolicies, makeState, withGates
from twisted_smtpserver.twistd.reload import Reloader, Running
from twisted_smtpserver.twistd.services import (
    MaildirService,
    PasswordFile,
    Server,
    SharedState,
    oneLine,
)
from twisted_smtpserver.twistd.stores import makeStore
from twisted_smtpserver.twistd.summary import summarize
from twisted_smtpserver.twistd.supervisor import Supervisor, makeCommand
from twisted_smtpserver.twistd.systemd import tellSystemd
from twisted_smtpserver.twistd.tables import TableFile, makeRecipients
from twisted_smtpserver.twistd.transcript import transcriptServices
from twisted_smtpserver.twistd.values import DEFAULT_HOST

__all__ = ["Options", "makeService"]

_log = Logger()

DEFAULT_PORT = "2525"


class Options(commandline.Options):
    """
    The flags of ``twistd smtpserver``, which are checked together with all that is made of them if
    ``--check-config`` is among them.
    """

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line, the environment and the file of configuration.

        :raises SystemExit: after ``--check-config``: with what would run, or with what is wrong.
        """
        super().parseOptions(options)
        if "check-config" in self:
            with _explaining(self):
                built = _buildHandlers(self, MetricsFlag(self, self.handover))
                _makeListeners(self, built)
            for group, what in zip(self.listeners, built, strict=True):
                for service in what.stages:
                    if isinstance(service, (PasswordFile, TableFile)):
                        with _explaining(group):
                            service.startService()  # which reads the file
            self.authOutput.write(summarize(self, [each.factories for each in built]))
            raise SystemExit(0)


def makeService(config: commandline.Options) -> IService:
    """
    Make what ``twistd`` runs. Handlers are imported and keys are read here.

    :param config: the parsed command line.
    :raises SystemExit: with one line of reason, if a handler or a key can't be used.
    """
    with _explaining(config):
        service = _build(config)
    tellSystemd(service, os.environ)
    return service


@dataclass
class _Built:
    """
    What listeners with the same settings serve.

    :ivar handler: the handler.
    :ivar preparations: services that must be started first; an inbox may be among them.
    :ivar stages: further services.
    :ivar factories: the listeners' factories.
    """

    handler: object
    preparations: list[Service]
    stages: list[Service]
    factories: list[SMTPServerFactory] = field(default_factory=list)


def _buildHandlers(config: commandline.Options, metrics: MetricsFlag) -> list[_Built]:
    parts = Parts()
    state = makeState(config)
    built = []
    for each in config.listeners:
        each.keywords |= {"state": state} if state is not None else {}
        each.keywords |= {"metrics": metrics.counting} if metrics.counting is not None else {}
        with _explaining(each):
            built.append(_buildHandler(each, parts, state))
    return built


def _build(config: commandline.Options) -> MultiService:
    metrics = MetricsFlag(config, config.handover)
    built = _buildHandlers(config, metrics)
    state = config.listeners[0].keywords.get("state")
    if any("self-signed" in each for each in config.listeners):
        _log.warn("Using a self-signed certificate, good for trying things out only")
    service = Server(isWorker=config.handover is not None)
    if config.handover is None and config.get("workers", 1) > 1:
        supervisor = _makeSupervisor(config, built, metrics.figures)
        supervisor.onHangUp = Reloader(config, _running(config, built), supervisor).reload
        warnings = openWarnings(supervisor, _openFactories(config, built))
        watching = [*metrics.watchWorkers(supervisor), *transcriptServices(config, supervisor)]
        for one in (*warnings, supervisor, *watching):
            one.setServiceParent(service)
        return service
    listeners = _makeListeners(config, built)
    needed = [one for each in built for one in each.stages]
    needed += [] if state is None else [SharedState(state)]
    needed += [one for each in built for one in each.preparations]
    server = _makeServer(config, listeners, _running(config, built))
    needed += openWarnings(server, _openFactories(config, built))
    for one in dict.fromkeys(
        [
            *needed,
            server,
            *metrics.watch(server),
            *transcriptServices(config, server),
        ]
    ):
        one.setServiceParent(service)
    for one in dict.fromkeys(needed):
        if hasattr(one, "announce"):  # the inbox, whose page says where to send mail
            one.announce(server)
    return service


def _openFactories(config: commandline.Options, built: list[_Built]) -> list[SMTPServerFactory]:
    """The factories that take mail for everybody, which a worker's supervisor has said."""
    if config.handover is not None:
        return []
    pairs = zip(config.listeners, built, strict=True)
    return [factory for each, what in pairs if isOpen(each) for factory in what.factories]


@contextlib.contextmanager
def _explaining(config: commandline.Options) -> Iterator[None]:
    """
    Say in one line what is wrong with a group's settings, and where.

    :raises SystemExit: if something is.
    """
    try:
        yield
    except ConfigurationError as error:
        raise SystemExit(oneLine(config.explain(str(error)))) from error


def _buildHandler(config: commandline.Options, parts: Parts, state: RedisState | None) -> _Built:
    """Make what the listeners of a group serve."""
    handler, preparations = _makeHandler(config, parts)
    timeout = config.keywords.get("handlerTimeout", library.Options.handlerTimeout)
    settings = config.group.settings
    handler, gates = parts.get(
        "recipients",
        settings,
        flagsOf("Recipients") | flagsOf("The inbox") | STORE_PART,
        lambda: makeRecipients(config, handler),
    )
    handler, quarantine = makeFilters(config, handler, timeout)
    policies = parts.get(
        "policies",
        settings,
        flagsOf("Policies", "resolver", "handler-timeout"),
        lambda: makePolicies(config, config.keywords.get("resolver"), timeout, state),
    )
    stages = withGates(policies, gates)
    services = [stage for stage in stages if isinstance(stage, Service)]
    logins, readers = parts.get("logins", settings, LOGIN_PART, lambda: makeLogins(config))
    if logins:
        # The inbox's chaos comes before the checkers, which know the users.
        stages += [each.chaosLogin for each in preparations if hasattr(each, "chaosLogin")]
        stages += logins
        services += readers
    if stages:
        handler = Chain(*stages, handler)
    if findHook(handler, "onAuth") is None:
        for name in NEED_LOGIN:
            if name in config:
                raise ConfigurationError(f"--{name}: needs --auth, or a --handler with onAuth")
    return _Built(handler, [*preparations, *quarantine], services)


def _makeSupervisor(config: commandline.Options, built: list[_Built], figures: Any) -> Supervisor:
    for each in config.listeners:
        # Here, while root's privileges last; and once: the workers use what is checked here.
        with _explaining(each):
            each.keywords |= readFiles(each.keywords)
    listeners = _makeListeners(config, built)
    reactor = config.parent.get("reactor") if config.parent is not None else None
    command = makeCommand(config.arguments, reactor, config.writesLog)
    secrets = handedSecrets(config.listeners, (*SECRETS, "passphrase-file"))
    try:
        return Supervisor(
            listeners,
            config["workers"],
            command,
            secrets=secrets,
            groups=[each.asJSON() for each in config.groups],
            path=config.path,
            figures=figures,
            renewalInterval=config.get("renewal-interval", INTERVAL),
        )
    except OSError as error:
        raise ConfigurationError(f"workers: {error}") from error


def _makeServer(
    config: commandline.Options, listeners: list[Any], running: list[Running]
) -> SMTPService:
    handover = config.handover
    if handover is None:
        service = SMTPService(listeners, renewalInterval=config.get("renewal-interval", INTERVAL))
        service.onHangUp = Reloader(config, running, service).reload
        return service
    worker = handover.makeService([factory for _, factory in listeners])
    reloader = Reloader(config, running, worker)
    worker.onConfiguration = lambda new: reloader.useHandover(handover.changed(new))
    return worker


def _running(config: commandline.Options, built: list[_Built]) -> list[Running]:
    return [
        Running(each, what.factories) for each, what in zip(config.listeners, built, strict=True)
    ]


def _makeHandler(config: commandline.Options, parts: Parts) -> tuple[object, list[Service]]:
    """Make the handler, and the services that must be started first."""
    settings = config.group.settings

    def store() -> tuple[object, Service | None]:
        return parts.get("store", settings, STORE_PART, lambda: _makeStore(config))

    if "inbox" not in config:
        handler, preparation = store()
        return handler, [preparation] if preparation is not None else []
    inbox = parts.get("inbox", settings, flagsOf("The inbox"), lambda: makeInbox(config))
    if not STORE_FLAGS & set(config):
        return inbox.handler, [inbox]
    handler, preparation = store()
    return inbox.besides(handler), [inbox] if preparation is None else [inbox, preparation]


def _makeStore(config: commandline.Options) -> tuple[object, Service | None]:
    if "discard" in config:
        return Discard(), None
    if "handler" in config:
        return _loadHandler(config["handler"]), None
    hostName = config.keywords.get("name", None)
    store = makeStore(config, hostName, config.keywords["size"])
    if store is not None:
        return store.handler, store
    mailbox = MaildirService(config.get("maildir", DEFAULT_MAILDIR), hostName)
    return mailbox.handler, mailbox


def _loadHandler(name: str) -> object:
    if os.getcwd() not in sys.path:  # as "python -m" does; twistd doesn't
        sys.path.insert(0, os.getcwd())
    try:
        found = namedAny(name)
        if isinstance(found, type) or (callable(found) and not _hasHooks(found)):
            found = found()
    except Exception as error:  # the user's code may raise anything
        raise ConfigurationError(f"--handler: {name}: {type(error).__name__}: {error}") from error
    if not _hasHooks(found):
        raise ConfigurationError(f"--handler: {name} has none of the hooks, such as onData")
    return found


def _hasHooks(candidate: object) -> bool:
    return any(callable(getattr(candidate, hook, None)) for hook in HOOKS)


def _makeListeners(
    config: commandline.Options, built: list[_Built]
) -> list[tuple[Any, SMTPServerFactory]]:
    listeners = []
    for each, what in zip(config.listeners, built, strict=True):
        with _explaining(each):
            made = _listenersOf(each, what.handler)
        what.factories = list(dict.fromkeys(factory for _, factory in made))
        listeners += made
    return listeners


def _listenersOf(
    config: commandline.Options, handler: object
) -> list[tuple[Any, SMTPServerFactory]]:
    endpoints = {name: list(config.get(name, ())) for name in LISTENERS}
    endpoints["listen"] += config.get("port", ())
    if not any(endpoints.values()):
        endpoints["listen"] = [DEFAULT_PORT]
    host = quoteStringArgument(config.get("host", DEFAULT_HOST))
    listeners: list[tuple[Any, SMTPServerFactory]] = []
    for name, texts in endpoints.items():
        if texts:
            factory = SMTPServerFactory(handler, **(config.keywords | LISTENERS[name]))
            listeners += [(_description(text, host), factory) for text in texts]
    return listeners


def _description(text: str, host: str) -> str:
    return f"tcp:{text}:interface={host}" if text.isdigit() else text

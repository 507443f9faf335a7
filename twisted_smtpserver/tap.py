"""
``twistd smtpserver``: from the command line to a service.

:mod:`twisted_smtpserver.twistd.commandline` reads the flags.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.endpoints import quoteStringArgument
from twisted.logger import Logger
from twisted.python.reflect import namedAny

from twisted_smtpserver import options as library
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.handlers import Chain, Discard
from twisted_smtpserver.handlers.cred import CredHandler
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.tls.renewal import INTERVAL
from twisted_smtpserver.twistd.commandline import (
    LISTENERS,
    NEED_LOGIN,
    STORE_FLAGS,
    Options,
    inFlags,
    passwordFiles,
)
from twisted_smtpserver.twistd.filters import makeFilters
from twisted_smtpserver.twistd.flags import DEFAULT_MAILDIR, SECRETS
from twisted_smtpserver.twistd.inbox import makeInbox
from twisted_smtpserver.twistd.policies import makePolicies, makeState
from twisted_smtpserver.twistd.services import (
    MaildirService,
    PasswordFile,
    Server,
    SharedState,
    oneLine,
)
from twisted_smtpserver.twistd.stores import makeStore
from twisted_smtpserver.twistd.supervisor import Supervisor, makeCommand
from twisted_smtpserver.twistd.values import DEFAULT_HOST

__all__ = ["Options", "makeService"]

_log = Logger()

DEFAULT_PORT = "2525"


def makeService(config: Options) -> IService:
    """
    Make what ``twistd`` runs. Handlers are imported and keys are read here.

    :param config: the parsed command line.
    :raises SystemExit: with one line of reason, if a handler or a key can't be used.
    """
    try:
        return _build(config)
    except ConfigurationError as error:
        raise SystemExit(oneLine(inFlags(str(error)))) from error


def _build(config: Options) -> MultiService:
    handler, preparations = _makeHandler(config)
    timeout = config.keywords.get("handlerTimeout", library.Options.handlerTimeout)
    handler, quarantine = makeFilters(config, handler, timeout)
    state = makeState(config)
    stages = makePolicies(config, config.keywords.get("resolver"), timeout, state)
    services = [stage for stage in stages if isinstance(stage, Service)]
    if state is not None:
        config.keywords["state"] = state
        services.append(SharedState(state))
    if "credCheckers" in config:
        # The inbox's chaos comes before the checkers, which know the users.
        stages += [each.chaosLogin for each in preparations if hasattr(each, "chaosLogin")]
        stages.append(CredHandler(*config["credCheckers"], inThread=True))
        services += map(PasswordFile, passwordFiles(config))
    if stages:
        handler = Chain(*stages, handler)
    if findHook(handler, "onAuth") is None:
        for name in NEED_LOGIN:
            if name in config:
                raise ConfigurationError(f"--{name}: needs --auth, or a --handler with onAuth")
    if "self-signed" in config:
        _log.warn("Using a certificate that was made just now: only good for trying things out")
    service = Server(isWorker=config.handover is not None)
    if config.handover is None and config.get("workers", 1) > 1:
        _makeSupervisor(config, handler).setServiceParent(service)
        return service
    listeners = _makeListeners(config, handler)
    for needed in [*services, *preparations, *quarantine]:
        needed.setServiceParent(service)
    server = _makeServer(config, listeners)
    server.setServiceParent(service)
    for each in preparations:
        if hasattr(each, "announce"):  # the inbox, whose page says where to send mail
            each.announce(server)
    return service


def _makeSupervisor(config: Options, handler: object) -> Supervisor:
    # Here, while root's privileges last; and once, so that the workers use what is checked here.
    certificates = readFiles(config.keywords)
    config.keywords |= certificates
    listeners = _makeListeners(config, handler)
    reactor = config.parent.get("reactor") if config.parent is not None else None
    command = makeCommand(config.arguments, reactor)
    try:
        secrets = {name: config[name] for name in SECRETS if name in config}
        return Supervisor(
            listeners,
            config["workers"],
            command,
            certificates,
            secrets=secrets,
            renewalInterval=config.get("renewal-interval", INTERVAL),
        )
    except OSError as error:
        raise ConfigurationError(f"workers: {error}") from error


def _makeServer(config: Options, listeners: list[Any]) -> SMTPService:
    if config.handover is None:
        return SMTPService(listeners, renewalInterval=config.get("renewal-interval", INTERVAL))
    return config.handover.makeService([factory for _, factory in listeners])


def _makeHandler(config: Options) -> tuple[object, list[Service]]:
    """Make the handler, and the services that must be started first."""
    if "inbox" not in config:
        store, preparation = _makeStore(config)
        return store, [preparation] if preparation is not None else []
    inbox = makeInbox(config)
    if not STORE_FLAGS & set(config):
        return inbox.handler, [inbox]
    store, preparation = _makeStore(config)
    return inbox.besides(store), [inbox] if preparation is None else [inbox, preparation]


def _makeStore(config: Options) -> tuple[object, Service | None]:
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


def _makeListeners(config: Options, handler: object) -> list[tuple[Any, SMTPServerFactory]]:
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

"""
``twistd smtpserver``: from the command line to a service.

The flags themselves stand in :mod:`twisted_smtpserver.twistd.flags`.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.cred.checkers import FilePasswordDB
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.endpoints import quoteStringArgument
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.reflect import namedAny

from twisted_smtpserver import options as library
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.handlers import Chain, Discard
from twisted_smtpserver.handlers.cred import CredHandler
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.log import batches
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.twistd.filters import checkFilters, makeFilters
from twisted_smtpserver.twistd.flags import DEFAULT_HOST, DEFAULT_MAILDIR, FLAGS, SECRETS, Flag
from twisted_smtpserver.twistd.inbox import checkInbox, inboxOptions, makeInbox
from twisted_smtpserver.twistd.policies import checkPolicies, makePolicies, makeState
from twisted_smtpserver.twistd.services import (
    LateMaildir,
    PasswordFile,
    Server,
    SharedState,
    oneLine,
)
from twisted_smtpserver.twistd.stores import STORES, checkStores, makeStore
from twisted_smtpserver.twistd.supervisor import Supervisor, makeCommand
from twisted_smtpserver.twistd.worker import SHAREABLE, Inheritance

_log = Logger()

DEFAULT_PORT = "2525"

#: Messages may be this large unless ``--size`` says otherwise: a disk isn't unlimited.
DEFAULT_SIZE = 50 * 2**20

#: The flags that name listeners, and what they make different.
LISTENERS: dict[str, dict[str, bool]] = {
    "listen": {},
    "listen-tls": {"secure": True},
    "listen-lmtp": {"lmtp": True},
}

#: Flags that make no sense without a certificate of ours.
_NEED_CERTIFICATE = (
    "listen-tls",
    "secure",
    "submission",
    "tls-required",
    "request-cert",
    "sni-options",
)

#: Flags that make no sense where nobody can log in.
_NEED_LOGIN = (
    *("submission", "auth-optional", "allow-insecure-auth", "auth-methods"),
    "sender-matches-login",
)

#: Where messages go; beside an inbox there may be one of them.
_STORES = {"maildir", "discard", "handler", *STORES}

#: Without one of these AUTH isn't offered to anybody.
_OFFERS_LOGIN = {"cert", "key", "self-signed", "secured", "allow-insecure-auth"}

#: twisted.cred has nothing for tokens, and doesn't give out what SCRAM needs.
_UNCHECKABLE = {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}


class Options(usage.Options, AuthOptionMixin):
    """
    The command line of ``twistd smtpserver``. Each flag that was given is an item.

    :ivar given: the values of the flags that may be repeated, one by one.
    :ivar keywords: after parsing, what goes to :class:`SMTPServerFactory`.
    :ivar arguments: what was parsed.
    :ivar inheritance: what this process has from its supervisor, if it is a worker.
    """

    synopsis = "[options]"
    supportedInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    keywords: dict[str, Any]

    def __init__(self) -> None:
        self.given: dict[str, list[Any]] = {}
        self.arguments: list[str] = []
        self.inheritance = Inheritance.take()
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line.

        :raises usage.UsageError: if it is wrong; under ``twistd``, which would print 60 lines of
            help before the reason, :class:`SystemExit` with the reason alone.
        """
        self.arguments = list(options or ())
        if self.parent is not None:
            batches.useFor(self.parent)
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(oneLine(f"{error} (see --help)")) from None

    def postOptions(self) -> None:
        """
        Check what can be checked without looking at files.

        :raises usage.UsageError: if the flags don't go together.
        """
        given = [flag for flag in _allFlags() if flag.option and flag.name in self]
        self.keywords = {flag.option: self[flag.name] for flag in given}
        self.keywords.setdefault("size", DEFAULT_SIZE)
        self.keywords |= inboxOptions(self)
        if "submission" in self:
            self.keywords["tlsRequired"] = True
        if self.inheritance is not None:
            self.keywords["scramSaltKey"] = self.inheritance.saltKey
        self._checkHandlers()
        self._checkListeners()
        self._checkWorkers()
        self._checkTLS()
        self._checkSubmission()
        self._checkAuth()
        for name, special in LISTENERS.items():
            if name in self or not special:
                self._checkKeywords(self.keywords | special)

    def opt_auth(self, description: str) -> None:
        """
        Take ``--auth``.

        :param description: the method, and what that wants to know, as in ``file:passwd``.
        :raises usage.UsageError: if there is no such method.
        """
        method, _, path = description.partition(":")
        if method == "file" and path.strip():
            # strcred would look for it in the current folder, and warn in an output of its own.
            self.addChecker(FilePasswordDB(self._fromHere(path)))
        else:
            super().opt_auth(description)

    def _fromHere(self, path: str) -> str:
        """A path that stays the same in ``--rundir``; in ``--chroot`` it is another one anyway."""
        if self._chroot:
            return path
        return os.path.join(self.inheritance.folder if self.inheritance else os.getcwd(), path)

    @property
    def _chroot(self) -> str | None:
        chroot: str | None = None if self.parent is None else self.parent.get("chroot")
        return chroot

    def _checkHandlers(self) -> None:
        if len(_STORES & set(self)) > 1:
            *flags, last = [f"--{name}" for name in ("maildir", "discard", "handler", *STORES)]
            raise usage.UsageError(f"{', '.join(flags)} and {last}: choose one of them")

    def _checkListeners(self) -> None:
        given = [text for name in ("port", *LISTENERS) for text in self.get(name, ())]
        if "host" in self and given and not any(map(str.isdigit, given)):
            raise usage.UsageError("--host: is for ports that are given by number")

    def _checkWorkers(self) -> None:
        if self.get("workers", 1) == 1:
            return
        if "inbox" in self:
            raise usage.UsageError("--workers: there can be only one --inbox")
        if self._chroot:
            raise usage.UsageError("--workers: can't be started inside of twistd's --chroot")
        for name in LISTENERS:
            for text in self.get(name, ()):
                kind = text.partition(":")[0]
                if not (kind.isdigit() or kind in SHAREABLE):
                    raise usage.UsageError(
                        f"--{name}: {kind}: endpoints can't be shared by --workers, only "
                        + ", ".join(SHAREABLE)
                    )

    def _checkTLS(self) -> None:
        if {"cert", "key", "self-signed"} & set(self):
            return
        for name in _NEED_CERTIFICATE:
            upstream = "secured" in self and name in ("submission", "tls-required")
            if name in self and not upstream:
                raise usage.UsageError(f"--{name}: needs --cert and --key, or --self-signed")

    def _checkSubmission(self) -> None:
        if "submission" not in self:
            return
        for name in ("auth-optional", "listen-lmtp", "lmtp"):
            if name in self:
                raise usage.UsageError(f"--submission and --{name} contradict each other")
        if self._isAuthDisabled():
            raise usage.UsageError("--submission: needs AUTH, which is disabled")

    def _isAuthDisabled(self) -> bool:
        return "AUTH" in map(str.upper, self.keywords.get("disabledCommands", ()))

    def _checkAuth(self) -> None:
        if "credCheckers" not in self:
            return
        if self.inheritance is None and not self._chroot:
            for checker in _passwordFiles(self):
                if not os.path.isfile(checker.filename):
                    raise usage.UsageError(f"--auth: there is no file {checker.filename!r}")
        if self._isAuthDisabled() or {"auth-optional", "xclient-from"} & set(self):
            return  # mail can come without AUTH
        if not _OFFERS_LOGIN & set(self):
            raise usage.UsageError(
                "--auth: needs --cert and --key, --self-signed, --secured or --allow-insecure-auth"
            )
        methods = set(map(str.upper, self.keywords.get("authMethods", library.Options.authMethods)))
        uncheckable = _UNCHECKABLE if "request-cert" in self else _UNCHECKABLE | {"EXTERNAL"}
        if methods <= uncheckable and "handler" not in self:
            raise usage.UsageError(
                "--auth-methods: nobody could log in; --auth can check PLAIN, LOGIN and CRAM-MD5, "
                "and EXTERNAL with --request-cert"
            )

    def _checkKeywords(self, keywords: dict[str, Any]) -> None:
        try:
            checkPolicies(self)
            checkFilters(self)
            checkStores(self)
            checkInbox(self)
            library.makeOptions(keywords)
        except ConfigurationError as error:
            raise usage.UsageError(_inFlags(str(error))) from None

    def getUsage(self, width: int | None = None) -> str:
        """
        The help: the flags under their headings.

        :param width: the terminal's, in columns.
        """
        width = width or int(os.environ.get("COLUMNS", "80"))
        lines = ["", *textwrap.wrap(_INTRODUCTION, width)]
        for heading, flags in FLAGS.items():
            lines += ["", f"{heading}:"]
            for flag in flags:
                lines += _describe(flag, width)
        return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "Receives mail by SMTP or LMTP. Each message is stored in a Maildir, or given to a handler. "
    "Flags for listeners, networks and lists may be repeated; lists are separated by commas."
)


def _passwordFiles(config: Options) -> list[FilePasswordDB]:
    """Those of the checkers of ``--auth`` that read a file at each login."""
    return [each for each in config.get("credCheckers", ()) if isinstance(each, FilePasswordDB)]


def _allFlags() -> list[Flag]:
    return [flag for flags in FLAGS.values() for flag in flags]


def _makeTaker(flag: Flag) -> Callable[..., None]:
    """The method that :mod:`twisted.python.usage` calls when a flag was given."""

    def takeSwitch(self: Options) -> None:
        self[flag.name] = True

    def take(self: Options, text: str) -> None:
        handed = flag.option or flag.name
        if self.inheritance is not None and handed in self.inheritance.handed:
            # It was read with root's privileges, which are gone.
            self[flag.name] = self.inheritance.handed[handed]
            return
        try:
            if not text.strip():  # a variable of the shell's that isn't set, mostly
                raise ValueError("its value is empty")
            value = flag.read(text)
        except ValueError as error:
            raise usage.UsageError(f"--{flag.name}: {error}") from None
        if flag.gather is not None:
            values = self.given.setdefault(flag.name, [])
            values.append(value)
            value = flag.gather(values)
        self[flag.name] = value

    return take if flag.value else takeSwitch


for _flag in _allFlags():
    if not hasattr(Options, _flag.method):  # help, and what strcred defines
        setattr(Options, _flag.method, _makeTaker(_flag))


# -- Texts -----------------------------------------------------------------------------------------

_FLAG_OF = {flag.option: flag.name for flag in reversed(_allFlags()) if flag.option}
_DEFAULTS = {field.name: field.default for field in fields(library.Options) if field.init}
_HELP_COLUMN = 28


def _describe(flag: Flag, width: int) -> list[str]:
    """The lines of the help for a flag."""
    left = f"  --{flag.name} {flag.value}".rstrip()
    right = textwrap.wrap(flag.text + _shownDefault(flag), max(20, width - _HELP_COLUMN))
    if len(left) >= _HELP_COLUMN:
        return [left, *(" " * _HELP_COLUMN + line for line in right)]
    return [f"{left:{_HELP_COLUMN}}{right[0]}", *(" " * _HELP_COLUMN + line for line in right[1:])]


def _shownDefault(flag: Flag) -> str:
    default = _DEFAULTS.get(flag.option)
    # A switch is off, and an empty default is none: neither needs saying.
    if not flag.value or not default or not isinstance(default, (str, int, float, tuple)):
        return ""
    if isinstance(default, tuple):
        default = ",".join(default)
    return f" [default: {'yes' if default is True else default}]"


def _inFlags(text: str) -> str:
    """Call the options in an error's text as they are called on the command line."""
    first = re.match(r"(\w+)(?=:| \()", text)
    if first and first[0] in _FLAG_OF:
        text = f"--{_FLAG_OF[first[0]]}{text[first.end() :]}"
    # Only words that can't be anything else: "name" and "size" are English, too.
    camelCase = "|".join(name for name in _FLAG_OF if not name.islower())
    return re.sub(rf"\b(?:{camelCase})\b", lambda match: f"--{_FLAG_OF[match[0]]}", text)


# -- The service -----------------------------------------------------------------------------------


def makeService(config: Options) -> IService:
    """
    Make what ``twistd`` runs. Handlers are imported and keys are read here.

    :param config: the parsed command line.
    :raises SystemExit: with one line if that can't be done.
    """
    try:
        return _build(config)
    except ConfigurationError as error:
        raise SystemExit(oneLine(_inFlags(str(error)))) from error


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
        # The inbox's chaos comes before those who know the users.
        stages += [each.chaosLogin for each in preparations if hasattr(each, "chaosLogin")]
        stages.append(CredHandler(*config["credCheckers"], inThread=True))
        services += map(PasswordFile, _passwordFiles(config))
    if stages:
        handler = Chain(*stages, handler)
    if findHook(handler, "onAuth") is None:
        for name in _NEED_LOGIN:
            if name in config:
                raise ConfigurationError(f"--{name}: needs --auth, or a --handler with onAuth")
    if "self-signed" in config:
        _log.warn("Using a certificate that was made just now: only good for trying things out")
    service = Server(isWorker=config.inheritance is not None)
    if config.inheritance is None and config.get("workers", 1) > 1:
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
    # Here, as long as root's privileges last; and once, so that what is checked is what is used.
    certificates = readFiles(config.keywords)
    config.keywords |= certificates
    listeners = _makeListeners(config, handler)
    reactor = config.parent.get("reactor") if config.parent is not None else None
    command = makeCommand(config.arguments, reactor)
    try:
        secrets = {name: config[name] for name in SECRETS if name in config}
        return Supervisor(listeners, config["workers"], command, certificates, secrets=secrets)
    except OSError as error:
        raise ConfigurationError(f"workers: {error}") from error


def _makeServer(config: Options, listeners: list[Any]) -> SMTPService:
    if config.inheritance is None:
        return SMTPService(listeners)
    return config.inheritance.makeService([factory for _, factory in listeners])


def _makeHandler(config: Options) -> tuple[object, list[Service]]:
    """The handler, and what has to be started before it is used."""
    if "inbox" not in config:
        store, preparation = _makeStore(config)
        return store, [preparation] if preparation is not None else []
    inbox = makeInbox(config)
    if not _STORES & set(config):
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
    mailbox = LateMaildir(config.get("maildir", DEFAULT_MAILDIR), hostName)
    return mailbox.handler, mailbox


def _loadHandler(name: str) -> object:
    if os.getcwd() not in sys.path:  # as with "python -m"; twistd itself doesn't put it there
        sys.path.insert(0, os.getcwd())
    try:
        found = namedAny(name)
        if isinstance(found, type) or (callable(found) and not _hasHooks(found)):
            found = found()
    except Exception as error:  # it is the user's code, which may do anything
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

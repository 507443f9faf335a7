"""
SIGHUP: the configuration file is read again, and used for new connections as far as possible.

All of it is used, or nothing: if anything is wrong with the file, or with a certificate that it
names, nothing changes. Open connections keep the options that they began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.twistd.commandline import Options
from twisted_smtpserver.twistd.flags import BY_NAME, SECRETS
from twisted_smtpserver.twistd.handed import CERTIFICATE_FILES, Handed, joined
from twisted_smtpserver.twistd.layers import LISTEN, Layer
from twisted_smtpserver.twistd.parts import handedSecrets
from twisted_smtpserver.twistd.supervisor import Supervisor
from twisted_smtpserver.twistd.worker import Handover

_log = Logger()

#: Options that something else was made of at the start, or that open connections rely on.
FIXED = frozenset(
    {
        *("secure", "secured", "lmtp", "selfSigned", "tlsRequired"),  # what kind of port it is
        *("name", "resolver", "handlerTimeout"),  # stores, policies and filters have them, too
        *("extensions", "disabledCommands"),  # clients were told
        "maxSessionTime",  # one timer for all connections
    }
)


@dataclass
class Running:
    """
    Listeners with the same settings, as they run.

    :ivar config: their settings when they started.
    :ivar factories: their factories.
    :ivar settings: the settings that are in use.
    :ivar keywords: the options that are in use.
    """

    config: Options
    factories: Sequence[SMTPServerFactory]
    settings: Layer = field(init=False)
    keywords: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.settings, self.keywords = self.config.group.settings, self.config.keywords


@dataclass
class _Change:
    """What changes for some listeners."""

    running: Running
    fresh: Options
    names: list[str]
    keywords: dict[str, Any]
    made: list[SMTPServerFactory] = field(default_factory=list)

    def use(self) -> None:
        """Use it for new connections."""
        for factory, made in zip(self.running.factories, self.made, strict=True):
            factory.adopt(made)
        settings = {n: s for n, s in self.running.settings.items() if n not in self.names}
        fresh = self.fresh.group.settings
        self.running.settings = settings | {
            name: fresh[name] for name in self.names if name in fresh
        }
        self.running.keywords = self.keywords


class Reloader:
    """
    Reads the configuration again.

    :param config: what the server was started with.
    :param running: its listeners.
    :param service: what listens.
    """

    def __init__(self, config: Options, running: Sequence[Running], service: SMTPService) -> None:
        self._config = config
        self._running = running
        self._service = service
        self._lock = DeferredLock()

    def reload(self) -> Deferred[bool]:
        """
        Read the file again, and the certificates; without a file, the certificates.

        :returns: a Deferred that fires with whether that could be used.
        """
        if self._config.path is None:
            return self._service.reloadCertificates()
        return self._run(None)

    def useHandover(self, handover: Handover) -> Deferred[bool]:
        """
        (In a worker.) Use what the supervisor has read.

        :param handover: what it has handed over now.
        :returns: a Deferred that fires with whether that could be used.
        """
        return self._run(handover)

    def _run(self, handover: Handover | None) -> Deferred[bool]:
        done: Deferred[bool] = self._lock.run(self._reload, handover)
        return done.addErrback(_failed)

    def _reload(self, handover: Handover | None) -> Deferred[bool]:
        try:
            fresh = self._config.again(handover)
        except usage.UsageError as error:
            return succeed(_keepOld(str(error)))
        changes, fixed = self._compare(fresh)
        runInThread = self._running[0].factories[0].runInThread
        preparing = runInThread(self._prepare, changes)
        return preparing.addCallback(self._use, fresh, changes, fixed)

    def _compare(self, fresh: Options) -> tuple[list[_Change], list[str]]:
        """Find what changes, and the names of what can't without a restart."""
        changes: list[_Change] = []
        fixed: list[str] = []
        left = list(fresh.listeners)
        for running in self._running:
            where = _where(running.settings)
            same = [each for each in left if _where(each.group.settings) == where]
            if same:
                left.remove(same[0])
                changes.append(_changeOf(running, same[0]))
                fixed += _fixedNames(running, same[0])
            else:
                fixed.append(_listenersName(running.config))
        return changes, [*fixed, *map(_listenersName, left)]

    def _prepare(self, changes: list[_Change]) -> str:
        """
        (In a thread.) Make factories with the new options.

        :returns: why that can't be done; empty if it was.
        """
        for change in changes:
            try:
                if isinstance(self._service, Supervisor):
                    change.keywords |= readFiles(change.keywords)
                change.made = [_remade(each, change.keywords) for each in change.running.factories]
            except ConfigurationError as error:
                return change.fresh.explain(str(error))
        return ""

    def _use(self, problem: str, fresh: Options, changes: list[_Change], fixed: list[str]) -> bool:
        if problem:
            return _keepOld(problem)
        names = [_nameOf(name, each.running, each.fresh) for each in changes for name in each.names]
        for change in changes:
            change.use()
        if self._config.path is None:  # in a worker, whose supervisor has other certificates
            self._service.certificatesReplaced()
            return True
        if self._config.handover is not None:
            _log.info("The supervisor's new configuration is in use")
            return True
        what = (
            f"new connections have another {', '.join(dict.fromkeys(names))}"
            if names
            else "nothing has changed"
        )
        _log.info("The configuration was read again: {what}", what=what)
        for name in dict.fromkeys(fixed):
            _log.warn("{name} has changed: restart the server to use it", name=name)
        self._service.logCertificates()
        if isinstance(self._service, Supervisor):
            self._service.useConfiguration(self._secrets(fresh), self._groups())
        return True

    def _secrets(self, fresh: Options) -> Handed:
        """What workers get: secrets that stores, for example, were made of stay as they were."""
        return joined(
            handedSecrets(fresh.listeners, ["passphrase-file"]),
            handedSecrets(self._config.listeners, SECRETS),
        )

    def _groups(self) -> list[dict[str, Any]]:
        """The settings that are in use."""
        running = [replace(each.config.group, settings=each.settings) for each in self._running]
        isCommon = self._config.listeners[0] is self._config
        groups = running if isCommon else [self._config.group, *running]
        return [group.asJSON() for group in groups]


def _keepOld(reason: str) -> bool:
    _log.error("Keeping the old configuration: {reason}", reason=" ".join(reason.split()))
    return False


def _failed(failure: Failure) -> bool:
    _log.failure("Keeping the old configuration", failure)
    return False


def _where(settings: Layer) -> dict[str, tuple[str, ...]]:
    """The ports of listeners with these settings."""
    return {name: settings[name].texts for name in LISTEN if name in settings}


def _listenersName(config: Options) -> str:
    """The name of listeners in the log."""
    texts = [text for each in _where(config.group.settings).values() for text in each]
    return f"the listener on {' and '.join(texts)}" if texts else "the listener"


def _remade(factory: SMTPServerFactory, keywords: Mapping[str, Any]) -> SMTPServerFactory:
    """Make a factory with other options, for the same kind of port."""
    kind = {"secure": factory.options.secure, "lmtp": factory.options.lmtp}
    return SMTPServerFactory(factory.handler, reactor=factory.clock, **{**keywords, **kind})


def _changed(running: Running, fresh: Options) -> list[str]:
    """The names of the flags that have another value."""
    before, after = running.settings, fresh.group.settings
    names = [name for name in BY_NAME if name in before or name in after]
    return [
        name
        for name in names
        if not (name in before and name in after and before[name].texts == after[name].texts)
    ]


def _isFixed(name: str, running: Running, fresh: Options) -> bool:
    """Whether a flag can't have another value without a restart."""
    option = BY_NAME[name].option
    before, after = option in running.keywords, option in fresh.keywords
    if option in ("cert", "key"):
        return before and not after  # STARTTLS was offered
    if option == "maxClients":
        return before != after  # without it all listeners count together
    isShared = "state" in running.keywords and option == "maxClientsPerAddress"
    return not option or option in FIXED or isShared


def _changeOf(running: Running, fresh: Options) -> _Change:
    names = [name for name in _changed(running, fresh) if not _isFixed(name, running, fresh)]
    # What is in a certificate's files may have changed, whatever their names are.
    changing = {BY_NAME[name].option for name in names} | {*CERTIFICATE_FILES, "passphrase"}
    if "sniOptions" in fresh.keywords:
        changing.add("sniOptions")
    keywords = {name: value for name, value in running.keywords.items() if name not in changing}
    for option in changing:
        if option in fresh.keywords:
            keywords[option] = fresh.keywords[option]
        elif option in running.keywords and option in ("cert", "key"):
            keywords[option] = running.keywords[option]
    return _Change(running, fresh, names, keywords)


def _fixedNames(running: Running, fresh: Options) -> list[str]:
    """What has changed and needs a restart, as it is called where it was changed."""
    names = [name for name in _changed(running, fresh) if _isFixed(name, running, fresh)]
    found = [_nameOf(name, running, fresh) for name in names]
    return found + [
        f"what is in the file of {fresh.group.settings[name].name}"
        for name in SECRETS
        if name not in names and fresh.get(name) != running.config.get(name)
    ]


def _nameOf(name: str, running: Running, fresh: Options) -> str:
    """What a flag is called where it was changed."""
    after = fresh.group.settings
    return (after[name] if name in after else running.settings[name]).name

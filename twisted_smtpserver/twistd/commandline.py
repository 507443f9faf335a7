"""
The command line of ``twistd smtpserver``: its flags are read and checked, and its help is written.

The flags themselves are in :mod:`twisted_smtpserver.twistd.flags`.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from twisted.cred.checkers import FilePasswordDB
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage

from twisted_smtpserver import options as library
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.log import batches
from twisted_smtpserver.log.files import ROTATE_SIZE
from twisted_smtpserver.log.formats import FORMATS
from twisted_smtpserver.twistd.configfile import parseConfig, readText
from twisted_smtpserver.twistd.credentials import resolveCredential
from twisted_smtpserver.twistd.environment import readEnvironment
from twisted_smtpserver.twistd.example import exampleConfig
from twisted_smtpserver.twistd.filters import checkFilters
from twisted_smtpserver.twistd.flags import BY_NAME, FLAGS, LISTENERS, Flag
from twisted_smtpserver.twistd.inbox import checkInbox, inboxOptions
from twisted_smtpserver.twistd.layers import (
    LISTEN,
    ConfigFile,
    Group,
    Layer,
    Setting,
    arrange,
    inPlaces,
)
from twisted_smtpserver.twistd.logins import (
    METHODS,
    SCRAM,
    checkLogins,
    hasLogins,
    passwordFiles,
    userFiles,
    writeHelp,
)
from twisted_smtpserver.twistd.policies import checkPolicies
from twisted_smtpserver.twistd.services import oneLine
from twisted_smtpserver.twistd.stores import STORES, checkStores
from twisted_smtpserver.twistd.tables import TABLES, checkTables
from twisted_smtpserver.twistd.versions import describeVersions
from twisted_smtpserver.twistd.worker import SHAREABLE, Handover

#: The default of ``--size``, in octets: a disk isn't unlimited.
DEFAULT_SIZE = 50 * 2**20

#: Flags that need a certificate of ours.
_NEED_CERTIFICATE = (
    "listen-tls",
    "secure",
    "submission",
    "tls-required",
    "request-cert",
    "sni-options",
)

#: Flags that need a login.
NEED_LOGIN = (
    *("submission", "auth-optional", "allow-insecure-auth", "auth-methods"),
    *("sender-matches-login", "senders"),
)

#: Flags that say where messages go. An inbox may stand beside one of them.
STORE_FLAGS = {"maildir", "discard", "handler", *STORES}

#: AUTH is offered only with one of these flags.
_OFFERS_LOGIN = {"cert", "key", "self-signed", "secured", "allow-insecure-auth"}

#: Methods that ``--auth`` can't check: twisted.cred has nothing for tokens or for SCRAM.
_UNCHECKABLE = {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}

#: Flags that print something and exit: whatever a file of configuration says.
_PRINTING = {"help", "version", "help-auth", "help-auth-type", "example-config"}


class Options(usage.Options, AuthOptionMixin):
    """
    The flags of ``twistd smtpserver``, from the command line, the environment and a file. Each flag
    that was given is an item.

    Where the file has a ``[[listener]]``, that has a further object of this class.

    :ivar implied: what goes without saying; a flag's value by its name.
    :ivar given: the values of the flags that may be repeated, one by one.
    :ivar keywords: after parsing, what goes to :class:`SMTPServerFactory`.
    :ivar arguments: the command line's words.
    :ivar handover: in a worker, what the supervisor handed over; else ``None``.
    :ivar path: the path of the file of configuration, if there is one.
    :ivar group: the settings, as texts, and where they come from.
    :ivar groups: those that are common, and those of each ``[[listener]]``.
    :ivar listeners: the settings of the listeners: this object's own if it has any, and those of
        each ``[[listener]]``.
    """

    synopsis = "[options]"
    supportedInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    keywords: dict[str, Any]

    def __init__(self) -> None:
        self.implied: dict[str, str] = {}
        self.given: dict[str, list[Any]] = {}
        self.arguments: list[str] = []
        self.handover = Handover.receive()
        self.path: str | None = None
        self.group = Group({})
        self.groups: list[Group] = []
        self.listeners: list[Options] = [self]
        self._hasListeners = True
        self._folder = self.handover.folder if self.handover else os.getcwd()
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line, the environment and the file of configuration.

        :raises usage.UsageError: if one of them is wrong; under ``twistd``, which would print 60
            lines of help before the reason, :class:`SystemExit` with the reason alone.
        """
        self.arguments = list(sys.argv[1:] if options is None else options)
        writesLog = self.parent is not None and batches.useFor(self.parent)
        try:
            self._parse()
            self._chooseLog(writesLog)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            isFlag = str(error).startswith(("--", "option "))
            raise SystemExit(oneLine(f"{error} (see --help)" if isFlag else str(error))) from None

    def _chooseLog(self, isOurs: bool) -> None:
        """Choose how the log is written; a worker's is its supervisor's."""
        if self.parent is None or self.handover is not None:
            return
        for name in ("log-format", "log-size"):
            if name in self and not isOurs:
                raise usage.UsageError(f"--{name}: twistd's --logger or --syslog writes the log")
        format_ = FORMATS[self.get("log-format", "text")]
        batches.choose(format_, self.get("log-size", ROTATE_SIZE))

    def _parse(self) -> None:
        commandLine = self._readCommandLine()
        if commandLine is None or _PRINTING & set(commandLine):
            super().parseOptions(self.arguments)  # which says what is wrong, or prints
            return
        if self.handover is None:
            self.groups = self._readPlaces(commandLine)
        else:  # what the supervisor has read: the file may have changed, or be root's
            self.groups = [Group.fromJSON(each) for each in self.handover.groups]
            self.path = self.handover.path
        first, *others = self.groups
        self.listeners = [self._listener(group) for group in others]
        self._hasListeners = not others or bool(LISTEN & set(first.settings))
        if self._hasListeners:
            self.listeners.insert(0, self)
        self._take(first)

    def _readPlaces(self, commandLine: Layer) -> list[Group]:
        """Read the environment and the file; put all places together."""
        implied = {name: Setting((text,), f"--{name}") for name, text in self.implied.items()}
        try:
            environment = readEnvironment(os.environ)
            file = self._readFile({**environment, **commandLine}.get("config"))
        except ConfigurationError as error:
            raise usage.UsageError(str(error)) from None
        return arrange(implied, file, [environment, commandLine])

    def _readCommandLine(self) -> Layer | None:
        """What is on the command line; ``None`` if it is no list of flags."""
        try:
            found, rest = getopt.getopt(self.arguments, self.shortOpt, self.longOpt)
        except getopt.error:
            return None
        texts: dict[str, tuple[str, ...]] = {}
        for option, text in found:
            name = option[2:]
            texts[name] = (*texts.get(name, ()), text) if BY_NAME[name].value else ("",)
        return None if rest else {name: Setting(texts[name], f"--{name}") for name in texts}

    def _readFile(self, setting: Setting | None) -> ConfigFile | None:
        if setting is None:
            return None
        try:
            path = os.path.join(self._folder, resolveCredential(setting.texts[-1]))
        except ValueError as error:
            raise ConfigurationError(f"{setting.name}: {error}") from None
        self.path = path
        return parseConfig(path, readText(path))

    def _listener(self, group: Group) -> Options:
        """The settings of a ``[[listener]]``."""
        made = Options()
        made.parent, made.handover, made.path = self.parent, self.handover, self.path
        made._folder = self._folder
        made._take(group)
        return made

    def _take(self, group: Group) -> None:
        self.group = group
        try:
            super().parseOptions(group.arguments())
        except usage.UsageError as error:
            raise usage.UsageError(self.explain(str(error))) from None

    def again(self, handover: Handover | None = None) -> Options:
        """
        Read everything again: the file may have changed.

        :param handover: in a worker, what the supervisor has handed over since.
        :raises usage.UsageError: if something is wrong.
        """
        fresh = Options()
        fresh.parent, fresh.implied, fresh.arguments = self.parent, self.implied, self.arguments
        fresh.handover, fresh._folder = handover, self._folder
        fresh._parse()
        return fresh

    def explain(self, text: str) -> str:
        """
        Say an error in the words of the place where the mistake was made.

        :param text: the error, in flags or in the options' names.
        """
        return inPlaces(inFlags(text), self.group, self.path)

    def postOptions(self) -> None:
        """
        Check the flags as far as that needs no look into a file.

        :raises usage.UsageError: if two flags contradict each other, or one needs another.
        """
        given = [flag for flag in BY_NAME.values() if flag.option and flag.name in self]
        self.keywords = {flag.option: self[flag.name] for flag in given}
        self.keywords.setdefault("size", DEFAULT_SIZE)
        self.keywords |= inboxOptions(self)
        self._locateCertificates()
        if "submission" in self:
            self.keywords["tlsRequired"] = True
        if self.handover is not None:
            self.keywords["scramSaltKey"] = self.handover.saltKey
        if not self._hasListeners:
            return
        self._checkHandlers()
        self._checkListeners()
        self._checkWorkers()
        self._checkTLS()
        self._checkSubmission()
        self._sayingFlags(checkLogins)
        self._checkTables()
        self._checkAuth()
        for name, special in LISTENERS.items():
            if name in self or not special:
                self._checkKeywords(self.keywords | special)

    def opt_auth(self, description: str) -> None:
        """
        Add a checker of passwords: ``--auth``.

        :param description: the method and its argument, for example ``file:passwd``.
        :raises usage.UsageError: if there is no such method.
        """
        method, _, path = description.partition(":")
        if method == "file" and path.strip():
            # strcred would look for the file in the current folder, and print its own warning.
            self.addChecker(FilePasswordDB(self._fromHere(path)))
        elif method in METHODS and path.strip():
            isPath = method == "htpasswd"
            login = (method, self._fromHere(path) if isPath else path)
            self.setdefault("logins", []).append(login)
        else:
            super().opt_auth(description)

    def opt_help_auth(self) -> None:
        """List the methods of ``--auth``."""
        writeHelp(self.authOutput)
        super().opt_help_auth()

    def opt_version(self) -> None:
        """
        Print the versions: ``--version``.

        :raises SystemExit: always.
        """
        self.authOutput.write(describeVersions())
        raise SystemExit(0)

    def opt_example_config(self) -> None:
        """
        Print a file of configuration: ``--example-config``.

        :raises SystemExit: always.
        """
        self.authOutput.write(exampleConfig())
        raise SystemExit(0)

    def readFlag(self, flag: Flag, text: str) -> Any:
        """
        Read a flag's value. What the supervisor has read from files isn't read again.

        :param flag: the flag.
        :param text: its value, as it is on the command line.
        :raises ValueError: if the text can't be a value of the flag.
        """
        handed = {} if self.handover is None else self.handover.handed
        if flag.value == "FILE":
            path = resolveCredential(text)
            known = handed.get(flag.name, {})
            place = os.path.join(self._folder, path)
            return known[place] if place in known else flag.read(path)
        value = flag.read(text)
        if flag.option == "sniOptions":
            name, files = value
            places = {what: os.path.join(self._folder, files[what]) for what in files}
            return name, {
                what: handed.get(what, {}).get(places[what], files[what]) for what in files
            }
        return value

    def _locateCertificates(self) -> None:
        """Make the paths absolute: the files are read again where twistd is by then."""
        for settings in (self.keywords, *self.keywords.get("sniOptions", {}).values()):
            for name in ("cert", "key", "ca"):
                if self.handover is None and name in settings:
                    settings[name] = self._fromHere(settings[name])

    def _fromHere(self, path: str) -> str:
        """The path, absolute because of ``--rundir``; ``--chroot`` gives it another meaning."""
        try:
            path = resolveCredential(path)
        except ValueError as error:
            raise usage.UsageError(f"--auth: {error}") from None
        if self._chroot:
            return path
        return os.path.join(self._folder, path)

    @property
    def _chroot(self) -> str | None:
        chroot: str | None = None if self.parent is None else self.parent.get("chroot")
        return chroot

    def _checkHandlers(self) -> None:
        if len(STORE_FLAGS & set(self)) > 1:
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

    def _checkTables(self) -> None:
        for name in TABLES:
            if name in self:
                self[name] = self._fromHere(self[name])
        self._sayingFlags(lambda given: checkTables(given, self._canLook))

    @property
    def _canLook(self) -> bool:
        """Whether files are there already; a worker's supervisor has looked."""
        return self.handover is None and not self._chroot

    def _checkAuth(self) -> None:
        if not hasLogins(self):
            return
        if self._canLook:
            for path in [*(each.filename for each in passwordFiles(self)), *userFiles(self)]:
                if not os.path.isfile(path):
                    raise usage.UsageError(f"--auth: there is no file {path!r}")
        if self._isAuthDisabled() or {"auth-optional", "xclient-from"} & set(self):
            return  # mail can come without AUTH
        if not _OFFERS_LOGIN & set(self):
            raise usage.UsageError(
                "--auth: needs --cert and --key, --self-signed, --secured or --allow-insecure-auth"
            )
        methods = set(map(str.upper, self.keywords.get("authMethods", library.Options.authMethods)))
        uncheckable = _UNCHECKABLE if "request-cert" in self else _UNCHECKABLE | {"EXTERNAL"}
        if userFiles(self):
            uncheckable -= SCRAM
        if methods <= uncheckable and "handler" not in self:
            raise usage.UsageError(
                "--auth-methods: nobody could log in; --auth can check PLAIN, LOGIN and CRAM-MD5, "
                "and EXTERNAL with --request-cert"
            )

    def _checkKeywords(self, keywords: dict[str, Any]) -> None:
        for check in (checkPolicies, checkFilters, checkStores, checkInbox):
            self._sayingFlags(check)
        self._sayingFlags(lambda _: library.makeOptions(keywords))

    def _sayingFlags(self, check: Callable[[Any], object]) -> None:
        """Make a check, and say what is wrong in flags."""
        try:
            check(self)
        except ConfigurationError as error:
            raise usage.UsageError(inFlags(str(error))) from None

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


def _makeMethod(flag: Flag) -> Callable[..., None]:
    """The method that :mod:`twisted.python.usage` calls when a flag was given."""

    def setSwitch(self: Options) -> None:
        self[flag.name] = True

    def setValue(self: Options, text: str) -> None:
        try:
            if not text.strip():  # usually a shell variable that isn't set
                raise ValueError("its value is empty")
            value = self.readFlag(flag, text)
        except ValueError as error:
            raise usage.UsageError(f"--{flag.name}: {error}") from None
        if flag.gather is not None:
            values = self.given.setdefault(flag.name, [])
            values.append(value)
            value = flag.gather(values)
        self[flag.name] = value

    return setValue if flag.value else setSwitch


for _flag in BY_NAME.values():
    if not hasattr(Options, _flag.method):  # help, and what strcred defines
        setattr(Options, _flag.method, _makeMethod(_flag))


# -- Texts -----------------------------------------------------------------------------------------

_FLAG_OF = {flag.option: flag.name for flag in reversed(BY_NAME.values()) if flag.option}
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
    # The help doesn't say that a switch is off, or that a default is empty.
    if not flag.value or not default or not isinstance(default, (str, int, float, tuple)):
        return ""
    if isinstance(default, tuple):
        default = ",".join(default)
    return f" [default: {'yes' if default is True else default}]"


def inFlags(text: str) -> str:
    """Replace the options' names in an error's text by their flags."""
    first = re.match(r"(\w+)(?=:| \()", text)
    if first and first[0] in _FLAG_OF:
        text = f"--{_FLAG_OF[first[0]]}{text[first.end() :]}"
    # Only names in camelCase: "name" and "size" are English words, too.
    camelCase = "|".join(name for name in _FLAG_OF if not name.islower())
    return re.sub(rf"\b(?:{camelCase})\b", lambda match: f"--{_FLAG_OF[match[0]]}", text)

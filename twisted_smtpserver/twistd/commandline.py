"""
The command line of ``twistd smtpserver``, the environment and the file: flags are read and checked.

The flags themselves are in :mod:`twisted_smtpserver.twistd.flags`.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.cred.checkers import FilePasswordDB
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin, findCheckerFactories
from twisted.python import usage

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.log import batches
from twisted_smtpserver.log.files import ROTATE_SIZE
from twisted_smtpserver.log.formats import FORMATS
from twisted_smtpserver.options import unknownName
from twisted_smtpserver.twistd.checks import checkFlags
from twisted_smtpserver.twistd.configfile import parseConfig, readText
from twisted_smtpserver.twistd.credentials import resolveCredential
from twisted_smtpserver.twistd.environment import readEnvironment
from twisted_smtpserver.twistd.example import exampleConfig
from twisted_smtpserver.twistd.flags import BY_NAME, Flag
from twisted_smtpserver.twistd.helptext import helpText, inFlags, withMeant
from twisted_smtpserver.twistd.inbox import inboxOptions
from twisted_smtpserver.twistd.layers import (
    LISTEN,
    ConfigFile,
    Group,
    Layer,
    Setting,
    arrange,
    inPlaces,
)
from twisted_smtpserver.twistd.logins import METHODS, writeHelp
from twisted_smtpserver.twistd.services import oneLine
from twisted_smtpserver.twistd.tables import TABLES
from twisted_smtpserver.twistd.versions import describeVersions
from twisted_smtpserver.twistd.worker import Handover
from twisted_smtpserver.twistd.workerlog import WorkerLines

#: The default of ``--size``, in octets: a disk isn't unlimited.
DEFAULT_SIZE = 50 * 2**20

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
    :ivar writesLog: whether it is this package that writes the log.
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
        self.writesLog = False
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
        self.writesLog = self.parent is not None and batches.useFor(self.parent)
        try:
            self._parse()
            if self.parent is not None:
                self._chooseLog()
        except usage.UsageError as error:
            if self.parent is None:
                raise
            isFlag = str(error).startswith(("--", "option "))
            raise SystemExit(oneLine(f"{error} (see --help)" if isFlag else str(error))) from None

    def _chooseLog(self) -> None:
        """Choose how the log is written, if not by twistd; in a worker, for the supervisor's."""
        for name in ("log-format", "log-size"):
            if name in self and not self.writesLog and self.handover is None:
                raise usage.UsageError(
                    f"--{name}: can't be combined with twistd's --logger or --syslog"
                )
        makeFormat: Callable[[], batches.Format] = FORMATS[self.get("log-format", "text")]
        if self.handover is not None:
            makeFormat = partial(WorkerLines, makeFormat, self.handover.number + 1)
        batches.choose(makeFormat, self.get("log-size", ROTATE_SIZE))

    def _parse(self) -> None:
        commandLine = self._readCommandLine()
        if commandLine is None or _PRINTING & set(commandLine):
            try:
                super().parseOptions(self.arguments)  # which says what is wrong, or prints
            except usage.UsageError as error:
                raise usage.UsageError(withMeant(str(error))) from None
        else:
            self._readAll(commandLine)

    def _readAll(self, commandLine: Layer) -> None:
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
        """What is on the command line; ``None`` if it isn't a list of flags."""
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
        Gather the options, and check the flags.

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
        for name in TABLES:
            if name in self:
                self[name] = self._fromHere(self[name])
        try:
            checkFlags(self)
        except ConfigurationError as error:
            raise usage.UsageError(inFlags(str(error))) from None

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
        elif method in METHODS:
            if not path.strip():
                raise usage.UsageError(f"--auth: needs {method}:{METHODS[method][0]}")
            isPath = method == "htpasswd"
            login = (method, self._fromHere(path) if isPath else path)
            self.setdefault("logins", []).append(login)
        else:
            self._addPlugin(method, description)

    def _addPlugin(self, method: str, description: str) -> None:
        """Add a checker of twisted.cred's."""
        known = {*METHODS, *(each.authType for each in findCheckerFactories())}
        if method not in known:
            raise usage.UsageError(
                f"--auth: {unknownName(method, known, 'method')} (--help-auth lists them)"
            )
        try:
            super().opt_auth(description)
        except usage.UsageError as error:
            raise usage.UsageError(f"--auth: {error}") from None

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
        if self.chroot:
            return path
        return os.path.join(self._folder, path)

    @property
    def chroot(self) -> str | None:
        """What twistd's ``--chroot`` says."""
        chroot: str | None = None if self.parent is None else self.parent.get("chroot")
        return chroot

    @property
    def canLook(self) -> bool:
        """Whether files are there already; a worker's supervisor has looked."""
        return self.handover is None and not self.chroot

    def getUsage(self, width: int | None = None) -> str:
        """
        The help: the flags under their headings.

        :param width: the terminal's, in columns.
        """
        return helpText(width or int(os.environ.get("COLUMNS", "80")))


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

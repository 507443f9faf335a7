"""
The command line of ``twistd smtpserver``: its flags are read and checked, and its help is written.

The flags themselves are in :mod:`twisted_smtpserver.twistd.flags`.
"""

from __future__ import annotations

import os
import re
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
from twisted_smtpserver.twistd.filters import checkFilters
from twisted_smtpserver.twistd.flags import FLAGS, Flag
from twisted_smtpserver.twistd.inbox import checkInbox, inboxOptions
from twisted_smtpserver.twistd.policies import checkPolicies
from twisted_smtpserver.twistd.services import oneLine
from twisted_smtpserver.twistd.stores import STORES, checkStores
from twisted_smtpserver.twistd.worker import SHAREABLE, Handover

#: The default of ``--size``, in octets: a disk isn't unlimited.
DEFAULT_SIZE = 50 * 2**20

#: The flags that name listeners, and the options that each of them sets.
LISTENERS: dict[str, dict[str, bool]] = {
    "listen": {},
    "listen-tls": {"secure": True},
    "listen-lmtp": {"lmtp": True},
}

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
    "sender-matches-login",
)

#: Flags that say where messages go. An inbox may stand beside one of them.
STORE_FLAGS = {"maildir", "discard", "handler", *STORES}

#: AUTH is offered only with one of these flags.
_OFFERS_LOGIN = {"cert", "key", "self-signed", "secured", "allow-insecure-auth"}

#: Methods that ``--auth`` can't check: twisted.cred has nothing for tokens or for SCRAM.
_UNCHECKABLE = {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}


class Options(usage.Options, AuthOptionMixin):
    """
    The command line of ``twistd smtpserver``. Each flag that was given is an item.

    :ivar given: the values of the flags that may be repeated, one by one.
    :ivar keywords: after parsing, what goes to :class:`SMTPServerFactory`.
    :ivar arguments: the command line's words.
    :ivar handover: in a worker, what the supervisor handed over; else ``None``.
    """

    synopsis = "[options]"
    supportedInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    keywords: dict[str, Any]

    def __init__(self) -> None:
        self.given: dict[str, list[Any]] = {}
        self.arguments: list[str] = []
        self.handover = Handover.receive()
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
        Check the flags as far as that needs no look into a file.

        :raises usage.UsageError: if two flags contradict each other, or one needs another.
        """
        given = [flag for flag in _allFlags() if flag.option and flag.name in self]
        self.keywords = {flag.option: self[flag.name] for flag in given}
        self.keywords.setdefault("size", DEFAULT_SIZE)
        self.keywords |= inboxOptions(self)
        self._locateCertificates()
        if "submission" in self:
            self.keywords["tlsRequired"] = True
        if self.handover is not None:
            self.keywords["scramSaltKey"] = self.handover.saltKey
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
        Add a checker of passwords: ``--auth``.

        :param description: the method and its argument, for example ``file:passwd``.
        :raises usage.UsageError: if there is no such method.
        """
        method, _, path = description.partition(":")
        if method == "file" and path.strip():
            # strcred would look for the file in the current folder, and print its own warning.
            self.addChecker(FilePasswordDB(self._fromHere(path)))
        else:
            super().opt_auth(description)

    def _locateCertificates(self) -> None:
        """Make the paths absolute: the files are read again where twistd is by then."""
        for settings in (self.keywords, *self.keywords.get("sniOptions", {}).values()):
            for name in ("cert", "key", "ca"):
                if self.handover is None and name in settings:
                    settings[name] = self._fromHere(settings[name])

    def _fromHere(self, path: str) -> str:
        """The path, absolute because of ``--rundir``; ``--chroot`` gives it another meaning."""
        if self._chroot:
            return path
        return os.path.join(self.handover.folder if self.handover else os.getcwd(), path)

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

    def _checkAuth(self) -> None:
        if "credCheckers" not in self:
            return
        if self.handover is None and not self._chroot:
            for checker in passwordFiles(self):
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


def passwordFiles(config: Options) -> list[FilePasswordDB]:
    """The checkers of ``--auth`` that read a file at each login."""
    return [each for each in config.get("credCheckers", ()) if isinstance(each, FilePasswordDB)]


def _allFlags() -> list[Flag]:
    return [flag for flags in FLAGS.values() for flag in flags]


def _makeMethod(flag: Flag) -> Callable[..., None]:
    """The method that :mod:`twisted.python.usage` calls when a flag was given."""

    def setSwitch(self: Options) -> None:
        self[flag.name] = True

    def setValue(self: Options, text: str) -> None:
        name = flag.option or flag.name
        if self.handover is not None and name in self.handover.handed:
            # The supervisor read it while it had root's privileges.
            self[flag.name] = self.handover.handed[name]
            return
        try:
            if not text.strip():  # usually a shell variable that isn't set
                raise ValueError("its value is empty")
            value = flag.read(text)
        except ValueError as error:
            raise usage.UsageError(f"--{flag.name}: {error}") from None
        if flag.gather is not None:
            values = self.given.setdefault(flag.name, [])
            values.append(value)
            value = flag.gather(values)
        self[flag.name] = value

    return setValue if flag.value else setSwitch


for _flag in _allFlags():
    if not hasattr(Options, _flag.method):  # help, and what strcred defines
        setattr(Options, _flag.method, _makeMethod(_flag))


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

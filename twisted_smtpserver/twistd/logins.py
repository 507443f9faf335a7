"""The methods of ``--auth``: ours, and those that twisted.cred has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

from twisted.application.service import Service
from twisted.cred.checkers import FilePasswordDB
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers.cred import CredHandler
from twisted_smtpserver.twistd.services import PasswordFile
from twisted_smtpserver.twistd.tables import TableFile

_log = Logger()

#: Our own methods: what stands behind the colon, and what that is.
METHODS = {
    "htpasswd": ("FILE", "users with hashed passwords; python -m twisted_smtpserver passwd"),
    "dovecot": ("SOCKET", "ask Dovecot: the path of its auth-client socket, or a client endpoint"),
}

#: What is offered where a file of users is all there is, as far as the file has what it takes.
_MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
#: The flags that the stages are made of.
LOGIN_PART = frozenset({"auth", "auth-plain-text", "auth-methods"})

#: What only a file of users has.
SCRAM = frozenset(_MECHANISMS[:2])


def hasLogins(config: Any) -> bool:
    """Whether ``--auth`` was given."""
    return "credCheckers" in config or "logins" in config


def passwordFiles(config: Any) -> list[FilePasswordDB]:
    """The checkers of ``--auth file:``."""
    return [each for each in config.get("credCheckers", ()) if isinstance(each, FilePasswordDB)]


def userFiles(config: Any) -> list[str]:
    """The files of ``--auth htpasswd:``."""
    return [what for method, what in config.get("logins", ()) if method == "htpasswd"]


def checkLogins(config: Any) -> None:
    """
    Check the flags about logins, and choose the mechanisms.

    :param config: the command line.
    :raises ConfigurationError: if a flag is invalid.
    """
    files = userFiles(config)
    if len(files) > 1:
        raise ConfigurationError("--auth htpasswd: there can be only one file of users")
    if "auth-plain-text" in config and not files:
        raise ConfigurationError("--auth-plain-text: needs --auth htpasswd:FILE")
    if files and "credCheckers" not in config and len(config["logins"]) == 1:
        config.keywords.setdefault("authMethods", _MECHANISMS)


def makeLogins(config: Any) -> tuple[list[Any], list[Service]]:
    """
    Make the stages that let users log in.

    :param config: the command line.
    :returns: the stages, and the services that they need.
    :raises ConfigurationError: if an argument is invalid.
    """
    stages: list[Any] = []
    services: list[Service] = []
    # The one that knows SCRAM has an answer for everybody, so it comes last of those that are asked
    # for a secret: no other one is.
    for method, what in config.get("logins", ()):
        stage, service = _MAKERS[method](config, what)
        stages.append(stage)
        services.append(service)
    if "credCheckers" in config:
        stages.append(CredHandler(*config["credCheckers"], inThread=True))
        services += map(PasswordFile, passwordFiles(config))
    return stages, services


def _makeHtpasswd(config: Any, path: str) -> tuple[Any, Service]:
    from twisted_smtpserver.users import Htpasswd  # only where it is used

    stage = Htpasswd(
        path,
        plainText="auth-plain-text" in config,
        saltKey=config.keywords.get("scramSaltKey"),
        later=True,
    )
    wanted = config.keywords.get("authMethods", ())
    return stage, TableFile("auth", partial(_loadUsers, stage, wanted, "auth-methods" in config))


def _loadUsers(stage: Any, wanted: Sequence[str], isExplicit: bool) -> None:
    served = {*stage.load().mechanisms, "EXTERNAL"}
    missing = [method for method in map(str.upper, wanted) if method not in served]
    if not isExplicit or not missing:
        return
    if "CRAM-MD5" in missing:
        raise ConfigurationError(
            "CRAM-MD5 needs every password in plain text: leave it out of --auth-methods"
        )
    if len(missing) == len(wanted):
        raise ConfigurationError(
            f"nobody could log in by {', '.join(missing)}: each user in the file needs a SCRAM "
            "secret (passwd --scram), or give --auth-methods PLAIN,LOGIN, too"
        )
    if SCRAM.intersection(missing):
        _log.warn("SCRAM is offered as soon as each user has a SCRAM secret: passwd --scram")


def _makeDovecot(config: Any, where: str) -> tuple[Any, Service]:
    from twisted_smtpserver.users import DovecotAuth  # only where it is used

    try:
        stage = DovecotAuth(where)
    except ConfigurationError as error:
        raise ConfigurationError(f"--auth dovecot: {error}") from None
    return stage, DovecotService(stage)


class DovecotService(Service):
    """
    Connects to Dovecot at the start, so that the log says at once if that fails.

    :param stage: a :class:`~twisted_smtpserver.users.DovecotAuth`.
    """

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def startService(self) -> None:
        """Connect to Dovecot."""
        super().startService()
        self._stage.check()

    def close(self) -> None:
        """Close the connection; in ``stopService`` clients may still log in."""
        self._stage.close()


def writeHelp(output: TextIO) -> None:
    """
    List our own methods, for ``--help-auth``.

    :param output: where to.
    """
    output.write("For mail users:\n\n")
    output.writelines(
        f"  --auth {f'{method}:{argument}':16}{text}\n"
        for method, (argument, text) in METHODS.items()
    )
    output.write("\nMethods of twisted.cred:\n\n")


_MAKERS = {"htpasswd": _makeHtpasswd, "dovecot": _makeDovecot}

"""Flags in the environment, for containers: ``SMTPSERVER_MAX_CLIENTS=100``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.options import unknownName
from twisted_smtpserver.twistd.flags import BY_NAME, COMMAND_LINE_ONLY, TABLE_OF, Flag
from twisted_smtpserver.twistd.layers import Setting

#: How the variables' names begin.
PREFIX = "SMTPSERVER_"

#: The variable that names the file of configuration.
CONFIG = "SMTPSERVER_CONFIG"

# What Kubernetes and Docker tell containers of a service that is called "smtpserver".
_SERVICE = re.compile(r"SMTPSERVER_(SERVICE_(HOST|PORT(_.*)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?)")
_SERVICE_URL = re.compile("(tcp|udp|sctp)://")

_ON = frozenset({"yes", "true", "on", "1"})
_OFF = frozenset({"no", "false", "off", "0"})


def variableOf(name: str) -> str:
    """
    The variable that stands for a flag.

    :param name: the flag's name.
    """
    return PREFIX + name.upper().replace("-", "_")


_VARIABLES = {variableOf(name): BY_NAME[name] for name in (*TABLE_OF, "config")}


def readEnvironment(environment: Mapping[str, str]) -> dict[str, Setting]:
    """
    Read the flags in the environment.

    :param environment: the variables.
    :returns: what they say, by the flags' names; ``--config`` among them.
    :raises ConfigurationError: if a variable's name is no flag's, or its value can't be one.
    """
    found = {}
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and not _isService(variable, environment[variable]):
            flag = _flag(variable)
            try:
                found[flag.name] = Setting(_texts(flag, environment[variable]), variable)
            except ValueError as error:
                raise ConfigurationError(f"{variable}: {error}") from None
    return found


def _isService(variable: str, value: str) -> bool:
    if variable == "SMTPSERVER_PORT":
        return _SERVICE_URL.match(value) is not None
    return _SERVICE.fullmatch(variable) is not None


def _flag(variable: str) -> Flag:
    if variable in _VARIABLES:
        return _VARIABLES[variable]
    if variable in map(variableOf, COMMAND_LINE_ONLY):
        raise ConfigurationError(f"{variable}: is for the command line only")
    raise ConfigurationError(unknownName(variable, _VARIABLES, "environment variable"))


def _texts(flag: Flag, value: str) -> tuple[str, ...]:
    value = value.strip()
    if not value:
        raise ValueError("its value is empty: give it one, or unset it")
    if not flag.value:
        if value.lower() not in _ON | _OFF:
            raise ValueError(f"{value!r} is neither yes nor no")
        return ("",) if value.lower() in _ON else ()
    if flag.name == "auth":
        if value.startswith("memory:"):
            raise ValueError("passwords don't belong in the environment: put them in a file")
        return (value,)
    return tuple(value.split()) if flag.gather is not None else (value,)

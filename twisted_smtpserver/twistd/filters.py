"""The filters that ``twistd smtpserver`` has flags for: they see a message before it is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.twistd.services import MaildirService

#: The flags, in the order in which their filters are asked.
FILTER_FLAGS = (
    "require-fields",
    "block-attachments",
    "milter",
    "require-authentication",
)

#: ``--block-attachments programs`` stands for the list that the filter has by default.
PROGRAMS = "programs"

_TIMES = frozenset({"connectTimeout", "commandTimeout", "messageTimeout"})

#: The share of ``handlerTimeout`` that a milter may use up: the store needs time, too.
_SHARE = 0.8


def readMilter(text: str) -> dict[str, Any]:
    """
    Read the value of ``--milter``.

    :param text: an endpoint, and behind commas more arguments of
        :class:`~twisted_smtpserver.filters.Milter`.
    :returns: all arguments by name.
    :raises ValueError: if an argument is unknown or out of range.
    """
    from twisted_smtpserver.filters import Milter

    endpoint, *more = text.split(",")
    arguments: dict[str, Any] = {"endpoint": endpoint}
    for argument in more:
        name, _, value = argument.partition("=")
        if name == "onFailure":
            arguments[name] = value
        elif name in _TIMES and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value, re.ASCII):
            arguments[name] = float(value)
        elif name == "reuse" and value in ("yes", "no"):
            arguments[name] = value == "yes"
        else:
            known = ", ".join(f"{each}=SECONDS" for each in sorted(_TIMES))
            raise ValueError(
                f"{argument!r} isn't one of onFailure=tempfail, =reject or =accept, {known},"
                " reuse=yes"
            )
    Milter(**arguments)
    return arguments


def makeFilters(
    given: Mapping[str, Any], handler: object, handlerTimeout: float
) -> tuple[object, list[MaildirService]]:
    """
    Put the filters before a handler, if there are any.

    :param given: the values of the flags that were given, by name.
    :param handler: the handler that stores.
    :param handlerTimeout: the server's ``handlerTimeout``, in seconds.
    :returns: the handler to use, and the services that must be started first.
    :raises ConfigurationError: if a filter's arguments make no sense.
    """
    if not any(name in given for name in FILTER_FLAGS):
        return handler, []
    from twisted_smtpserver import filters  # only where a filter is used

    hostName = given.get("name")
    stages: list[Any] = []
    if "require-fields" in given:
        stages.append(filters.RequireFields())
    if "block-attachments" in given:
        kinds = given["block-attachments"]
        stages.append(filters.BlockAttachments(*([] if kinds == [PROGRAMS] else kinds)))
    stages += [_makeMilter(each, hostName, handlerTimeout) for each in given.get("milter", ())]
    if "require-authentication" in given:
        stages.append(filters.RequireAuthentication(*given["require-authentication"]))
    apart = []
    if "quarantine" in given:
        apart = [MaildirService(given["quarantine"], hostName, "quarantine")]
    quarantine = apart[0].handler if apart else None
    filtered = filters.Filtered(handler, *stages, quarantine=quarantine, authservId=hostName)
    return filtered, apart


def _makeMilter(arguments: Mapping[str, Any], hostName: str | None, handlerTimeout: float) -> Any:
    from twisted_smtpserver.filters import Milter
    from twisted_smtpserver.filters.milter.filter import MESSAGE_TIMEOUT

    most = handlerTimeout * _SHARE
    seconds = arguments.get("messageTimeout", min(MESSAGE_TIMEOUT, most))
    if seconds > most:
        raise ConfigurationError(
            f"--milter: messageTimeout={seconds:g} must be at most {_SHARE:.0%} of"
            f" --handler-timeout, which is {handlerTimeout:g}"
        )
    return Milter(**{**arguments, "messageTimeout": seconds}, hostName=hostName)

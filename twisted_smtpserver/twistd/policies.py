"""The policies that ``twistd smtpserver`` has flags for, as stages before the handler."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers.policies import (
    DNSBlockList,
    Greylist,
    RateLimit,
    SenderMatchesLogin,
    Tarpit,
)
from twisted_smtpserver.handlers.policies.tarpit import LONGEST
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.shared import RedisState

#: Flags that say more of another one, and are nothing without it.
_BELONG_TO = {
    "greylist-delay": "greylist",
    "shared-state-password-file": "shared-state",
    "tarpit-after": "tarpit",
}

#: As ``--greylist``: it is in ``--shared-state``.
SHARED = "shared"


def checkPolicies(given: Mapping[str, Any]) -> None:
    """
    Check that the flags go together.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if they don't.
    """
    for name, other in _BELONG_TO.items():
        if name in given and other not in given:
            raise ConfigurationError(f"--{name}: needs --{other}")
    if given.get("greylist") == SHARED and "shared-state" not in given:
        raise ConfigurationError("--greylist shared: needs --shared-state")


def makeState(given: Mapping[str, Any]) -> RedisState | None:
    """
    Make what ``--shared-state`` asks for. It connects when it is used.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if it makes no sense.
    """
    if "shared-state" not in given:
        return None
    try:
        return RedisState(given["shared-state"], password=given.get("shared-state-password-file"))
    except ConfigurationError as error:
        raise ConfigurationError(f"--shared-state: {error}") from None


def makePolicies(
    given: Mapping[str, Any], resolver: Any, handlerTimeout: float, state: Any = None
) -> list[Any]:
    """
    Make the stages, the cheap ones first. Those that are services must be started, and
    :meth:`closed <LateGreylist.close>` when all connections are.

    :param given: the values of the flags that were given, by name.
    :param resolver: whom to ask for names; ``None`` for twisted.names' own.
    :param handlerTimeout: that of the server.
    :param state: what :func:`makeState` made.
    """
    stages: list[Any] = []
    for what in ("connections", "messages", "recipients"):
        if f"rate-{what}" in given:
            count, seconds = given[f"rate-{what}"]
            stages.append(RateLimit(seconds=seconds, state=state, **{what: count}))
    if "sender-matches-login" in given:
        stages.append(SenderMatchesLogin())
    if "dnsbl" in given:
        stages.append(DNSBlockList(given["dnsbl"], resolver))
    # Before whoever may refuse a recipient: those who try names are whom it is for.
    if "tarpit" in given:
        after = {"after": given["tarpit-after"]} if "tarpit-after" in given else {}
        longest = min(LONGEST, handlerTimeout / 2)
        stages.append(Tarpit(seconds=given["tarpit"], longest=longest, **after))
    if "greylist" in given:
        delay = {"delay": given["greylist-delay"]} if "greylist-delay" in given else {}
        if given["greylist"] == SHARED:
            stages.append(Greylist(state=state, **delay))
        else:
            stages.append(LateGreylist(given["greylist"], **delay))
    return stages


class LateGreylist(Service):
    """
    A :class:`Greylist` that is opened when the service starts: its file must belong to the user
    that ``twistd --uid`` becomes, and be inside of ``--chroot`` and ``--rundir``.

    :param path: the database.
    :param options: what else a Greylist takes.
    """

    def __init__(self, path: str, **options: Any) -> None:
        self._path = path
        self._options = options
        self._greylist: Greylist

    def startService(self) -> None:
        """
        Open it.

        :raises ConfigurationError: if that can't be done.
        """
        super().startService()
        try:
            self._greylist = Greylist(self._path, **self._options)
        except sqlite3.Error as error:
            raise ConfigurationError(f"--greylist: {self._path!r}: {error}") from error

    def onRcptTo(self, address: Address, session: Session) -> Deferred[None]:
        """See :meth:`Greylist.onRcptTo`."""
        return Deferred.fromCoroutine(self._greylist.onRcptTo(address, session))

    def close(self) -> None:
        """Close it. ``stopService`` would be too early: messages in flight may still finish."""
        self._greylist.close()

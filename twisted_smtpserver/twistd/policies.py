"""The policies that ``twistd smtpserver`` has flags for, as stages before the handler."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
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
from twisted_smtpserver.twistd.tables import TableFile

#: ``--greylist shared`` remembers in ``--shared-state``.
SHARED = "shared"


def checkPolicies(given: Mapping[str, Any]) -> None:
    """
    Check the flags that are about policies.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if a flag is missing.
    """
    if given.get("greylist") == SHARED and "shared-state" not in given:
        raise ConfigurationError("--greylist shared: needs --shared-state")


def makeState(given: Mapping[str, Any]) -> RedisState | None:
    """
    Make the state of ``--shared-state``. It connects when it is used.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if its URL is invalid.
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
    Make the stages, the cheap ones first. A stage that is a service must be started, and
    :meth:`closed <GreylistService.close>` after all connections.

    :param given: the values of the flags that were given, by name.
    :param resolver: looks names up; ``None`` for twisted.names' own.
    :param handlerTimeout: the server's ``handlerTimeout``, in seconds.
    :param state: what :func:`makeState` made.
    """
    stages: list[Any] = []
    for what in ("connections", "messages", "recipients"):
        if f"rate-{what}" in given:
            count, seconds = given[f"rate-{what}"]
            stages.append(RateLimit(seconds=seconds, state=state, **{what: count}))
    if "senders" in given:
        stages.append(SendersService(given["senders"]))
    elif "sender-matches-login" in given:
        stages.append(SenderMatchesLogin())
    if "dnsbl" in given:
        stages.append(DNSBlockList(given["dnsbl"], resolver))
    # Before any stage that may refuse a recipient: the tarpit slows down clients that try names.
    if "tarpit" in given:
        after = {"after": given["tarpit-after"]} if "tarpit-after" in given else {}
        longest = min(LONGEST, handlerTimeout / 2)
        stages.append(Tarpit(seconds=given["tarpit"], longest=longest, **after))
    if "greylist" in given:
        delay = {"delay": given["greylist-delay"]} if "greylist-delay" in given else {}
        if given["greylist"] == SHARED:
            stages.append(Greylist(state=state, **delay))
        else:
            stages.append(GreylistService(given["greylist"], **delay))
    return stages


def withGates(policies: Sequence[Any], gates: Sequence[Any]) -> list[Any]:
    """
    Put stages that know the recipients among the policies, before the greylist: an unknown
    recipient needs no entry there. The tarpit stays before them: it slows down clients that try
    names.

    :param policies: what :func:`makePolicies` made.
    :param gates: these stages.
    """
    isLater = [isinstance(stage, (Greylist, GreylistService)) for stage in policies]
    place = isLater.index(True) if any(isLater) else len(policies)
    return [*policies[:place], *gates, *policies[place:]]


class SendersService(TableFile):
    """
    A :class:`SenderMatchesLogin` by the file of ``--senders``.

    :param path: the file's path.
    """

    def __init__(self, path: str) -> None:
        from twisted_smtpserver.tables import Senders  # only where it is used

        senders = Senders(path, later=True)
        super().__init__("senders", senders.load)
        self._stage = SenderMatchesLogin(senders)

    def onMailFrom(self, address: Address, session: Session) -> Deferred[None]:
        """See :meth:`SenderMatchesLogin.onMailFrom`."""
        return Deferred.fromCoroutine(self._stage.onMailFrom(address, session))


class GreylistService(Service):
    """
    A :class:`Greylist` that is opened when the service starts: its file must belong to the user
    that ``twistd --uid`` becomes, and be inside of ``--chroot`` and ``--rundir``.

    :param path: the database's path.
    :param options: further arguments of :class:`Greylist`.
    """

    def __init__(self, path: str, **options: Any) -> None:
        self._path = path
        self._options = options
        self._greylist: Greylist

    def startService(self) -> None:
        """
        Open the database.

        :raises ConfigurationError: if it can't be opened.
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
        """Close the database; in ``stopService`` messages in flight may still need it."""
        self._greylist.close()

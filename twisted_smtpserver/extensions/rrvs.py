"""RRVS (RFC 7293): a message only for the owner that the mailbox had at a certain time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.wire.timestamp import parseDateTime

_VALUE = re.compile(r"([^;.]+)(?:;([CR]))?", re.IGNORECASE)  # no fractions of a second (§3.1)


@dataclass(frozen=True, slots=True)
class ValidSince:
    """
    What RRVS says (RFC 7293 §3.1), as found in ``address.values["RRVS"]``.

    :ivar since: the recipient's mailbox must have had the same owner since then.
    :ivar action: what to do where the next server doesn't know RRVS: ``"R"`` to reject the message,
        ``"C"`` to continue.
    """

    since: datetime
    action: str = "R"


def parseRrvs(value: str | bool) -> ValidSince:
    """The parser of RCPT's ``RRVS=`` (RFC 7293 §3.1)."""
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    since = None if found is None else parseDateTime(found[1])
    if found is None or since is None:
        raise Rejection("RRVS needs a date-time and maybe ;C or ;R: 2014-04-03T23:01:00Z;C")
    return ValidSince(since, (found[2] or "R").upper())


class RRVS(Extension):
    """
    RFC 7293: RCPT's ``RRVS=``.

    Off by default: a server that takes such a message must have compared the time with the
    mailbox's history (§5.1). To refuse is ``Rejection("…", code=550, enhanced="5.7.17")``, or
    ``5.7.18`` for the domain's history (§15.3).
    """

    keyword = "RRVS"
    rcptParameters: Mapping[str, ParameterParser] = MappingProxyType({"RRVS": parseRrvs})

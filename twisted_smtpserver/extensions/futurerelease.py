"""FUTURERELEASE (RFC 4865): a message that is submitted now and sent later."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.extensions.deliverby import Deadline
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.timestamp import formatDateTime, parseDateTime

#: The longest time there is, in seconds: nine digits (RFC 4865 §3).
MAX_INTERVAL = 999_999_999

#: How long a message is held at most, unless said otherwise, in seconds: 30 days.
DEFAULT_INTERVAL = 30 * 24 * 3600

_INTERVAL = re.compile(r"[1-9][0-9]{0,8}")


def _now() -> datetime:
    return datetime.now(timezone.utc)


class FutureRelease(Extension):
    """
    RFC 4865: MAIL's ``HOLDFOR=`` and ``HOLDUNTIL=``. ``address.values["HOLDFOR"]`` is a number of
    seconds, ``address.values["HOLDUNTIL"]`` a :class:`~datetime.datetime` in UTC.

    It is for submission only, and must not be offered elsewhere (§3, §4.2), because it lets clients
    fill our storage (§6). Which port this is we can't know; who has logged in submits. So it is
    offered and accepted after the login only.

    Off until asked for: the handler has to hold the messages.

    :param maxInterval: how long a message is held at most, in seconds.
    :param now: returns the time, an aware datetime.
    :raises ConfigurationError: if the interval isn't in 1..:data:`MAX_INTERVAL`.
    """

    keyword = "FUTURERELEASE"

    def __init__(
        self, maxInterval: int = DEFAULT_INTERVAL, now: Callable[[], datetime] = _now
    ) -> None:
        if not 1 <= maxInterval <= MAX_INTERVAL:
            raise ConfigurationError(f"FUTURERELEASE: {maxInterval} is not in 1..{MAX_INTERVAL}")
        self._maxInterval = maxInterval
        self._now = now
        self.mailParameters: dict[str, ParameterParser] = {
            "HOLDFOR": self._parseFor,
            "HOLDUNTIL": self._parseUntil,
        }

    def advertise(self, session: Session) -> str | None:
        """The longest time, as seconds and as the moment when it ends."""
        if session.user is None:
            return None
        return f"{self._maxInterval} {formatDateTime(self._latest())}"

    def _latest(self) -> datetime:
        return self._now() + timedelta(seconds=self._maxInterval)

    def _parseFor(self, value: str | bool) -> int:
        if not isinstance(value, str) or _INTERVAL.fullmatch(value) is None:
            raise Rejection(f"HOLDFOR needs a number of seconds in 1..{MAX_INTERVAL}")
        if int(value) > self._maxInterval:
            raise Rejection(f"HOLDFOR is longer than {self._maxInterval} seconds")
        return int(value)

    def _parseUntil(self, value: str | bool) -> datetime:
        moment = parseDateTime(value) if isinstance(value, str) else None
        if moment is None or moment.utcoffset():
            raise Rejection("HOLDUNTIL needs a date-time in UTC, as in 2026-10-12T10:00:00Z")
        if moment <= self._now():
            raise Rejection("HOLDUNTIL is not in the future")
        if moment > self._latest():
            raise Rejection(f"HOLDUNTIL is later than {formatDateTime(self._latest())}")
        return moment

    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """A message has one time to be sent, and it is before its deadline (§4.2, §5.2.2)."""
        values = address.values
        if "HOLDFOR" in values and "HOLDUNTIL" in values:
            raise Rejection("HOLDFOR and HOLDUNTIL exclude each other")
        seconds = values.get("HOLDFOR", 0)
        if "HOLDUNTIL" in values:
            seconds = (values["HOLDUNTIL"] - self._now()).total_seconds()
        deadline = values.get("BY")
        if seconds and isinstance(deadline, Deadline) and seconds > deadline.seconds:
            raise Rejection("BY is over before the message would be sent")

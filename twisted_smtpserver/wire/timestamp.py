"""
Dates with times as the Internet writes them (RFC 3339), in the values of ESMTP parameters.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

# RFC 3339 §5.6; T and Z in lower case are allowed by it, another separator than T is not.
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_LEAP_SECOND = 60


def parseDateTime(value: str) -> datetime | None:
    """
    Parse a ``date-time`` (RFC 3339 §5.6).

    :param value: any text.
    :returns: the moment, with the offset from UTC that it was written with. A leap second becomes
        the second that follows it, and digits behind the microseconds are cut off, as
        :class:`~datetime.datetime` has no place for either. ``None`` if the text is no date-time,
        or its year is 0.
    """
    found = _DATE_TIME.fullmatch(value)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[n]) for n in range(1, 7))
    isLeap = second == _LEAP_SECOND
    microseconds = 0 if isLeap else int((found[7] or ".")[1:7].ljust(6, "0"))
    offset = timedelta()
    if found[8] is not None:
        offset = timedelta(hours=int(found[9]), minutes=int(found[10]))
    zone = timezone(-offset if found[8] == "-" else offset)
    try:
        moment = datetime(year, month, day, hour, minute, second - isLeap, microseconds, zone)
        # To be able to compare it with others, it has to be a date in UTC, too.
        utc = (moment + timedelta(seconds=isLeap)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    # Leap seconds come at the end of a day (RFC 3339 §5.7, appendix D).
    if isLeap and (utc.hour, utc.minute, utc.second) != (0, 0, 0):
        return None
    return moment + timedelta(seconds=isLeap)


def formatDateTime(moment: datetime) -> str:
    """
    Write a moment as ``date-time`` in UTC (RFC 3339 §5.6).

    :param moment: an aware datetime; fractions of a second are left out.
    """
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

"""
The moment that a field names (RFC 5322 §3.3). Total.
"""

from __future__ import annotations

import datetime
import email.utils

# How long a date can be, with its comments and blanks, in characters.
_MAX_DATE = 200


def parseDate(value: str) -> datetime.datetime | None:
    """
    Parse a date.

    :param value: the value of Date, for example.
    :returns: the moment, aware of its time zone (UTC where that isn't known); ``None`` if it is no
        date that makes sense.
    """
    if not 0 < len(value) <= _MAX_DATE:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value)
        if date.utcoffset() is None:  # "-0000": it isn't known
            date = date.replace(tzinfo=datetime.timezone.utc)
        date.astimezone(datetime.timezone.utc)  # in the years 1 and 9999 not every zone can be
    except Exception:  # of many kinds, and all of the same meaning
        return None
    return date

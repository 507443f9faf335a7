"""Dates with times, RFC 3339."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.timestamp import formatDateTime, parseDateTime


def utc(*numbers: int) -> datetime:
    """A moment in UTC."""
    return datetime(*numbers, tzinfo=timezone.utc)  # type: ignore[misc, arg-type]


class ParseDateTimeTests(SynchronousTestCase):
    """date-time, RFC 3339 section 5.6."""

    def test_valid(self):
        """The examples of RFC 3339 section 5.8, and the other forms that its grammar has."""
        table = {
            "1985-04-12T23:20:50.52Z": utc(1985, 4, 12, 23, 20, 50, 520000),
            "1996-12-19T16:39:57-08:00": utc(1996, 12, 20, 0, 39, 57),
            "1937-01-01T12:00:27.87+00:20": utc(1937, 1, 1, 11, 40, 27, 870000),
            "1990-12-31T23:59:60Z": utc(1991, 1, 1),
            "1990-12-31T15:59:60-08:00": utc(1991, 1, 1),
            "1990-12-31T23:59:60.5Z": utc(1991, 1, 1),
            "2014-04-03t23:01:00z": utc(2014, 4, 3, 23, 1),
            "2014-04-03T23:01:00-00:00": utc(2014, 4, 3, 23, 1),
            "2014-04-03T23:01:00.1234567Z": utc(2014, 4, 3, 23, 1, 0, 123456),
            "2024-02-29T00:00:00Z": utc(2024, 2, 29),
            "0001-01-01T00:00:00Z": utc(1, 1, 1),
            "9999-12-31T23:59:59Z": utc(9999, 12, 31, 23, 59, 59),
        }
        for value, expected in table.items():
            self.assertEqual(parseDateTime(value), expected, value)

    def test_offset(self):
        """The offset that was written is kept."""
        moment = parseDateTime("1996-12-19T16:39:57-08:30")
        assert moment is not None
        self.assertEqual(moment.utcoffset(), timedelta(hours=-8, minutes=-30))

    def test_invalid(self):
        """What isn't in the grammar, or no date, or can't be shown in UTC, is none."""
        for value in (
            "",
            "2014-04-03",
            "2014-04-03 23:01:00Z",
            "2014-04-03T23:01Z",
            "2014-04-03T23:01:00",
            "2014-04-03T23:01:00.Z",
            "2014-04-03T23:01:00+0200",
            "2014-04-03T23:01:00+24:00",
            "2014-04-03T23:01:00+01:60",
            "2014-4-3T23:01:00Z",
            "2014-04-03T23:01:00Z ",
            "2014-04-03T23:01:00Z\n",
            "2014-13-03T23:01:00Z",
            "2014-02-29T23:01:00Z",
            "2014-04-03T24:00:00Z",
            "2014-04-03T23:60:00Z",
            "2014-04-03T23:01:61Z",
            "2014-04-03T23:01:60Z",
            "2014-04-03T12:59:60Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60Z",
            "٢٠١٤-04-03T23:01:00Z",
        ):
            self.assertIsNone(parseDateTime(value), value)

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.sampled_from("0123456789-:.+TtZz "), max_size=30))
    def test_total(self, value):
        """Whatever the text, there is a moment or none."""
        self.assertIsInstance(parseDateTime(value), datetime | None)

    @settings(max_examples=100, deadline=None)
    @given(st.datetimes(timezones=st.just(timezone.utc)))
    def test_roundTrip(self, moment):
        """What is written is read as it was, but for the fractions of a second."""
        if moment.year >= 1000:  # strftime doesn't pad years everywhere
            self.assertEqual(parseDateTime(formatDateTime(moment)), moment.replace(microsecond=0))


class FormatDateTimeTests(SynchronousTestCase):
    """The way back."""

    def test_utc(self):
        """It is always written in UTC."""
        zone = timezone(timedelta(hours=2))
        self.assertEqual(
            formatDateTime(datetime(2026, 10, 12, 12, 0, 0, 999, zone)), "2026-10-12T10:00:00Z"
        )

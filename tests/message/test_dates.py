"""Tests for dates."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message.dates import parseDate


class DateTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A date is a moment, in its time zone; what isn't known of it is UTC."""
        noon = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
        self.assertEqual(parseDate("Mon, 1 Jan 2024 12:00:00 +0100 (CET)"), noon)
        unknown = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
        self.assertEqual(parseDate("1 Jan 2024 12:00:00 -0000"), unknown)
        for value in (
            *("", "x", "99 Jan 2024 12:00:00 +0000", "1 Jan 2024 12:00:00 +9999", "x" * 201),
            *("31 Dec 9999 23:59:59 -0500", "1 Jan 99999999999 00:00:00 +0000"),
        ):
            self.assertIsNone(parseDate(value), value)

    @given(st.lists(st.sampled_from([*"019:+- ,", "Jan", "Mon", "GMT", "2024"])).map("".join))
    def test_any(self, value: str) -> None:
        """Anything gives a moment that can be compared with others, or none."""
        found = parseDate(value)
        if found is not None:
            found < datetime.now(timezone.utc)  # noqa: B015  # it must be possible

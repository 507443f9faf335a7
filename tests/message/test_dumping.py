"""Tests for JSON in slices."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.slicing import countSlices
from twisted_smtpserver.message.dumping import _MANY, _SLICE, dumping
from twisted_smtpserver.message.slices import finish

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


class DumpingTests(SynchronousTestCase):
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(VALUES, st.integers(0, 3))
    def test_same(self, value: Any, depth: int) -> None:
        """It is what the library writes, however deep values are taken apart."""
        self.assertEqual(finish(dumping(value, depth)), json.dumps(value).encode())

    def test_slices(self) -> None:
        """Long texts, and many values, are written in slices."""
        value = {"text": "\x01ä😀" * _SLICE, "list": [["x", 1]] * (3 * _MANY)}
        octets, slices = countSlices(dumping(value))
        self.assertEqual(slices, 3 + 3)
        self.assertEqual(json.loads(octets), value)

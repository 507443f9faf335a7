"""Tests for JSON in slices."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message.dumping import _MANY, _SLICE, dumping
from twisted_smtpserver.message.slices import finish

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


class DumpingTests(SynchronousTestCase):
    @given(VALUES, st.integers(0, 3))
    def test_same(self, value: Any, depth: int) -> None:
        """It is what the library writes, however deep values are taken apart."""
        self.assertEqual(finish(dumping(value, depth)), json.dumps(value).encode())

    def test_slices(self) -> None:
        """Long texts, and many values, are written in slices."""
        value = {"text": "\x01ä😀" * _SLICE, "list": [["x", 1]] * (3 * _MANY)}
        steps = dumping(value)
        slices = 0
        with self.assertRaises(StopIteration) as caught:
            while True:
                next(steps)
                slices += 1
        self.assertEqual(slices, 3 + 3)
        self.assertEqual(json.loads(caught.exception.value), value)

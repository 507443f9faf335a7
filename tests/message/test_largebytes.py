"""Tests for :mod:`twisted_smtpserver.message.largebytes`."""

from __future__ import annotations

import os
import tracemalloc
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message import largebytes
from twisted_smtpserver.message.largebytes import LargeBytes, readAll


class LargeBytesTests(SynchronousTestCase):
    """Octets in pieces become one object."""

    @given(st.lists(st.binary(max_size=40), max_size=20))
    def test_pieces(self, pieces: list[bytes]) -> None:
        """However the octets were cut, and however many there are."""
        self.patch(largebytes, "_SMALL", 50)
        self.patch(largebytes, "_MAPPED", 300)
        gathered = LargeBytes()
        for piece in pieces:
            gathered.add(memoryview(piece))
        self.assertEqual(gathered.length, sum(map(len, pieces)))
        self.assertEqual(gathered.take(), b"".join(pieces))

    def test_notCopied(self) -> None:
        """At the end there is no second copy of what is large."""
        piece = os.urandom(2**16)
        gathered = LargeBytes()
        tracemalloc.start()
        try:
            for _ in range(128):
                gathered.add(piece)
            whole = gathered.take()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(len(whole), 2**23)
        # What was reserved takes no memory where nothing was written.
        self.assertLess(peak, largebytes._MAPPED + 2**22)

    def test_file(self) -> None:
        """A file is read in pieces."""
        sizes = []

        class File(BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                sizes.append(size)
                return super().read(size)

        octets = os.urandom(2**19 + 1)
        self.assertEqual(readAll(File(octets)), octets)
        self.assertEqual(set(sizes), {2**18})

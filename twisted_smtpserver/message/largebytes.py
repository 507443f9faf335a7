"""
Octets that come in pieces, and end as one :class:`bytes` object, however many they are.

To make a large block of memory longer, the C library may have to copy it, and so does joining
pieces: 30 MiB take the reactor's thread 10 to 30 ms.
"""

from __future__ import annotations

from io import BytesIO
from typing import Protocol

# What is read of a file at once.
_PIECE = 2**18

# Up to here copies don't matter.
_SMALL = 2**20

# glibc gets blocks of more than 32 MiB from the kernel one by one, in pages that take no memory
# before they are written to; and has the kernel move pages when their size changes (mremap(2)).
_MAPPED = 2**25 + 2**16


class LargeBytes:
    """Gathers octets."""

    __slots__ = ("_buffer", "_isMapped", "length")

    def __init__(self) -> None:
        self._buffer = BytesIO()
        self._isMapped = False
        #: How many octets there are.
        self.length = 0

    def add(self, octets: bytes | memoryview) -> None:
        """
        Take the next octets.

        :param octets: so few that to copy them takes no time.
        """
        self.length += len(octets)
        if self.length > _SMALL and not self._isMapped:
            self._isMapped = True
            few, self._buffer = self._buffer, BytesIO(bytes(_MAPPED))
            self._buffer.write(few.getbuffer())
        self._buffer.write(octets)

    def take(self) -> bytes:
        """
        End it.

        :returns: all octets, not copied.
        """
        buffer, self._buffer = self._buffer, BytesIO()
        buffer.truncate(self.length)
        return buffer.getvalue()


class Readable(Protocol):
    """A file."""

    def read(self, size: int, /) -> bytes:
        """
        Read.

        :param size: how many octets at most.
        """


def readAll(file: Readable) -> bytes:
    """
    Read a file to its end, none of its octets twice in the memory.

    :param file: it.
    """
    gathered = LargeBytes()
    while octets := file.read(_PIECE):
        gathered.add(octets)
    return gathered.take()

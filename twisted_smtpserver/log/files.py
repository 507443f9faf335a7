"""A log file that may be moved or cut off by others."""

from __future__ import annotations

import contextlib
import os

#: After how many octets a new file is begun, unless told otherwise: as twistd does.
ROTATE_SIZE = 1_000_000


class LogFile:
    """
    A log file. When it is full it gets the name ``….1``, and what had that name ``….2``; none is
    ever removed.

    It is always written to at its end. So another program may cut it off (logrotate's
    ``copytruncate``) and no hole comes of it; or move it away, and call :meth:`rotate`.

    :param path: its path.
    :param size: when it is full, in octets; 0 for never.
    :param mode: the mode of a new file.
    :param flags: further flags for :func:`os.open`.
    :raises OSError: if it can't be opened.
    """

    def __init__(
        self, path: str, size: int = ROTATE_SIZE, mode: int = 0o666, flags: int = 0
    ) -> None:
        self.path = os.path.abspath(path)
        self._size = size
        self._mode = mode
        self._flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags
        self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self.path, self._flags, self._mode)

    def write(self, octets: bytes) -> None:
        """
        Write octets, into a new file if it is time for one.

        :param octets: whole lines.
        :raises OSError: if that can't be done; the file is as it was, or has a part of them.
        """
        if self._size and os.fstat(self._descriptor).st_size >= self._size:
            self.rotate()
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def flush(self) -> None:
        """Nothing: there is no buffer."""

    def rotate(self) -> None:
        """
        Begin a new file. One that was moved away isn't renamed; one that can't be renamed is kept.
        """
        if self._isHere():
            try:
                self._rename()
            except OSError:  # the folder isn't ours to write to, after --uid
                return
        before = self._descriptor
        with contextlib.suppress(OSError):
            self._open()
        if self._descriptor != before:
            os.close(before)

    def _isHere(self) -> bool:
        """Whether the file that is open is the one at the path."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except OSError:
            return False

    def _rename(self) -> None:
        number = 1
        while os.path.exists(f"{self.path}.{number}"):
            number += 1
        for each in range(number, 1, -1):
            os.rename(f"{self.path}.{each - 1}", f"{self.path}.{each}")
        os.rename(self.path, f"{self.path}.1")

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

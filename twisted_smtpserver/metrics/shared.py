"""The figures of several processes, in memory that they share."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any

from twisted_smtpserver.metrics.table import GAUGES, SIZE

#: The place, behind the figures, where a worker says whether it can take mail.
STATE = SIZE

_ROW = SIZE + 1


class SharedFigures:
    """
    A row of numbers for each worker; only that worker writes to it, so no lock is needed.

    What a worker has counted stays there when it is killed, and the one in its place goes on with
    it: a counter never goes down.

    :param workers: how many workers there are.
    :param descriptor: the file that the supervisor made; by default a new one is made.
    """

    def __init__(self, workers: int, descriptor: int | None = None) -> None:
        self._file: Any = None
        if descriptor is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
            self._file.truncate(8 * _ROW * workers)
            descriptor = self._file.fileno()
        self._rows = memoryview(mmap.mmap(descriptor, 0)).cast("d")
        self._workers = workers

    @property
    def descriptor(self) -> int:
        """What a worker inherits. (For the process that made the file.)"""
        number: int = self._file.fileno()
        return number

    def close(self) -> None:
        """Close that file. The memory stays as long as it is used."""
        self._file.close()

    def row(self, worker: int) -> MutableSequence[float]:
        """
        A worker's numbers: the figures, and its :data:`STATE` behind them.

        :param worker: the worker's number, from 0.
        """
        row: Any = self._rows[worker * _ROW : (worker + 1) * _ROW]
        return row  # type: ignore[no-any-return]

    def forget(self, worker: int) -> None:
        """
        A worker has ended: it has no connections any more.

        :param worker: its number.
        """
        row = self.row(worker)
        for place in (*GAUGES, STATE):
            row[place] = 0.0

    def read(self) -> list[float]:
        """The sums over all workers, in the order of the table."""
        rows = [self.row(worker) for worker in range(self._workers)]
        return [sum(column) for column in zip(*rows, strict=True)][:SIZE]

    def states(self) -> list[float]:
        """What each worker says of itself."""
        return [self.row(worker)[STATE] for worker in range(self._workers)]

    def collect(self) -> Iterator[Any]:
        """(prometheus-client's call.) The sums as it has them."""
        from twisted_smtpserver.metrics.exposition import families

        return families(self.read())


class WorkerFigures:
    """
    What is known of the workers.

    :param figures: what they share with the supervisor.
    :param exits: how often one has ended, since the start.
    """

    def __init__(self, figures: SharedFigures, exits: Callable[[], int]) -> None:
        self._figures = figures
        self._exits = exits

    def collect(self) -> Iterator[Any]:
        """(prometheus-client's call.)"""
        from twisted_smtpserver.metrics.exposition import counter, gauge

        serving = sum(state > 0 for state in self._figures.states())
        yield gauge("smtp_workers", "Workers that are serving.", {"": serving})
        yield counter("smtp_worker_exits_total", "Workers that have ended.", self._exits())

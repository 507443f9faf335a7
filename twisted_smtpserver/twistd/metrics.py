"""The flag of ``twistd smtpserver`` for metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.twistd.supervisor import Supervisor
from twisted_smtpserver.twistd.values import DEFAULT_HOST
from twisted_smtpserver.twistd.worker import Handover

if TYPE_CHECKING:
    from twisted_smtpserver.metrics import Metrics
    from twisted_smtpserver.metrics.shared import SharedFigures


class MetricsFlag:
    """
    What ``--metrics`` makes: in one process, in a supervisor or in a worker.

    :param given: the values of the flags that were given, by name.
    :param handover: what a worker's supervisor handed over; else ``None``.
    :ivar counting: the factories' option ``metrics``.
    :ivar figures: what a supervisor and its workers share; else ``None``.
    :raises ConfigurationError: if prometheus-client is missing.
    """

    def __init__(self, given: Mapping[str, Any], handover: Handover | None) -> None:
        self._endpoint = _described(given.get("metrics"))
        self.figures: SharedFigures | None = None
        self.counting: Metrics | None = None
        self._row: Any = None
        if self._endpoint is None:
            return
        # They bring a web server: import them only here.
        from twisted_smtpserver.metrics import Metrics
        from twisted_smtpserver.metrics.resources import needPrometheus
        from twisted_smtpserver.metrics.shared import SharedFigures

        if handover is not None and handover.figures is not None:
            self._row = SharedFigures(handover.workers, handover.figures).row(handover.number)
        else:
            with _namingFlag():
                needPrometheus()
            if given.get("workers", 1) > 1:
                self.figures = SharedFigures(given["workers"])
        self.counting = Metrics(self._row)

    def watch(self, server: SMTPService) -> Iterator[Service]:
        """
        The services that watch a server: the pages; or in a worker what they need to know.

        :param server: the server.
        :raises ConfigurationError: if the endpoint is invalid.
        """
        if self._endpoint is None:
            return
        from twisted_smtpserver.metrics import MetricsService, StoreWatch
        from twisted_smtpserver.metrics.shared import STATE

        if self._row is None:
            with _namingFlag():
                service = MetricsService(self._endpoint, self.counting, server=server)
            yield service
            return

        def told(isReady: bool) -> None:
            self._row[STATE] = 1.0 if isReady else 2.0

        yield StoreWatch(server, told=told)

    def watchWorkers(self, supervisor: Supervisor) -> Iterator[Service]:
        """
        The services that have the pages of all workers.

        :param supervisor: theirs.
        :raises ConfigurationError: if the endpoint is invalid.
        """
        figures = self.figures
        if figures is None or self._endpoint is None:
            return
        from twisted_smtpserver.metrics import MetricsService
        from twisted_smtpserver.metrics.readiness import workersProblems
        from twisted_smtpserver.metrics.shared import WorkerFigures

        with _namingFlag():
            service = MetricsService(
                self._endpoint,
                figures,
                WorkerFigures(figures, lambda: supervisor.exits),
                server=supervisor,
                problems=lambda: workersProblems(figures.states()),
                processes=supervisor.count,
            )
        yield service


def _described(text: str | None) -> str | None:
    """The endpoint; a number alone is a port of 127.0.0.1."""
    return f"tcp:{text}:interface={DEFAULT_HOST}" if text and text.isdecimal() else text


@contextlib.contextmanager
def _namingFlag() -> Iterator[None]:
    """Make an error begin with the flag's name."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"--{error}") from error

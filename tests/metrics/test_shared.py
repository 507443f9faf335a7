"""Figures of several processes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from tests.support.figures import sample
from twisted_smtpserver.metrics import Metrics
from twisted_smtpserver.metrics.shared import STATE, SharedFigures, WorkerFigures
from twisted_smtpserver.metrics.table import SIZE


class SharedTests(SynchronousTestCase):
    def make(self, workers: int) -> SharedFigures:
        figures = SharedFigures(workers)
        self.addCleanup(figures.close)
        return figures

    def test_sums(self) -> None:
        """What several have counted is added up; each has its own view of the memory."""
        figures = self.make(3)
        for worker in range(3):
            inherited = SharedFigures(3, figures.descriptor)
            metrics = Metrics(inherited.row(worker))
            for _ in range(worker + 1):
                metrics.connected()
                metrics.messageEnded("accepted", 2000, 1)
        page = self.page(figures)
        self.assertEqual(sample(page, "smtp_connections_total"), 6)
        self.assertEqual(sample(page, "smtp_connections"), 6)
        self.assertEqual(sample(page, "smtp_message_bytes_sum"), 12000)
        self.assertEqual(len(figures.read()), SIZE)

    def page(self, *collectors: object) -> str:
        registry = CollectorRegistry()
        for collector in collectors:
            registry.register(collector)  # type: ignore[arg-type]
        return generate_latest(registry).decode()

    def test_killed(self) -> None:
        """A worker that ends takes its open connections along, and what it counted stays."""
        figures = self.make(2)
        first = Metrics(figures.row(0))
        for _ in range(5):
            first.connected()
            first.messageStoring()
        first.disconnected(1)
        figures.row(0)[STATE] = figures.row(1)[STATE] = 1.0
        figures.forget(0)
        self.assertEqual(figures.states(), [0, 1])
        page = self.page(figures)
        self.assertEqual(sample(page, "smtp_connections"), 0)
        self.assertEqual(sample(page, "smtp_messages_storing"), 0)
        self.assertEqual(sample(page, "smtp_connections_total"), 5)
        Metrics(figures.row(0)).connected()
        page = self.page(figures)
        self.assertEqual(sample(page, "smtp_connections_total"), 6)
        self.assertEqual(sample(page, "smtp_connections"), 1)

    def test_workers(self) -> None:
        """How many workers serve, whether or not they can store, and how many have ended."""
        figures = self.make(3)
        figures.row(0)[STATE], figures.row(1)[STATE] = 1.0, 2.0
        page = self.page(WorkerFigures(figures, lambda: 7))
        self.assertEqual(sample(page, "smtp_workers"), 2)
        self.assertEqual(sample(page, "smtp_worker_exits_total"), 7)

"""The flag --metrics: one process, a supervisor, a worker."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.task import Clock

from tests.support.figures import ask, sample
from tests.twistd.test_worker import WorkerCase, settingsWith
from twisted_smtpserver import tap
from twisted_smtpserver.metrics import Metrics, MetricsService, StoreWatch
from twisted_smtpserver.metrics.shared import STATE, SharedFigures
from twisted_smtpserver.twistd.worker import Handover


def make(*arguments: str, handover: Any = None) -> MultiService:
    parsed = tap.Options()
    parsed.parseOptions(arguments)
    for each in (parsed, *parsed.listeners):
        each.handover = handover
    made = tap.makeService(parsed)
    assert isinstance(made, MultiService)
    return made


class FlagTests(WorkerCase):
    def test_off(self) -> None:
        """Without the flag nothing counts."""
        server: Any = make("--discard").services[-1]
        self.assertIsNone(server.factories()[0].metrics)

    def test_oneProcess(self) -> None:
        """The pages are the last service to start; all listeners count together."""
        service = make("--discard", "--metrics=tcp:0", "--listen=1", "--listen-lmtp=2")
        server: Any
        *_, server, pages = service.services
        assert isinstance(pages, MetricsService)
        for factory in server.factories():
            factory.metrics.connected()
        self.assertEqual(sample(ask(pages.site, "/metrics")[2], "smtp_connections"), 2)

    def test_number(self) -> None:
        """A mere number is a port of loopback's."""
        pages: Any = make("--discard", "--metrics=9154").services[-1]
        self.assertEqual((pages._endpoint._port, pages._endpoint._interface), (9154, "127.0.0.1"))

    def test_wrong(self) -> None:
        """An endpoint that is none is refused in one line."""
        error = self.assertRaises(SystemExit, make, "--discard", "--metrics=nothing:1")
        self.assertRegex(
            str(error), "^twistd smtpserver: --metrics: 'nothing:1' is no endpoint such"
        )

    def test_supervisor(self) -> None:
        """The supervisor shows what its workers count."""
        service = make("--discard", "--metrics=tcp:0", "--workers=3")
        supervisor: Any
        *_, supervisor, pages = service.services
        figures = supervisor.figures
        self.addCleanup(figures.close)
        self.addCleanup(supervisor._countsFile.close)
        assert isinstance(pages, MetricsService)
        Metrics(figures.row(1)).connected()
        self.assertEqual(ask(pages.site, "/readyz")[2], "it doesn't listen\nno worker serves\n")
        supervisor.ports.append("a port")
        figures.row(2)[STATE] = 1.0
        self.assertEqual(ask(pages.site, "/readyz")[0], 200)
        page = ask(pages.site, "/metrics")[2]
        self.assertEqual(sample(page, "smtp_connections_total"), 1)
        self.assertEqual(sample(page, "smtp_workers"), 1)
        supervisor.workerExited(1)
        supervisor.workerExited(2)
        self.assertEqual(ask(pages.site, "/readyz")[2], "no worker serves\n")
        self.assertEqual((supervisor.exits, figures.read()[0]), (2, 0))

    def test_worker(self) -> None:
        """A worker counts in the row that it was handed, and says whether its store is ready."""
        figures = SharedFigures(2)
        self.addCleanup(figures.close)
        listener = socket.create_server(("127.0.0.1", 0))
        settings = settingsWith(
            counts=self.counts(),
            figures=figures.descriptor,
            sockets=[(listener.detach(), socket.AF_INET)],
        )
        service = make("--discard", "--metrics=tcp:0", handover=Handover(settings))
        server: Any
        server, watch = service.services
        assert isinstance(watch, StoreWatch)
        watch._loop.clock = watch._clock = Clock()
        self.patch(server, "factories", lambda: [self.factory])
        self.factory: Any = make("--discard").services[-1].factories()[0]
        Metrics(figures.row(1)).connected()
        watch.startService()
        self.assertEqual(figures.states(), [0, 1])
        self.factory.handler.ready = lambda: 1 / 0
        watch._clock.advance(10)
        self.assertEqual(figures.states(), [0, 2])
        watch.stopService()

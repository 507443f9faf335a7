"""The examples on the page about metrics."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from twisted.application.service import IServiceCollection
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES, load
from tests.support.figures import ask, sample
from twisted_smtpserver.metrics import Metrics
from twisted_smtpserver.metrics.exposition import Build
from twisted_smtpserver.metrics.service import ServerFigures
from twisted_smtpserver.metrics.shared import WorkerFigures
from twisted_smtpserver.metrics.table import METRICS
from twisted_smtpserver.web.bounded import QuietSite

FOLDER = EXAMPLES / "metrics"


def shownNames() -> set[str]:
    """The names of all figures, as queries have them."""
    names = {"up", "ALERTS", "smtp_ready", "smtp_connections_max", "smtp_build_info"}
    names |= {"smtp_certificate_expiry_timestamp_seconds"}
    names |= {"smtp_workers", "smtp_worker_exits_total", "process_cpu_seconds_total"}
    for metric in METRICS:
        ends = ("_bucket", "_sum", "_count") if metric.bounds else ("",)
        names |= {metric.name + end for end in ends}
    return names


def queriedNames(text: str) -> set[str]:
    """The figures that queries name."""
    return set(re.findall(r"\b((?:smtp|process)_\w+)\b", text))


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)

    def test_embedded(self) -> None:
        """A program has the pages."""
        module = load("metrics/embedded")
        module.metrics.connected()
        page = ask(module.pages.site, "/metrics")[2]
        self.assertEqual(sample(page, "smtp_connections_total"), 1)
        self.assertEqual(ask(module.pages.site, "/readyz")[0], 503)
        self.assertEqual(len(list(IServiceCollection(module.application))), 2)
        self.assertTrue(os.path.isdir("Maildir"))

    def test_ownSite(self) -> None:
        """So has a site of one's own, beside its own figures: own_site."""
        module = load("metrics/own_site")
        site = QuietSite(module.root)
        self.assertEqual(ask(site, "/")[2], "Hello\n")
        page = ask(site, "/metrics")[2]
        self.assertEqual(sample(page, "site_visits_total"), 1)
        self.assertEqual(sample(page, "smtp_connections_total"), 0)
        self.assertEqual((ask(site, "/healthz")[0], ask(site, "/readyz")[0]), (200, 503))
        self.assertEqual(len(list(IServiceCollection(module.application))), 3)


class NameTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """The dashboard and the alerts name only figures that there are; no figure is unknown."""
        known = shownNames()
        for name in ("dashboard.json", "alerts.yml", "alerts_test.yml"):
            found = queriedNames((FOLDER / name).read_text(encoding="utf-8"))
            self.assertGreater(len(found), 5)
            self.assertEqual(found - known, set(), name)
        registry = CollectorRegistry()
        registry.register(Metrics())
        collected = {
            each.name + end
            for collector in (Metrics(), Build(), _Workers(), _Server())
            for family in collector.collect()
            for each in family.samples
            for end in ("",)
        }
        self.assertEqual({name for name in collected if name not in known}, set())

    def test_dashboard(self) -> None:
        """The dashboard is one: every panel has queries and a place of its own."""
        board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        self.assertEqual(len(set(places)), len(places))
        for panel in board["panels"]:
            self.assertTrue(panel["targets"], panel["title"])
            for target in panel["targets"]:
                self.assertIn('job=~"$job"', target["expr"])


class _Workers(WorkerFigures):
    """Those of no worker."""

    def __init__(self) -> None:
        super().__init__(self, lambda: 0)  # type: ignore[arg-type]

    def states(self) -> list[float]:
        return []


class _Server(ServerFigures):
    """Those of no server."""

    def __init__(self) -> None:
        super().__init__(self, self, 1)  # type: ignore[arg-type]

    ports: list[object] = []

    def factories(self) -> list[object]:
        return []

    def problems(self) -> list[str]:
        return []

    def certificates(self) -> dict[str, object]:
        return {}

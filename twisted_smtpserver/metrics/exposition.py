"""Figures as prometheus-client has them, and the page that Prometheus reads."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from OpenSSL import SSL
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import generate_latest
from twisted.internet.interfaces import IReactorTime

import twisted_smtpserver
from twisted_smtpserver.metrics.table import METRICS, PLACES, Metric

#: What the page is. There is one form of it, which every scraper takes.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: The page is made at most once in this many seconds, however often it is requested.
FRESH_SECONDS = 1.0


def families(numbers: Sequence[float]) -> Iterator[Family]:
    """
    Make prometheus-client's objects of figures.

    :param numbers: the figures, in the order of the table.
    """
    for metric in METRICS:
        labels = [metric.label] if metric.label else []
        family = _KINDS[metric.kind](metric.name, metric.text, labels=labels)
        for value, place in PLACES[metric.name].items():
            mine = numbers[place : place + metric.places]
            if not metric.hidesZeros or any(mine):
                _add(family, metric, [value] if labels else [], mine)
        yield family


_KINDS: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _add(family: Any, metric: Metric, labels: list[str], numbers: Sequence[float]) -> None:
    if not metric.bounds:
        family.add_metric(labels, numbers[0])
        return
    *counts, total = numbers
    buckets, sofar = [], 0.0
    for bound, count in zip((*metric.bounds, float("inf")), counts, strict=True):
        sofar += count
        buckets.append(["+Inf" if bound == float("inf") else repr(bound), sofar])
    family.add_metric(labels, buckets=buckets, sum_value=total)


class Build:
    """The versions of this package, Twisted, Python and OpenSSL, as a figure."""

    def __init__(self) -> None:
        self._values = {
            "version": twisted_smtpserver.__version__,
            "twisted": version("Twisted"),
            "python": platform.python_version(),
            "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode().split()[1],
        }

    def collect(self) -> Iterator[Family]:
        """(prometheus-client's call.)"""
        yield InfoMetricFamily("smtp_build", "Versions in use.", value=self._values)


def gauge(name: str, text: str, values: Mapping[str, float], label: str = "") -> Family:
    """
    Make a figure that goes up and down.

    :param name: its name.
    :param text: what it is.
    :param values: its values by the label's; without a label, one under any key.
    :param label: the label's name.
    """
    family = GaugeMetricFamily(name, text, labels=[label] if label else [])
    for key, value in values.items():
        family.add_metric([key] if label else [], value)
    return family


def counter(name: str, text: str, value: float) -> Family:
    """
    Make a figure that only grows.

    :param name: its name.
    :param text: what it is.
    :param value: its value.
    """
    return CounterMetricFamily(name, text, value=value)


class Page:
    """
    The page that Prometheus reads, made at most once a second: scrapers can't keep the server busy.
    It has what prometheus-client knows of the process, too: processor time, memory, open files.

    :param collectors: what has figures: objects with a ``collect``.
    :param clock: the reactor.
    """

    def __init__(self, collectors: Iterable[Any], clock: IReactorTime) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(_Undescribed(collector))
        ProcessCollector(registry=self._registry)
        self._clock = clock
        self._octets = b""
        self._madeAt: float | None = None

    def read(self) -> bytes:
        """The page's octets."""
        now = self._clock.seconds()
        if self._madeAt is None or not self._madeAt <= now < self._madeAt + FRESH_SECONDS:
            self._octets = generate_latest(self._registry)
            self._madeAt = now
        return self._octets


class _Undescribed:
    """A collector that isn't asked for its figures before somebody wants them."""

    def __init__(self, collector: Any) -> None:
        self.collect = collector.collect

    def describe(self) -> list[Family]:
        return []

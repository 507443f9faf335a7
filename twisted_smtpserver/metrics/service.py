"""The pages for those who watch a server, at an endpoint of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.web.resource import Resource

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.metrics.readiness import Readiness, Server, StoreWatch
from twisted_smtpserver.metrics.resources import (
    HealthResource,
    MetricsResource,
    ReadyResource,
    makeSite,
    needPrometheus,
)

_log = Logger()


class MetricsService(Service):
    """
    Serves ``/metrics``, ``/healthz`` and ``/readyz``::

        metrics = Metrics()
        factory = SMTPServerFactory(handler, metrics=metrics)
        server = SMTPService([("tcp:25", factory)])
        pages = MetricsService("tcp:9154:interface=127.0.0.1", metrics, server=server)
        for service in (server, pages):
            service.setServiceParent(application)

    :param endpoint: where, as Twisted describes it.
    :param collectors: what has figures: :class:`Metrics`, and other collectors of
        prometheus-client's.
    :param server: the :class:`~twisted_smtpserver.SMTPService` that is watched.
    :param problems: says what keeps messages from being stored; by default the handlers' method
        ``ready()`` does, see :class:`StoreWatch`.
    :param processes: how many processes serve.
    :param reactor: by default the reactor.
    :raises ConfigurationError: if the endpoint is invalid, or prometheus-client is missing.
    """

    name = "metrics"

    def __init__(
        self,
        endpoint: str,
        *collectors: Any,
        server: Server,
        problems: Callable[[], list[str]] | None = None,
        processes: int = 1,
        reactor: Any = None,
    ) -> None:
        self._reactor = theReactor() if reactor is None else reactor
        try:
            self._endpoint = serverFromString(self._reactor, endpoint)
        except Exception as error:  # parsers of endpoints raise what they like
            hint = "no endpoint such as tcp:9154:interface=127.0.0.1"
            raise ConfigurationError(f"metrics: {endpoint!r} is {hint}: {error}") from error
        self._watch: StoreWatch | None = None
        if problems is None:
            self._watch = StoreWatch(server, self._reactor)
            problems = self._watch.problems
        readiness = Readiness(server, problems)
        figures = ServerFigures(server, readiness, processes)
        pages: dict[bytes, Resource] = {
            b"/metrics": MetricsResource(*collectors, figures, reactor=self._reactor),
            b"/healthz": HealthResource(),
            b"/readyz": ReadyResource(readiness),
        }
        self.site = makeSite(pages, self._reactor)
        self._listening: Deferred[IListeningPort] | None = None

    def privilegedStartService(self) -> None:
        """
        Bind the port.

        :raises ConfigurationError: if that can't be done.
        """
        super().privilegedStartService()
        self._listening = self._endpoint.listen(self.site)
        failures: list[Any] = []
        self._listening.addCallbacks(self._bound, failures.append)
        if failures:
            self._listening = None
            raise ConfigurationError(f"metrics: {failures[0].getErrorMessage()}")

    def _bound(self, port: Any) -> Any:
        _log.info("Metrics are served on {address}", address=port.getHost())
        return port

    def startService(self) -> None:
        """Look at the stores; bind the port if :meth:`privilegedStartService` wasn't called."""
        if self._listening is None:
            self.privilegedStartService()
        super().startService()
        if self._watch is not None:
            self._watch.startService()

    def stopService(self) -> Deferred[Any] | None:
        """
        Close the port.

        :returns: a Deferred that fires when it is free.
        """
        super().stopService()
        if self._watch is not None:
            self._watch.stopService()
        self.site.closeAll()
        listening, self._listening = self._listening, None
        return listening and listening.addCallback(lambda port: port.stopListening())


class ServerFigures:
    """
    What isn't counted, but looked at: whether the server is ready, its certificates, its limit.

    :param server: the server.
    :param readiness: knows whether it is ready.
    :param processes: how many processes serve.
    """

    def __init__(self, server: Server, readiness: Readiness, processes: int) -> None:
        self._server = server
        self._readiness = readiness
        self._processes = processes

    def collect(self) -> Iterator[Any]:
        """(prometheus-client's call.)"""
        gauge = needPrometheus().gauge
        isReady = not self._readiness.problems()
        yield gauge("smtp_ready", "1 if /readyz is 200, else 0.", {"": float(isReady)})
        yield gauge("smtp_connections_max", "How many connections may be open.", {"": self._most()})
        yield gauge(
            "smtp_certificate_expiry_timestamp_seconds",
            "When certificates end, in seconds since 1970.",
            {name: end.timestamp() for name, end in self._readiness.certificates().items()},
            "name",
        )

    def _most(self) -> int:
        factories = self._server.factories()
        given: list[int] = [f.options.maxClients for f in factories if f.options.maxClients]
        # Without the option it is the limit of each process, for all its listeners together.
        others: list[int] = [f.maxClients for f in factories if not f.options.maxClients]
        return sum(given) + max(others, default=0) * self._processes

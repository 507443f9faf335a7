"""The pages, and the port that they are on."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

from prometheus_client import CollectorRegistry, Counter, generate_latest
from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.support.certificates import makeCertificate
from tests.support.figures import ask, connectTo, request, sample, series
from tests.support.webtalk import takeTurn
from twisted_smtpserver import (
    ConfigurationError,
    Discard,
    SMTPServerFactory,
    SMTPService,
    metrics,
)
from twisted_smtpserver.metrics import (
    HealthResource,
    Metrics,
    MetricsResource,
    MetricsService,
    Readiness,
    ReadyResource,
)
from twisted_smtpserver.metrics.exposition import FRESH_SECONDS
from twisted_smtpserver.metrics.resources import IDLE_TIME, MAX_CONNECTIONS
from twisted_smtpserver.testing import connect
from twisted_smtpserver.web.bounded import QuietSite
from twisted_smtpserver.web.turns import Turns


class ServiceCase(SynchronousTestCase):
    """A server whose reactor listens nowhere."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.metrics = Metrics()

    def make(self, endpoint: str = "tcp:9154", **options: Any) -> MetricsService:
        factory = SMTPServerFactory(
            Discard(), reactor=self.reactor, metrics=self.metrics, **options
        )
        self.server = SMTPService([("tcp:2525", factory)], self.reactor)
        self.factory = factory
        return MetricsService(endpoint, self.metrics, server=self.server, reactor=self.reactor)

    def run_(self, pages: MetricsService) -> MultiService:
        both = MultiService()
        for each in (self.server, pages):
            each.setServiceParent(both)
        both.privilegedStartService()
        both.startService()
        self.addCleanup(both.stopService)
        return both


class PageTests(ServiceCase):
    def test_figures(self) -> None:
        """All figures are there: counted ones, those of the server, what runs, the process's."""
        made = makeCertificate(None, ["mx.test"], days=5)
        pages = self.make(cert=made.certPEM, key=made.keyPEM, maxClients=50)
        self.run_(pages)
        connect(self.factory).deliver(b"\r\n")
        status, head, page = ask(pages.site, "/metrics")
        self.assertEqual(status, 200)
        self.assertIn("Content-Type: text/plain; version=0.0.4; charset=utf-8", head)
        self.assertNotIn("Server:", head)
        self.assertEqual(sample(page, 'smtp_messages_total{outcome="accepted"}'), 1)
        self.assertEqual(sample(page, "smtp_ready"), 1)
        self.assertEqual(sample(page, "smtp_connections_max"), 50)
        end = made.certificate.not_valid_after_utc.timestamp()
        name = 'smtp_certificate_expiry_timestamp_seconds{name="mx.test"}'
        self.assertEqual(sample(page, name), end)
        [build] = [each for each in series(page) if each.startswith("smtp_build_info{")]
        for label in ("version=", "python=", "twisted=", "openssl="):
            self.assertIn(label, build)
        self.assertGreater(sample(page, "process_open_fds"), 0)

    def test_limits(self) -> None:
        """Without an option the limit is the process's, of each process."""
        pages = self.make()
        two = MetricsService(
            "tcp:1", server=self.server, problems=list, processes=2, reactor=self.reactor
        )
        self.factory.maxClients = 100
        self.assertEqual(sample(ask(pages.site, "/metrics")[2], "smtp_connections_max"), 100)
        self.assertEqual(sample(ask(two.site, "/metrics")[2], "smtp_connections_max"), 200)

    def test_fresh(self) -> None:
        """However often it is asked for, the page is made once a second."""
        pages = self.make()
        self.metrics.connected()
        for expected, wait in ((1, 0.0), (1, FRESH_SECONDS / 2), (3, FRESH_SECONDS / 2)):
            self.reactor.advance(wait)
            page = ask(pages.site, "/metrics")[2]
            self.assertEqual(sample(page, "smtp_connections_total"), expected)
            self.metrics.connected()

    def test_health(self) -> None:
        """The process is alive even before the server starts."""
        self.assertEqual(ask(self.make().site, "/healthz")[::2], (200, "ok\n"))

    def test_ready(self) -> None:
        """It is ready when it listens and its store was looked at; else all reasons are told."""
        pages = self.make()
        reasons = "it doesn't listen\nthe store wasn't looked at yet\n"
        self.assertEqual(ask(pages.site, "/readyz")[::2], (503, reasons))
        both = self.run_(pages)
        self.assertEqual(ask(pages.site, "/readyz")[::2], (200, "ok\n"))
        both.stopService()
        self.assertEqual(ask(pages.site, "/readyz")[::2], (503, "it doesn't listen\n"))

    def test_others(self) -> None:
        """There is nothing else; HEAD has no body; other methods are refused."""
        site = self.make().site
        status, head, body = ask(site, "/<script>")
        self.assertEqual((status, body), (404, "/metrics, /healthz, /readyz\n"))
        self.assertNotIn("script", head)
        self.assertEqual(ask(site, "/healthz", "HEAD")[::2], (200, ""))
        for method in ("POST", "BREW"):
            status, head, body = ask(site, "/healthz", method)
            self.assertEqual((status, body), (405, "GET and HEAD are all there is\n"))
            self.assertIn("Allow: GET, HEAD", head)


class HostileTests(ServiceCase):
    def test_bodies(self) -> None:
        """A request has no body, however it is announced."""
        site = self.make().site
        for header in ("Content-Length: 9", "Content-Length: 99999999999"):
            _, transport = request(site, f"GET /metrics HTTP/1.1\r\n{header}\r\n\r\n".encode())
            self.assertIn(b" 413 ", transport.value())
            self.assertTrue(transport.disconnecting)
        chunked = b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n"
        _, transport = request(site, chunked)
        self.assertIn(b" 413 ", transport.value())

    def test_connections(self) -> None:
        """There are so many connections, and no more."""
        site = self.make().site
        for _ in range(MAX_CONNECTIONS):
            self.assertIsNotNone(request(site, b"")[0])
        self.assertIsNone(request(site, b"")[0])

    def test_stopped(self) -> None:
        """At the end all connections are closed."""
        pages = self.make()
        _, transport = request(pages.site, b"")
        pages.stopService()
        self.assertTrue(transport.disconnecting)

    def test_silent(self) -> None:
        """Who says nothing, or never ends, is closed."""
        site = self.make().site
        _, transport = request(site, b"GET /metrics HTTP/1.1\r\nHost:")
        self.reactor.advance(IDLE_TIME)
        self.assertTrue(transport.disconnecting)

    def test_pipelined(self) -> None:
        """Many requests in one piece are answered one at a turn."""
        site = self.make().site
        clock = Clock()
        site.turns = Turns(clock)
        protocol, transport = connectTo(site)
        protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        for answers in range(5):
            self.assertEqual(transport.value().count(b"HTTP/1.1 200"), answers)
            takeTurn(clock)

    def test_headers(self) -> None:
        """So is who sends headers without end."""
        site = self.make().site
        _, transport = request(site, b"GET / HTTP/1.1\r\n" + b"X: yyyyyyyy\r\n" * 10000)
        self.assertTrue(transport.disconnecting)


class PortTests(ServiceCase):
    def test_port(self) -> None:
        """The port is bound before privileges are dropped, and freed at the end."""
        pages = self.make()
        both = self.run_(pages)
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [2525, 9154])
        both.stopService()

    def test_late(self) -> None:
        """A service that is started later binds it then; one that isn't can be stopped."""
        pages = self.make()
        pages.startService()
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [9154])
        pages.stopService()
        pages = MetricsService("tcp:1", server=self.server, problems=list, reactor=self.reactor)
        pages.privilegedStartService()
        pages.startService()
        pages.stopService()
        self.assertIsNone(pages.stopService())

    def test_taken(self) -> None:
        """A port that can't be had is said in one line."""

        def taken(port: int, *_: Any, **__: Any) -> None:
            raise CannotListenError("", port, OSError(98, "Address already in use"))

        pages = self.make()
        self.patch(self.reactor, "listenTCP", taken)
        with self.assertRaisesRegex(ConfigurationError, r"^metrics: .*9154.*in use"):
            pages.privilegedStartService()

    def test_wrong(self) -> None:
        """So is an endpoint that is none."""
        for endpoint in ("9154x", "tcp:", "nothing:1"):
            with self.assertRaisesRegex(
                ConfigurationError, "^metrics: .* is no endpoint such as tcp"
            ):
                self.make(endpoint)

    def test_missing(self) -> None:
        """Without prometheus-client the error names what to install."""
        name = "twisted_smtpserver.metrics.exposition"
        self.patch(metrics, "exposition", None)
        del metrics.exposition
        with mock.patch.dict(sys.modules, {"prometheus_client": None}):
            del sys.modules[name]
            with self.assertRaisesRegex(
                ConfigurationError, r'^metrics: .*: pip install "twisted-smtpserver\[metrics\]"$'
            ):
                self.make()


class EmbeddedTests(ServiceCase):
    def test_site(self) -> None:
        """The pages go into a site of one's own."""
        self.make()
        root = Resource()
        root.putChild(b"metrics", MetricsResource(self.metrics, reactor=Clock()))
        root.putChild(b"healthz", HealthResource())
        root.putChild(b"readyz", ReadyResource(Readiness(self.server, list)))
        site = QuietSite(root)
        self.assertIn("smtp_connections_total 0.0", ask(site, "/metrics")[2])
        self.assertEqual(ask(site, "/healthz")[0], 200)
        self.assertEqual(ask(site, "/readyz")[::2], (503, "it doesn't listen\n"))

    def test_registry(self) -> None:
        """The figures go into a registry of one's own."""
        registry = CollectorRegistry()
        Counter("mine", "One's own.", registry=registry).inc()
        registry.register(self.metrics)
        page = generate_latest(registry).decode()
        self.assertEqual(sample(page, "mine_total"), 1)
        self.assertEqual(sample(page, "smtp_connections_total"), 0)

    def test_global(self) -> None:
        """By default the pages are the process's reactor's."""
        self.assertIn(b"", [MetricsResource(self.metrics).render(_Request())[:0]])


class _Request:
    """As much of a request as a page looks at."""

    method = b"GET"

    def __init__(self) -> None:
        self.responseHeaders = self

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None

"""
A web site with the figures of a mail server beside its own: ``twistd -ny own_site.py``, then
http://127.0.0.1:8080/metrics.
"""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false
# mypy: disable-error-code="arg-type, list-item"

from prometheus_client import CollectorRegistry, Counter
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from twisted_smtpserver import Discard, SMTPServerFactory, SMTPService
from twisted_smtpserver.metrics import (
    HealthResource,
    Metrics,
    MetricsResource,
    Readiness,
    ReadyResource,
    StoreWatch,
)

mine = CollectorRegistry()
visits = Counter("site_visits", "Visits of the front page.", registry=mine)


class Front(Resource):
    """The front page, which has a figure of its own."""

    def render_GET(self, request: Request) -> bytes:
        """Show it."""
        visits.inc()
        return b"Hello\n"


metrics = Metrics()
factory = SMTPServerFactory(Discard(), metrics=metrics)
server = SMTPService([("tcp:2525:interface=127.0.0.1", factory)])
watch = StoreWatch(server)

root = Resource()
root.putChild(b"", Front())
root.putChild(b"metrics", MetricsResource(metrics, mine))
root.putChild(b"healthz", HealthResource())
root.putChild(b"readyz", ReadyResource(Readiness(server, watch.problems)))
web = serverFromString(reactor, "tcp:8080:interface=127.0.0.1")

application = Application("site")
for service in (server, watch, StreamServerEndpointService(web, Site(root))):
    service.setServiceParent(application)

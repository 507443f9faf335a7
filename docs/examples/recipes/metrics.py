"""
A mail server that Prometheus can watch: ``twistd -ny metrics.py``, then http://127.0.0.1:9154/metrics.
"""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportArgumentType=false
# mypy: disable-error-code="arg-type, list-item"

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.twisted import MetricsResource
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_smtpserver import Discard, SMTPServerFactory, SMTPService

messages = Counter("smtp_messages_total", "Messages, by what they were answered.", ["outcome"])
sizes = Histogram("smtp_message_bytes", "Their sizes.", buckets=[4**n for n in range(5, 15)])
sessions = Histogram("smtp_session_seconds", "How long sessions last.")
refusals = Counter("smtp_refusals_total", "Senders and recipients that were refused.", ["command"])
logins = Counter("smtp_failed_logins_total", "Logins that failed.", ["method"])
incidents = Counter("smtp_incidents_total", "Hooks that failed, which they never should.")

OUTCOMES = {"2": "accepted", "4": "deferred", "5": "refused"}


def count(event):
    """Called with every event of the log; see the page on deployment for their fields."""
    match event.get("event") if event.get("log_namespace") == "twisted_smtpserver" else None:
        case "message":
            messages.labels(OUTCOMES[event["reply"][0]]).inc()
            sizes.observe(event["octets"])
        case "session":
            sessions.observe(event["seconds"])
        case "rejected":
            refusals.labels(event["command"]).inc()
        case "loginFailed":
            logins.labels(event["method"]).inc()
        case "incident":
            incidents.inc()


globalLogPublisher.addObserver(count)
page = Resource()
page.putChild(b"metrics", MetricsResource(REGISTRY))

application = Application("mail")
web = serverFromString(reactor, "tcp:9154:interface=127.0.0.1")
StreamServerEndpointService(web, Site(page)).setServiceParent(application)
mail = SMTPServerFactory(Discard(), size=10 * 2**20)
SMTPService([("tcp:2525:interface=127.0.0.1", mail)]).setServiceParent(application)

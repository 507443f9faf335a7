"""
A mail server that Prometheus can watch: ``twistd -ny embedded.py``, then
http://127.0.0.1:9154/metrics, and /healthz and /readyz beside it.
"""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportArgumentType=false
# mypy: disable-error-code="arg-type, list-item"

from twisted.application.service import Application

from twisted_smtpserver import Maildir, SMTPServerFactory, SMTPService
from twisted_smtpserver.metrics import Metrics, MetricsService

metrics = Metrics()
factory = SMTPServerFactory(Maildir("Maildir"), size=50 * 2**20, metrics=metrics)
server = SMTPService([("tcp:2525:interface=127.0.0.1", factory)])
pages = MetricsService("tcp:9154:interface=127.0.0.1", metrics, server=server)

application = Application("mail")
for service in (server, pages):
    service.setServiceParent(application)

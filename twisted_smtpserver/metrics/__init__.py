"""
Figures for Prometheus: counted by :class:`Metrics`, shown by :class:`MetricsService` on pages of
their own, or by :class:`MetricsResource` on a site of yours.

It needs prometheus-client: ``pip install "twisted-smtpserver[metrics]"``.
"""

from twisted_smtpserver.metrics.counting import Metrics
from twisted_smtpserver.metrics.readiness import Readiness, StoreWatch
from twisted_smtpserver.metrics.resources import HealthResource, MetricsResource, ReadyResource
from twisted_smtpserver.metrics.service import MetricsService

__all__ = [
    "HealthResource",
    "Metrics",
    "MetricsResource",
    "MetricsService",
    "Readiness",
    "ReadyResource",
    "StoreWatch",
]

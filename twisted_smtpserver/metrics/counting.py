"""Counting what a server does."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

from zope.interface import implementer

from twisted_smtpserver.interfaces import IMetrics
from twisted_smtpserver.metrics.table import METRICS, OTHER, PLACES, SIZE

_BY_NAME = {metric.name: metric for metric in METRICS}

_OPEN = PLACES["smtp_connections"][""]
_ACCEPTED = PLACES["smtp_connections_total"][""]
_REFUSED = PLACES["smtp_connections_refused_total"]
_TLS = PLACES["smtp_tls_sessions_total"]
_TLS_FAILURES = PLACES["smtp_tls_failures_total"][""]
_LOGINS = PLACES["smtp_auth_total"]
_MESSAGES = PLACES["smtp_messages_total"]
_RECIPIENTS = PLACES["smtp_recipients_total"][""]
_STORING = PLACES["smtp_messages_storing"][""]
_LOST = PLACES["smtp_replies_lost_total"][""]
_REFUSALS = {int(code): place for code, place in PLACES["smtp_refusals_total"].items()}
_POLICIES = PLACES["smtp_policy_refusals_total"]
_TIMEOUTS = PLACES["smtp_hook_timeouts_total"]
_INCIDENTS = PLACES["smtp_incidents_total"]


class _Histogram:
    """
    Where values of one kind are counted.

    :param name: the figure's name.
    """

    __slots__ = ("_bounds", "_places")

    def __init__(self, name: str) -> None:
        self._bounds = _BY_NAME[name].bounds
        self._places = PLACES[name]

    def count(self, numbers: MutableSequence[float], value: float, label: str = "") -> None:
        """
        Count a value; nothing if the label has no such value.

        :param numbers: all figures.
        """
        place = self._places.get(label)
        if place is not None:
            bounds = self._bounds
            numbers[place + bisect_left(bounds, value)] += 1
            numbers[place + len(bounds) + 1] += value


_SESSION_SECONDS = _Histogram("smtp_session_seconds")
_MESSAGE_BYTES = _Histogram("smtp_message_bytes")
_STORE_SECONDS = _Histogram("smtp_store_seconds")
_HOOK_SECONDS = _Histogram("smtp_hook_seconds")


@implementer(IMetrics)
class Metrics:
    """
    Counts what servers do, for Prometheus::

        metrics = Metrics()
        factory = SMTPServerFactory(handler, metrics=metrics)
        root.putChild(b"metrics", MetricsResource(metrics))

    It is a collector of prometheus-client's, too: ``registry.register(metrics)`` puts its figures
    beside those of your own. Several factories may share one. Use it in the reactor's thread.

    :param numbers: where the figures are kept: :data:`~twisted_smtpserver.metrics.table.SIZE`
        numbers; by default new ones.
    """

    def __init__(self, numbers: MutableSequence[float] | None = None) -> None:
        self._numbers: MutableSequence[float] = (
            array("d", bytes(8 * SIZE)) if numbers is None else numbers
        )

    # -- For prometheus-client ---------------------------------------------------------------------

    def read(self) -> Sequence[float]:
        """All figures, in the order of the table."""
        return self._numbers

    def collect(self) -> Iterator[Any]:
        """(prometheus-client's call.) The figures as it has them."""
        from twisted_smtpserver.metrics.exposition import families

        return families(self.read())

    # -- The server's calls ------------------------------------------------------------------------

    def connected(self) -> None:
        """See :class:`~twisted_smtpserver.interfaces.IMetrics`, also for the other methods."""
        numbers = self._numbers
        numbers[_OPEN] += 1
        numbers[_ACCEPTED] += 1

    def disconnected(self, seconds: float) -> None:
        """A connection has ended."""
        self._numbers[_OPEN] -= 1
        _SESSION_SECONDS.count(self._numbers, seconds)

    def connectionRefused(self, limit: str) -> None:
        """A connection was refused, because there were too many."""
        self._numbers[_REFUSED[limit]] += 1

    def secured(self, version: str) -> None:
        """A TLS handshake succeeded."""
        self._numbers[_TLS.get(version) or _TLS[OTHER]] += 1

    def handshakeFailed(self) -> None:
        """A TLS handshake failed."""
        self._numbers[_TLS_FAILURES] += 1

    def loginEnded(self, result: str) -> None:
        """A login succeeded or failed."""
        self._numbers[_LOGINS[result]] += 1

    def messageStoring(self) -> None:
        """A message waits for its result."""
        self._numbers[_STORING] += 1

    def messageStored(self, seconds: float) -> None:
        """It has its result."""
        self._numbers[_STORING] -= 1
        _STORE_SECONDS.count(self._numbers, seconds)

    def messageEnded(self, outcome: str, octets: int, recipients: int) -> None:
        """A message was answered."""
        numbers = self._numbers
        numbers[_MESSAGES[outcome]] += 1
        _MESSAGE_BYTES.count(numbers, octets)
        if outcome == "accepted":
            numbers[_RECIPIENTS] += recipients

    def replyLost(self) -> None:
        """A client left before its message was answered."""
        self._numbers[_LOST] += 1

    def refused(self, code: int) -> None:
        """A refusal was sent."""
        place = _REFUSALS.get(code)
        if place is not None:  # an extension may send what it likes
            self._numbers[place] += 1

    def refusedByPolicy(self, policy: str) -> None:
        """A policy refused."""
        self._numbers[_POLICIES.get(policy) or _POLICIES[OTHER]] += 1

    def hookEnded(self, hook: str, seconds: float) -> None:
        """A hook has its result."""
        _HOOK_SECONDS.count(self._numbers, seconds, hook)

    def hookTimedOut(self, hook: str) -> None:
        """A hook took too long."""
        self._numbers[_TIMEOUTS.get(hook) or _TIMEOUTS[OTHER]] += 1

    def incident(self, hook: str) -> None:
        """Count a hook that failed."""
        self._numbers[_INCIDENTS.get(hook) or _INCIDENTS[OTHER]] += 1

"""
The figures that a server keeps: which there are, and where each has its place.

All figures are numbers in one row, of a length that never changes: every label has a fixed set of
values, so nothing that a client says can make a new figure. Whatever isn't in the set counts as
:data:`OTHER`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: The value of a label for what has no value of its own.
OTHER = "other"

_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)

_HOOKS = (
    *("onConnect", "onSecure", "onHello", "onAuth", "scramSecret"),
    *("onMailFrom", "onRcptTo", "onData"),
)

#: The policies that a refusal may name: see :class:`~twisted_smtpserver.Rejection`.
POLICIES = (
    *("rate", "clients", "dnsbl", "sender", "greylist"),
    *("milter", "attachments", "fields", "authentication"),
    OTHER,
)

#: Every code that a refusal may have (RFC 5321 §4.2).
REFUSAL_CODES = tuple(
    f"{first}{second}{third}" for first in "45" for second in range(6) for third in range(10)
)


@dataclass(frozen=True)
class Metric:
    """
    A figure, or one for each value of a label.

    :ivar name: the name; that of a counter ends in ``_total``.
    :ivar kind: whether it only grows, goes up and down, or counts values by their size.
    :ivar text: what it is.
    :ivar label: the label's name; empty for a figure without one.
    :ivar values: the label's values.
    :ivar bounds: of a histogram, the upper bounds of its buckets; one without a bound follows.
    :ivar hidesZeros: whether values that have never come are left out.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    bounds: tuple[float, ...] = ()
    hidesZeros: bool = False

    @property
    def places(self) -> int:
        """How many numbers there are for each value of the label."""
        # A histogram's: its buckets, the one without a bound, and the sum.
        return len(self.bounds) + 2 if self.bounds else 1


#: All figures that each process keeps.
METRICS = (
    Metric("smtp_connections", "gauge", "Open connections."),
    Metric("smtp_connections_total", "counter", "Accepted connections."),
    Metric(
        "smtp_connections_refused_total",
        "counter",
        "Connections refused at once, because there were too many, by limit.",
        "limit",
        ("maxClients", "maxClientsPerAddress"),
    ),
    Metric(
        "smtp_session_seconds",
        "histogram",
        "How long connections lasted.",
        bounds=(0.1, 1.0, 10.0, 60.0, 300.0, 3600.0),
    ),
    Metric(
        "smtp_tls_sessions_total",
        "counter",
        "TLS handshakes that succeeded, by version.",
        "version",
        ("TLSv1.2", "TLSv1.3", OTHER),
    ),
    Metric("smtp_tls_failures_total", "counter", "TLS handshakes that failed or timed out."),
    Metric(
        "smtp_auth_total",
        "counter",
        "Logins, by result; error means that the login couldn't be checked.",
        "result",
        ("success", "failure", "error"),
    ),
    Metric(
        "smtp_messages_total",
        "counter",
        "Complete messages, by outcome.",
        "outcome",
        ("accepted", "deferred", "refused"),
    ),
    Metric(
        "smtp_message_bytes",
        "histogram",
        "Sizes of complete messages.",
        bounds=tuple(4.0**n for n in range(5, 14)),
    ),
    Metric("smtp_recipients_total", "counter", "Recipients of accepted messages."),
    Metric(
        "smtp_store_seconds",
        "histogram",
        "Time from a message's last octet to its final reply: filters and store.",
        bounds=_SECONDS,
    ),
    Metric(
        "smtp_messages_storing",
        "gauge",
        "Complete messages that are being filtered or stored.",
    ),
    Metric(
        "smtp_replies_lost_total",
        "counter",
        "Messages whose client had left before the reply.",
    ),
    Metric(
        "smtp_refusals_total",
        "counter",
        "Refusals, by reply code.",
        "code",
        REFUSAL_CODES,
        hidesZeros=True,
    ),
    Metric(
        "smtp_policy_refusals_total",
        "counter",
        "Refusals by this library's policies and filters, by policy.",
        "policy",
        POLICIES,
    ),
    Metric(
        "smtp_hook_seconds",
        "histogram",
        "How long the handler's hooks took; onData includes the time the client takes to send.",
        "hook",
        _HOOKS,
        _SECONDS,
        hidesZeros=True,
    ),
    Metric(
        "smtp_hook_timeouts_total",
        "counter",
        "Hooks that took longer than handlerTimeout.",
        "hook",
        (*_HOOKS, OTHER),
    ),
    Metric(
        "smtp_incidents_total",
        "counter",
        "Hooks that failed, which is a bug: the log has the traceback.",
        "hook",
        (*_HOOKS, "onTransactionEnd", "onClose", OTHER),
    ),
)


def _places() -> tuple[dict[str, dict[str, int]], int]:
    places: dict[str, dict[str, int]] = {}
    end = 0
    for metric in METRICS:
        places[metric.name] = {}
        for value in metric.values:
            places[metric.name][value] = end
            end += metric.places
    return places, end


#: Where each figure has its first number: by name, and by the label's value.
#: And how many numbers there are.
PLACES, SIZE = _places()

#: The places of the figures that a process takes along when it ends.
GAUGES = tuple(PLACES[metric.name][""] for metric in METRICS if metric.kind == "gauge")

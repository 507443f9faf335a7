"""Flags that mean nothing without another flag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_smtpserver.errors import ConfigurationError

#: Each of these flags, and the one that it needs.
NEEDS = {
    "amqp-exchange": "amqp",
    "amqp-max-size": "amqp",
    "amqp-password-file": "amqp",
    "amqp-queue": "amqp",
    "amqp-routing-key": "amqp-exchange",
    "forward-ca": "forward",
    "forward-password-file": "forward",
    "greylist-delay": "greylist",
    "inbox-any-login": "inbox",
    "inbox-db": "inbox",
    "inbox-host": "inbox",
    "inbox-max": "inbox",
    "inbox-password-file": "inbox",
    "inbox-release": "inbox",
    "inbox-release-password-file": "inbox-release",
    "inbox-size": "inbox",
    "postgres-password-file": "postgres",
    "postgres-retention": "postgres",
    "postgres-table": "postgres",
    "quarantine": "milter",
    "recipient-delimiter": "recipients",
    "relay-for-users": "recipients",
    "require-authentication": "milter",
    "shared-state-password-file": "shared-state",
    "tarpit-after": "tarpit",
    "webhook": "webhook-secret-file",
    "webhook-allow-private": "webhook",
    "webhook-ca": "webhook",
    "webhook-parsed": "webhook",
    "webhook-secret-file": "webhook",
}


def checkNeeds(given: Mapping[str, Any]) -> None:
    """
    Check that each flag has the one that it needs.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if one is missing.
    """
    for name, other in NEEDS.items():
        if name in given and other not in given:
            raise ConfigurationError(f"--{name}: needs --{other}")

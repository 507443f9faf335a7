"""The inbox that ``twistd smtpserver`` has flags for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted_smtpserver.errors import ConfigurationError

if TYPE_CHECKING:
    from twisted_smtpserver.inbox import Inbox

#: What the flags are called as arguments of :class:`~twisted_smtpserver.inbox.Inbox`.
_ARGUMENTS = {
    "inbox-max": "maxMessages",
    "inbox-size": "maxOctets",
    "inbox-db": "database",
    "inbox-password-file": "password",
    "inbox-host": "hosts",
}


def checkInbox(given: Mapping[str, Any]) -> None:
    """
    Check that the flags go together.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if they don't.
    """
    for name in _ARGUMENTS:
        if name in given and "inbox" not in given:
            raise ConfigurationError(f"--{name}: needs --inbox")


def makeInbox(given: Mapping[str, Any], **options: Any) -> Inbox:
    """
    Make the inbox: a service, with the handler that fills it.

    :param given: the values of the flags that were given, by name.
    :param options: further arguments of :class:`~twisted_smtpserver.inbox.Inbox`.
    """
    from twisted_smtpserver.inbox import Inbox  # it costs a web server: nobody else should pay

    options |= {_ARGUMENTS[name]: given[name] for name in _ARGUMENTS if name in given}
    return Inbox(given["inbox"], **options)

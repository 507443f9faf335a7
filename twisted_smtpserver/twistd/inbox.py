"""The flags of ``twistd smtpserver`` that make an inbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted_smtpserver.errors import ConfigurationError

if TYPE_CHECKING:
    from twisted_smtpserver.inbox import Inbox

#: Flags, and the arguments of :class:`~twisted_smtpserver.inbox.Inbox` that they set.
_ARGUMENTS = {
    "inbox-max": "maxMessages",
    "inbox-size": "maxOctets",
    "inbox-db": "database",
    "inbox-password-file": "password",
    "inbox-host": "hosts",
    "inbox-any-login": "acceptLogins",
}

#: The options of a server that accepts every login: it requires none, and no TLS for one.
_ANY_LOGIN = {"authOptional": True, "allowInsecureAuth": True}


def checkInbox(given: Mapping[str, Any]) -> None:
    """
    Check the flags that contradict another flag.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if the other flag is there.
    """
    if "inbox-any-login" in given and "credCheckers" in given:
        raise ConfigurationError("--inbox-any-login and --auth contradict each other")


def inboxOptions(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    The options that the flags imply for the SMTP server.

    :param given: the values of the flags that were given, by name.
    """
    return _ANY_LOGIN if "inbox-any-login" in given else {}


def makeInbox(given: Mapping[str, Any], **options: Any) -> Inbox:
    """
    Make the inbox: a service, with the handler that fills it.

    :param given: the values of the flags that were given, by name.
    :param options: further arguments of :class:`~twisted_smtpserver.inbox.Inbox`.
    """
    from twisted_smtpserver.inbox import Inbox  # it brings a web server: import it only here

    if "inbox-release" in given:
        from twisted_smtpserver.stores.forward import Forward

        password = given.get("inbox-release-password-file", "")
        options["relay"] = Forward(given["inbox-release"], password=password)
    options |= {_ARGUMENTS[name]: given[name] for name in _ARGUMENTS if name in given}
    return Inbox(given["inbox"], **options)

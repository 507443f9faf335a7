"""The routing key and the headers of a message."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Any

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.session import Address, Session

#: The most octets of all recipients together: the headers have to fit into one frame.
MAX_RECIPIENTS = 48 * 1024

#: Octets of a routing key (AMQP 0-9-1 §4.2.5.3).
MAX_KEY = 255

_FIELDS = {"address", "local", "domain"}


class Router:
    """
    Makes routing keys.

    :param template: text, with ``{address}``, ``{local}`` and ``{domain}`` of a recipient.
    :raises ConfigurationError: if it has something else in braces.
    """

    def __init__(self, template: str) -> None:
        try:
            names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        except ValueError:
            names = {template}
        if names - _FIELDS:
            raise ConfigurationError(
                f"AMQP: {template!r} may have {{address}}, {{local}} and {{domain}} only"
            )
        self._template = template
        self._isSame = not names

    def keyOf(self, address: Address) -> str:
        """
        The routing key of a recipient.

        :param address: the recipient.
        """
        if self._isSame:
            return self._template.format()
        return self._template.format(
            address=address.address, local=address.local, domain=address.domain or ""
        )

    def check(self, recipients: Sequence[Address]) -> None:
        """
        Refuse what can't be published.

        :param recipients: the last one is new.
        :raises Rejection: 550 if its key is too long, 452 if there are too many of them.
        """
        if len(self.keyOf(recipients[-1]).encode("utf-8", "replace")) > MAX_KEY:
            raise Rejection("The address is too long", code=550, enhanced="5.1.3")
        # RFC 5321 §4.5.3.1.10: the client sends the message to the others by itself.
        octets = sum(len(each.address.encode("utf-8", "replace")) + 5 for each in recipients)
        if octets > MAX_RECIPIENTS:
            raise Rejection("Too many recipients", code=452, enhanced="4.5.3")


def headersOf(session: Session, recipients: Sequence[Address]) -> dict[str, Any]:
    """
    The headers of a message in AMQP.

    :param session: the session, in a transaction.
    :param recipients: the message's recipients.
    """
    envelope = session.envelope
    user = session.user
    headers: dict[str, Any] = {
        "sender": _text(envelope.mailFrom or ""),
        "recipients": [_text(address) for address in recipients],
        "envelope_id": envelope.id,
        "session_id": session.id,
        "remote_address": session.remoteAddress,
        "hostname": session.clientHostname,
        "hello": session.hostNameAppearsAs,
        "protocol": session.transmissionType,
        "tls": session.tls.version if session.tls is not None else None,
        "user": user if isinstance(user, str) else None,
        "body_type": envelope.bodyType,
        "smtputf8": envelope.smtpUtf8,
        "requiretls": envelope.requireTLS,
    }
    return {
        name: _text(value) if isinstance(value, str) else value
        for name, value in headers.items()
        if value is not None
    }


def _text(value: object) -> str:
    """Replace characters that UTF-8 can't encode."""
    return str(value).encode("utf-8", "replace").decode()

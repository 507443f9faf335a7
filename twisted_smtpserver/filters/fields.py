"""
Filters that look at the header of a message, and change it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.filters.header import makeField
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.replies import printable
from twisted_smtpserver.session import Session

__all__ = ["AddFields", "RemoveFields", "RequireFields"]

#: The fields that a message must have (RFC 5322 §3.6), and the identifier that it should have.
REQUIRED = ("From", "Date", "Message-ID")

# A message has each of these once at most (RFC 5322 §3.6). With two, two programs may see two
# different messages.
_SINGLE = {
    name.lower().encode(): name
    for name in (
        *("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Subject"),
        *("Message-ID", "In-Reply-To", "References"),
    )
}


class RequireFields:
    """
    Refuses messages with 550 5.6.0 that lack a field, or that have a field twice which RFC 5322
    §3.6 allows once. With two ``From:`` a sender can show one address to the filter and another
    one to the reader.

    :param names: the fields that a message must have; by default ``From``, ``Date`` and
        ``Message-ID``.
    """

    def __init__(self, *names: str) -> None:
        self._names = names or REQUIRED

    def __repr__(self) -> str:
        return f"<RequireFields {', '.join(self._names)}>"

    def onMessage(self, message: Message, session: Session) -> None:
        """Refuse a message without these fields: 550 5.6.0."""
        for name in self._names:
            if not message.header.get(name):
                raise _refusal(f"The message has no {name}: field")
        keys = [field.key for field in message.header]
        for key, name in _SINGLE.items():
            if keys.count(key) > 1:
                raise _refusal(f"The message has more than one {name}: field")


def _refusal(text: str) -> Rejection:
    return Rejection(text, 550, "5.6.0", policy="fields")


class AddFields:
    """
    Puts fields in front of each message: ``AddFields({"X-Site": "Vienna"})``.

    :param fields: the values by the names. A value may be a function that takes the message and the
        session, and returns a text, or ``None`` for no field.
    :raises ConfigurationError: if a name or a value can't be in a header.
    """

    def __init__(self, fields: dict[str, str | Callable[[Message, Session], str | None]]) -> None:
        self._fields = fields
        for name, value in fields.items():
            try:
                makeField(name, "")
            except ValueError as error:
                raise ConfigurationError(f"AddFields: {error}") from None
            if not callable(value) and printable(value) != value:
                raise ConfigurationError(f"AddFields: the value of {name} has a control character")

    def __repr__(self) -> str:
        return f"<AddFields {', '.join(self._fields)}>"

    def onMessage(self, message: Message, session: Session) -> dict[str, str]:
        """Return the fields."""
        values = {
            name: value(message, session) if callable(value) else value
            for name, value in self._fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


class RemoveFields:
    """
    Removes fields from each message, wherever they stand. Use it for fields that your own programs
    trust, before a filter adds them: ``RemoveFields("X-Spam-Status", "X-Spam-Flag")``.

    :param names: the names, in any case. A name that ends in ``*`` stands for all names that begin
        so.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(name.lower() for name in names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1].lower() for name in names if name.endswith("*"))

    def __repr__(self) -> str:
        names = sorted([*self._names, *(f"{beginning}*" for beginning in self._beginnings)])
        return f"<RemoveFields {', '.join(names)}>"

    def onMessage(self, message: Message, session: Session) -> None:
        """Remove them."""
        message.header.remove(
            lambda field: (
                field.name.lower() in self._names or field.name.lower().startswith(self._beginnings)
            )
        )

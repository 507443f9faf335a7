"""What a client sends of an :class:`email.message.EmailMessage`: its envelope, its octets."""

from __future__ import annotations

from copy import deepcopy
from email.message import Message
from email.utils import getaddresses


def _addresses(message: Message, *names: str) -> tuple[str, ...]:
    fields = [str(field) for name in names for field in message.get_all(name, [])]
    return tuple(address for _, address in getaddresses(fields) if address)


def senderOf(message: Message) -> str | None:
    """The address in ``Sender:``, else in ``From:``."""
    return next(iter(_addresses(message, "Sender") or _addresses(message, "From")), None)


def recipientsOf(message: Message) -> tuple[str, ...]:
    """The addresses in ``To:``, ``Cc:`` and ``Bcc:``."""
    return _addresses(message, "To", "Cc", "Bcc")


def rendered(message: Message) -> bytes:
    """The octets to send: without ``Bcc:``, every line with its CRLF."""
    copy = deepcopy(message)
    del copy["Bcc"]
    octets = copy.as_bytes(policy=copy.policy.clone(linesep="\r\n"))
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def checkLines(content: bytes) -> None:
    """
    Check that the server can see the end of a message.

    :raises ValueError: if the last line has no CRLF.
    :raises TypeError: if it is text.
    """
    if isinstance(content, str):
        raise TypeError(
            "the content is text: give bytes, such as content.encode(), or an EmailMessage"
        )
    if content and not content.endswith(b"\r\n"):
        raise ValueError(
            f"the content doesn't end in CRLF but in {content[-10:]!r}; "
            "every line of a message does, the last one too"
        )

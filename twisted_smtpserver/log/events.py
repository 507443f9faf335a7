"""
The events that the log has: their names, and the fields of each.

Names and fields stay as they are from release to release, so that programs can rely on them. What a
client said is escaped in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_SESSION = {"session": "the session's id", "client": "name, address and port of the client"}
_REPLY = {"reply": "what was answered", "code": "its code, a number"}


@dataclass(frozen=True)
class Event:
    """
    An event.

    :ivar name: the value of its field ``event``.
    :ivar level: how serious it is.
    :ivar when: when it is logged.
    :ivar fields: what its fields mean, by their names.
    """

    name: str
    level: Literal["info", "warn", "error", "critical"]
    when: str
    fields: dict[str, str]


#: All events with a name.
EVENTS = (
    Event(
        "message",
        "info",
        "A message came in whole and was answered.",
        {
            **_SESSION,
            "envelope": "the message's id",
            "sender": "the reverse-path, without brackets",
            "recipients": "a list; the first hundred of them",
            "recipientCount": "how many there are",
            "transmissionType": "ESMTP, ESMTPSA … (RFC 3848)",
            "octets": "the length of the content",
            "reply": "what was answered; by LMTP all different answers",
            "code": "the code of the first answer, a number",
        },
    ),
    Event(
        "session",
        "info",
        "A connection has ended: the summary.",
        {
            **_SESSION,
            "hello": "the name in its hello",
            "tls": "the version, *yes* if TLS ended upstream, or *no*",
            "user": "the user who has logged in, or *-*",
            "messages": "how many messages were accepted",
            "octets": "how many octets of content came in",
            "errors": "how many commands were refused",
            "error": "the last refusal",
            "seconds": "how long it lasted",
            "why": "who closed it, and what for",
        },
    ),
    Event(
        "rejected",
        "info",
        "A hook refused a sender or a recipient.",
        {
            **_SESSION,
            "command": "*MAIL* or *RCPT*",
            "address": "the address that was refused",
            "sender": "for a recipient: the message's sender",
            **_REPLY,
        },
    ),
    Event(
        "refused",
        "info",
        "A connection was closed at once, because there were too many.",
        {"client": "its address", "why": "which limit was reached"},
    ),
    Event(
        "loginFailed",
        "warn",
        "A login was refused.",
        {**_SESSION, "username": "the name as the client gave it", "method": "the mechanism"},
    ),
    Event(
        "hookTimedOut",
        "warn",
        "A hook took longer than ``handlerTimeout``.",
        {**_SESSION, "hook": "its name"},
    ),
    Event(
        "hookBlocked",
        "warn",
        "A hook blocked the reactor.",
        {"hook": "its name", "seconds": "for how long"},
    ),
    Event(
        "firedInThread",
        "warn",
        "A hook's Deferred was fired in a thread other than the reactor's.",
        {},
    ),
    Event(
        "replyLost",
        "warn",
        "A message was processed, but its client had left before the reply.",
        {**_SESSION, "envelope": "the message's id", "reply": "the code of the reply, a number"},
    ),
    Event(
        "oversight",
        "warn",
        "At the start: a setting is valid, but hardly intended.",
        {},
    ),
    Event(
        "notReady",
        "error",
        "Messages can't be stored; ``/readyz`` says so, too.",
        {"problem": "why"},
    ),
    Event("ready", "info", "Messages can be stored again.", {}),
    Event(
        "transcript",
        "info",
        "The transcript of a client begins or ends; an error if it can't be written.",
        {"who": "the address or network", "path": "the file", "what": "what happened"},
    ),
    Event(
        "incident",
        "critical",
        "Something failed unexpectedly: usually a bug.",
        {
            **_SESSION,
            "incident": "the id in the client's reply",
            "hook": "the hook's name",
            "advice": "what to do about it, if known",
        },
    ),
)

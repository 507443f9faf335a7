"""``POST /api/v1/send``: a message made of JSON, as Mailpit has it."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Any

from twisted_smtpserver.inbox.answers import Problem, readJSON
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.tags import tagsOf

#: The largest body of any request, in octets. Both JSON and messages are done at once by Python's
#: library, while all other threads wait.
MAX_BODY = 2**20

#: The most values in it: each takes Python far longer than an octet of a text does.
MAX_VALUES = 5000

#: The most lines of a text, and characters of what is in the header: a subject, a name …
MAX_LINES = 20_000
MAX_FIELD = 1000

_MAX_RECIPIENTS = 100

# From how many characters on a text is written as base64: quoted-printable takes far longer.
_LONG_TEXT = 64 * 1024
_FIELD = re.compile(r"[!-9;-~]{1,100}\Z")


def makeMessage(octets: bytes) -> tuple[bytes, Envelope]:
    """
    Make a message.

    :param octets: the request's body.
    :returns: the message, and what would have been its envelope.
    :raises Problem: if that isn't what the API wants.
    """
    if sum(map(octets.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Problem(413, f"The body has more than {MAX_VALUES} values")
    wanted = readJSON(octets)
    try:
        return _make(wanted)
    except (ValueError, TypeError, LookupError, AttributeError, binascii.Error):
        raise Problem(
            400, "The message needs From, To and texts as Mailpit's API has them"
        ) from None


def _make(wanted: dict[str, Any]) -> tuple[bytes, Envelope]:
    sender = _address(wanted["From"])
    groups = {name: [_address(each) for each in wanted.get(name) or ()] for name in _GROUPS}
    bcc = [_short(each) for each in wanted.get("Bcc") or ()]
    recipients = [box.addr_spec for name in ("To", "Cc") for box in groups[name]] + bcc
    if not 0 < len(recipients) <= _MAX_RECIPIENTS:
        raise ValueError("recipients")
    message = EmailMessage(policy=SMTP)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="inbox.invalid")
    message["From"] = sender
    for name, field in _GROUPS.items():
        if groups[name]:
            message[field] = groups[name]
    message["Subject"] = _short(wanted.get("Subject"))
    for name, value in (wanted.get("Headers") or {}).items():
        if not _FIELD.match(name):
            raise ValueError("a field's name")
        message.add_header(name, _short(value))
    _fill(message, wanted)
    for part in message.walk():
        if part.is_multipart():  # or the library searches all of the message for one that is free
            part.set_boundary(secrets.token_hex(16))
    tags = tuple(tagsOf(wanted.get("Tags") or ()))
    return message.as_bytes(), Envelope(sender.addr_spec, tuple(recipients), tags=tags)


_GROUPS = {"To": "To", "Cc": "Cc", "ReplyTo": "Reply-To"}


def _address(wanted: dict[str, Any]) -> Address:
    return Address(_short(wanted.get("Name")), addr_spec=_short(wanted["Email"]))


def _short(value: object) -> str:
    text = str(value or "")
    if len(text) > MAX_FIELD:
        raise Problem(413, f"A name, an address or a field has more than {MAX_FIELD} characters")
    return text


def _lines(value: object) -> str:
    text = str(value or "")
    if text.count("\n") + text.count("\r") > MAX_LINES:
        raise Problem(413, f"A text has more than {MAX_LINES} lines")
    return text


def _fill(message: EmailMessage, wanted: dict[str, Any]) -> None:
    text, html = _lines(wanted.get("Text")), _lines(wanted.get("HTML"))
    if text or not html:
        message.set_content(text, cte=_encodingOf(text))
    if html:
        add = message.add_alternative if text else message.set_content
        add(html, subtype="html", cte=_encodingOf(html))
    for each in wanted.get("Attachments") or ():
        _attach(message, each)


def _encodingOf(text: str) -> str | None:
    return "base64" if len(text) > _LONG_TEXT else None


def _attach(message: EmailMessage, wanted: dict[str, Any]) -> None:
    kind = _short(wanted.get("ContentType") or "application/octet-stream")
    maintype, _, subtype = kind.partition("/")
    contentId = _short(wanted.get("ContentID"))
    options: dict[str, Any] = {"cid": f"<{contentId}>"} if contentId else {}
    message.add_attachment(
        base64.b64decode(str(wanted["Content"]), validate=True),
        maintype=maintype,
        subtype=subtype or "octet-stream",
        filename=_short(wanted.get("Filename")),
        disposition="inline" if contentId else "attachment",
        **options,
    )

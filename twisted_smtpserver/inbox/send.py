"""``POST /api/v1/send``: a message made of JSON, as Mailpit has it."""

from __future__ import annotations

import base64
import binascii
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Any

from twisted_smtpserver.inbox.answers import Problem, readJSON
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.tags import tagsOf

#: The largest body of any request, in octets.
MAX_BODY = 8 * 2**20

#: The most values in it: each takes Python far longer than an octet of a text does.
MAX_VALUES = 5000

_MAX_RECIPIENTS = 1000
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
    bcc = [str(each) for each in wanted.get("Bcc") or ()]
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
    message["Subject"] = str(wanted.get("Subject") or "")
    for name, value in (wanted.get("Headers") or {}).items():
        if not _FIELD.match(name):
            raise ValueError("a field's name")
        message.add_header(name, str(value))
    _fill(message, wanted)
    tags = tuple(tagsOf(wanted.get("Tags") or ()))
    return message.as_bytes(), Envelope(sender.addr_spec, tuple(recipients), tags=tags)


_GROUPS = {"To": "To", "Cc": "Cc", "ReplyTo": "Reply-To"}


def _address(wanted: dict[str, Any]) -> Address:
    return Address(str(wanted.get("Name") or ""), addr_spec=str(wanted["Email"]))


def _fill(message: EmailMessage, wanted: dict[str, Any]) -> None:
    text, html = str(wanted.get("Text") or ""), str(wanted.get("HTML") or "")
    if text or not html:
        message.set_content(text)
    if html:
        add = message.add_alternative if text else message.set_content
        add(html, subtype="html")
    for each in wanted.get("Attachments") or ():
        _attach(message, each)


def _attach(message: EmailMessage, wanted: dict[str, Any]) -> None:
    kind, _, subtype = str(wanted.get("ContentType") or "application/octet-stream").partition("/")
    contentId = str(wanted.get("ContentID") or "")
    options: dict[str, Any] = {"cid": f"<{contentId}>"} if contentId else {}
    message.add_attachment(
        base64.b64decode(str(wanted["Content"]), validate=True),
        maintype=kind,
        subtype=subtype or "octet-stream",
        filename=str(wanted.get("Filename") or ""),
        disposition="inline" if contentId else "attachment",
        **options,
    )

"""The body of a request: ``multipart/form-data`` (RFC 7578) that is never in memory as a whole."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.message.parsed import Mailbox, ParsedMessage
from twisted_smtpserver.replies import CONTROLS
from twisted_smtpserver.session import Session
from twisted_smtpserver.stores.pacedwriter import PacedWriter

# What would end the quoted string, or the line. RFC 7578 §4.2 would have it percent-encoded, as
# browsers do.
_NOT_IN_NAME = re.compile(rf'["\\]|{CONTROLS}')


class Form:
    """
    The fields of a form, in order, as octets that can be read several times.

    :ivar contentType: of the request.
    :ivar length: of the body, in octets.
    """

    def __init__(self) -> None:
        # RFC 2046 §5.1.1: it must not be in any field. 128 random bits aren't.
        self._boundary = secrets.token_hex(16)
        self._segments: list[bytes | Spool] = []
        self._end = f"--{self._boundary}--\r\n".encode("ascii")
        self.length = len(self._end)

    @property
    def contentType(self) -> str:
        """The value of ``Content-Type``."""
        return f'multipart/form-data; boundary="{self._boundary}"'

    def add(self, name: str, content: bytes | Spool, contentType: str, fileName: str = "") -> None:
        """
        Add a field.

        :param name: the field's.
        :param content: its octets.
        :param contentType: of the content.
        :param fileName: that of a file.
        """
        lines = [f"--{self._boundary}", f'Content-Disposition: form-data; name="{name}"']
        if fileName:
            lines[1] += f'; filename="{_NOT_IN_NAME.sub("_", fileName)}"'
        lines += [f"Content-Type: {contentType}", "", ""]
        head = "\r\n".join(lines).encode("utf-8", "replace")
        size = content.size if isinstance(content, Spool) else len(content)
        self._segments += [head, content, b"\r\n"]
        self.length += len(head) + size + len(b"\r\n")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's octets."""
        for segment in [*self._segments, self._end]:
            if isinstance(segment, Spool):
                async for octets in segment.chunks():
                    yield octets
            else:
                yield segment


@implementer(IBodyProducer)
class FormProducer(PacedWriter):
    """
    Gives a form to an HTTP client.

    :param form: the form.
    :ivar length: of the body, in octets.
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.length = form.length
        self._form = form
        self._isStopped = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """(The client's call.) Write the body."""
        return Deferred.fromCoroutine(self._produce(consumer))

    async def _produce(self, consumer: IConsumer) -> None:
        async for octets in self._form.chunks():
            while self.pause is not None:
                await self.pause
            if self._isStopped:
                return
            consumer.write(octets)

    def stopProducing(self) -> None:
        """(The client's call.) The connection is gone."""
        self._isStopped = True
        super().stopProducing()


def describeEnvelope(session: Session, size: int) -> dict[str, Any]:
    """
    The envelope as JSON has it.

    :param session: the message's.
    :param size: of the message with our trace fields, in octets.
    """
    envelope = session.envelope
    return {
        "id": envelope.id,
        "mailFrom": str(envelope.mailFrom),
        "rcptTo": [str(recipient) for recipient in envelope.rcptTo],
        "bodyType": envelope.bodyType,
        "smtpUtf8": envelope.smtpUtf8,
        "requireTLS": envelope.requireTLS,
        "size": size,
        "session": {
            "id": session.id,
            "remoteAddress": session.remoteAddress,
            "clientHostname": session.clientHostname,
            "hostNameAppearsAs": session.hostNameAppearsAs,
            "transmissionType": session.transmissionType,
            "secure": session.secure,
            "user": session.user if isinstance(session.user, str) else None,
        },
    }


def describeMessage(message: ParsedMessage) -> dict[str, Any]:
    """
    A parsed message as JSON has it. The attachments' contents are in fields of their own, in order:
    ``attachment0``, ``attachment1``, …

    :param message: the message.
    """
    return {
        "subject": message.subject,
        **{
            name: [_mailbox(each) for each in getattr(message, name.replace("from", "from_"))]
            for name in ("from", "sender", "replyTo", "to", "cc", "bcc")
        },
        "date": message.date and message.date.isoformat(),
        "messageId": message.messageId,
        "text": message.text,
        "html": message.html,
        "headers": [[field.name, field.value] for field in message.headers],
        "problems": list(message.problems),
        "attachments": [
            {
                "field": f"attachment{number}",
                "name": each.name,
                "contentType": each.contentType,
                "contentId": each.contentId,
                "isInline": each.isInline,
                "size": len(each.content),
            }
            for number, each in enumerate(message.attachments)
        ],
    }


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    return {"name": mailbox.name, "address": mailbox.address}

"""The body of a request."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Address, Session
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.message.parsed import parseMessage
from twisted_smtpserver.stores.webhook.body import (
    Form,
    FormProducer,
    describeEnvelope,
    describeMessage,
)
from twisted_smtpserver.testing import runInline
from twisted_smtpserver.wire.path import Path

MESSAGE = b"""\
From: "Joe" <joe@x.example>
To: ann@y.example
Date: Sat, 21 Nov 2026 12:00:00 +0000
Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=
Content-Type: multipart/mixed; boundary=b

--b

hello
--b
Content-Type: image/png; name="a.png"

octets
--b--
"""


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.form = Form()
        self.spool = Spool(memory=10, runInThread=runInline)
        filling = Deferred.fromCoroutine(self.spool.write(b"Subject: x\r\n\r\n--boundary\r\n"))
        self.successResultOf(filling)
        self.addCleanup(self.spool.close)

    def produced(self) -> bytes:
        """What goes over the wire."""
        transport = StringTransport()
        self.successResultOf(FormProducer(self.form).startProducing(transport))
        return transport.value()

    def parts(self) -> list[Any]:
        head = f"Content-Type: {self.form.contentType}\r\n\r\n".encode()
        message: Any = message_from_bytes(head + self.produced(), policy=HTTP)
        parts: list[Any] = message.get_payload()
        return parts

    def test_fields(self) -> None:
        """A parser finds each field with its name, type and octets."""
        self.form.add("envelope", b"{}", "application/json")
        self.form.add("message", self.spool, "message/rfc822", "message.eml")
        self.form.add("raw", b"\x00\r\n--\xff", "application/octet-stream", "a.bin")
        first, second, third = self.parts()
        self.assertEqual(first["content-disposition"], 'form-data; name="envelope"')
        self.assertEqual(first.get_content_type(), "application/json")
        self.assertEqual(first.get_payload(), "{}")
        disposition = 'form-data; name="message"; filename="message.eml"'
        self.assertEqual(second["content-disposition"], disposition)
        self.assertEqual(second.get_payload(0).get_payload(), "--boundary\r\n")
        self.assertEqual(third.get_payload(decode=True), b"\x00\r\n--\xff")

    def test_length(self) -> None:
        """The length is right, and the octets are the same each time."""
        self.form.add("message", self.spool, "message/rfc822", "message.eml")
        self.form.add("x", b"y", "text/plain")
        self.assertEqual(len(self.produced()), self.form.length)
        self.assertEqual(self.produced(), self.produced())

    def test_fileName(self) -> None:
        """A file's name can't end its field."""
        self.form.add("a", b"", "text/plain", 'x"; name="envelope\r\nX: y\\')
        (part,) = self.parts()
        self.assertEqual(part.get_param("name", header="content-disposition"), "a")
        self.assertIsNone(part["x"])

    def test_pace(self) -> None:
        """The client pauses it, resumes it, and stops it."""
        self.form.add("message", self.spool, "message/rfc822")
        producer = FormProducer(self.form)
        transport = StringTransport()
        producer.pauseProducing()
        producer.pauseProducing()
        producing = producer.startProducing(transport)
        self.assertEqual(transport.value(), b"")
        producer.resumeProducing()
        producer.resumeProducing()
        self.successResultOf(producing)
        self.assertEqual(len(transport.value()), self.form.length)
        producer = FormProducer(self.form)
        producer.pauseProducing()
        transport.clear()
        producing = producer.startProducing(transport)
        producer.stopProducing()
        self.successResultOf(producing)
        self.assertEqual(transport.value(), b"")


class DescriptionTests(SynchronousTestCase):
    def test_envelope(self) -> None:
        """All that a program needs to know; a user that isn't text isn't shown."""
        session = Session()
        envelope = session.newEnvelope()
        for name in ("joe", "ann"):
            path = Path(name, "x.example", f"{name}@x.example", f"{name}@x.example", False)
            if name == "joe":
                envelope.mailFrom = Address(path)
            else:
                envelope.rcptTo.append(Address(path))
        session.remoteAddress = "192.0.2.1"
        session.user = "joe"
        found = describeEnvelope(session, 100)
        self.assertEqual(found["mailFrom"], "joe@x.example")
        self.assertEqual(found["rcptTo"], ["ann@x.example"])
        self.assertEqual((found["id"], found["size"]), (envelope.id, 100))
        self.assertEqual(found["session"]["remoteAddress"], "192.0.2.1")
        self.assertEqual(found["session"]["user"], "joe")
        session.user = object()
        self.assertIsNone(describeEnvelope(session, 100)["session"]["user"])

    def test_message(self) -> None:
        """What is in a message, with the names of the fields that have the attachments."""
        found = describeMessage(parseMessage(MESSAGE))
        self.assertEqual(found["subject"], "grüße")
        self.assertEqual(found["from"], [{"name": "Joe", "address": "joe@x.example"}])
        self.assertEqual(found["to"], [{"name": "", "address": "ann@y.example"}])
        self.assertEqual(found["date"], "2026-11-21T12:00:00+00:00")
        self.assertIn("hello", found["text"])
        (attachment,) = found["attachments"]
        self.assertEqual((attachment["field"], attachment["name"]), ("attachment0", "a.png"))
        self.assertIn(["To", "ann@y.example"], found["headers"])
        self.assertIsNone(describeMessage(parseMessage(b""))["date"])

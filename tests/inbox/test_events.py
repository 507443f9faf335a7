"""Server-sent events."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import HOST, ask, connectWeb, deliver, get, openInbox, parseAnswer
from twisted_smtpserver.inbox import events


class EventTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inbox = openInbox()

    def listen(self) -> tuple[Any, Any]:
        protocol, transport = connectWeb(self.inbox)
        protocol.dataReceived(f"GET /api/events HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        self.inbox.site.clock.advance(0)
        return protocol, transport

    def heard(self, transport: Any) -> list[Any]:
        lines = transport.value().split(b"\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]

    def test_new(self) -> None:
        """A new message is told to every page, with its row in the list."""
        listeners = [self.listen()[1] for _ in range(2)]
        self.assertIn(b"text/event-stream", listeners[0].value())
        identifier = deliver(self.inbox, b"Subject: a\n\n\n")
        for transport in listeners:
            [event] = self.heard(transport)
            self.assertEqual((event["Type"], event["Data"]["ID"]), ("new", identifier))

    def test_read(self) -> None:
        """The first look at a message is told."""
        _, transport = self.listen()
        identifier = deliver(self.inbox, b"Subject: a\n\n\n")
        for _ in range(2):
            get(self.inbox, "/api/v1/message/latest")
        self.assertEqual(self.heard(transport)[1:], [{"Type": "read", "Data": {"ID": identifier}}])

    def test_changed(self) -> None:
        """What changes other messages is told, without details."""
        _, transport = self.listen()
        ask(self.inbox, "DELETE", "/api/v1/messages")
        self.assertEqual(self.heard(transport), [{"Type": "changed", "Data": None}])

    def test_injection(self) -> None:
        """A subject can't forge an event."""
        _, transport = self.listen()
        deliver(self.inbox, b"Subject: =?utf-8?q?a=0A=0Adata:_x=E2=80=A8?=\n\n\n")
        self.assertEqual([event["Type"] for event in self.heard(transport)], ["new"])

    def test_slow(self) -> None:
        """For a page that doesn't read nothing is kept; it learns later that it missed some."""
        _, transport = self.listen()
        transport.producer.pauseProducing()
        before = transport.value()
        deliver(self.inbox, b"Subject: a\n\n\n")
        deliver(self.inbox, b"Subject: b\n\n\n")
        self.assertEqual(transport.value(), before)
        transport.producer.resumeProducing()
        self.assertEqual([event["Type"] for event in self.heard(transport)], ["changed"])
        transport.producer.pauseProducing()
        transport.producer.resumeProducing()
        self.assertEqual(len(self.heard(transport)), 1)

    def test_heartbeat(self) -> None:
        """Something is sent now and then, as long as somebody listens."""
        self.listen()[0].connectionLost(Failure(ConnectionDone()))
        other, _ = self.listen()
        protocol, transport = self.listen()
        self.inbox.desk._clock.advance(events.HEARTBEAT)
        self.assertTrue(transport.value().endswith(b":\n\n\r\n"), transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.inbox.desk._clock.getDelayedCalls()), 1)
        other.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.inbox.desk._clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """There is a bound for those who listen."""
        self.patch(events, "MAX_LISTENERS", 1)
        protocol, _ = self.listen()
        self.assertEqual(get(self.inbox, "/api/events").status, 503)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(parseAnswer(self.listen()[1].value()).status, 200)

    def test_close(self) -> None:
        """The end of the service is the end of the stream."""
        _, transport = self.listen()
        self.inbox.stopService()
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

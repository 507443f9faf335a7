"""Tests for what a handler sees."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, talk
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import RecordingHandler
from twisted_smtpserver.wire.path import parseForwardPath


def address(text: str) -> Address:
    parsed = parseForwardPath(f"<{text}>".encode())
    assert isinstance(parsed, tuple), parsed
    return Address(parsed[0])


class AddressTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """An address has its parts: the domain in lower case, the local part without quotes."""
        quoted = address('"joe x"@EXAMPLE.com')
        self.assertEqual(quoted.local, "joe x")
        self.assertEqual(quoted.domain, "example.com")
        self.assertEqual(quoted.address, '"joe x"@example.com')
        self.assertEqual(quoted.raw, '"joe x"@EXAMPLE.com')
        self.assertEqual((quoted.args, quoted.values, quoted.dsn), ({}, {}, None))

    def test_text(self) -> None:
        """As text it is the mailbox; its repr is fit for a log."""
        joe = address("joe\ue000@example.com")
        self.assertEqual(str(joe), "joe\ue000@example.com")
        self.assertEqual(repr(joe), r"<Address joe\ue000@example.com>")

    def test_argsOfItsOwn(self) -> None:
        """No two addresses share their parameters."""
        address("a@b.example").args["SIZE"] = "1"
        self.assertEqual(address("a@b.example").args, {})


class EnvelopeTests(SynchronousTestCase):
    def test_recipients(self) -> None:
        """Of recipients that are the same the first one counts; the order stays."""
        envelope = Envelope()
        for text in (
            *("a@example.com", "b@example.com", "a@EXAMPLE.com", "A@example.com"),
            *("postmaster", "b@example.com", "a@example.org", "Postmaster"),
        ):
            envelope.rcptTo.append(address(text))
        self.assertEqual(len(envelope.rcptTo), 8)
        self.assertEqual(
            [each.raw for each in envelope.recipients],
            [
                *("a@example.com", "b@example.com", "A@example.com", "postmaster"),
                *("a@example.org", "Postmaster"),
            ],
        )

    def test_empty(self) -> None:
        """A new one has nobody in it."""
        envelope = Envelope()
        self.assertIsNone(envelope.mailFrom)
        self.assertEqual((envelope.rcptTo, envelope.recipients), ([], []))
        self.assertEqual((envelope.bodyType, envelope.smtpUtf8), ("7BIT", False))
        self.assertEqual((envelope.requireTLS, envelope.dsn), (False, None))
        self.assertFalse(envelope.perRecipient)

    def test_repr(self) -> None:
        """Its repr says who writes to how many."""
        envelope = Envelope("x-1")
        envelope.mailFrom = address("joe@example.org")
        self.assertEqual(
            repr(envelope), "<Envelope x-1 from <Address joe@example.org> to 0 recipients>"
        )


class SessionTests(SynchronousTestCase):
    def test_ids(self) -> None:
        """Each session has an id of its own, and so has each transaction; they fit a file name."""
        session = Session()
        self.assertNotEqual(session.id, Session().id)
        first, second = session.newEnvelope().id, session.newEnvelope().id
        self.assertEqual((first, second), (f"{session.id}-1", f"{session.id}-2"))
        self.assertRegex(first, r"\A[a-z0-9-]+\Z")

    def test_data(self) -> None:
        """The application's own values stay; each session has its own."""
        session = Session()
        session.data["greylisted"] = True
        self.assertEqual(session.data, {"greylisted": True})
        self.assertEqual(Session().data, {})

    def test_envelope(self) -> None:
        """There is always an envelope, of which nothing stays when it is forgotten."""
        session = Session()
        empty = session.envelope
        self.assertIs(session.envelope, empty)
        self.assertIs(session.newEnvelope(), session.envelope)
        session.forgetEnvelope()
        self.assertEqual(session.envelope.id, "")

    def test_noEnvelope(self) -> None:
        """What there is between transactions is the same for all, and nothing can get into it."""
        nothing = Session().envelope
        nothing.rcptTo.append(address("joe@example.com"))
        self.assertRaisesRegex(AttributeError, "no transaction", setattr, nothing, "dsn", 1)
        self.assertIs(Session().envelope, nothing)
        self.assertEqual((nothing.rcptTo, nothing.recipients, nothing.dsn), ([], [], None))

    def test_copies(self) -> None:
        """A session can be copied, and sent to another process."""
        session = Session()
        session.xForward["NAME"] = "a.example"
        for copied in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
            self.assertEqual((copied.id, copied.xForward), (session.id, session.xForward))
            self.assertIs(copied.envelope, session.envelope)
            self.assertEqual(copied.newEnvelope().id, f"{session.id}-1")

    def test_disabledCommands(self) -> None:
        """Any collection will do, in any case."""
        session = Session()
        self.assertEqual(session.disabledCommands, frozenset())
        session.disabledCommands = ["auth", "VRFY"]
        self.assertEqual(session.disabledCommands, {"AUTH", "VRFY"})
        session = Session(disabledCommands=frozenset({"HELP"}))
        session.disabledCommands = []
        self.assertEqual(session.disabledCommands, frozenset())
        session.disabledCommands = None
        self.assertEqual(session.disabledCommands, {"HELP"})

    def test_transmissionType(self) -> None:
        """Each way a message can come has its word (RFC 3848, RFC 6531 section 4.3)."""
        table = {
            ("HELO", False, False, False): "SMTP",
            ("HELO", False, True, False): "SMTP",
            ("HELO", False, True, True): "SMTP",
            ("HELO", True, False, False): "SMTP",
            ("EHLO", False, False, False): "ESMTP",
            ("EHLO", False, True, False): "ESMTPS",
            ("EHLO", False, False, True): "ESMTPA",
            ("EHLO", False, True, True): "ESMTPSA",
            ("LHLO", False, False, False): "LMTP",
            ("LHLO", False, True, False): "LMTPS",
            ("LHLO", False, False, True): "LMTPA",
            ("LHLO", False, True, True): "LMTPSA",
            ("EHLO", True, False, False): "UTF8SMTP",
            ("EHLO", True, True, False): "UTF8SMTPS",
            ("EHLO", True, False, True): "UTF8SMTPA",
            ("EHLO", True, True, True): "UTF8SMTPSA",
            ("LHLO", True, False, False): "UTF8LMTP",
            ("LHLO", True, True, True): "UTF8LMTPSA",
        }
        for (command, smtpUtf8, secure, user), word in table.items():
            session = Session(lmtp=command == "LHLO")
            session.openingCommand = command
            session.newEnvelope().smtpUtf8 = smtpUtf8
            session.secure = secure
            session.user = "joe" if user else None
            self.assertEqual(session.transmissionType, word, (command, smtpUtf8, secure, user))

    def test_repr(self) -> None:
        """Its repr is fit for a log."""
        session = Session()
        session.clientHostname = "[192.0.2.1]"
        self.assertEqual(repr(session), f"<Session {session.id} [192.0.2.1] ->")
        session.hostNameAppearsAs = "a\x1b[2Jb"
        self.assertEqual(repr(session), rf"<Session {session.id} [192.0.2.1] a\x1b[2Jb>")


class OverTheWireTests(SynchronousTestCase):
    """The session while a client talks."""

    def test_beginning(self) -> None:
        """What is known of a new connection."""
        session = talk(Phase.GREETED).session
        self.assertEqual((session.remoteAddress, session.remotePort), ("192.0.2.1", 40000))
        self.assertEqual((session.peerAddress, session.peerPort), ("192.0.2.1", 40000))
        self.assertEqual((session.localAddress, session.localPort), ("192.0.2.25", 25))
        self.assertEqual(session.clientHostname, "[192.0.2.1]")
        self.assertEqual((session.openingCommand, session.hostNameAppearsAs), (None, None))
        self.assertEqual((session.secure, session.tls, session.user), (False, None, None))
        self.assertEqual((session.transaction, session.error), (1, None))

    def test_hello(self) -> None:
        """The hello is remembered, the last one."""
        client = talk(Phase.READY)
        session = client.session
        self.assertEqual(session.openingCommand, "EHLO")
        self.assertEqual(session.hostNameAppearsAs, "client.example")
        client.say("HELO [192.0.2.7]")
        self.assertEqual(session.openingCommand, "HELO")
        self.assertEqual(session.hostNameAppearsAs, "[192.0.2.7]")

    def test_transaction(self) -> None:
        """The transaction's number is that of the current message, whatever became of others."""
        seen: list[int] = []

        class Handler(RecordingHandler):
            def onMailFrom(self, address: Address, session: Session) -> Any:
                seen.append(session.transaction)

            def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> Any:
                seen.append(session.transaction)

        client = talk(Phase.READY, Handler())
        client.deliver(b"one\r\n", hello=None)
        client.say(MAIL)
        client.say("RSET")
        client.deliver(b"bare\n\r\n", hello=None)
        client.deliver(b"three\r\n", hello=None)
        self.assertEqual(seen, [1, 1, 2, 2, 2, 2, 3, 3])

    def test_error(self) -> None:
        """The last refusal stays, though other commands succeed."""
        client = talk(Phase.READY)
        client.say("RCPT TO:<a@b.example>")
        client.say("NOOP")
        self.assertEqual(client.session.error, "Send MAIL first")
        client.say("FOO")
        self.assertEqual(client.session.error, "Command not recognized")

    def test_counters(self) -> None:
        """Messages that were accepted, octets of content that came in, commands refused."""
        client = talk(Phase.READY)
        session = client.session
        client.deliver(b"..dots\r\n", hello=None)
        client.deliver(b"bare\n\r\n", hello=None)
        client.say("FOO")
        self.assertEqual((session.messages, session.octets, session.errors), (1, 8 + 7, 2))

    def test_duplicateRecipients(self) -> None:
        """Every accepted RCPT is there, in order; refused ones aren't."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler)
        client.deliver(b"", "joe@example.org", *("a@b.example",) * 3, hello=None)
        envelope = handler.messages[0].envelope
        self.assertEqual(list(map(str, envelope.rcptTo)), ["a@b.example"] * 3)
        self.assertEqual(list(map(str, envelope.recipients)), ["a@b.example"])
        client.pipeline(MAIL, "RCPT TO:<a@b.example>", "RCPT TO:<a@b@c>")
        self.assertEqual(len(client.session.envelope.rcptTo), 1)

    def test_envelopeAtMail(self) -> None:
        """onMailFrom sees the parameters in the envelope, but not yet the sender."""
        seen: list[Any] = []

        def onMailFrom(address: Address, session: Session) -> None:
            envelope = session.envelope
            seen.extend([envelope.bodyType, envelope.smtpUtf8, envelope.mailFrom, address.args])

        client = talk(Phase.READY, onMailFrom=onMailFrom)
        client.say(f"{MAIL} body=8BitMime SMTPUTF8 Size=5")
        args = {"BODY": "8BitMime", "SMTPUTF8": True, "SIZE": "5"}
        self.assertEqual(seen, ["8BITMIME", True, None, args])
        mailFrom = client.session.envelope.mailFrom
        assert mailFrom is not None
        self.assertEqual(mailFrom.values, {"BODY": "8BITMIME", "SMTPUTF8": True, "SIZE": 5})

    def test_envelopeAfterwards(self) -> None:
        """After a transaction, and after a refused MAIL, the envelope is an empty one."""
        client = talk(Phase.READY)
        for lines in ([MAIL, "RSET"], [MAIL, HELLO], ["MAIL FROM:<a@b.example> X=1"]):
            client.pipeline(*lines)
            self.assertIsNone(client.session.envelope.mailFrom)
            self.assertEqual(client.session.envelope.id, "")

"""Tests for LMTP (RFC 2033)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.messages import Handler, outcomes, refusing
from tests.support.talk import MAIL, RCPT, Later, Log, brief, codes, talk
from twisted_smtpserver import Accepted, Rejection
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect

RECIPIENTS = ("a@b.example", "c@d.example", "a@b.example")


def recipients(body: Any, **options: Any) -> Client:
    """A client with three recipients, one of them twice."""
    client = talk(Phase.MAIL, Handler(body), lmtp=True, **options)
    client.pipeline(*(f"RCPT TO:<{each}>" for each in RECIPIENTS))
    return client


class HelloTests(SynchronousTestCase):
    def test_greeting(self) -> None:
        """The greeting says which protocol it is."""
        client = connect(lmtp=True)
        assert client.greeting is not None
        self.assertEqual(client.greeting.lines, ("mx.test LMTP",))

    def test_lhlo(self) -> None:
        """LHLO is EHLO; the others are 500, and leave the state alone (RFC 2033 section 4.1)."""
        client = connect(lmtp=True)
        for line in ("HELO client.example", "EHLO client.example"):
            self.assertEqual(brief(client.say(line)), (500, None))
            self.assertEqual(client.say(MAIL).code, 503)
        answer = client.say("LHLO client.example")
        self.assertEqual(brief(answer), (250, None))
        for keyword in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING"):
            self.assertIn(keyword, answer.lines)
        self.assertEqual(client.session.transmissionType, "LMTP")
        self.assertEqual(client.session.openingCommand, "LHLO")

    def test_noRecipients(self) -> None:
        """DATA without recipients is 503 (RFC 2033 section 4.2)."""
        client = talk(Phase.MAIL, lmtp=True)
        self.assertEqual(brief(client.say("DATA")), (503, "5.5.1"))


class ResultsTests(SynchronousTestCase):
    """One reply for each accepted recipient, in order, duplicates included."""

    def replies(self, result: Any, **options: Any) -> list[int]:
        """The final replies for a handler's result, and the one for a NOOP behind them."""
        self.client = recipients(lambda stream: result, **options)
        self.assertTrue(self.client.session.envelope.perRecipient)
        self.assertEqual(self.client.say("DATA").code, 354)
        return codes(self.client.pipeline("x", ".", "NOOP"))

    def test_results(self) -> None:
        """One for all, a list, a dict; each nothing, a text, Accepted or an exception."""
        no = Rejection("over quota", 452, "4.2.2")
        table: list[tuple[Any, list[int]]] = [
            (None, [250, 250, 250]),
            ("stored", [250, 250, 250]),
            ([None, no, Accepted("x", "2.1.5")], [250, 452, 250]),
            ({"a@b.example": no, "c@d.example": "fine"}, [452, 250, 452]),
            ([no, no, no], [452, 452, 452]),
        ]
        for result, expected in table:
            self.assertEqual(self.replies(result), [*expected, 250])
            accepted = "accepted" if 250 in expected else "refused"
            self.assertEqual(outcomes(self.client), [accepted])

    def test_raised(self) -> None:
        """What the handler raises is for all."""
        client = recipients(Later())
        client.send(b"DATA\r\n")
        handler: Any = client.factory.handler
        handler.stream.read()
        client.send(b"x\r\n.\r\n")
        handler.body.fail(Rejection("no"))
        self.assertEqual(codes(client.answers()), [354, 450, 450, 450])

    def test_refusedAtOnce(self) -> None:
        """A refusal before the 354 answers DATA, which is one command: one reply."""
        client = recipients(refusing(Rejection("no")))
        self.assertEqual(client.say("DATA").code, 450)
        self.assertEqual(outcomes(client), ["refused"])

    def test_wrongNumber(self) -> None:
        """Results that don't match are a bug: 451 for all, logged; the dialogue stays in step."""
        for result in ([], [None], [None] * 4, {}, {"a@b.example": None}, {"x": None}):
            log = Log()
            self.assertEqual(self.replies(result, logger=log.logger), [451, 451, 451, 250])
            self.assertEqual(len(log.of("incident")), 1)
            self.assertEqual(outcomes(self.client), ["refused"])

    def test_bugInOne(self) -> None:
        """An exception among them that is no refusal is an incident, for that one only."""
        log = Log()
        result = [None, ZeroDivisionError("secret"), None]
        self.assertEqual(self.replies(result, logger=log.logger), [250, 451, 250, 250])
        self.assertEqual(len(log.of("incident")), 1)

    def test_closing(self) -> None:
        """A 421 among them closes after the last of them."""
        result = [Rejection("bye", 421), None, None]
        self.assertEqual(self.replies(result), [421, 250, 250])
        self.assertTrue(self.client.isClosed)

    def test_condemned(self) -> None:
        """What can't be accepted is refused to each."""
        client = recipients(lambda stream: None, size=10)
        client.say("DATA")
        client.send(b"x" * 50 + b"\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [552, 552, 552])
        client = recipients(lambda stream: None)
        client.say("DATA")
        client.send(b"x\n.\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [550, 550, 550])

    def test_timeout(self) -> None:
        """A handler that takes too long is 451 for each."""
        client = recipients(Later(), handlerTimeout=60)
        client.send(b"DATA\r\n")
        handler: Any = client.factory.handler
        handler.stream.read()
        client.send(b"x\r\n.\r\n")
        client.wait(60)
        self.assertEqual(codes(client.answers()), [354, 451, 451, 451])

    def test_shutDown(self) -> None:
        """A server that stops gives all replies before its 421."""
        client = recipients(Later())
        client.send(b"DATA\r\n")
        handler: Any = client.factory.handler
        handler.stream.read()
        client.send(b"x\r\n.\r\n")
        client.factory.shutdown()
        handler.body.answer()
        self.assertEqual(codes(client.answers()), [354, 250, 250, 250, 421])
        self.assertTrue(client.isClosed)

    def test_refusedRecipients(self) -> None:
        """Recipients that were refused get no reply."""

        def onRcptTo(address: Any, session: Any) -> None:
            if address.local == "c":
                raise Rejection("no")

        handler = RecordingHandler()
        handler.onRcptTo = onRcptTo  # type: ignore[method-assign]
        client = talk(Phase.MAIL, handler, lmtp=True)
        client.pipeline(*(f"RCPT TO:<{each}>" for each in RECIPIENTS))
        self.assertEqual(codes(client.pipeline("DATA", ".")), [354, 250, 250])

    def test_smtp(self) -> None:
        """In SMTP there is one reply: results that don't agree, or don't match, are a bug."""
        for result, code in (
            *(([None, "fine"], 451), ([None], 451), ([], 451), ({"jane@example.com": None}, 451)),
            *(([None, Rejection("no", 552)], 451), (b"ok", 451), (["fine", "fine"], 250)),
            *(([None, None], 250), ({"jane@example.com": None, "b@example.com": None}, 250)),
            *(([Rejection("no", 552)] * 2, 552), (Rejection("no", 552), 552), ("fine", 250)),
        ):
            client = talk(Phase.RCPT, onData=lambda *_, result=result: result)
            client.say("RCPT TO:<b@example.com>")
            self.assertFalse(client.session.envelope.perRecipient)
            self.assertEqual(codes(client.pipeline("DATA", ".")), [354, code], result)
            self.assertEqual(client.session.messages, code == 250)
        self.assertEqual(len(self.flushLoggedErrors(ValueError, TypeError)), 6)

    def test_tooLateToChoose(self) -> None:
        """How many replies there are is settled when DATA comes."""

        def onData(stream: Any, session: Any) -> None:
            session.envelope.perRecipient = not session.envelope.perRecipient

        for isLmtp in (False, True):
            client = talk(Phase.RCPT, onData=onData, lmtp=isLmtp)
            client.say(RCPT)
            self.assertEqual(codes(client.pipeline("DATA", ".")), [354, 250] + [250] * isLmtp)

    def test_otherRecipients(self) -> None:
        """Nor does it change with what the handler makes of the list of recipients."""
        for change in (list.clear, list.pop, lambda rcptTo: rcptTo.extend(rcptTo)):
            for result, expected in ((None, [250] * 3), (Rejection("no", 552), [552] * 3)):
                later = Later()

                def onData(stream: Any, session: Any, change: Any = change, later: Any = later):
                    change(session.envelope.rcptTo)
                    return later()

                client = talk(Phase.RCPT, onData=onData, lmtp=True)
                client.pipeline(RCPT, RCPT, "DATA")
                client.send(b".\r\n")
                later.answer(result)
                self.assertEqual(codes(client.answers()), [354, *expected])

    def test_next(self) -> None:
        """The next transaction starts anew."""
        client = recipients(lambda stream: None)
        client.pipeline("DATA", ".")
        self.assertEqual(codes(client.pipeline(MAIL, RCPT, "DATA", ".")), [250, 250, 354, 250])

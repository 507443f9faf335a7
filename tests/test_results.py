"""Tests for the results of hooks."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.test_session import address
from twisted_smtpserver import replies
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.results import Accepted, acceptance, messageReplies
from twisted_smtpserver.session import Envelope

NO = Reply(550, "5.1.1", "no")


def refuse(error: BaseException) -> Reply:
    assert isinstance(error, Rejection)
    return error.toReply(NO)


class AcceptedTests(SynchronousTestCase):
    def test_codes(self) -> None:
        """The codes are positive, and of one class."""
        self.assertEqual(Accepted("fine").code, 250)
        for code, enhanced in (
            (550, None),
            (354, None),
            (250, "5.0.0"),
            (250, "x"),
            (None, "4.0.0"),
        ):
            with self.assertRaises(ValueError):
                Accepted("fine", enhanced, code)  # type: ignore[arg-type]

    def test_toReply(self) -> None:
        """What is left open is the stage's."""
        stage = replies.RECIPIENT_OK
        self.assertEqual(Accepted().toReply(stage), stage)
        self.assertEqual(Accepted("yes").toReply(stage), Reply(250, "2.1.5", "yes"))
        self.assertEqual(Accepted("yes", "2.1.9").toReply(stage), Reply(250, "2.1.9", "yes"))
        self.assertEqual(Accepted("later", code=251).toReply(stage), Reply(251, "2.1.5", "later"))


class AcceptanceTests(SynchronousTestCase):
    """The positive reply for a result."""

    def test_good(self) -> None:
        """Nothing, a text or Accepted."""
        table: list[tuple[Any, Reply]] = [
            (None, replies.SENDER_OK),
            ("", replies.SENDER_OK),
            ("fine", Reply(250, "2.1.0", "fine")),
            (Accepted("fine", "2.3.6"), Reply(250, "2.3.6", "fine")),
        ]
        for result, reply in table:
            self.assertEqual(acceptance(result, replies.SENDER_OK), reply)

    def test_forwarding(self) -> None:
        """251 is for recipients only (RFC 5321 section 3.4)."""
        forwarded = Accepted("will forward", code=251)
        self.assertEqual(acceptance(forwarded, replies.RECIPIENT_OK).code, 251)
        for stage in (replies.SENDER_OK, replies.MESSAGE_ACCEPTED):
            self.assertRaises(TypeError, acceptance, forwarded, stage)

    def test_otherCodes(self) -> None:
        """No other code accepts anything."""
        for code in (200, 221, 252, 259):
            for stage in (replies.SENDER_OK, replies.RECIPIENT_OK, replies.MESSAGE_ACCEPTED):
                self.assertRaises(TypeError, acceptance, Accepted("x", code=code), stage)

    def test_bad(self) -> None:
        """Anything else is a bug: it mustn't pass for an acceptance."""
        for result in (True, False, 0, 250, b"ok", [], {}, ("ok",), Rejection("no"), object()):
            self.assertRaises(TypeError, acceptance, result, replies.SENDER_OK)


class MessageRepliesTests(SynchronousTestCase):
    """One reply for each recipient."""

    def setUp(self) -> None:
        """Three recipients, the third the first once more."""
        self.envelope = Envelope()
        self.envelope.rcptTo = [
            address(text) for text in ("a@b.example", "c@d.example", "a@B.example")
        ]

    def codes(self, result: object) -> list[int]:
        return [reply.code for reply in messageReplies(result, self.envelope.rcptTo, refuse)]

    def test_oneForAll(self) -> None:
        """One value is for all of them."""
        self.assertEqual(self.codes(None), [250, 250, 250])
        self.assertEqual(self.codes("fine"), [250, 250, 250])
        self.assertEqual(self.codes(Rejection("no", 452)), [452, 452, 452])

    def test_list(self) -> None:
        """A list has a value for each, in order."""
        self.assertEqual(self.codes([None, Rejection("no"), "fine"]), [250, 550, 250])
        self.assertEqual(self.codes((Accepted("x"), None, Rejection("no"))), [250, 250, 550])

    def test_byText(self) -> None:
        """A dict by text has one for each address, for duplicates the same."""
        self.assertEqual(
            self.codes({"a@b.example": Rejection("no"), "c@d.example": None}), [550, 250, 550]
        )

    def test_byAddress(self) -> None:
        """A dict by address object tells even duplicates apart."""
        first, second, third = self.envelope.rcptTo
        self.assertEqual(
            self.codes({third: Rejection("no", 450), first: None, second: "x"}), [250, 250, 450]
        )
        self.assertEqual(
            self.codes({first: Rejection("no"), "c@d.example": None, third: None}), [550, 250, 250]
        )

    def test_wrongNumber(self) -> None:
        """Too few and too many are refused: nobody is told 250 by omission."""
        first, second, third = self.envelope.rcptTo
        for wrong in (
            *([], [None], [None] * 4, b"abc "),
            *({}, {"a@b.example": None}, {"c@d.example": None, "A@b.example": None}),
            {"a@b.example": None, "c@d.example": None, "e@f.example": None},
            {first: None, second: None},
            {"a@b.example": None, "c@d.example": None, first: None, third: None},
        ):
            self.assertRaises(ValueError, self.codes, wrong)

    def test_wrongValues(self) -> None:
        """Values that mean nothing are refused, too."""
        for wrong in ([None, None, True], b"abc", 5, {"a@b.example": 1, "c@d.example": None}):
            self.assertRaises(TypeError, self.codes, wrong)

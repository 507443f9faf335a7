"""What the next hop's replies mean."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.answers import Answer, refusal


class AnswerTests(SynchronousTestCase):
    def test_enhanced(self) -> None:
        """The enhanced code is that of the last line, if its class is the code's."""
        self.assertEqual(Answer(550, ("5.1.1 No", "5.1.2 such user")).enhanced, "5.1.2")
        self.assertEqual(Answer(550, ("5.1.1",)).enhanced, "5.1.1")
        self.assertIsNone(Answer(550, ("4.1.1 No",)).enhanced)
        self.assertIsNone(Answer(550, ("5.1.1x No",)).enhanced)
        self.assertIsNone(Answer(550, ("No",)).enhanced)

    def test_text(self) -> None:
        """The text is without the codes, and not longer than is good."""
        self.assertEqual(Answer(550, ("5.1.1 No", "5.1.1 such user")).text, "No such user")
        self.assertEqual(len(Answer(550, ("x" * 500,)).text), 400)

    def test_log(self) -> None:
        """For the log, controls are escaped."""
        self.assertEqual(str(Answer(550, ("no\x1b[2J",))), r"550 no\x1b[2J")


class RefusalTests(SynchronousTestCase):
    def assertBecomes(self, answer: tuple[int, str], code: int, enhanced: str | None) -> None:
        rejection = refusal(Answer(answer[0], (answer[1],)))
        self.assertEqual((rejection.code, rejection.enhanced), (code, enhanced))

    def test_forGood(self) -> None:
        """550 to 554 are handed on; another 5yz is 554."""
        for code in (550, 551, 552, 553, 554):
            self.assertBecomes((code, "5.1.1 No"), code, "5.1.1")
        for code in (501, 504, 521, 555, 556, 571):
            self.assertBecomes((code, "5.1.1 No"), 554, "5.1.1")

    def test_forAWhile(self) -> None:
        """450 to 452 are handed on; another 4yz is 451, also 421, which would close."""
        for code in (450, 451, 452):
            self.assertBecomes((code, "No"), code, None)
        for code in (421, 432, 454, 471):
            self.assertBecomes((code, "4.3.2 No"), 451, "4.3.2")

    def test_text(self) -> None:
        """The text is handed on; there is one in any case."""
        self.assertEqual(refusal(Answer(550, ("5.1.1 No such user",))).text, "No such user")
        self.assertEqual(refusal(Answer(550, ("",))).text, "Refused by the next hop")

    def test_aboutUs(self) -> None:
        """What our client can't help isn't its refusal; nor is what is no refusal."""
        for code in (250, 354, 334, 500, 502, 503, 530, 535, 538):
            error = self.assertRaises(Unavailable, refusal, Answer(code, ("hm",)))
            self.assertEqual(str(error), f"it said: {code} hm")

"""Tests for the exceptions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import errors, replies
from twisted_smtpserver.errors import (
    AuthenticationFailed,
    BareNewline,
    MessageTooLarge,
    Rejection,
    asRejection,
    checkCode,
)
from twisted_smtpserver.replies import Reply

STAGE = Reply(550, "5.1.1", "Recipient refused")


class CheckCodeTests(SynchronousTestCase):
    """Which codes a handler may send."""

    def test_good(self) -> None:
        """Codes are [45][0-5][0-9], and the enhanced code's class is the code's first digit."""
        for code, enhanced in (
            *((None, None), (400, None), (421, "4.3.2"), (450, "4.2.0"), (550, "5.123.999")),
            *((559, None), (None, "4.1.1"), (None, "5.0.0")),
        ):
            checkCode(code, enhanced)
        checkCode(251, "2.1.5", allowed="2")

    def test_bad(self) -> None:
        """Anything else is a programming error."""
        for code, enhanced in (
            *((250, None), (354, None), (460, None), (599, None), (55, None), (5500, None)),
            *((-1, None), (550.0, None), (True, None), (0, None)),
            *((550, "4.1.1"), (450, "5.1.1"), (550, "2.1.1"), (None, "2.0.0"), (None, "3.0.0")),
            *((550, "5.1"), (550, "5.1.1.1"), (550, "5.1.1 "), (550, "5.1.1\n"), (550, "")),
            (550, "5.1.1234"),
        ):
            with self.assertRaises(ValueError):
                checkCode(code, enhanced)  # type: ignore[arg-type]
        with self.assertRaises(ValueError):
            checkCode(550, None, allowed="2")


class RejectionTests(SynchronousTestCase):
    """What a rejection tells the client."""

    def test_ownReply(self) -> None:
        """Whoever catches one that has a reply of its own can see it."""
        for error, code, enhanced in (
            (MessageTooLarge(), 552, "5.3.4"),
            (BareNewline(), 550, "5.6.0"),
            (AuthenticationFailed("no"), 535, "5.7.8"),
            (AuthenticationFailed("no", 454), 454, "4.7.0"),
            (AuthenticationFailed("no", enhanced="4.7.0"), 450, "4.7.0"),
        ):
            self.assertEqual((error.code, error.enhanced), (code, enhanced))
            self.assertEqual(str(error), error.text)
            self.assertEqual(error.toReply(STAGE), Reply(code, enhanced, error.text))
        self.assertIn("CRLF", BareNewline().text)
        self.assertEqual(MessageTooLarge("bigger than that").text, "bigger than that")

    def test_toReply(self) -> None:
        """What it leaves open the hook's stage fills in, and the two codes always match."""
        table = {
            Rejection(): Reply(550, "5.1.1", "Recipient refused"),
            Rejection("no"): Reply(550, "5.1.1", "no"),
            Rejection("no", 553): Reply(553, "5.1.3", "no"),
            Rejection("no", 550): Reply(550, "5.1.1", "no"),
            Rejection("no", 450): Reply(450, "4.2.0", "no"),
            Rejection("no", 421): Reply(421, "4.3.2", "no"),
            Rejection("no", 559): Reply(559, "5.0.0", "no"),
            Rejection("no", 450, "4.7.1"): Reply(450, "4.7.1", "no"),
            Rejection("no", enhanced="5.7.1"): Reply(550, "5.7.1", "no"),
            Rejection("no", enhanced="4.2.0"): Reply(450, "4.2.0", "no"),
            MessageTooLarge(): replies.TOO_LARGE,
            BareNewline(): replies.BARE_NEWLINE,
            AuthenticationFailed(): replies.AUTH_FAILED,
            AuthenticationFailed("no", 454): Reply(454, "4.7.0", "no"),
            AuthenticationFailed(enhanced="4.7.0"): Reply(450, "4.7.0", replies.AUTH_FAILED.text),
        }
        for rejection, reply in table.items():
            self.assertEqual(rejection.toReply(STAGE), reply)

    def test_wrongCode(self) -> None:
        """A wrong code is noticed where it is written."""
        self.assertRaises(ValueError, Rejection, "no", 250)
        self.assertRaises(ValueError, Rejection, "no", 550, "4.1.1")

    def test_str(self) -> None:
        """The text is the exception's text."""
        self.assertEqual(str(Rejection("no")), "no")

    def test_data(self) -> None:
        """The data of a failed login are copied."""
        data = {"status": "401"}
        failed = AuthenticationFailed(data=data)
        data.clear()
        self.assertEqual(failed.data, {"status": "401"})
        self.assertIsNone(AuthenticationFailed().data)
        for wrong in ({"status": 401}, {401: "status"}):
            self.assertRaises(ValueError, AuthenticationFailed, data=wrong)


class AsRejectionTests(SynchronousTestCase):
    """Refusals are told from bugs."""

    def test_rejection(self) -> None:
        """A rejection is one."""
        rejection = Rejection("no")
        self.assertIs(asRejection(rejection), rejection)

    def test_responseCode(self) -> None:
        """So is any exception with an integer responseCode; its text is for the client."""
        error = LookupError("nobody")
        error.responseCode = 553  # type: ignore[attr-defined]
        rejection = asRejection(error)
        assert rejection is not None
        self.assertEqual(rejection.toReply(STAGE), Reply(553, "5.1.3", "nobody"))

    def test_wrongResponseCode(self) -> None:
        """A code that can't refuse is a bug."""
        error = LookupError("nobody")
        error.responseCode = 250  # type: ignore[attr-defined]
        self.assertRaises(ValueError, asRejection, error)

    def test_bug(self) -> None:
        """All others are bugs."""
        self.assertIsNone(asRejection(LookupError("nobody")))
        for code in ("550", None, True, 550.0):
            error = LookupError("nobody")
            error.responseCode = code  # type: ignore[attr-defined]
            self.assertIsNone(asRejection(error))


class TreeTests(SynchronousTestCase):
    def test_tree(self) -> None:
        """The tree at the top of the module is the one that is there."""
        drawn: dict[str, str] = {}
        above: dict[int, str] = {}
        for line in (errors.__doc__ or "").splitlines():
            name = line.strip(" |+-").split(" ")[0]
            if isinstance(getattr(errors, name, None), type):
                column = line.index(name)
                above[column] = name
                if parents := [at for at in above if at < column]:
                    drawn[name] = above[max(parents)]
        there = {
            name: value.__bases__[0].__name__
            for name, value in vars(errors).items()
            if isinstance(value, type) and issubclass(value, errors.SMTPServerError)
        }
        del there["SMTPServerError"]
        self.assertEqual(drawn, there)

    def test_families(self) -> None:
        """They are kin to the exceptions of Python that mean the same."""
        self.assertTrue(issubclass(errors.ConnectionLost, ConnectionError))
        self.assertTrue(issubclass(errors.ConfigurationError, ValueError))

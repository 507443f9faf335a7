"""What becomes of a command."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, codes, talk
from twisted_smtpserver.dialogue.outcome import LATER, Outcome, withoutEnhanced
from twisted_smtpserver.replies import OK, RESET
from twisted_smtpserver.states import Phase


class PlainTests(SynchronousTestCase):
    """Outcomes without enhanced status codes."""

    def test_kinds(self) -> None:
        """Whatever kind of outcome it is, the codes are gone, and nothing else."""
        self.assertEqual(withoutEnhanced(OK), OK.plain)
        plain = OK.plain
        self.assertIs(withoutEnhanced(plain), plain)
        self.assertEqual(withoutEnhanced([OK, RESET]), [OK.plain, RESET.plain])
        self.assertIs(withoutEnhanced(LATER), LATER)
        later: Deferred[Outcome] = Deferred()
        withoutEnhanced(later)
        later.callback(OK)
        self.assertEqual(self.successResultOf(later), OK.plain)


class LongNameTests(SynchronousTestCase):
    """What the short ways leave to the long ones."""

    def test_domain(self) -> None:
        """A domain that is longer than a label may be is looked at closely."""
        client = talk(Phase.MAIL)
        name = ".".join(["a" * 20] * 4)
        answers = client.pipeline(f"RCPT TO:<a@{name}.example>", f"RCPT TO:<a@{'b' * 64}.example>")
        self.assertEqual(codes(answers), [250, 501])

    def test_binding(self) -> None:
        """Without TLS there is nothing to bind a login to."""
        client = talk(Phase.GREETED)
        self.assertIsNone(client.protocol.dialogue.channelBinding())
        self.assertEqual(client.say(HELLO).code, 250)

"""Tests for the command state machine: the tables, and that the server goes by them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import brief, talk
from twisted_smtpserver import replies
from twisted_smtpserver.extensions import Extension
from twisted_smtpserver.replies import OK
from twisted_smtpserver.states import (
    ALLOWED,
    ALLOWED_ADDED,
    COMMAND_PHASES,
    TRANSITIONS,
    Event,
    Phase,
)

# A command of each verb that would be accepted where it may come.
LINES = {
    "EHLO": "EHLO client.example",
    "HELO": "HELO client.example",
    "LHLO": "LHLO client.example",
    "MAIL": "MAIL FROM:<joe@example.org>",
    "RCPT": "RCPT TO:<jane@example.com>",
    "BDAT": "BDAT 0",
    "VRFY": "VRFY joe",
    "AUTH": "AUTH PLAIN",
    "XCLIENT": "XCLIENT NAME=a.example",
    "XFORWARD": "XFORWARD NAME=a.example",
}
OUT_OF_ORDER = {
    reply.lines[0]
    for reply in (
        *(replies.HELLO_FIRST, replies.MAIL_FIRST, replies.RCPT_FIRST, replies.NESTED_MAIL),
        *(replies.IN_TRANSACTION, replies.BDAT_UNDER_WAY),
    )
}


class TableTests(SynchronousTestCase):
    """The tables make sense."""

    def test_refusals(self) -> None:
        """What is out of order is 503 5.5.1 (RFC 5321 section 4.1.4)."""
        for verb, row in (*ALLOWED.items(), ("", ALLOWED_ADDED)):
            self.assertEqual(tuple(row), COMMAND_PHASES, verb)
            for refusal in row.values():
                if refusal is not None:
                    self.assertEqual((refusal.code, refusal.enhanced), (503, "5.5.1"))

    def test_anytime(self) -> None:
        """Some commands may come at any time (RFC 5321 section 4.1.4)."""
        anytime = {verb for verb, row in ALLOWED.items() if not any(row.values())}
        self.assertEqual(anytime, {"EHLO", "HELO", "LHLO", "RSET", "NOOP", "VRFY", "HELP", "QUIT"})

    def test_reachable(self) -> None:
        """Every phase can be reached, and every event happens."""
        reached = {Phase.CONNECTED}
        for _ in Phase:
            reached |= {to for (at, _), to in TRANSITIONS.items() if at in reached}
        self.assertEqual(reached, set(Phase))
        self.assertEqual({event for _, event in TRANSITIONS}, set(Event))

    def test_noTrap(self) -> None:
        """From wherever commands are taken, RSET leads out of the transaction."""
        for phase in COMMAND_PHASES:
            after = Phase.GREETED if phase is Phase.GREETED else Phase.READY
            self.assertIs(TRANSITIONS[phase, Event.RESET], after)
        self.assertNotIn(Phase.REFUSED, {phase for phase, _ in TRANSITIONS})


class OverTheWireTests(SynchronousTestCase):
    """The server goes by them."""

    def test_everyCommandInEveryPhase(self) -> None:
        """A command that is out of order is refused with the table's reply; no other is."""
        for verb, row in ALLOWED.items():
            for phase, refusal in row.items():
                client = talk(phase, useXClient=True, useXForward=True)
                answer = client.say(LINES.get(verb, verb))
                if refusal is None:
                    self.assertFalse(OUT_OF_ORDER & set(answer.lines), (verb, phase))
                else:
                    self.assertEqual(answer.lines, refusal.lines, (verb, phase))
                    self.assertIs(client.protocol.dialogue.phase, phase)

    def test_addedVerb(self) -> None:
        """A verb that an extension of the user's adds needs a hello first."""

        class Hug(Extension):
            keyword = "HUG"
            verbs = {"HUG": lambda dialogue, argument: OK}

        for phase, refusal in ALLOWED_ADDED.items():
            client = talk(phase, extensions=[Hug()])
            self.assertEqual(client.say("HUG").code, (refusal or OK).code, phase)

    def test_refusedMovesNothing(self) -> None:
        """A refused command leaves the phase as it is."""

        def refuse(*arguments: object) -> None:
            error = ValueError("no")
            error.responseCode = 550  # type: ignore[attr-defined]
            raise error

        for phase, hook, line in (
            (Phase.GREETED, "onHello", "EHLO client.example"),
            (Phase.MAIL, "onHello", "EHLO client.example"),
            (Phase.READY, "onMailFrom", "MAIL FROM:<joe@example.org>"),
            (Phase.MAIL, "onRcptTo", "RCPT TO:<jane@example.com>"),
        ):
            client = talk(phase)
            setattr(client.factory.handler, hook, refuse)
            self.assertEqual(client.say(line).code, 550)
            self.assertIs(client.protocol.dialogue.phase, phase)

    def test_addresses(self) -> None:
        """A command that can't be parsed leaves the phase as it is, too."""
        client = talk(Phase.READY)
        self.assertEqual(brief(client.say("MAIL FROM:joe")), (501, "5.1.7"))
        self.assertIs(client.protocol.dialogue.phase, Phase.READY)
        self.assertIsNone(client.session.envelope.mailFrom)

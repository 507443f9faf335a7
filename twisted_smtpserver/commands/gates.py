"""
What every command has to pass before its verb is asked: one list, in order.

A gate is a function of the dialogue and the verb that returns ``None`` to let the command pass, or
the reply that refuses it.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted_smtpserver import replies
from twisted_smtpserver.commands.shortcuts import SHORTCUTS, runOfRecipients
from twisted_smtpserver.commands.verbs import VERBS
from twisted_smtpserver.dialogue.dialogue import Dialogue, Gate
from twisted_smtpserver.dialogue.step import Shortcuts, Step, Verbs
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.states import (
    ALLOWED,
    ALLOWED_ADDED,
    COMMAND_PHASES,
    TRANSITIONS,
    Event,
    Phase,
)

# Browsers made to talk to mail servers (ALPACA and its kin) begin with one of these.
_HTTP = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"}
)

# Commands of SMTP's that aren't implemented, which isn't the same as unknown (RFC 5321 §4.2.4):
# EXPN would tell who has a mailbox here, and the others are history (appendix F).
_UNIMPLEMENTED = frozenset({"EXPN", "TURN", "SEND", "SOML", "SAML"})

# What may come before TLS where it is required (RFC 3207 §4); LHLO is LMTP's EHLO (RFC 2033 §4.1).
BEFORE_TLS = frozenset({"NOOP", "EHLO", "LHLO", "STARTTLS", "QUIT"})


def welcome(dialogue: Dialogue, verb: str) -> Reply | None:
    """A client whose connection was refused can only leave (RFC 5321 §3.1)."""
    if dialogue.phase is not Phase.REFUSED or verb == "QUIT":
        return None
    if dialogue.conduct.countUnwelcome():
        return replies.TOO_MANY_ERRORS
    return dialogue.unwelcome


def enabled(dialogue: Dialogue, verb: str) -> Reply | None:
    """Known, but not here: 502 (RFC 5321 §4.2.4)."""
    return replies.NOT_IMPLEMENTED if verb in dialogue.session.disabledCommands else None


def recognized(dialogue: Dialogue, verb: str) -> Reply | None:
    """Unknown: 500, and not too often."""
    if verb in dialogue.server.verbs:
        return None
    if verb in _UNIMPLEMENTED:
        return dialogue.conduct.countUnrecognized(replies.NOT_IMPLEMENTED)
    if verb in _HTTP:
        dialogue.closeAfterReply("spoke HTTP")
        return replies.NOT_HTTP
    return dialogue.conduct.countUnrecognized(replies.UNRECOGNIZED)


def unauthenticated(dialogue: Dialogue, verb: str) -> Reply | None:
    """Where a login is required, only so many commands come before it."""
    if not dialogue.loginMissing or verb == "AUTH":
        return None
    isTooMuch = dialogue.conduct.countUnauthenticated()
    return replies.TOO_MANY_UNAUTHENTICATED if isTooMuch and verb != "QUIT" else None


def inSequence(dialogue: Dialogue, verb: str) -> Reply | None:
    """The state machine's table (RFC 5321 §4.1.4)."""
    return ALLOWED.get(verb, ALLOWED_ADDED).get(dialogue.phase)


def secured(dialogue: Dialogue, verb: str) -> Reply | None:
    """Where TLS is required, nearly everything waits for it (RFC 3207 §4)."""
    if dialogue.options.tlsRequired and not dialogue.session.secure and verb not in BEFORE_TLS:
        return replies.TLS_NEEDED
    return None


def loggedIn(dialogue: Dialogue, verb: str) -> Reply | None:
    """MAIL waits for the login where that is required (RFC 4954 §6)."""
    return dialogue.server.authNeeded if verb == "MAIL" and dialogue.loginMissing else None


def makeSteps(
    verbs: Verbs, disabled: Collection[str], tlsRequired: bool = False
) -> dict[tuple[Phase, Event], Step]:
    """
    The transitions of a server's state machine, each with what it leads to.

    :param verbs: the server's verbs.
    :param disabled: its ``disabledCommands``.
    :param tlsRequired: its option of this name.
    """
    early = BEFORE_TLS if tlsRequired else verbs.keys()
    return {
        cause: _step(
            phase, _admitted(phase, verbs, disabled, early), _shortcuts(phase, verbs, disabled)
        )
        for cause, phase in TRANSITIONS.items()
    }


def _step(phase: Phase, admitted: Verbs, shortcuts: Shortcuts) -> Step:
    hasRuns = phase is Phase.RCPT and b"RCPT " in shortcuts
    return Step(phase, admitted, shortcuts, runOfRecipients if hasRuns else None)


def _admitted(
    phase: Phase, verbs: Verbs, disabled: Collection[str], early: Collection[str]
) -> Verbs:
    """
    The commands that need not pass the gates one by one, because all would let them.

    All that counts for these is the server's own list of commands and the state machine's table:
    once a MAIL was accepted TLS and the login have been seen to. Whether a login is missing is
    asked apart, for each command.

    :param early: those that may need no TLS before a MAIL was accepted.
    """
    if phase not in COMMAND_PHASES:
        return {}
    return {
        verb: function
        for verb, function in verbs.items()
        if verb not in disabled
        and (phase > Phase.READY or (verb in early and verb != "MAIL"))
        and ALLOWED.get(verb, ALLOWED_ADDED)[phase] is None
    }


def _shortcuts(phase: Phase, verbs: Verbs, disabled: Collection[str]) -> Shortcuts:
    """The short ways that a phase has, by the first five octets of the line."""
    return {
        beginning: shortcut
        for verb, (beginnings, phases, shortcut) in SHORTCUTS.items()
        for beginning in beginnings
        # A verb that takes the place of our own has no short way.
        if phase in phases and verbs[verb] is VERBS[verb] and verb not in disabled
    }


GATES: tuple[Gate, ...] = (
    welcome,
    enabled,
    recognized,
    unauthenticated,
    secured,
    inSequence,
    loggedIn,
)

"""
The short ways to the verbs of each message.

A short way takes a line as nearly all clients write it, in one look at it instead of one for the
command, one for the argument and one for the address. What it doesn't know it leaves to the usual
way: it returns ``None``. It must never come to another result than that.
"""

from __future__ import annotations

import re
from typing import Final

from twisted_smtpserver.commands.verbs import (
    do_DATA,
    do_EHLO,
    do_QUIT,
    takeRecipient,
    takeSender,
)
from twisted_smtpserver.dialogue.dialogue import Dialogue, Shortcut
from twisted_smtpserver.dialogue.outcome import LATER, Outcome, withoutEnhanced
from twisted_smtpserver.replies import RECIPIENT_OK, Reply
from twisted_smtpserver.states import Phase
from twisted_smtpserver.wire.domain import MAX_LABEL
from twisted_smtpserver.wire.params import parseParameters
from twisted_smtpserver.wire.path import MAX_LOCAL_PART, PathParts

_ATOM = rb"[\w!#$%&'*+/=?^`{|}~-]+"
# In a plain path there are no two hyphens together in the domain, hence no A-label, and the last
# character is a letter: there is nothing for IDNA to do, and it is no IP address.
_MAILBOX = rb"%(atom)s(?:\.%(atom)s)*@[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*(?<=[A-Za-z])" % {
    b"atom": _ATOM
}
# With the parameters that most clients send: SIZE=1234 BODY=8BITMIME, in any case.
_matchMail: Final = re.compile(
    rb"(?i:MAIL FROM:)<(" + _MAILBOX + rb")>((?: [A-Za-z0-9]+=[A-Za-z0-9]+)*)"
).fullmatch
_RCPT = rb"(?i:RCPT TO:)<(" + _MAILBOX + rb")>"
_matchRcpt: Final = re.compile(_RCPT).fullmatch
_matchRcptLine: Final = re.compile(_RCPT + rb"\r\n").match

_matchEhlo: Final = re.compile(rb"(?i:EHLO) ([A-Za-z0-9.-]+)").fullmatch

_LETTERS: Final = b"Rr"  # what a RCPT begins with

# In octets, a line that is short enough whatever maxCommandLength may be.
_SHORT: Final = 510


def _plainParts(octets: bytes) -> PathParts | None:
    """
    The parts of a path that :data:`_MAILBOX` matched.

    :returns: what a :class:`~twisted_smtpserver.wire.path.Path` is made of, which takes longer to
        make than all of this; ``None`` if it is so long that it takes a closer look.
    """
    raw = octets.decode("ascii")
    local, _, domain = raw.partition("@")
    # In a domain as short as a label may be, no label is too long; nor is such a path.
    if len(local) > MAX_LOCAL_PART or len(domain) > MAX_LABEL:
        return None
    lowered = domain.lower()
    return local, lowered, raw if lowered == domain else f"{local}@{lowered}", raw, False


def _shortEhlo(dialogue: Dialogue, line: bytes) -> Outcome | None:
    found = _matchEhlo(line) if len(line) <= _SHORT else None
    return None if found is None else withoutEnhanced(do_EHLO(dialogue, found[1]))


def _shortMail(dialogue: Dialogue, line: bytes) -> Outcome | None:
    found = _matchMail(line) if len(line) <= _SHORT else None
    path = None if found is None else _plainParts(found[1])
    if found is None or path is None or dialogue.options.tlsRequired:
        return None
    if not found[2]:
        return takeSender(dialogue, path)
    args = parseParameters(found[2])
    return args if isinstance(args, Reply) else takeSender(dialogue, path, args)


def _shortRcpt(dialogue: Dialogue, line: bytes) -> Outcome | None:
    found = _matchRcpt(line)
    path = None if found is None else _plainParts(found[1])
    return None if path is None else takeRecipient(dialogue, path)


def runOfRecipients(
    dialogue: Dialogue, lines: bytes, start: int, most: int
) -> tuple[int, int, Outcome]:
    """
    The short way for recipients that come together. It ends before a line that isn't as nearly all
    clients write it, and behind one after which the next may be another matter.

    :param dialogue: the conversation.
    :param lines: what came in.
    :param start: where in it the next line begins.
    :param most: how many lines to take.
    :returns: how many recipients were accepted; where the line behind them begins; and the outcome
        of one more in between, or ``LATER`` if there is none.
    """
    if lines[start] not in _LETTERS or dialogue.server.extensions.seesRecipients:
        return 0, start, LATER
    session, isAsked = dialogue.session, dialogue.hook("onRcptTo") is not None
    for taken in range(most):
        found = _matchRcptLine(lines, start, start + _SHORT)
        path = None if found is None else _plainParts(found[1])
        if found is None or path is None:
            return taken, start, LATER
        outcome = takeRecipient(dialogue, path)
        start = found.end()
        if outcome is not RECIPIENT_OK:
            return taken, start, outcome
        if isAsked and (dialogue.isSpecial or session.hasOwnCommands or dialogue.connection.isGone):
            return taken + 1, start, LATER
    return most, start, LATER


def _shortData(dialogue: Dialogue, line: bytes) -> Outcome:
    return do_DATA(dialogue, b"")


def _shortQuit(dialogue: Dialogue, line: bytes) -> Outcome:
    return do_QUIT(dialogue, b"")


#: For each verb that has one: how its line begins, in the two cases that clients use; the phases it
#: is for; and the short way.
SHORTCUTS: dict[str, tuple[tuple[bytes, bytes], tuple[Phase, ...], Shortcut]] = {
    "EHLO": ((b"EHLO ", b"ehlo "), (Phase.GREETED, Phase.READY), _shortEhlo),
    "MAIL": ((b"MAIL ", b"mail "), (Phase.READY,), _shortMail),
    "RCPT": ((b"RCPT ", b"rcpt "), (Phase.MAIL, Phase.RCPT), _shortRcpt),
    "DATA": ((b"DATA", b"data"), (Phase.RCPT,), _shortData),
    "QUIT": ((b"QUIT", b"quit"), (Phase.READY,), _shortQuit),
}

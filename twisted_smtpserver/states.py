"""
The command state machine.

The theory. A conversation is in one :class:`Phase` at a time. Two tables say all about phases:

- :data:`ALLOWED`, RFC 5321 §4.1.4: for each verb and each phase either ``None``, the command may
  come, or the reply that refuses it. The refusal itself stands in the table, so that nothing has to
  be looked up elsewhere.
- :data:`TRANSITIONS`: what becomes of the phase. It is keyed by *outcomes*, not by commands: a MAIL
  that the handler refused moves nothing, and a DATA moves twice, when 354 goes out and when the
  message is answered. What isn't in the table can't happen: to move so is a KeyError, and a bug.

What else a connection is in is not a phase, but a machine of its own with two or three states:

======================= ===================================== ======================================
machine                 its states                            where it is
======================= ===================================== ======================================
the opening             PROXY header, handshake, name,        ``connection.opening.Opening``
                        ``onConnect``, over (``None``)
the pending answer      none (``None``), waited for           ``connection.replying.Pending``
the handshake           due or not                            ``connection.channel``
TLS                     in clear, secure                      ``session.secure``
the login               nobody, somebody                      ``session.user``
a SASL exchange         none, the next line answers it        ``dialogue.takeLine``
the message             none, on its way, finishing           ``message.transfer.MessageTransfer``
the body                read, paused                          ``connection.lines.BODY_UNREAD``
the shutdown            serving, stopping                     ``dialogue.isStopping``
======================= ===================================== ======================================

Their product would have dozens of states, and nobody could read it. They meet in few places: a
command waits while an answer is pending, and a gate asks for TLS and the login.

The pictures in the documentation are drawn from the tables.
"""

from __future__ import annotations

from enum import IntEnum, auto

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply


class Phase(IntEnum):  # not Enum: it is looked up for each command, and an int hashes in C
    """Where the conversation stands."""

    #: Connected, and not greeted yet: nothing may be said (RFC 5321 §4.3.1).
    CONNECTED = auto()
    #: Greeted, or just secured: a hello must come.
    GREETED = auto()
    #: After the hello, between transactions.
    READY = auto()
    #: A MAIL was accepted, no RCPT yet.
    MAIL = auto()
    #: At least one RCPT was accepted.
    RCPT = auto()
    #: 354 was sent: octets are content until the final dot.
    DATA = auto()
    #: At least one BDAT was taken, and none was the last (RFC 3030 §2).
    CHUNKS = auto()
    #: The client isn't welcome: all it can do is QUIT (RFC 5321 §3.1).
    REFUSED = auto()


class Event(IntEnum):
    """What happened: an outcome that may move the phase."""

    WELCOMED = auto()
    HELLO = auto()
    MAIL = auto()
    RCPT = auto()
    #: 354 goes out.
    DATA = auto()
    #: A chunk was taken that isn't the last.
    CHUNK = auto()
    #: The transaction is over: answered at its end, or refused as a whole.
    END = auto()
    #: RSET, or a hello in the middle of a transaction.
    RESET = auto()
    #: TLS is up, or XCLIENT was accepted: what the client said before is forgotten.
    RESTARTED = auto()
    #: ``onConnect`` or ``onSecure`` refused.
    REFUSED = auto()


_P = Phase
_NO_HELLO = replies.HELLO_FIRST
_BUSY = replies.IN_TRANSACTION
_CHUNKS = replies.BDAT_UNDER_WAY

#: The phases in which a line can be a command; in the others, octets aren't commands.
COMMAND_PHASES = (_P.GREETED, _P.READY, _P.MAIL, _P.RCPT, _P.CHUNKS)

# fmt: off  (a table is for the eye)
_ANYTIME = (None, None, None, None, None)
_ROWS: dict[str, tuple[Reply | None, ...]] = {
    #            GREETED    READY               MAIL                 RCPT                 CHUNKS
    "EHLO": _ANYTIME,
    "HELO": _ANYTIME,
    "LHLO": _ANYTIME,
    "MAIL": (_NO_HELLO, None, replies.NESTED_MAIL, replies.NESTED_MAIL, _CHUNKS),
    "RCPT": (_NO_HELLO, replies.MAIL_FIRST, None, None, _CHUNKS),
    "DATA": (_NO_HELLO, replies.MAIL_FIRST, replies.RCPT_FIRST, None, _CHUNKS),
    "BDAT": (_NO_HELLO, replies.MAIL_FIRST, replies.RCPT_FIRST, None, None),
    "RSET": _ANYTIME,
    "NOOP": _ANYTIME,
    "VRFY": _ANYTIME,
    "HELP": _ANYTIME,
    "QUIT": _ANYTIME,
    "STARTTLS": (_NO_HELLO, None, None, None, _BUSY),
    "AUTH": (_NO_HELLO, None, _BUSY, _BUSY, _BUSY),
    "XCLIENT": (None, None, _BUSY, _BUSY, _BUSY),
    "XFORWARD": (_NO_HELLO, None, _BUSY, _BUSY, _BUSY),
}
# A verb that an extension of the user's adds: after the hello, at any time.
_ADDED = (_NO_HELLO, None, None, None, None)
# fmt: on

#: For each verb: the reply that refuses it in each phase, ``None`` where it may come.
ALLOWED: dict[str, dict[Phase, Reply | None]] = {
    verb: dict(zip(COMMAND_PHASES, row, strict=True)) for verb, row in _ROWS.items()
}
#: The same for verbs that aren't in :data:`ALLOWED`.
ALLOWED_ADDED: dict[Phase, Reply | None] = dict(zip(COMMAND_PHASES, _ADDED, strict=True))

#: ``(phase, outcome)`` to the next phase. What isn't here can't happen.
TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    (_P.CONNECTED, Event.WELCOMED): _P.GREETED,
    (_P.CONNECTED, Event.REFUSED): _P.REFUSED,
    (_P.GREETED, Event.REFUSED): _P.REFUSED,  # after STARTTLS or XCLIENT
    (_P.GREETED, Event.HELLO): _P.READY,
    (_P.GREETED, Event.RESET): _P.GREETED,
    (_P.GREETED, Event.RESTARTED): _P.GREETED,
    (_P.READY, Event.HELLO): _P.READY,
    (_P.READY, Event.RESET): _P.READY,
    (_P.READY, Event.RESTARTED): _P.GREETED,
    (_P.READY, Event.MAIL): _P.MAIL,
    (_P.MAIL, Event.RESET): _P.READY,
    (_P.MAIL, Event.RCPT): _P.RCPT,
    (_P.RCPT, Event.RESET): _P.READY,
    (_P.RCPT, Event.RCPT): _P.RCPT,
    (_P.RCPT, Event.DATA): _P.DATA,
    (_P.RCPT, Event.CHUNK): _P.CHUNKS,
    (_P.RCPT, Event.END): _P.READY,  # DATA refused before 354, or a single BDAT … LAST
    (_P.DATA, Event.END): _P.READY,
    (_P.CHUNKS, Event.RESET): _P.READY,
    (_P.CHUNKS, Event.CHUNK): _P.CHUNKS,
    (_P.CHUNKS, Event.END): _P.READY,
}

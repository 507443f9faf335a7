"""
The words of the milter protocol: the mail server's commands, and a milter's replies.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 6
OLDEST_VERSION = 2

#: The longest packet that is read, in octets. libmilter's are 64 KiB at most.
MAX_PACKET = 2**17

#: The most octets of a body in one packet (libmilter's MILTER_CHUNK_SIZE).
BODY_CHUNK = 65535

#: The longest value of a header field that is sent, in octets. libmilter closes a connection that
#: sends more than 64 KiB, and no sender of mail may cause that.
MAX_VALUE = 60_000

#: The most characters in a line of a milter's own reply (libmilter's MAXREPLYLEN).
MAX_REPLY_LINE = 980

#: The most lines of a milter's own reply.
MAX_REPLY_LINES = 32


class MilterError(Exception):
    """The milter broke the protocol, is silent, or is gone."""


class Action(enum.IntFlag):
    """What a milter may do to a message (SMFIF_…)."""

    ADD_HEADER = 0x1
    REPLACE_BODY = 0x2
    ADD_RECIPIENT = 0x4
    REMOVE_RECIPIENT = 0x8
    CHANGE_HEADER = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENT_WITH_PARAMETERS = 0x80
    SET_MACROS = 0x100


class Step(enum.IntFlag):
    """Commands that a milter doesn't want, or doesn't answer (SMFIP_…)."""

    NO_CONNECT = 0x1
    NO_HELLO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADERS = 0x20
    NO_END_OF_HEADER = 0x40
    SILENT_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REJECTED_RCPT = 0x800
    SILENT_CONNECT = 0x1000
    SILENT_HELLO = 0x2000
    SILENT_MAIL = 0x4000
    SILENT_RCPT = 0x8000
    SILENT_DATA = 0x10000
    SILENT_UNKNOWN = 0x20000
    SILENT_END_OF_HEADER = 0x40000
    SILENT_BODY = 0x80000
    LEADING_SPACE = 0x100000


ALL_ACTIONS = Action(0x1FF)

#: Refused recipients aren't reported: no hook sees a recipient that the server itself refused.
OFFERED_STEPS = Step(0x1FFFFF) & ~Step.REJECTED_RCPT


class Command(bytes, enum.Enum):
    """The mail server's commands (SMFIC_…)."""

    ABORT = b"A"
    BODY = b"B"
    CONNECT = b"C"
    MACROS = b"D"
    END_OF_MESSAGE = b"E"
    HELLO = b"H"
    NEW_CONNECTION = b"K"
    HEADER = b"L"
    MAIL = b"M"
    END_OF_HEADER = b"N"
    NEGOTIATE = b"O"
    QUIT = b"Q"
    RCPT = b"R"
    DATA = b"T"


#: The step by which a milter doesn't want a command, and the step by which it doesn't answer it.
UNWANTED: dict[Command, Step] = {
    Command.CONNECT: Step.NO_CONNECT,
    Command.HELLO: Step.NO_HELLO,
    Command.MAIL: Step.NO_MAIL,
    Command.RCPT: Step.NO_RCPT,
    Command.DATA: Step.NO_DATA,
    Command.HEADER: Step.NO_HEADERS,
    Command.END_OF_HEADER: Step.NO_END_OF_HEADER,
    Command.BODY: Step.NO_BODY,
}
UNANSWERED: dict[Command, Step] = {
    Command.CONNECT: Step.SILENT_CONNECT,
    Command.HELLO: Step.SILENT_HELLO,
    Command.MAIL: Step.SILENT_MAIL,
    Command.RCPT: Step.SILENT_RCPT,
    Command.DATA: Step.SILENT_DATA,
    Command.HEADER: Step.SILENT_HEADER,
    Command.END_OF_HEADER: Step.SILENT_END_OF_HEADER,
    Command.BODY: Step.SILENT_BODY,
}

#: The stages that macros are named for, in the order in which SMFIR_SETSYMLIST counts them.
MACRO_STAGES = (
    Command.CONNECT,
    Command.HELLO,
    Command.MAIL,
    Command.RCPT,
    Command.DATA,
    Command.END_OF_MESSAGE,
    Command.END_OF_HEADER,
)


class Verdict(enum.Enum):
    """What a milter says to a command, in one word (SMFIR_…)."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    REJECT = b"r"
    TEMPFAIL = b"t"
    DISCARD = b"d"
    SKIP = b"s"
    SHUTDOWN = b"4"
    CONNECTION_FAILED = b"f"


@dataclass(frozen=True, slots=True)
class CustomReply:
    """
    A refusal in the milter's own words.

    :ivar code: 400–559.
    :ivar enhanced: the enhanced code; ``None`` if it gave none.
    :ivar lines: the text.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """It is still at work."""


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """Put a field into the header; ``index`` is ``None`` for its end."""

    index: int | None
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """Change the ``number``-th field of a name, 1 for the first; an empty value takes it out."""

    number: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """One more recipient."""

    address: bytes


@dataclass(frozen=True, slots=True)
class RemoveRecipient:
    """One recipient less."""

    address: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """The milter sets another sender."""

    address: bytes


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """More octets of another body."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Put the message aside."""

    reason: str


Edit = (
    InsertHeader
    | ChangeHeader
    | AddRecipient
    | RemoveRecipient
    | ChangeSender
    | ReplaceBody
    | Quarantine
)
Reply = Verdict | CustomReply | Progress | Edit


@dataclass(frozen=True, slots=True)
class Agreement:
    """
    What was negotiated.

    :ivar version: the protocol's version.
    :ivar actions: what the milter may do.
    :ivar steps: the commands that it doesn't want, or doesn't answer.
    :ivar macros: by stage, the macros that it asked for.
    """

    version: int
    actions: Action
    steps: Step
    macros: Mapping[Command, frozenset[str]]

    def wants(self, command: Command) -> bool:
        """Whether the milter wants a command."""
        if command is Command.DATA and self.version < 4:
            return False
        return not self.steps & UNWANTED.get(command, Step(0))

    def answers(self, command: Command) -> bool:
        """Whether the milter answers a command."""
        return not self.steps & UNANSWERED.get(command, Step(0))

"""CHUNKING and BINARYMIME (RFC 3030)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.extensions.basic import parseBody
from twisted_smtpserver.message.transfer import MessageTransfer
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Event
from twisted_smtpserver.wire.bdat import Chunk, parseBdat

#: Where the message's size is limited, the octets of a chunk that are drained beyond twice that.
DRAINED = 2**20

#: The octets of the largest chunk where nothing limits the message's size: 1 TiB.
MOST_OCTETS = 2**40


class Chunking(Extension):
    """RFC 3030 §2: BDAT, message content by count instead of by dots."""

    keyword = "CHUNKING"

    def __init__(self) -> None:
        self.verbs: dict[str, Verb] = {"BDAT": _Bdat()}


class BinaryMime(Extension):
    """
    RFC 3030 §3: content that isn't lines. Off by default: a server that takes such a message must
    be able to pass it on.
    """

    keyword = "BINARYMIME"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType(
        {"BODY": parseBody(frozenset({"7BIT", "8BITMIME", "BINARYMIME"}))}
    )

    def advertise(self, session: Session) -> str | None:
        """Only together with CHUNKING (RFC 3030 §3)."""
        return None if "BDAT" in session.disabledCommands else ""


def _mostDrained(size: int) -> int:
    """
    The largest chunk that is read, in octets, though a part of it may only be thrown away.

    :param size: the option.
    """
    return 2 * size + DRAINED if size else MOST_OCTETS


class _Bdat:
    """The verb. Its octets come whether it is refused or not, and must not be run as commands."""

    def __call__(self, dialogue: Dialogue, argument: bytes) -> Outcome:
        chunk = parseBdat(argument)
        if isinstance(chunk, Reply):
            return self.refused(dialogue, argument, chunk)
        if chunk.size > _mostDrained(dialogue.options.size):
            # Nobody waits for so many octets, only to refuse them in the end.
            dialogue.closeAfterReply("a chunk beyond all bounds")
            return replies.TOO_LARGE
        transfer = dialogue.transfer
        if not isinstance(transfer, MessageTransfer):
            transfer = MessageTransfer(dialogue)
            transfer.beginChunks()
        return _take(dialogue, transfer, chunk)

    def refused(self, dialogue: Dialogue, argument: bytes, refusal: Reply) -> Outcome:
        chunk = parseBdat(argument)
        if isinstance(chunk, Reply):
            # Nobody knows where it ends: what comes next may be content, or may be commands.
            dialogue.closeAfterReply("malformed BDAT")
            return refusal
        if chunk.size > _mostDrained(dialogue.options.size):
            dialogue.closeAfterReply("a chunk beyond all bounds")
            return refusal
        return dialogue.receiveOctets(chunk.size, _ignore, lambda: refusal)


def _take(dialogue: Dialogue, transfer: MessageTransfer, chunk: Chunk) -> Outcome:
    def done() -> Outcome:
        if chunk.last:
            return transfer.lastChunk()
        dialogue.move(Event.CHUNK)
        reply = transfer.chunkReply(chunk.size)
        return reply if chunk.size else dialogue.countJunk(reply)

    return dialogue.receiveOctets(chunk.size, transfer.chunk, done)


def _ignore(octets: bytes) -> None:
    """Throw octets away."""

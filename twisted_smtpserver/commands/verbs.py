"""
The commands of RFC 5321 §4.1.1, each one function.

A verb is given the dialogue and the command's argument, asks the handler, and returns a reply, or a
Deferred of one. It runs only after the gates let the command pass; it moves the phase when the
outcome is known, never before. STARTTLS, AUTH, BDAT and others are verbs of extensions.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import zip_longest
from typing import Final

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.hooks import attribute
from twisted_smtpserver.message.transfer import MessageTransfer
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.results import acceptance
from twisted_smtpserver.session import Address, Envelope
from twisted_smtpserver.states import Event, Phase
from twisted_smtpserver.wire.hello import parseHello
from twisted_smtpserver.wire.params import parseParameters
from twisted_smtpserver.wire.path import Path, PathParts, parseMailArgument, parseRcptArgument
from twisted_smtpserver.wire.text import decodeText

# To look a member up in its enumeration takes longer than what it is for.
_HAS_RECIPIENTS: Final = Phase.RCPT
_SENDER_ACCEPTED: Final = Event.MAIL
_RECIPIENT_ACCEPTED: Final = Event.RCPT

# ESMTP parameters: keywords in upper case, values as sent.
Args = dict[str, str | bool]


def do_EHLO(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.1."""
    if dialogue.options.lmtp:
        return replies.LMTP_ONLY
    return _hello(dialogue, "EHLO", argument)


def do_HELO(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.1: like EHLO, but no extensions are listed."""
    if dialogue.options.lmtp:
        return replies.LMTP_ONLY
    return _hello(dialogue, "HELO", argument)


def do_LHLO(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 2033 §4.1: LMTP's EHLO."""
    if not dialogue.options.lmtp:
        return replies.NOT_LMTP
    return _hello(dialogue, "LHLO", argument)


def _hello(dialogue: Dialogue, verb: str, argument: bytes) -> Outcome:
    hostname = parseHello(argument)
    if isinstance(hostname, Reply):
        return hostname
    accepted = partial(_helloAccepted, dialogue, verb, hostname)
    return dialogue.ask("onHello", (hostname, dialogue.session), accepted)


def _helloAccepted(dialogue: Dialogue, verb: str, hostname: str, result: object) -> Reply:
    session, options = dialogue.session, dialogue.options
    dialogue.reset()  # RFC 5321 §4.1.4: a hello is a RSET, too
    dialogue.move(Event.HELLO)
    session.openingCommand = verb
    session.hostNameAppearsAs = hostname
    lines = [_heloResponse(options.heloResponse, options.name, session.clientHostname)]
    if verb != "HELO":
        lines += dialogue.server.extensions.keywords(session)
    return dialogue.countJunk(_helloReply(*lines))


@lru_cache(maxsize=256)  # the same few, again and again
def _helloReply(*lines: str) -> Reply:
    return Reply(250, None, *lines)


@lru_cache(maxsize=256)
def _heloResponse(response: str, name: str, clientHostname: str) -> str:
    first, *others = response.split("%s")
    values = (name, clientHostname)[: len(others)]
    return first + "".join(map("".join, zip_longest(values, others, fillvalue="")))


def do_MAIL(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.2."""
    parsed = _parseAddress(parseMailArgument(argument, dialogue.options.lenientAddressParsing))
    return parsed if isinstance(parsed, Reply) else takeSender(dialogue, *parsed)


def takeSender(dialogue: Dialogue, path: Path | PathParts, args: Args | None = None) -> Outcome:
    """
    Begin a transaction.

    :param dialogue: the conversation.
    :param path: the reverse-path.
    :param args: the parameters.
    """
    session = dialogue.session
    address = Address(path, args)
    envelope = session.newEnvelope()
    if session.transactions > dialogue.options.maxMessages:
        return replies.TOO_MANY_MESSAGES
    answer = replies.SENDER_OK
    if args or dialogue.server.extensions.seesSenders:
        answer = dialogue.server.extensions.applyMail(address, envelope, session) or answer
    if answer.code < 400 and not address.raw.isascii() and not envelope.smtpUtf8:
        answer = replies.MAIL_NEEDS_UTF8
    if answer.code >= 400:
        session.forgetEnvelope()
        return answer

    if envelope.smtpUtf8:
        dialogue.replyInUtf8()
    if attribute(dialogue.server.handler, "onMailFrom", None) is None:
        return _senderAccepted(dialogue, envelope, address, answer, None)
    accepted = partial(_senderAccepted, dialogue, envelope, address, answer)
    return dialogue.ask("onMailFrom", (address, session), accepted, dialogue.refuseSender)


def _senderAccepted(
    dialogue: Dialogue, envelope: Envelope, address: Address, answer: Reply, result: object
) -> Reply:
    reply = answer if result is None else acceptance(result, answer)
    envelope.mailFrom = address
    dialogue.move(_SENDER_ACCEPTED)
    return reply


def do_RCPT(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.3."""
    parsed = _parseAddress(parseRcptArgument(argument, dialogue.options.lenientAddressParsing))
    return parsed if isinstance(parsed, Reply) else takeRecipient(dialogue, *parsed)


def takeRecipient(dialogue: Dialogue, path: Path | PathParts, args: Args | None = None) -> Outcome:
    """
    Add a recipient to the transaction.

    :param dialogue: the conversation.
    :param path: the forward-path.
    :param args: the parameters.
    """
    address = Address(path, args)
    session, options = dialogue.session, dialogue.options
    envelope = session.envelope
    recipients = envelope.rcptTo
    if len(recipients) >= options.maxRecipients:
        return replies.TOO_MANY_RECIPIENTS
    if dialogue.refusedRecipients >= options.maxRefusedRecipients:
        return replies.ENOUGH_REFUSED if recipients else replies.TOO_MANY_REFUSED
    if not address.raw.isascii() and not envelope.smtpUtf8:
        return replies.RCPT_NEEDS_UTF8
    if args or dialogue.server.extensions.seesRecipients:
        refusal: Reply | None = dialogue.server.extensions.applyRcpt(address, envelope, session)
        if refusal is not None:
            return refusal
    if attribute(dialogue.server.handler, "onRcptTo", None) is None:
        return _recipientAccepted(dialogue, recipients, address, None)
    accepted = partial(_recipientAccepted, dialogue, recipients, address)
    return dialogue.ask("onRcptTo", (address, session), accepted, dialogue.refuseRecipient)


def _recipientAccepted(
    dialogue: Dialogue, recipients: list[Address], address: Address, result: object
) -> Reply:
    reply = replies.RECIPIENT_OK if result is None else acceptance(result, replies.RECIPIENT_OK)
    recipients.append(address)
    if dialogue.phase is not _HAS_RECIPIENTS:
        dialogue.move(_RECIPIENT_ACCEPTED)
    return reply


def _parseAddress(parsed: tuple[Path, bytes] | Reply) -> tuple[Path, Args] | Reply:
    if isinstance(parsed, Reply):
        return parsed
    path, rest = parsed
    args = parseParameters(rest) if rest else {}
    if isinstance(args, Reply):
        return args
    return path, args


def do_DATA(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.4."""
    if argument:
        return replies.NO_ARGUMENT_ALLOWED
    if dialogue.session.envelope.bodyType == "BINARYMIME":
        return replies.BINARY_NEEDS_BDAT
    return MessageTransfer(dialogue).beginData()


def do_RSET(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.5."""
    if argument:
        return replies.NO_ARGUMENT_ALLOWED
    dialogue.reset()
    return dialogue.countJunk(replies.RESET)


def do_NOOP(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.9: a parameter is ignored."""
    return dialogue.countJunk(replies.OK)


def do_VRFY(dialogue: Dialogue, argument: bytes) -> Outcome:
    """
    RFC 5321 §4.1.1.6 and §7.3: never tell which mailboxes exist.

    So there is nothing to say in UTF-8 either, which the parameter SMTPUTF8 would allow (RFC 6531
    §3.7.4.2).
    """
    if not argument:
        return replies.ARGUMENT_NEEDED
    if decodeText(argument) is None:
        return replies.VRFY_NOT_UTF8
    _, _, parameter = argument.rpartition(b" ")
    if parameter.upper().startswith(b"SMTPUTF8="):
        return replies.VRFY_VALUE
    return dialogue.countJunk(replies.CANNOT_VERIFY)


def do_HELP(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.8."""
    return dialogue.countJunk(replies.HELP)


def do_QUIT(dialogue: Dialogue, argument: bytes) -> Outcome:
    """RFC 5321 §4.1.1.10."""
    if argument:
        return replies.NO_ARGUMENT_ALLOWED
    dialogue.closeAfterReply("quit")
    return replies.GOODBYE


#: The verbs that every server has.
VERBS: dict[str, Verb] = {
    "EHLO": do_EHLO,
    "HELO": do_HELO,
    "LHLO": do_LHLO,
    "MAIL": do_MAIL,
    "RCPT": do_RCPT,
    "DATA": do_DATA,
    "RSET": do_RSET,
    "NOOP": do_NOOP,
    "VRFY": do_VRFY,
    "HELP": do_HELP,
    "QUIT": do_QUIT,
}

"""
The packets of the milter protocol, as the mail server's side writes and reads them.

There is no RFC. The protocol is what sendmail's libmilter speaks; versions 2 to 6 differ in what
may be negotiated. A packet is a length of four octets, a command of one octet, and data. This
module does no I/O. Any input gives a value or a :class:`MilterError`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping

from twisted_smtpserver.filters.milter.symbols import (
    ALL_ACTIONS,
    MACRO_STAGES,
    MAX_PACKET,
    MAX_REPLY_LINE,
    MAX_REPLY_LINES,
    MAX_VALUE,
    OFFERED_STEPS,
    OLDEST_VERSION,
    VERSION,
    Action,
    AddRecipient,
    Agreement,
    ChangeHeader,
    ChangeSender,
    Command,
    CustomReply,
    InsertHeader,
    MilterError,
    Progress,
    Quarantine,
    RemoveRecipient,
    ReplaceBody,
    Reply,
    Step,
    Verdict,
)

_LENGTH = struct.Struct(">L")
_OPTIONS = struct.Struct(">LLL")
_CODE = re.compile(r"[45][0-5][0-9]\Z")
_ENHANCED = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}\Z")

# The steps and actions of each version.
_STEPS = {2: Step(0x7F), 3: Step(0x1FF), 4: Step(0x3FF), 5: Step(0x3FF), 6: OFFERED_STEPS}
_ACTIONS = {2: Action(0x3F), 3: Action(0x3F), 4: Action(0x3F), 5: Action(0x3F), 6: ALL_ACTIONS}


# -- Writing ---------------------------------------------------------------------------------------


def packet(command: Command, data: bytes = b"") -> bytes:
    """
    :param command: the command.
    :param data: its data.
    :returns: the packet.
    """
    return _LENGTH.pack(len(data) + 1) + command.value + data


def strings(*values: str | bytes) -> bytes:
    """
    :param values: texts; a NUL in a text would end it, and is left out.
    :returns: the texts, each with a NUL after it.
    """
    octets = (each.encode("utf-8", "replace") if isinstance(each, str) else each for each in values)
    return b"".join(each.replace(b"\0", b"") + b"\0" for each in octets)


def negotiation() -> bytes:
    """Make the packet that offers everything that we support."""
    return packet(Command.NEGOTIATE, _OPTIONS.pack(VERSION, ALL_ACTIONS, OFFERED_STEPS))


def connection(hostName: str, address: str | None, port: int | None) -> bytes:
    """
    Make the packet about a client that has connected.

    :param hostName: the client's name, or its address in brackets.
    :param address: its IP address; ``None`` on a unix socket.
    :param port: its port.
    """
    if address is None:
        return packet(Command.CONNECT, strings(hostName) + b"U")
    isV6 = ":" in address
    family = b"6" if isV6 else b"4"
    literal = f"IPv6:{address.partition('%')[0]}" if isV6 else address
    place = family + (port or 0).to_bytes(2, "big") + strings(literal)
    return packet(Command.CONNECT, strings(hostName) + place)


def macros(stage: Command, values: Mapping[str, str]) -> bytes:
    """
    Make the packet with the macros for the next command.

    :param stage: that command.
    :param values: the values by names without braces.
    """
    names = (name if len(name) == 1 else f"{{{name}}}" for name in values)
    pairs = (strings(name, value) for name, value in zip(names, values.values(), strict=True))
    return packet(Command.MACROS, stage.value + b"".join(pairs))


def path(command: Command, address: str, parameters: Iterable[str] = ()) -> bytes:
    """
    Make the packet about a sender or a recipient.

    :param command: MAIL or RCPT.
    :param address: the address.
    :param parameters: ESMTP parameters, as they were sent.
    """
    return packet(command, strings(f"<{address}>", *parameters))


def header(name: str, value: bytes, agreement: Agreement) -> bytes:
    """
    Make the packet about a header field.

    :param name: the field's name.
    :param value: the octets behind the colon; they are cut at :data:`MAX_VALUE`.
    :param agreement: whether the space behind the colon is part of the value.
    """
    if not agreement.steps & Step.LEADING_SPACE:
        value = value.removeprefix(b" ")
    lines = value[:MAX_VALUE].replace(b"\r\n", b"\n")
    return packet(Command.HEADER, strings(name, lines))


# -- Reading ---------------------------------------------------------------------------------------


class PacketReader:
    """Cuts octets into packets."""

    def __init__(self) -> None:
        self._octets = bytearray()

    @property
    def waiting(self) -> int:
        """How many octets are unread."""
        return len(self._octets)

    def feed(self, octets: bytes) -> None:
        """
        Take octets.

        :param octets: the next octets, cut anywhere.
        """
        self._octets += octets

    def next(self) -> tuple[bytes, bytes] | None:
        """
        :returns: the next packet's command and data; ``None`` if it isn't complete.
        :raises MilterError: if its length is out of range.
        """
        if len(self._octets) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._octets)
        if not 1 <= length <= MAX_PACKET:
            raise MilterError(f"it sent a packet of {length} octets")
        end = _LENGTH.size + length
        if len(self._octets) < end:
            return None
        command, data = self._octets[4:5], self._octets[5:end]
        del self._octets[:end]
        return bytes(command), bytes(data)


def parseAgreement(command: bytes, data: bytes) -> Agreement:
    """
    Read the answer to :func:`negotiation`.

    :raises MilterError: if it isn't an answer, or wants something that wasn't offered.
    """
    if command != Command.NEGOTIATE.value or len(data) < _OPTIONS.size:
        raise MilterError("it didn't answer the negotiation")
    version, actions, steps = _OPTIONS.unpack_from(data)
    if not OLDEST_VERSION <= version <= VERSION:
        raise MilterError(f"it speaks version {version} of the protocol")
    if actions & ~int(ALL_ACTIONS) or steps & ~int(OFFERED_STEPS):
        raise MilterError("it asked for more than it was offered")
    return Agreement(
        version,
        _ACTIONS[version] & actions,
        _STEPS[version] & steps,
        _parseMacros(data[_OPTIONS.size :]) if version == VERSION else {},
    )


def _parseMacros(data: bytes) -> dict[Command, frozenset[str]]:
    wanted: dict[Command, frozenset[str]] = {}
    while len(data) > _LENGTH.size:
        (stage,) = _LENGTH.unpack_from(data)
        names, end, data = data[_LENGTH.size :].partition(b"\0")
        if stage >= len(MACRO_STAGES) or not end:
            raise MilterError("it asked for macros at an unknown stage")
        words = names.decode("ascii", "replace").replace(",", " ").split()
        wanted[MACRO_STAGES[stage]] = frozenset(word.strip("{}") for word in words)
    return wanted


def parseReply(command: bytes, data: bytes, agreement: Agreement) -> Reply:
    """
    Read a milter's reply.

    :param command: the packet's command.
    :param data: its data.
    :param agreement: what was negotiated.
    :raises MilterError: if it isn't a reply, or wasn't negotiated.
    """
    if command in _VERDICTS:
        return _VERDICTS[command]
    if command not in _PARSERS:
        raise MilterError(f"it sent an unknown reply {command!r}")
    action, parse = _PARSERS[command]
    if action & ~agreement.actions:
        raise MilterError(f"it sent {Action(action).name} without having asked for it")
    return parse(data)


def _text(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("utf-8", "replace")


def _custom(data: bytes) -> CustomReply:
    lines = [_line(line) for line in _text(data).splitlines()[:MAX_REPLY_LINES]]
    if not lines:
        raise MilterError("it sent an empty reply")
    code, enhanced, _ = lines[0]
    return CustomReply(code, enhanced, tuple(text for _, _, text in lines))


def _line(line: str) -> tuple[int, str | None, str]:
    """The code, the enhanced code and the text of a line of a reply."""
    code, rest = line[:3], line[3:]
    if not _CODE.match(code) or rest[:1] not in ("", " ", "-"):
        raise MilterError("it sent a reply that SMTP doesn't have")
    enhanced, _, text = rest[1:].partition(" ")
    if not _ENHANCED.match(enhanced):
        enhanced, text = "", rest[1:]
    # libmilter passes the text through printf.
    text = text.strip().replace("%%", "%")[:MAX_REPLY_LINE]
    return int(code), enhanced if enhanced[:1] == code[0] else None, text


def _fields(data: bytes, count: int) -> list[bytes]:
    """Split strings that end in NUL."""
    parts = data.split(b"\0")
    if len(parts) <= count:
        raise MilterError("it sent a packet that is too short")
    return parts[:count]


def _indexed(data: bytes) -> tuple[int, bytes, bytes]:
    if len(data) < _LENGTH.size:
        raise MilterError("it sent a packet that is too short")
    name, value = _fields(data[_LENGTH.size :], 2)
    return _LENGTH.unpack_from(data)[0], name, value


def _insert(data: bytes) -> InsertHeader:
    return InsertHeader(*_indexed(data))


def _change(data: bytes) -> ChangeHeader:
    return ChangeHeader(*_indexed(data))


def _add(data: bytes) -> InsertHeader:
    return InsertHeader(None, *_fields(data, 2))


def _addRecipient(data: bytes) -> AddRecipient:
    return AddRecipient(_fields(data, 1)[0])


def _removeRecipient(data: bytes) -> RemoveRecipient:
    return RemoveRecipient(_fields(data, 1)[0])


def _changeSender(data: bytes) -> ChangeSender:
    return ChangeSender(_fields(data, 1)[0])


def _quarantine(data: bytes) -> Quarantine:
    return Quarantine(_text(data))


def _progress(data: bytes) -> Progress:
    return Progress()


_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_PARSERS: dict[bytes, tuple[int, Callable[[bytes], Reply]]] = {
    b"y": (0, _custom),
    b"p": (0, _progress),
    b"h": (Action.ADD_HEADER, _add),
    b"i": (Action.ADD_HEADER, _insert),
    b"m": (Action.CHANGE_HEADER, _change),
    b"b": (Action.REPLACE_BODY, ReplaceBody),
    b"+": (Action.ADD_RECIPIENT, _addRecipient),
    b"2": (Action.ADD_RECIPIENT_WITH_PARAMETERS, _addRecipient),
    b"-": (Action.REMOVE_RECIPIENT, _removeRecipient),
    b"e": (Action.CHANGE_SENDER, _changeSender),
    b"q": (Action.QUARANTINE, _quarantine),
}

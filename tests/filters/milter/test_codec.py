"""Tests for :mod:`twisted_smtpserver.filters.milter.codec`."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.filters.milter import codec
from twisted_smtpserver.filters.milter.symbols import (
    ALL_ACTIONS,
    MAX_PACKET,
    MAX_REPLY_LINE,
    MAX_REPLY_LINES,
    MAX_VALUE,
    OFFERED_STEPS,
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
    Step,
    Verdict,
)

ALL = Agreement(6, ALL_ACTIONS, Step(0), {})
NOTHING = Agreement(6, Action(0), Step(0), {})

#: Commands that milters say, their data, what they mean, and what allows them.
REPLIES: list[tuple[bytes, bytes, Any, Action]] = [
    (b"c", b"", Verdict.CONTINUE, Action(0)),
    (b"a", b"", Verdict.ACCEPT, Action(0)),
    (b"r", b"", Verdict.REJECT, Action(0)),
    (b"t", b"", Verdict.TEMPFAIL, Action(0)),
    (b"d", b"", Verdict.DISCARD, Action(0)),
    (b"s", b"", Verdict.SKIP, Action(0)),
    (b"4", b"", Verdict.SHUTDOWN, Action(0)),
    (b"f", b"", Verdict.CONNECTION_FAILED, Action(0)),
    (b"p", b"", Progress(), Action(0)),
    (b"y", b"550 5.7.1 No\0", CustomReply(550, "5.7.1", ("No",)), Action(0)),
    (b"h", b"A\0 b\0", InsertHeader(None, b"A", b" b"), Action.ADD_HEADER),
    (b"i", b"\0\0\0\2A\0b\0", InsertHeader(2, b"A", b"b"), Action.ADD_HEADER),
    (b"m", b"\0\0\0\1A\0\0", ChangeHeader(1, b"A", b""), Action.CHANGE_HEADER),
    (b"b", b"body\0", ReplaceBody(b"body\0"), Action.REPLACE_BODY),
    (b"+", b"<a@b>\0", AddRecipient(b"<a@b>"), Action.ADD_RECIPIENT),
    (b"2", b"<a@b>\0A=B\0", AddRecipient(b"<a@b>"), Action.ADD_RECIPIENT_WITH_PARAMETERS),
    (b"-", b"<a@b>\0", RemoveRecipient(b"<a@b>"), Action.REMOVE_RECIPIENT),
    (b"e", b"<a@b>\0", ChangeSender(b"<a@b>"), Action.CHANGE_SENDER),
    (b"q", b"odd\0", Quarantine("odd"), Action.QUARANTINE),
]


class ReplyTests(SynchronousTestCase):
    """What a milter says."""

    def test_replies(self) -> None:
        """Every reply there is."""
        for command, data, expected, _ in REPLIES:
            self.assertEqual(codec.parseReply(command, data, ALL), expected)

    def test_notAgreed(self) -> None:
        """A change that wasn't agreed on is an error, and so is any change if none was."""
        for command, data, _, action in REPLIES:
            if action:
                self.assertRaises(MilterError, codec.parseReply, command, data, NOTHING)
                others = Agreement(6, ALL_ACTIONS & ~action, Step(0), {})
                self.assertRaises(MilterError, codec.parseReply, command, data, others)
            else:
                codec.parseReply(command, data, NOTHING)

    def test_malformed(self) -> None:
        """What is too short, or unknown, is an error."""
        for command, data in [
            (b"h", b""),
            (b"h", b"A\0b"),
            (b"i", b"\0\0"),
            (b"i", b"\0\0\0\1A\0b"),
            (b"m", b"\0\0\0\1A"),
            (b"+", b"a@b"),
            (b"-", b""),
            (b"e", b""),
            (b"l", b""),
            (b"O", b""),
            (b"\xff", b""),
        ]:
            self.assertRaises(MilterError, codec.parseReply, command, data, ALL)

    def test_custom(self) -> None:
        """Refusals in the milter's words: of several lines, without a code, with doubled signs."""
        for text, expected in [
            (b"451 4.7.1 one\0", (451, "4.7.1", ("one",))),
            (b"550-5.7.1 one\r\n550 5.7.1 two\0", (550, "5.7.1", ("one", "two"))),
            (b"554 no code\0", (554, None, ("no code",))),
            (b"554\0", (554, None, ("",))),
            (b"550 4.7.1 whose?\0", (550, None, ("whose?",))),
            (b"550 5.7.1\0", (550, "5.7.1", ("",))),
            (b"550 5.7.1 100%% sure\0", (550, "5.7.1", ("100% sure",))),
            (b"550 \xff\0", (550, None, ("\ufffd",))),
        ]:
            self.assertEqual(codec.parseReply(b"y", text, ALL), CustomReply(*expected), text)
        for text in (b"", b"\0", b"250 OK\0", b"599 x\0", b"abc\0", b"550 a\r\nb\0", b"55\0"):
            self.assertRaises(MilterError, codec.parseReply, b"y", text, ALL)
        many = codec.parseReply(b"y", b"550 x\n" * 99, ALL)
        assert isinstance(many, CustomReply)
        self.assertEqual(len(many.lines), MAX_REPLY_LINES)
        long = codec.parseReply(b"y", b"550 " + b"x" * 2000, ALL)
        assert isinstance(long, CustomReply)
        self.assertEqual(long.lines, ("x" * MAX_REPLY_LINE,))

    @given(st.binary(min_size=1, max_size=1), st.binary(max_size=50))
    def test_total(self, command: bytes, data: bytes) -> None:
        """Whatever it says: a reply, or an error."""
        with contextlib.suppress(MilterError):
            codec.parseReply(command, data, ALL)

    @given(st.sampled_from(REPLIES), st.binary(max_size=50))
    def test_totalKnown(self, known: Any, data: bytes) -> None:
        """Likewise with the commands that there are."""
        with contextlib.suppress(MilterError):
            codec.parseReply(known[0], data, ALL)


class AgreementTests(SynchronousTestCase):
    """The negotiation."""

    def parse(self, version: int, actions: int, steps: int, rest: bytes = b"") -> Agreement:
        """An answer."""
        return codec.parseAgreement(b"O", struct.pack(">LLL", version, actions, steps) + rest)

    def test_offer(self) -> None:
        """We offer all there is, but for refused recipients."""
        offered = struct.unpack(">LcLLL", codec.negotiation())
        self.assertEqual(offered, (13, b"O", 6, 0x1FF, 0x1FF7FF))

    def test_versions(self) -> None:
        """Down to version 2; what a version doesn't know isn't agreed on."""
        self.assertEqual(
            self.parse(6, 0x1FF, 0x1FF7FF), Agreement(6, ALL_ACTIONS, OFFERED_STEPS, {})
        )
        old = self.parse(2, 0x1FF, 0x1FF7FF)
        self.assertEqual((old.version, old.actions, old.steps), (2, 0x3F, 0x7F))
        self.assertEqual(self.parse(4, 0, 0x3FF).steps, 0x3FF)
        for version in (0, 1, 7, 2**32 - 1):
            self.assertRaises(MilterError, self.parse, version, 0, 0)

    def test_tooMuch(self) -> None:
        """It can't want what wasn't offered."""
        self.assertRaises(MilterError, self.parse, 6, 0x200, 0)
        self.assertRaises(MilterError, self.parse, 6, 0, 0x800)
        self.assertRaises(MilterError, codec.parseAgreement, b"c", bytes(12))
        self.assertRaises(MilterError, codec.parseAgreement, b"O", bytes(11))

    def test_macros(self) -> None:
        """It may say which macros it wants."""
        rest = struct.pack(">L", 0) + b"j {client_addr}\0" + struct.pack(">L", 5) + b"i,{auth}\0"
        agreement = self.parse(6, 0x100, 0, rest)
        self.assertEqual(
            agreement.macros,
            {
                Command.CONNECT: {"j", "client_addr"},
                Command.END_OF_MESSAGE: {"i", "auth"},
            },
        )
        self.assertEqual(self.parse(5, 0, 0, rest).macros, {})
        self.assertRaises(MilterError, self.parse, 6, 0, 0, struct.pack(">L", 7) + b"j\0")
        self.assertRaises(MilterError, self.parse, 6, 0, 0, struct.pack(">L", 0) + b"j")

    def test_steps(self) -> None:
        """What a milter doesn't want, and what it doesn't answer."""
        agreement = Agreement(6, Action(0), Step.NO_HELLO | Step.SILENT_BODY, {})
        self.assertFalse(agreement.wants(Command.HELLO))
        self.assertTrue(agreement.wants(Command.BODY))
        self.assertFalse(agreement.answers(Command.BODY))
        self.assertTrue(agreement.answers(Command.MAIL))
        self.assertTrue(agreement.wants(Command.END_OF_MESSAGE))
        self.assertFalse(Agreement(3, Action(0), Step(0), {}).wants(Command.DATA))

    @given(st.binary(max_size=1), st.binary(max_size=40))
    def test_total(self, command: bytes, data: bytes) -> None:
        """Whatever it answers: an agreement, or an error."""
        with contextlib.suppress(MilterError):
            codec.parseAgreement(command, data)


class WriteTests(SynchronousTestCase):
    """What we say."""

    def test_connection(self) -> None:
        """A client's address, of either family, or none."""
        for address, port, data in [
            ("192.0.2.1", 25, b"x\x004\x00\x19192.0.2.1\x00"),
            ("2001:db8::1%eth0", None, b"x\x006\x00\x00IPv6:2001:db8::1\x00"),
            (None, None, b"x\x00U"),
        ]:
            self.assertEqual(
                codec.connection("x", address, port), codec.packet(Command.CONNECT, data)
            )

    def test_strings(self) -> None:
        """Nothing that a peer says ends a string early."""
        self.assertEqual(codec.strings("a\0b", b"c\0", "é"), b"ab\0c\0\xc3\xa9\0")
        self.assertEqual(
            codec.macros(Command.MAIL, {"i": "1\0", "auth_authen": "joe"}),
            codec.packet(Command.MACROS, b"Mi\x001\0{auth_authen}\0joe\0"),
        )
        self.assertEqual(
            codec.path(Command.RCPT, "a@b", ["A=B"]), codec.packet(Command.RCPT, b"<a@b>\0A=B\0")
        )

    def test_header(self) -> None:
        """With the leading space or without; folded with LF; bounded, and without NUL."""
        for steps, value, expected in [
            (Step(0), b" a\r\n\tb", b"a\n\tb"),
            (Step(0), b"  a", b" a"),
            (Step.LEADING_SPACE, b" a", b" a"),
            (Step(0), b"a\0b", b"ab"),
            (Step(0), b"x" * (MAX_VALUE + 1), b"x" * MAX_VALUE),
        ]:
            agreement = Agreement(6, Action(0), steps, {})
            self.assertEqual(
                codec.header("N", value, agreement),
                codec.packet(Command.HEADER, b"N\0" + expected + b"\0"),
            )


class PacketReaderTests(SynchronousTestCase):
    """Octets in, packets out."""

    @given(st.lists(st.binary(max_size=20), max_size=8), st.integers(1, 9))
    def test_cuts(self, datas: list[bytes], size: int) -> None:
        """Wherever they are cut."""
        octets = b"".join(codec.packet(Command.BODY, data) for data in datas)
        reader = codec.PacketReader()
        found = []
        for start in range(0, len(octets), size):
            reader.feed(octets[start : start + size])
            while (packet := reader.next()) is not None:
                found.append(packet)
        self.assertEqual(found, [(b"B", data) for data in datas])
        self.assertEqual(reader.waiting, 0)

    def test_lengths(self) -> None:
        """No packet is empty, and none is too long."""
        for length in (0, MAX_PACKET + 1, 2**32 - 1):
            reader = codec.PacketReader()
            reader.feed(struct.pack(">L", length))
            self.assertRaises(MilterError, reader.next)

"""Tests for :mod:`twisted_smtpserver.wire.proxy`."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.ip import normalizeAddress
from twisted_smtpserver.wire.proxy import (
    MAX_LENGTH,
    MAX_LINE,
    ProxyError,
    ProxyHeader,
    ProxyParser,
    _crc32c,
    parsePort,
)

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DGRAM = 0x11, 0x12, 0x21, 0x22, 0x31, 0x32
BLOCK4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 56324, 25)
BLOCK6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 0, 65535)
)
LINE4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n"
HEADER4 = ProxyHeader("PROXY", "192.0.2.1", 56324, "198.51.100.2", 25)

Result = ProxyHeader | ProxyError | None


def parse(segments: Iterable[bytes]) -> tuple[Result, bytes]:
    """The result for segments, and the octets that aren't the header's."""
    parser = ProxyParser()
    result: Result = None
    unread = b""
    for segment in segments:
        if result is None:
            result = parser.feed(segment)
        else:
            unread += segment
    return result, parser.rest + unread


def binary(command: int, family: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """A header of version 2."""
    length = len(payload) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", length) + payload


def tlv(kind: int, value: bytes) -> bytes:
    """A field of version 2."""
    return bytes([kind]) + struct.pack("!H", len(value)) + value


def checksummed(family: int, before: bytes, after: bytes = b"") -> bytes:
    """A header with a right checksum between two pieces of payload."""
    octets = bytearray(binary(PROXY, family, before + tlv(3, bytes(4)) + after))
    position = 16 + len(before) + 3
    octets[position : position + 4] = struct.pack("!I", _crc32c(bytes(octets)))
    return bytes(octets)


class ParserCase(SynchronousTestCase):
    """What the tests of both versions need."""

    def assertParses(self, octets: bytes, expected: Result) -> None:
        """Assert the result, for every cut in two and for single octets, and what is left over."""
        behind = b"EHLO client\r\n\r\n"
        for cut in range(len(octets) + 1):
            result = parse((octets[:cut], octets[cut:] + behind))
            self.assertEqual(result[0], expected, (octets, cut))
            if isinstance(expected, ProxyHeader):
                self.assertEqual(result[1], behind)
        singles = [bytes([octet]) for octet in octets]
        result = parse(singles)
        self.assertEqual(result[0], expected, octets)
        if isinstance(expected, ProxyHeader):
            self.assertEqual(parse([*singles, behind]), (expected, behind))


class ProxyLineTests(ParserCase):
    """Version 1."""

    def test_ipv4(self) -> None:
        """A TCP4 line gives the addresses and ports of both ends."""
        self.assertParses(LINE4, HEADER4)
        self.assertParses(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            ProxyHeader("PROXY", "255.255.255.255", 65535, "255.255.255.255", 65535),
        )
        self.assertParses(
            b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
            ProxyHeader("PROXY", "0.0.0.0", 0, "0.0.0.0", 0),
        )

    def test_ipv6(self) -> None:
        """A TCP6 line gives IPv6 addresses in their shortest form."""
        self.assertParses(
            b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 fe80::2 1 2\r\n",
            ProxyHeader("PROXY", "2001:db8::1", 1, "fe80::2", 2),
        )

    def test_mapped(self) -> None:
        """An IPv4 client of a dual-stack proxy has its IPv4 address."""
        self.assertParses(
            b"PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6402 1 2\r\n",
            ProxyHeader("PROXY", "192.0.2.1", 1, "198.51.100.2", 2),
        )

    def test_unknown(self) -> None:
        """UNKNOWN has no addresses, and what the line says behind it is ignored."""
        longest = b"PROXY UNKNOWN " + b" ".join([b"ffff" + b":ffff" * 7] * 2) + b" 65535 65535\r\n"
        self.assertEqual(len(longest), MAX_LINE)
        for line in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN \r\n",
            b"PROXY UNKNOWN what ever\0\n\r\xff\r\n",
            longest,
        ):
            self.assertParses(line, ProxyHeader("PROXY"))

    def test_malformed(self) -> None:
        """Anything but single spaces, upper case and four fields is refused."""
        for line in (
            b"PROXY \r\n",
            b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            b"PROXY TCP4 192.0.2.1\t198.51.100.2 1 2\r\n",
            b"PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 -2\r\n",
            b"PROXY TCP4 192.0.2.1 example.com 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.\xb2 198.51.100.2 1 2\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"PROXY unknown\r\n",
        ):
            self.assertParses(line, ProxyError.LINE)

    def test_addresses(self) -> None:
        """Both addresses have to be addresses of the family."""
        good = {b"4": b"192.0.2.1", b"6": b"2001:db8::1"}
        for version, addresses in (
            (b"4", (b"192.0.2", b"192.0.2.256", b"192.0.02.1", b"2001:db8::1", b"1", b".", b":")),
            (b"6", (b"192.0.2.1", b"2001:db8:::1", b"::12345", b"1:2:3:4:5:6:7:8:9", b"::1.2.3")),
        ):
            for bad in addresses:
                for pair in (bad + b" " + good[version], good[version] + b" " + bad):
                    line = b"PROXY TCP" + version + b" " + pair + b" 1 2\r\n"
                    self.assertParses(line, ProxyError.ADDRESS)

    def test_ports(self) -> None:
        """Both ports are from 0 to 65535, without leading zeros."""
        for bad in (b"65536", b"00", b"01", b"99999", b"100000", b"9" * 30):
            for pair in (bad + b" 1", b"1 " + bad):
                line = b"PROXY TCP4 192.0.2.1 198.51.100.2 " + pair + b"\r\n"
                self.assertParses(line, ProxyError.PORT)

    def test_bounded(self) -> None:
        """A line that isn't over after 107 octets is refused, however it comes."""
        for line in (
            b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 15) + b"\r\n",
            b"PROXY " + b"x" * 10000,
            b"PROXY UNKNOWN\n" + b"x" * 10000,
        ):
            self.assertEqual(parse([line])[0], ProxyError.LINE_TOO_LONG)
            self.assertIs(parse([line[: MAX_LINE - 1]])[0], None)
            singles = [bytes([octet]) for octet in line[:MAX_LINE]]
            self.assertIs(parse(singles[:-1])[0], None)
            self.assertEqual(parse(singles)[0], ProxyError.LINE_TOO_LONG)

    def test_incomplete(self) -> None:
        """Before its CRLF a line is nothing."""
        for end in range(len(LINE4)):
            self.assertIs(parse([LINE4[:end]])[0], None)


class ProxyBinaryTests(ParserCase):
    """Version 2."""

    def test_ipv4(self) -> None:
        """TCP over IPv4 gives the addresses and ports of both ends."""
        self.assertParses(binary(PROXY, TCP4, BLOCK4), HEADER4)

    def test_ipv6(self) -> None:
        """TCP over IPv6 gives them, too."""
        self.assertParses(
            binary(PROXY, TCP6, BLOCK6),
            ProxyHeader("PROXY", "2001:db8::1", 0, "2001:db8::2", 65535),
        )

    def test_mapped(self) -> None:
        """An IPv4 address that was mapped into IPv6 comes out as IPv4."""
        mapped = bytes(10) + b"\xff\xff" + BLOCK4[:4] + BLOCK6[16:]
        self.assertParses(
            binary(PROXY, TCP6, mapped), ProxyHeader("PROXY", "192.0.2.1", 0, "2001:db8::2", 65535)
        )

    def test_captured(self) -> None:
        """A header as an HAProxy sent it."""
        octets = bytes.fromhex("0d0a0d0a000d0a515549540a2111000cac130001ac130003a6520050")
        self.assertParses(octets, ProxyHeader("PROXY", "172.19.0.1", 42578, "172.19.0.3", 80))

    def test_local(self) -> None:
        """A LOCAL header says nothing, whatever its family and payload."""
        for octets in (
            binary(LOCAL, 0),
            binary(LOCAL, TCP4, BLOCK4 + tlv(1, b"x")),
            binary(LOCAL, TCP4, b"x"),
            binary(LOCAL, 0xFF, b"\xff" * 40),
        ):
            self.assertParses(octets, ProxyHeader("LOCAL"))

    def test_unspecified(self) -> None:
        """A connection of unspecified kind has no addresses, and its payload is skipped."""
        for payload in (b"", BLOCK4, b"x"):
            self.assertParses(binary(PROXY, 0, payload), ProxyHeader("PROXY"))

    def test_unsupported(self) -> None:
        """Datagrams and unix sockets are valid and have no addresses; their fields count."""
        for family, length in ((UDP4, 12), (UDP6, 36), (UNIX, 216), (UNIX_DGRAM, 216)):
            octets = binary(PROXY, family, b"/" * length + tlv(5, b"id"))
            self.assertEqual(parse([octets]), (ProxyHeader("PROXY", tlvs=((5, b"id"),)), b""))

    def test_families(self) -> None:
        """Every other family and protocol is refused."""
        valid = (0, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DGRAM)
        for family in range(256):
            result, _ = parse([binary(PROXY, family, bytes(216))])
            self.assertEqual(result is ProxyError.FAMILY, family not in valid, family)

    def test_commands(self) -> None:
        """Every other version and command is refused, before the payload has come."""
        for command in range(256):
            result, _ = parse([binary(command, TCP4, length=12)])
            expected = None if command in (LOCAL, PROXY) else ProxyError.COMMAND
            self.assertIs(result, expected, command)

    def test_truncated(self) -> None:
        """A header too short for its family's addresses is refused."""
        for family, length in ((TCP4, 12), (UDP4, 12), (TCP6, 36), (UDP6, 36), (UNIX, 216)):
            for short in (0, 1, length - 1):
                octets = binary(PROXY, family, bytes(short))
                self.assertEqual(parse([octets])[0], ProxyError.TRUNCATED)

    def test_bounded(self) -> None:
        """A header over the bound is refused as soon as it says so; one at the bound is read."""
        self.assertParses(binary(PROXY, TCP4, length=MAX_LENGTH + 1), ProxyError.LENGTH)
        self.assertEqual(parse([binary(LOCAL, 0, length=0xFFFF)])[0], ProxyError.LENGTH)
        padding = tlv(4, bytes(MAX_LENGTH - len(BLOCK4) - 3))
        octets = binary(PROXY, TCP4, BLOCK4 + padding)
        self.assertEqual(parse([octets + b"rest"]), (HEADER4, b"rest"))
        self.assertIs(parse([octets[:-1]])[0], None)

    def test_fields(self) -> None:
        """Extra fields are given raw, in order, repeated ones as well, padding left out."""
        ssl = b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")
        fields = tlv(2, b"b") + tlv(4, b"pad") + tlv(0x20, ssl) + tlv(2, b"a") + tlv(0xE0, b"")
        self.assertParses(
            binary(PROXY, TCP4, BLOCK4 + fields),
            ProxyHeader(
                *("PROXY", "192.0.2.1", 56324, "198.51.100.2", 25),
                tlvs=((2, b"b"), (0x20, ssl), (2, b"a"), (0xE0, b"")),
            ),
        )

    def test_malformed_fields(self) -> None:
        """Fields that don't end where the header ends are refused."""
        for family in (TCP4, UDP4):
            for fields in (
                b"\x02",
                b"\x02\0",
                b"\x02\0\x01",
                tlv(2, b"a") + b"\0",
                b"\x04\xff\xff",
            ):
                octets = binary(PROXY, family, BLOCK4 + fields)
                self.assertEqual(parse([octets])[0], ProxyError.FIELDS, fields)

    def test_checksum(self) -> None:
        """A right checksum passes, and any octet changed makes it wrong."""
        octets = checksummed(TCP4, BLOCK4 + tlv(2, b"a"), tlv(5, b"id"))
        result, _ = parse([octets])
        assert isinstance(result, ProxyHeader)
        self.assertEqual([kind for kind, _ in result.tlvs], [2, 3, 5])
        self.assertEqual(result.sourceAddress, "192.0.2.1")
        for position in (*range(16, 28), len(octets) - 1, octets.index(b"\x03\0\x04") + 6):
            changed = bytearray(octets)
            changed[position] ^= 1
            self.assertEqual(parse([bytes(changed)])[0], ProxyError.CHECKSUM, position)

    def test_checksum_form(self) -> None:
        """A checksum of another length, or a second one, is refused."""
        for fields in (tlv(3, b"abc"), tlv(3, b""), tlv(3, b"abcde")):
            octets = binary(PROXY, TCP4, BLOCK4 + fields)
            self.assertEqual(parse([octets])[0], ProxyError.FIELDS)
        twice = checksummed(TCP4, BLOCK4, tlv(3, bytes(4)))
        self.assertEqual(parse([twice])[0], ProxyError.FIELDS)

    def test_crc32c(self) -> None:
        """The checksum is the one of RFC 3720, appendix B.4."""
        for octets, value in (
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
        ):
            self.assertEqual(_crc32c(octets), value)


class ProxyParserTests(ParserCase):
    """What holds for both versions."""

    def test_signature(self) -> None:
        """Octets that begin neither version are refused with the first one that shows it."""
        for octets, needed in (
            (b"EHLO client\r\n", 1),
            (b"\x16\x03\x01", 1),
            (b"proxy ", 1),
            (b"PROXX", 5),
            (b"PROXY\tTCP4", 6),
            (b"\r\n\r\n\r\n", 5),
            (b"\r\n\r\n\0\r\nQUIT\r\n", 12),
        ):
            self.assertIs(parse([octets[: needed - 1]])[0], None)
            self.assertEqual(parse([octets[:needed]])[0], ProxyError.SIGNATURE)
            self.assertEqual(parse([octets])[0], ProxyError.SIGNATURE)

    def test_nothing(self) -> None:
        """No octets are no header yet."""
        self.assertEqual(parse([b"", b""]), (None, b""))
        self.assertEqual(parse([b"", LINE4[:9], b"", LINE4[9:]]), (HEADER4, b""))

    def test_bounds(self) -> None:
        """Version 1 has the specification's bound, version 2 the documented one."""
        self.assertEqual((MAX_LINE, MAX_LENGTH), (107, 4096))

    def test_frozen(self) -> None:
        """A header can't be changed."""
        with self.assertRaises(AttributeError):
            HEADER4.sourceAddress = "198.51.100.1"  # type: ignore[misc]

    def test_errors_are_text(self) -> None:
        """Each error has a text of its own."""
        self.assertEqual(len({error.value for error in ProxyError}), len(ProxyError))
        self.assertTrue(all(error.value.isprintable() for error in ProxyError))

    @settings(max_examples=200, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=120).map(lambda tail: b"PROXY " + tail),
            st.from_regex(rb"\APROXY TCP[46] [0-9a-f.:%]+ [0-9a-f.:]+ [0-9]+ [0-9]+\r\n"),
            st.builds(
                binary,
                st.sampled_from((LOCAL, PROXY, 0x31)),
                st.sampled_from((0, TCP4, UDP4, TCP6, UNIX, 7)),
                st.binary(max_size=60),
                st.one_of(st.none(), st.integers(0, 80), st.integers(0, 0xFFFF)),
            ),
        ),
        st.lists(st.integers(0, 100), max_size=5),
    )
    def test_total(self, octets: bytes, cuts: list[int]) -> None:
        """No octets make it raise, the cuts don't matter, and nothing is lost."""
        marks = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
        segments = [octets[a:b] for a, b in itertools.pairwise(marks)]
        whole = parse([octets])
        result = parse(segments)
        self.assertEqual(result[0], whole[0])
        if isinstance(result[0], ProxyHeader):
            self.assertEqual(result[1], whole[1])
            self.assertTrue(octets.endswith(result[1]))


class NormalizeAddressTests(SynchronousTestCase):
    """One way to write each IP address."""

    def test_normal(self) -> None:
        """IPv6 is shortened, mapped IPv4 is IPv4, on every version of Python."""
        for text, normal in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("0:0:0:0:0:ffff:c000:201", "192.0.2.1"),
            ("::", "::"),
        ):
            self.assertEqual(normalizeAddress(text), normal)

    def test_none(self) -> None:
        """Anything else is none, a zone included."""
        for text in (
            "",
            "localhost",
            "192.0.2.01",
            "192.0.2",
            "[::1]",
            "fe80::1%eth0",
            "::1/64",
            "1",
        ):
            self.assertIs(normalizeAddress(text), None, text)

    def test_version(self) -> None:
        """An address of the other version is refused, if one is named."""
        self.assertEqual(normalizeAddress("192.0.2.1", 4), "192.0.2.1")
        self.assertEqual(normalizeAddress("::1", 6), "::1")
        self.assertIs(normalizeAddress("192.0.2.1", 6), None)
        self.assertIs(normalizeAddress("::ffff:192.0.2.1", 4), None)


class ParsePortTests(SynchronousTestCase):
    """Port numbers."""

    def test_ports(self) -> None:
        """From 0 to 65535, in plain digits."""
        for text, port in (("0", 0), ("25", 25), ("65535", 65535)):
            self.assertEqual(parsePort(text), port)
        for text in ("", "65536", "025", "00", "-1", "+1", " 1", "1\n", "1_0", "٣", "x"):
            self.assertIs(parsePort(text), None, text)

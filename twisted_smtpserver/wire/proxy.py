"""
The PROXY protocol, versions 1 and 2: who the client of a proxy is.

HAProxy's ``doc/proxy-protocol.txt`` is the specification; its section numbers are named below. Read
a header only from proxies that are trusted: a peer that may send one may claim any address (§5).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from enum import Enum

from twisted_smtpserver.wire.ip import normalizeAddress

#: Octets of a version 1 line, its CRLF included (§2.1).
MAX_LINE = 107
#: Octets of a version 2 header behind the first 16. The protocol would allow 65535; addresses take
#: 216 at most, and a client certificate's name is the longest field that proxies send.
MAX_LENGTH = 4096

_CRLF = b"\r\n"
_PREFIX_1 = b"PROXY "
_SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_2 = 16
_VERSION_2 = 2
_LOCAL, _PROXY = 0, 1

# Octets of the address block for each family and protocol there is (§2.2): all others are invalid.
_UNSPEC, _TCP4, _UDP4, _TCP6, _UDP6 = 0x00, 0x11, 0x12, 0x21, 0x22
_ADDRESSES = {_UNSPEC: 0, _TCP4: 12, _UDP4: 12, _TCP6: 36, _UDP6: 36, 0x31: 216, 0x32: 216}
# SMTP doesn't come in datagrams, and a path on another host says nothing here. A receiver treats
# the valid combinations that it doesn't support as UNSPEC, and goes by the real addresses (§2.2).
_IP_LENGTH = {_TCP4: 4, _TCP6: 16}

_TYPE_CRC32C = 0x03
_TYPE_NOOP = 0x04

_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]+) ([0-9]+))",
    re.DOTALL,
)
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_MAX_PORT = 0xFFFF


class ProxyError(Enum):
    """Why a header was refused; the value is a text for the log. The connection must be closed."""

    SIGNATURE = "no PROXY header"
    LINE_TOO_LONG = f"PROXY line longer than {MAX_LINE} octets"
    LINE = "malformed PROXY line"
    ADDRESS = "PROXY line with a bad address"
    PORT = "PROXY line with a bad port"
    COMMAND = "PROXY header of an unknown version or command"
    FAMILY = "PROXY header of an unknown address family or protocol"
    LENGTH = f"PROXY header longer than {_FIXED_2 + MAX_LENGTH} octets"
    TRUNCATED = "PROXY header too short for its addresses"
    FIELDS = "PROXY header with malformed extra fields"
    CHECKSUM = "PROXY header with a wrong checksum"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    What the proxy says.

    :ivar command: ``"PROXY"``, or ``"LOCAL"`` if the proxy connected on its own behalf, for a
        health check.
    :ivar sourceAddress: the client's IP address as :func:`normalizeAddress` returns it. ``None``,
        as are the other three, if the proxy doesn't know or doesn't say: the socket's own addresses
        hold then.
    :ivar sourcePort: the client's port.
    :ivar destinationAddress: the address the client connected to.
    :ivar destinationPort: the port the client connected to.
    :ivar tlvs: type and value of the extra fields of version 2, in order, as sent and unescaped; a
        type may come more than once. Without padding (NOOP); the checksum was verified. Empty
        where the header is ``LOCAL`` or says nothing of the kind of connection, as it is to be
        ignored then.
    """

    command: str
    sourceAddress: str | None = None
    sourcePort: int | None = None
    destinationAddress: str | None = None
    destinationPort: int | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


class ProxyParser:
    """
    Read one header, of either version, from the beginning of a connection.

    It keeps at most 16 octets more than :data:`MAX_LENGTH`, beside :attr:`rest`.

    :ivar rest: the octets behind the header once it is complete; they are the client's.
    """

    __slots__ = ("_buffer", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> ProxyHeader | ProxyError | None:
        """
        Take the next octets.

        :param data: what the proxy sent next; not called again once there was a result.
        :returns: the header; what is wrong with it; or ``None``, if more octets are needed.
        """
        self._buffer += data
        start = bytes(self._buffer[: len(_SIGNATURE_2)])
        if start.startswith(_PREFIX_1):
            return self._line()
        if start == _SIGNATURE_2:
            return self._binary()
        if _PREFIX_1.startswith(start) or _SIGNATURE_2.startswith(start):
            return None
        return ProxyError.SIGNATURE

    def _line(self) -> ProxyHeader | ProxyError | None:
        end = self._buffer.find(_CRLF, 0, MAX_LINE)
        if end < 0:
            return None if len(self._buffer) < MAX_LINE else ProxyError.LINE_TOO_LONG
        self.rest = bytes(self._buffer[end + len(_CRLF) :])
        return _parseLine(bytes(self._buffer[:end]))

    def _binary(self) -> ProxyHeader | ProxyError | None:
        if len(self._buffer) < _FIXED_2:
            return None
        if self._buffer[12] not in (_VERSION_2 << 4 | _LOCAL, _VERSION_2 << 4 | _PROXY):
            return ProxyError.COMMAND
        length = int.from_bytes(self._buffer[14:_FIXED_2], "big")
        if length > MAX_LENGTH:
            return ProxyError.LENGTH
        if len(self._buffer) < _FIXED_2 + length:
            return None
        self.rest = bytes(self._buffer[_FIXED_2 + length :])
        return _parseBinary(bytes(self._buffer[: _FIXED_2 + length]))


def parsePort(text: str) -> int | None:
    """
    Read a port number.

    :param text: decimal digits.
    :returns: 0 to 65535; ``None`` for anything else, leading zeros included.
    """
    if _PORT.fullmatch(text) is None:
        return None
    port = int(text)
    return port if port <= _MAX_PORT else None


def _parseLine(line: bytes) -> ProxyHeader | ProxyError:
    """Parse a complete line of version 1, without its CRLF (§2.1)."""
    found = _LINE.fullmatch(line)
    if found is None:
        return ProxyError.LINE
    if found[1] is None:
        return ProxyHeader("PROXY")
    version, source, destination, sourcePort, destinationPort = (
        group.decode("ascii") for group in found.groups()
    )
    addresses = [normalizeAddress(text, int(version)) for text in (source, destination)]
    if None in addresses:
        return ProxyError.ADDRESS
    ports = [parsePort(sourcePort), parsePort(destinationPort)]
    if None in ports:
        return ProxyError.PORT
    return ProxyHeader("PROXY", addresses[0], ports[0], addresses[1], ports[1])


def _parseBinary(header: bytes) -> ProxyHeader | ProxyError:
    """Parse a complete header of version 2 (§2.2)."""
    if header[12] & 0x0F == _LOCAL:
        return ProxyHeader("LOCAL")  # whatever else it says must be discarded
    family = header[13]
    length = _ADDRESSES.get(family)
    if length is None:
        return ProxyError.FAMILY
    if family == _UNSPEC:
        return ProxyHeader("PROXY")
    fields = _FIXED_2 + length
    if len(header) < fields:
        return ProxyError.TRUNCATED
    tlvs = _parseTlvs(header, fields)
    if isinstance(tlvs, ProxyError):
        return tlvs
    octets = _IP_LENGTH.get(family)
    if octets is None:
        return ProxyHeader("PROXY", tlvs=tlvs)
    block = header[_FIXED_2:fields]
    source, destination, ports = block[:octets], block[octets : 2 * octets], block[2 * octets :]
    return ProxyHeader(
        "PROXY",
        _address(source),
        int.from_bytes(ports[:2], "big"),
        _address(destination),
        int.from_bytes(ports[2:], "big"),
        tlvs,
    )


def _address(octets: bytes) -> str | None:
    family = socket.AF_INET if len(octets) == 4 else socket.AF_INET6
    return normalizeAddress(socket.inet_ntop(family, octets))


def _parseTlvs(header: bytes, position: int) -> tuple[tuple[int, bytes], ...] | ProxyError:
    """The fields from ``position`` to the end, once the checksum among them was verified."""
    tlvs = []
    checksumAt = None
    while position < len(header):
        start = position + 3
        end = start + int.from_bytes(header[position + 1 : start], "big")
        if max(start, end) > len(header):
            return ProxyError.FIELDS
        kind = header[position]
        if kind == _TYPE_CRC32C:
            if checksumAt is not None or end - start != 4:
                return ProxyError.FIELDS
            checksumAt = start
        if kind != _TYPE_NOOP:
            tlvs.append((kind, header[start:end]))
        position = end
    if checksumAt is not None and not _checksumHolds(header, checksumAt):
        return ProxyError.CHECKSUM
    return tuple(tlvs)


def _checksumHolds(header: bytes, position: int) -> bool:
    """Whether the octets there are the CRC of the header with zeros in their place (§2.2.3)."""
    zeroed = header[:position] + bytes(4) + header[position + 4 :]
    return _crc32c(zeroed) == int.from_bytes(header[position : position + 4], "big")


def _crc32cTable() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        value = octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C = _crc32cTable()


def _crc32c(octets: bytes) -> int:
    """The Castagnoli CRC, which :mod:`zlib` hasn't got (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for octet in octets:
        value = value >> 8 ^ _CRC32C[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF

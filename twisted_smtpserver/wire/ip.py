"""
IP addresses and networks: one way to read them, to write them, and to tell whose they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from twisted_smtpserver.errors import ConfigurationError

IPAddress: TypeAlias = IPv4Address | IPv6Address

# RFC 6052, RFC 8215: behind these an IPv4 address is reached, which is the last 32 bits.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))

_IPV4 = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")


@lru_cache(maxsize=1024)  # the same clients come again and again, and ipaddress takes its time
def parseAddress(text: str | None) -> IPAddress | None:
    """
    Read an IP address.

    :param text: an address; a zone (RFC 4007 §11) is left out.
    :returns: the address; an IPv4 address that was mapped into IPv6 (RFC 4291 §2.5.5.2), as a
        dual-stack listener shows it, as what it is. ``None`` if the text is none.
    """
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def normalizeAddress(text: str, version: int | None = None) -> str | None:
    """
    The one way to write an IP address, so that it can be compared.

    :param text: an IPv4 or IPv6 address, without brackets or zone: a zone has no meaning on another
        host (RFC 4007 §6).
    :param version: 4 or 6, if it must be written as that.
    :returns: the address, IPv6 in its shortest form (RFC 5952), a mapped IPv4 address as IPv4, so
        that no client escapes a rule for its address. ``None`` if the text is none, or not of that
        version.
    """
    address = None if "%" in text else parseAddress(text)
    if address is None or version not in (None, 6 if ":" in text else 4):
        return None
    return str(address)


def spellOwn(text: str) -> str | None:
    """
    Spell an address that stands in the configuration of this host, where a zone has a meaning.

    :param text: an address, with or without a zone.
    :returns: the address in its shortest form, with its zone; ``None`` if the text is none.
    """
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def spellIpv4(text: str) -> str | None:
    """
    Spell the address of a literal (RFC 5321 §4.1.3).

    :param text: four times Snum, which is decimal and may have leading zeros: :mod:`ipaddress`
        takes none.
    :returns: the address without them; ``None`` if the text is none.
    """
    found = _IPV4.fullmatch(text)
    if found is None:
        return None
    numbers = [int(digits) for digits in found.groups()]
    return None if max(numbers) > 255 else ".".join(map(str, numbers))


def spellIpv6(text: str) -> str | None:
    """
    Spell the address behind a literal's tag ``IPv6:``.

    :param text: an address; a zone makes sense on the peer's own host only, and isn't taken.
    :returns: the address in its shortest form (RFC 5952); ``None`` if the text is none.
    """
    head, _, tail = text.rpartition(":")
    if "." in tail:
        tail = spellIpv4(tail) or "."
    try:
        address = IPv6Address(f"{head}:{tail}")
    except ValueError:
        return None
    if address.scope_id is not None:
        return None
    # RFC 5952 §5; which versions of Python do so by themselves differs.
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"


@lru_cache(maxsize=1024)
def addressLiteral(text: str | None) -> str:
    """
    Write an address the way SMTP does (RFC 5321 §4.1.3).

    :param text: an IP address.
    :returns: ``"[192.0.2.1]"`` or ``"[IPv6:2001:db8::1]"``; ``""`` for anything else.
    """
    address = parseAddress(text)
    if address is None:
        return ""
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def clientLiteral(address: str | None) -> str:
    """
    What a client without a name is called.

    :param address: an IP address; anything else is a unix socket's.
    :returns: the address as a literal, or ``"localhost"``.
    """
    return addressLiteral(address) or "localhost"


def addressBlock(address: str) -> int | str:
    """
    What stands for a client when it is counted.

    :param address: an IP address, with or without a zone.
    :returns: a number for an IPv6 address's /64 (one customer has that many at least), the
        address itself for IPv4; also for IPv4 written as IPv6.
    """
    parsed = parseAddress(address)
    if not isinstance(parsed, IPv6Address):
        # None: a transport with another idea of a host.
        return address if parsed is None else str(parsed)
    return int(parsed) >> 64


def addressNetwork(address: str) -> int | str:
    """
    The key of the network that a client is in. A client with one address of it may have them all.

    :param address: as for :func:`addressBlock`.
    :returns: a number for an IPv6 address's /48, which is what sites get; for IPv4 the /24.
    """
    parsed = parseAddress(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed).rpartition(".")[0]
    return int(parsed) >> 80


def isPublic(address: str) -> bool:
    """
    Whether an address is one that anybody on the Internet may reach.

    :param address: an IP address. What is none isn't public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        inner = _embedded(parsed)
        if inner is not None and not isPublic(str(inner)):
            return False
    return parsed.is_global and not parsed.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is reached by way of an IPv6 address."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo and teredo[1])


class Networks:
    """
    A set of networks.

    :param networks: ``True`` for everyone, ``False`` for nobody, or addresses and networks such as
        ``"192.0.2.1"`` and ``"2001:db8::/32"``.
    :param option: the option's name, for the error's text.
    :raises ConfigurationError: if one of them is neither an address nor a network.
    """

    __slots__ = ("_everyone", "_networks")

    def __init__(self, networks: bool | Iterable[str], option: str) -> None:
        self._everyone = networks is True
        self._networks: list[IPv4Network | IPv6Network] = []
        if isinstance(networks, bool):
            return
        if isinstance(networks, str) or not isinstance(networks, Iterable):
            networks = [networks]
        for network in networks:
            try:
                if "%" in str(network):  # which would be ignored: a zone is somebody else's here
                    raise ValueError
                self._networks.append(ip_network(str(network), strict=False))
            except ValueError:
                hint = "; True is for everyone" if network == "*" else ""
                raise ConfigurationError(
                    f"{option}: {network!r} is neither an address nor a network{hint}"
                ) from None

    def __bool__(self) -> bool:
        return self._everyone or bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """
        :param address: an IP address as a ``str``; ``None``, a unix socket's, is in no network.
        """
        if self._everyone:
            return True
        if not self._networks or not isinstance(address, str):
            return False
        parsed = parseAddress(address)
        # None: a transport with another idea of a host.
        return parsed is not None and any(parsed in network for network in self._networks)

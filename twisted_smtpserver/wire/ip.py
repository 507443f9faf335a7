"""
IP addresses and networks: one way to read them, to write them, and to tell whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted_smtpserver.errors import ConfigurationError


@lru_cache(maxsize=1024)  # the same clients come again and again, and ipaddress takes its time
def parseAddress(text: str | None) -> IPv4Address | IPv6Address | None:
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
    What stands for the network that a client is in. Who has one address of it may have them all.

    :param address: as for :func:`addressBlock`.
    :returns: a number for an IPv6 address's /48, which is what sites get; for IPv4 the /24.
    """
    parsed = parseAddress(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed).rpartition(".")[0]
    return int(parsed) >> 80


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

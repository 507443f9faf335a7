"""Networks whose peers are trusted with something, or are not worth a log line."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted_smtpserver.errors import ConfigurationError


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
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:  # a transport with another idea of a host
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped  # a dual-stack listener shows IPv4 clients so
        return any(parsed in network for network in self._networks)

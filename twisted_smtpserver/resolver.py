"""
The name behind a client's address: a reverse lookup that the forward lookup confirms.

Whoever has an address writes its PTR record as they like, so a name counts only if its own address
records lead back (RFC 1912 §2.1 asks for that agreement). All that DNS says is bounded in time and
number, and is checked to be a host name before anybody sees it.
"""

from __future__ import annotations

import ipaddress

from twisted.logger import Logger

_log = Logger()

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: How long a client waits for its greeting because of us, in seconds.
TIME_LIMIT = 1.5

#: How many of an address's PTR records are tried.
NAME_LIMIT = 2

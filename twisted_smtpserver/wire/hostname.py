"""
Host names: what a label is, and the form in which names are compared.
"""

from __future__ import annotations

import re

import idna

#: Octets in a name as text: those of RFC 1035 §2.3.4 without the root's and the first length.
MAX_HOST_NAME = 253

#: A label of a domain that gets mail (RFC 5321 §4.1.2), in lower case. The hyphens stand where no
#: two parts of the expression can match them: it runs in linear time.
LDH_LABEL = re.compile(r"[a-z0-9]+(?:-+[a-z0-9]+)*")

# What hosts are called, if not by the letter of RFC 1123 §2.1: underscores are common.
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)


def isHostName(text: str) -> bool:
    """
    Whether text could be a host's name, or its IPv4 address: labels of ASCII letters, digits,
    underscores and inner hyphens.

    :param text: any text.
    """
    return len(text) <= MAX_HOST_NAME and text.isascii() and bool(_HOST_NAME.fullmatch(text))


def hostName(name: str) -> str | None:
    """
    Bring a host name to the form in which names are compared: A-labels, lower case, no final dot.

    :param name: any text.
    :returns: ``None`` if it is not a host name; an IP address is none.
    """
    try:
        name = name.lower() if name.isascii() else idna.encode(name, uts46=True).decode()
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    return name if isHostName(name) and not name.rpartition(".")[2].isdigit() else None

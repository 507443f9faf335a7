"""
The values of flags: each reader makes a value of a text, or raises a ValueError that says what is
wrong with it.
"""

from __future__ import annotations

import re

from twisted_smtpserver.log.formats import FORMATS
from twisted_smtpserver.resolver import DatagramResolver
from twisted_smtpserver.tls.renewal import LEAST_INTERVAL
from twisted_smtpserver.twistd.credentials import resolveCredential
from twisted_smtpserver.twistd.filters import PROGRAMS
from twisted_smtpserver.wire.domain import parseDomain, toAscii
from twisted_smtpserver.wire.ip import spellOwn

DEFAULT_HOST = "127.0.0.1"

#: The most workers: more than any machine needs, and a bound for a mistyped number.
MOST_WORKERS = 512


def readOctets(text: str) -> int:
    """Read a size, such as 50M."""
    match = re.fullmatch(r"([0-9]+)([KMG]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 50M")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def readWhole(text: str) -> int:
    """Read a whole number."""
    if not re.fullmatch("[0-9]+", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def readWorkers(text: str) -> int:
    """Read how many workers there are to be."""
    number = readWhole(text)
    if not 1 <= number <= MOST_WORKERS:
        raise ValueError(f"{text} is not between 1 and {MOST_WORKERS}")
    return number


def readLogFormat(text: str) -> str:
    """Read how the log is to be written."""
    if text not in FORMATS:
        raise ValueError(f"{text!r} isn't {', '.join(FORMATS)}")
    return text


def readWholeOrOff(text: str) -> int | bool:
    """Read a whole number; 0 is ``False``."""
    return readWhole(text) or False


def readSeconds(text: str) -> float:
    """Read a number of seconds."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
        raise ValueError(f"{text!r} is not a number of seconds")
    return float(text)


def readInterval(text: str) -> float:
    """Read how often to look at files, in seconds; 0 for never."""
    seconds = readSeconds(text)
    if 0 < seconds < LEAST_INTERVAL:
        raise ValueError(f"{text} is neither 0 nor at least {LEAST_INTERVAL:g}")
    return seconds


def readRate(text: str) -> tuple[int, float]:
    """Read a rate, such as 600/h: how many, and in how many seconds."""
    match = re.fullmatch("([1-9][0-9]{0,8})/([1-9][0-9]{0,8})?([smhd])", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a rate such as 600/h or 20/10m")
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[3]]
    return int(match[1]), int(match[2] or 1) * unit


def readZones(text: str) -> list[str]:
    """Read the domains of DNS lists."""
    zones = []
    for word in joinWords([text]):
        zone = parseDomain(word.encode("utf-8", "replace"))
        if not isinstance(zone, str):
            raise ValueError(f"{word!r} is not a domain name")
        zones.append(toAscii(zone))
    return zones


def readMethods(text: str) -> list[str]:
    """Read methods of authentication, as ``Authentication-Results:`` has them."""
    methods = [word.lower() for word in joinWords([text])]
    for method in methods:
        if method not in ("arc", "dkim", "dmarc", "spf"):
            raise ValueError(f"{method!r} isn't dmarc, dkim, spf or arc")
    return methods


def readKinds(text: str) -> list[str]:
    """Read names and types of attachments."""
    from twisted_smtpserver.filters import BlockAttachments

    kinds = joinWords([text])
    if kinds != [PROGRAMS]:
        BlockAttachments(*kinds)
    return kinds


def readYesOrNo(text: str) -> bool:
    """Read yes or no."""
    if text.lower() not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text.lower() == "yes"


def readPort(text: str) -> str:
    """Read a port's number; it stays text."""
    if readWhole(text) > 65535:
        raise ValueError(f"{text} is not a port number")
    return text


def readPage(text: str) -> tuple[str, int]:
    """Read where a page is served: the address, and the port."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:8025 or [::1]:8025")
    address = spellOwn(host) if colon and host != "localhost" else DEFAULT_HOST
    if address is None:
        raise ValueError(f"{text!r} is not an address such as 127.0.0.1:8025 or [::1]:8025")
    return address, int(readPort(port))


def readAtLeastOne(text: str) -> int:
    """Read a whole number above 0."""
    number = readWhole(text)
    if not number:
        raise ValueError("0 would keep no messages")
    return number


def readPassword(path: str) -> str:
    """Read the page's name and password from the first line of a file."""
    password = readFirstLine(path)
    if not password.rpartition(":")[2]:
        raise ValueError("its first line is empty, or has no password after the name")
    return password


def readFirstLine(path: str) -> str:
    """Read the first line of a file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        # Not the path: it may be a passphrase, given by mistake.
        reason = getattr(error, "strerror", "it isn't UTF-8")
        raise ValueError(f"can't read the file: {reason}") from None


def readCertified(text: str) -> tuple[str, dict[str, str]]:
    """Read a host name, and the files of its certificate."""
    match = re.fullmatch("([^:]*):((?:credential:)?[^:]*):((?:credential:)?[^:]*)", text)
    if match is None:
        raise ValueError(f"{text!r} is not NAME:CERT:KEY")
    name, *files = match.groups()
    cert, key = map(resolveCredential, files)
    return name, {"cert": cert, "key": key}


def readNameServer(text: str) -> DatagramResolver:
    """Read a name server's address; make the resolver that asks it."""
    match = re.fullmatch(r"(?:\[([^]]*)]|([^:]*))(?::([0-9]+))?", text, re.ASCII)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    address = spellOwn(host)
    if address is None:
        raise ValueError(f"{text!r} is not an address such as 192.0.2.53 or [2001:db8::53]:53")
    return DatagramResolver(servers=[(address, int(readPort(port or "53")))])


# -- The values of a repeated flag, joined ---------------------------------------------------------


def joinWords(values: list[str]) -> list[str]:
    """Join lists whose words are separated by commas or blanks."""
    return [word for value in values for word in value.replace(",", " ").split()]


def joinLists(values: list[list[str]]) -> list[str]:
    """Join lists."""
    return [word for words in values for word in words]


def joinPeers(values: list[str]) -> list[str] | bool:
    """Join lists of networks; ``True`` if one of them says ``any``."""
    peers = joinWords(values)
    return True if "any" in peers else peers

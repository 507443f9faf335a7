"""
The flags of ``twistd smtpserver``, in one table: :data:`FLAGS`.

Most flags set the field of :class:`~twisted_smtpserver.options.Options` with the same name in
camelCase, and have only their text here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted_smtpserver.resolver import DatagramResolver
from twisted_smtpserver.twistd.filters import PROGRAMS, readMilter
from twisted_smtpserver.wire.domain import parseDomain, toAscii

DEFAULT_HOST = "127.0.0.1"
DEFAULT_MAILDIR = "Maildir"

#: The most workers: more than any machine needs, and a bound for a mistyped number.
MOST_WORKERS = 512

#: Flags for files that workers may not be allowed to read; they get the contents.
SECRETS = (
    "amqp-password-file",
    "forward-password-file",
    "postgres-password-file",
    "shared-state-password-file",
    "webhook-secret-file",
)

# -- The values of flags ---------------------------------------------------------------------
# Each of these reads one value, and raises a ValueError that says what is wrong with it.


def _octets(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([KMG]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no size such as 50M")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def _whole(text: str) -> int:
    if not re.fullmatch("[0-9]+", text, re.ASCII):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _workers(text: str) -> int:
    number = _whole(text)
    if not 1 <= number <= MOST_WORKERS:
        raise ValueError(f"{text} is not between 1 and {MOST_WORKERS}")
    return number


def _wholeOrOff(text: str) -> int | bool:
    return _whole(text) or False


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
        raise ValueError(f"{text!r} is no number of seconds")
    return float(text)


def _rate(text: str) -> tuple[int, float]:
    match = re.fullmatch("([1-9][0-9]{0,8})/([1-9][0-9]{0,8})?([smhd])", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no rate such as 600/h or 20/10m")
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[3]]
    return int(match[1]), int(match[2] or 1) * unit


def _zones(text: str) -> list[str]:
    zones = []
    for word in _words([text]):
        zone = parseDomain(word.encode("utf-8", "replace"))
        if not isinstance(zone, str):
            raise ValueError(f"{word!r} is no domain name")
        zones.append(toAscii(zone))
    return zones


def _methods(text: str) -> list[str]:
    methods = [word.lower() for word in _words([text])]
    for method in methods:
        if method not in ("arc", "dkim", "dmarc", "spf"):
            raise ValueError(f"{method!r} isn't dmarc, dkim, spf or arc")
    return methods


def _kinds(text: str) -> list[str]:
    from twisted_smtpserver.filters import BlockAttachments

    kinds = _words([text])
    if kinds != [PROGRAMS]:
        BlockAttachments(*kinds)
    return kinds


def _yesOrNo(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text.lower() == "yes"


def _port(text: str) -> str:
    if _whole(text) > 65535:
        raise ValueError(f"{text} is no port number")
    return text


def _page(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is no address such as 127.0.0.1:8025 or [::1]:8025")
    try:
        address = str(ip_address(host)) if colon and host != "localhost" else DEFAULT_HOST
    except ValueError:
        raise ValueError(f"{text!r} is no address such as 127.0.0.1:8025 or [::1]:8025") from None
    return address, int(_port(port))


def _atLeastOne(text: str) -> int:
    number = _whole(text)
    if not number:
        raise ValueError("0 would keep nothing")
    return number


def _password(path: str) -> str:
    password = _firstLine(path)
    if not password.rpartition(":")[2]:
        raise ValueError("its first line is empty, or has no password behind the name")
    return password


def _firstLine(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        # Not the path: it may be a passphrase, given by mistake.
        reason = getattr(error, "strerror", "it isn't UTF-8")
        raise ValueError(f"can't read the file: {reason}") from None


def _certified(text: str) -> tuple[str, dict[str, str]]:
    name, *files = text.split(":")
    if len(files) != 2:
        raise ValueError(f"{text!r} is not NAME:CERT:KEY")
    return name, {"cert": files[0], "key": files[1]}


def _nameServer(text: str) -> DatagramResolver:
    match = re.fullmatch(r"(?:\[([^]]*)]|([^:]*))(?::([0-9]+))?", text, re.ASCII)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address such as 192.0.2.53 or [2001:db8::53]:53"
        ) from None
    return DatagramResolver(servers=[(str(address), int(_port(port or "53")))])


# Each of these joins the values of a repeated flag.


def _words(values: list[str]) -> list[str]:
    return [word for value in values for word in value.replace(",", " ").split()]


def _flat(values: list[list[str]]) -> list[str]:
    return [word for words in values for word in words]


def _peers(values: list[str]) -> list[str] | bool:
    peers = _words(values)
    return True if "any" in peers else peers


@dataclass(frozen=True)
class Flag:
    """
    A flag of the command line.

    :ivar name: the name, without the two hyphens.
    :ivar value: the value's name in the help; empty for a switch.
    :ivar text: the text in the help.
    :ivar read: makes the value from the text, or raises a ValueError.
    :ivar gather: for a flag that may be repeated: makes the value from all values.
    :ivar option: the field of :class:`~twisted_smtpserver.options.Options` that it sets, if any.
    """

    name: str
    value: str
    text: str
    read: Callable[[str], Any] = str
    gather: Callable[[list[Any]], Any] | None = None
    option: str = ""

    @property
    def method(self) -> str:
        """The name of its method for :mod:`twisted.python.usage`."""
        return "opt_" + self.name.replace("-", "_")


def _flag(
    option: str,
    value: str,
    text: str,
    read: Callable[[str], Any] = str,
    gather: Callable[[list[Any]], Any] | None = None,
    *,
    name: str = "",
) -> Flag:
    """Make a flag for an option, by default with the option's name in kebab-case."""
    kebab = re.sub("(?<=[a-z])(?=[A-Z])", "-", option).lower()
    return Flag(name or kebab, value, text, read, gather, option)


# fmt: off
#: All flags, under the headings that ``--help`` shows.
FLAGS: dict[str, tuple[Flag, ...]] = {
    "Where to listen": (
        Flag("port", "N", "a TCP port on the --host [default: 2525, unless there is a --listen…]",
             _port, list),
        Flag("host", "ADDRESS", f"the address of ports given by number [default: {DEFAULT_HOST}]"),
        Flag("listen", "ENDPOINT", "a port, or one of Twisted's endpoints: tcp:25, tcp6:25, "
             "tcp:25:interface=192.0.2.1, unix:/run/smtp, systemd:domain=INET:index=0 …",
             str, list),
        Flag("listen-tls", "ENDPOINT", "as --listen, for TLS from the first octet on", str, list),
        Flag("listen-lmtp", "ENDPOINT", "as --listen, for LMTP", str, list),
        _flag("secure", "", "--port and --listen are for TLS from the first octet on"),
        _flag("lmtp", "", "--port and --listen are for LMTP"),
        Flag("workers", "N", "how many processes serve, to use as many cores [default: 1]",
             _workers),
    ),
    "What to do with messages": (
        Flag("maildir", "DIR", f"store them in this Maildir [default: ./{DEFAULT_MAILDIR}]"),
        Flag("discard", "", "throw them away"),
        Flag("handler", "NAME", "give them to a handler of your own: the dotted name of an object, "
             "or of a class or function that makes one"),
        Flag("forward", "URL", "hand them on to another server while they come in: smtp://HOST, "
             "smtps://HOST, smtp+starttls://HOST, lmtp://HOST or lmtp:unix:PATH; if it is given "
             "several times, the first that can be reached gets them", str, list),
        Flag("forward-password-file", "FILE", "the first line is the password for the user in "
             "smtps://USER@HOST", _firstLine),
        Flag("forward-ca", "FILE", "the certificates that its certificate must be signed by "
             "[default: the system's]"),
        Flag("webhook", "URL", "post them to a program of yours, signed"),
        Flag("webhook-secret-file", "FILE", "the first line is the secret, of 16 octets at least",
             _firstLine),
        Flag("webhook-ca", "FILE", "the certificates that its certificate must be signed by "
             "[default: the system's]"),
        Flag("webhook-parsed", "", "post what is in a message, too, and its attachments as files"),
        Flag("webhook-allow-private", "", "the URL may lead to a private address, as localhost is"),
        Flag("postgres", "DSN", "store them in PostgreSQL, postgresql://USER@HOST/DATABASE; first "
             "run python -m twisted_smtpserver.stores.postgres migrate"),
        Flag("postgres-table", "NAME", "the table's name [default: mail]"),
        Flag("postgres-password-file", "FILE", "the first line is the database's password",
             _firstLine),
        Flag("postgres-retention", "SECONDS", "delete messages so long after they were consumed "
             "[default: never]", _seconds),
        Flag("amqp", "URLS", "publish them to RabbitMQ, amqp://USER@HOST:PORT/VIRTUALHOST or "
             "amqps://…; several for a cluster", str, _words),
        Flag("amqp-queue", "NAME", "the queue, which is made if need be"),
        Flag("amqp-exchange", "NAME", "an exchange that is there, instead"),
        Flag("amqp-routing-key", "TEXT", "its routing key; {address}, {local} and {domain} are a "
             "recipient's"),
        Flag("amqp-max-size", "OCTETS", "the broker's max_message_size [default: 128M, of RabbitMQ "
             "4 16M]", _octets),
        Flag("amqp-password-file", "FILE", "the first line is the broker's password", _firstLine),
        _flag("size", "OCTETS", "the largest message; 0 for no limit [default: 50M]", _octets),
        _flag("hideSize", "", "don't tell clients that limit"),
        _flag("maxRecipients", "N", "recipients of one message", _whole),
        _flag("bareNewlines", "WORD", "what to do with a message that has a CR or LF by itself: "
              "reject, normalize or accept"),
    ),
    "The inbox: a page for developers of programs that send mail": (
        Flag("inbox", "[ADDRESS:]PORT", "show mail on a page there, 127.0.0.1:8025 for example; it "
             "is stored nowhere else unless --maildir or --handler is given", _page),
        Flag("inbox-max", "N", "keep at most so many messages; the oldest go [default: 10000]",
             _atLeastOne),
        Flag("inbox-size", "OCTETS", "keep at most so many octets; the oldest go [default: 256M]",
             _octets),
        Flag("inbox-db", "FILE", "keep them in this SQLite database [default: in memory]"),
        Flag("inbox-password-file", "FILE", "the first line is what the page asks for: "
             "NAME:PASSWORD, or a password for any name", _password),
        Flag("inbox-any-login", "", "offer logins to clients that insist on one, with or without "
             "TLS, and accept every one"),
        Flag("inbox-release", "URL", "offer to send a message on by this server, such as "
             "smtp+starttls://user@smtp.example.org"),
        Flag("inbox-release-password-file", "FILE", "the first line is that user's password",
             _firstLine),
        Flag("inbox-host", "NAME", "a name that the page may be called by, besides localhost and "
             "addresses", str, _words),
    ),
    "TLS": (
        _flag("cert", "FILE", "the certificate, and behind it its chain; SIGHUP reads it again"),
        _flag("key", "FILE", "its private key"),
        _flag("passphrase", "FILE", "the first line is what the key is encrypted with", _firstLine,
              name="passphrase-file"),
        _flag("selfSigned", "", "make a certificate for localhost, to try things out"),
        _flag("sniOptions", "NAME:CERT:KEY", "the files for clients that ask for this host name",
              _certified, dict),
        _flag("tlsRequired", "", "before TLS, take nothing but NOOP, EHLO, STARTTLS and QUIT"),
        _flag("secured", "", "TLS ended upstream: connections count as protected"),
        _flag("minVersion", "VERSION", "TLSv1.2 or TLSv1.3"),
        _flag("ciphers", "LIST", "cipher suites, as OpenSSL writes them"),
        _flag("requestCert", "", "ask clients for a certificate"),
        _flag("rejectUnauthorized", "yes|no", "whether to refuse those without a valid one",
              _yesOrNo),
        _flag("ca", "FILE", "the certificates that clients' ones must be signed by"),
        _flag("handshakeTimeout", "SECONDS", "the time for a handshake", _seconds),
    ),
    "Logins": (
        Flag("auth", "METHOD", "require a login, and check it so: file:PASSWD for a file of lines "
             "such as joe:secret; for others see --help-auth"),
        Flag("submission", "", "require TLS and a login, for users' mail programs (RFC 6409)"),
        _flag("authOptional", "", "offer the login without requiring it"),
        _flag("authRequiredMessage", "TEXT", "the answer to mail before a login"),
        _flag("authMethods", "NAMES", "the SASL mechanisms to offer", str, _words),
        _flag("allowInsecureAuth", "", "offer the login without TLS, too"),
        _flag("maxAuthAttempts", "N", "failed logins before the connection is closed", _whole),
        _flag("scramIterations", "N", "the iterations of your users' SCRAM secrets", _whole),
        _flag("authFailureDelay", "SECONDS", "how long to delay the answer to a failed login",
              _seconds),
        _flag("loginDelay", "SECONDS", "how much later from an address's fourth failed login on; "
              "twice as much with each more", _seconds),
        _flag("maxAllowedUnauthenticatedCommands", "N", "commands before a login that is required; "
              "0 for no limit", _wholeOrOff),
        Flag("help-auth", "", "list the methods of --auth, and exit"),
        Flag("help-auth-type", "METHOD", "explain one of them, and exit"),
    ),
    "Policies, before any handler; a RATE is such as 600/h or 20/10m": (
        Flag("rate-connections", "RATE", "connections from one address, or one /64 of IPv6; "
             "beyond that 421", _rate),
        Flag("rate-messages", "RATE",
             "messages from one address, or of one user from all addresses; "
             "beyond that 450", _rate),
        Flag("rate-recipients", "RATE",
             "recipients from one address, or of one user; beyond that 450",
             _rate),
        Flag("dnsbl", "ZONES", "refuse clients that one of these DNS lists names", _zones, _flat),
        Flag("sender-matches-login", "",
             "let users send only from the address that is their login name"),
        Flag("tarpit", "SECONDS",
             "delay each recipient's answer by so much more than the one before",
             _seconds),
        Flag("tarpit-after", "N", "so many recipients of a connection aren't delayed "
             "[default: 20]", _whole),
        Flag("greylist", "FILE", "refuse the first try to send to somebody; who has come again is "
             "remembered in this SQLite database, or with the word shared in --shared-state"),
        Flag("greylist-delay", "SECONDS", "for how long the first try is refused [default: 300]",
             _seconds),
        Flag("shared-state", "URL", "rates, --login-delay and --max-clients-per-address count for "
             "all servers and workers with this Redis: redis://HOST:PORT/DATABASE, rediss://… for "
             "TLS, unix:///PATH"),
        Flag("shared-state-password-file", "FILE", "the first line is its password", _firstLine),
    ),
    "Filters, which see each message before it is stored": (
        Flag("milter", "ENDPOINT[,onFailure=WORD]", "ask this milter: unix:/run/milter.sock, "
             "tcp:127.0.0.1:11332 …; while it fails, tempfail mail [default], reject or accept it. "
             "Further: connectTimeout=, commandTimeout= and messageTimeout=SECONDS", readMilter,
             list),
        Flag("quarantine", "DIR", "what a milter wants in quarantine goes into this Maildir "
             "[default: it is refused for a while]"),
        Flag("require-authentication", "METHODS", "refuse mail, but of users who have logged in, "
             "for which a milter reports none of these as passed: dmarc, dkim, spf, arc",
             _methods, _flat),
        Flag("require-fields", "", "refuse messages without From, Date or Message-ID, or with two "
             "From"),
        Flag("block-attachments", "KINDS", "refuse attachments with such names or types: "
             ".exe,.js,video/*; or programs, for what Windows runs", _kinds, _flat),
    ),
    "The conversation": (
        _flag("name", "NAME", "our host name [default: the system's]"),
        _flag("banner", "TEXT", "what the greeting says behind it"),
        _flag("heloResponse", "TEXT", "the answer to a hello, with our and the client's name"),
        _flag("greetingDelay", "SECONDS",
              "delay the greeting, to catch clients that don't wait for it",
              _seconds),
        _flag("disabledCommands", "VERBS", "commands to refuse", str, _words),
        _flag("hide", "KEYWORDS", "extensions that work, but aren't announced", str, _words),
        _flag("extensions", "NAMES", "extensions to add to those on by default", str, _words,
              name="extension"),
        _flag("lenientAddressParsing", "", "check addresses only for what could do harm"),
        _flag("disableReverseLookup", "", "don't look up clients' names", name="no-reverse-lookup"),
        _flag("disableReverseLookup", "", "the same as --no-reverse-lookup"),
        _flag("resolver", "ADDRESS[:PORT]", "the name server to ask [default: the system's]",
              _nameServer),
    ),
    "Peers to trust: addresses and networks, or any": (
        _flag("useProxy", "NETWORKS", "proxies, which must send PROXY headers", str, _peers,
              name="proxy-from"),
        _flag("useXClient", "NETWORKS", "clients that may use XCLIENT",
              str, _peers, name="xclient-from"),
        _flag("useXForward", "NETWORKS", "clients that may use XFORWARD",
              str, _peers, name="xforward-from"),
        _flag("ignoredHosts", "NETWORKS", "clients that aren't logged", str, _words),
    ),
    "Limits": (
        _flag("maxClients", "N", "connections at a time, for each of --listen, --listen-tls and "
              "--listen-lmtp [default: what the limit of open files allows, for all]", _whole),
        _flag("maxClientsPerAddress", "N", "of those, connections from one address, or from one "
              "/64 of IPv6, for each worker [default: no such limit]", _whole),
        _flag("maxCommandLength", "OCTETS", "the longest command line", _octets),
        _flag("maxUnrecognizedCommands", "N", "unknown commands before the connection is closed",
              _whole),
        _flag("maxJunkCommands", "N", "commands that bring no message any further, as NOOP and "
              "RSET, before the connection is closed", _whole),
        _flag("maxErrors", "N", "refused commands before the connection is closed", _whole),
        _flag("errorDelay", "SECONDS", "from half of that on, how much later each refusal comes "
              "than the one before", _seconds),
        _flag("maxMessages", "N", "messages before the connection is closed", _whole),
        _flag("maxRefusedRecipients", "N", "recipients of one connection that may be refused",
              _whole),
        _flag("minDataRate", "OCTETS", "the least octets of a message in a second; 0 for no limit",
              _octets),
        _flag("maxSessionTime", "SECONDS", "the longest time of a connection", _seconds),
        _flag("socketTimeout", "SECONDS", "the longest silence of a client", _seconds),
        _flag("handlerTimeout", "SECONDS", "how long the handler may take", _seconds),
        _flag("closeTimeout", "SECONDS", "how long a stop waits for messages in flight", _seconds),
        _flag("noDelay", "yes|no", "whether TCP_NODELAY is set", _yesOrNo),
        _flag("immediateWrites", "yes|no", "whether replies skip the queue", _yesOrNo),
    ),
    "Help": (
        Flag("help", "", "show this, and exit"),
        Flag("version", "", "show Twisted's version, and exit"),
    ),
}
# fmt: on

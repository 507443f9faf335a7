"""
The flags of ``twistd smtpserver``, in one table: :data:`FLAGS`.

Most flags set the field of :class:`~twisted_smtpserver.options.Options` with the same name in
camelCase, and have only their text here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.tls.renewal import INTERVAL
from twisted_smtpserver.twistd.filters import readMilter
from twisted_smtpserver.twistd.values import (
    DEFAULT_HOST,
    joinLists,
    joinPeers,
    joinWords,
    readAtLeastOne,
    readCertified,
    readFirstLine,
    readInterval,
    readKinds,
    readLogFormat,
    readMethods,
    readNameServer,
    readOctets,
    readPage,
    readPassword,
    readPort,
    readRate,
    readSeconds,
    readWhole,
    readWholeOrOff,
    readWorkers,
    readYesOrNo,
    readZones,
)

DEFAULT_MAILDIR = "Maildir"

#: Flags for files that workers may not be allowed to read; they get the contents.
SECRETS = (
    "amqp-password-file",
    "forward-password-file",
    "postgres-password-file",
    "shared-state-password-file",
    "webhook-secret-file",
)


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

    @property
    def isRepeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.gather is not None or self.name == "auth"  # strcred gathers those


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
             readPort, list),
        Flag("host", "ADDRESS", f"the address of ports given by number [default: {DEFAULT_HOST}]"),
        Flag("listen", "ENDPOINT", "a port, or one of Twisted's endpoints: tcp:25, tcp6:25, "
             "tcp:25:interface=192.0.2.1, unix:/run/smtp, systemd:domain=INET:index=0 …",
             str, list),
        Flag("listen-tls", "ENDPOINT", "as --listen, for TLS from the first octet on", str, list),
        Flag("listen-lmtp", "ENDPOINT", "as --listen, for LMTP", str, list),
        _flag("secure", "", "--port and --listen are for TLS from the first octet on"),
        _flag("lmtp", "", "--port and --listen are for LMTP"),
        Flag("workers", "N", "how many processes serve, to use as many cores [default: 1]",
             readWorkers),
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
             "smtps://USER@HOST", readFirstLine),
        Flag("forward-ca", "FILE", "the certificates that its certificate must be signed by "
             "[default: the system's]"),
        Flag("webhook", "URL", "post them to a program of yours, signed"),
        Flag("webhook-secret-file", "FILE", "the first line is the secret, of 16 octets at least",
             readFirstLine),
        Flag("webhook-ca", "FILE", "the certificates that its certificate must be signed by "
             "[default: the system's]"),
        Flag("webhook-parsed", "", "post what is in a message, too, and its attachments as files"),
        Flag("webhook-allow-private", "", "the URL may lead to a private address, as localhost is"),
        Flag("postgres", "DSN", "store them in PostgreSQL, postgresql://USER@HOST/DATABASE; first "
             "run python -m twisted_smtpserver.stores.postgres migrate"),
        Flag("postgres-table", "NAME", "the table's name [default: mail]"),
        Flag("postgres-password-file", "FILE", "the first line is the database's password",
             readFirstLine),
        Flag("postgres-retention", "SECONDS", "delete messages so long after they were consumed "
             "[default: never]", readSeconds),
        Flag("amqp", "URLS", "publish them to RabbitMQ, amqp://USER@HOST:PORT/VIRTUALHOST or "
             "amqps://…; several for a cluster", str, joinWords),
        Flag("amqp-queue", "NAME", "the queue, which is made if need be"),
        Flag("amqp-exchange", "NAME", "an exchange that is there, instead"),
        Flag("amqp-routing-key", "TEXT", "its routing key; {address}, {local} and {domain} are a "
             "recipient's"),
        Flag("amqp-max-size", "OCTETS", "the broker's max_message_size [default: 128M, of RabbitMQ "
             "4 16M]", readOctets),
        Flag("amqp-password-file", "FILE", "the first line is the broker's password",
             readFirstLine),
        _flag("size", "OCTETS", "the largest message; 0 for no limit [default: 50M]", readOctets),
        _flag("hideSize", "", "don't tell clients that limit"),
        _flag("maxRecipients", "N", "recipients of one message", readWhole),
        _flag("bareNewlines", "WORD", "what to do with a message that has a CR or LF by itself: "
              "reject, normalize or accept"),
    ),
    "Recipients": (
        Flag("recipients", "FILE", "take mail for these only, a line for each: joe@example.com, "
             "@example.com for a domain, sales@example.com joe@example.com for an alias"),
        Flag("recipient-delimiter", "CHARACTERS", "what separates a name from a detail, as in "
             "joe+news@example.com; none if nothing does [default: +]"),
        Flag("relay-for-users", "", "users who have logged in may send to anybody, not only to the "
             "--recipients"),
    ),
    "The inbox: a page for developers of programs that send mail": (
        Flag("inbox", "[ADDRESS:]PORT", "show mail on a page there, 127.0.0.1:8025 for example; it "
             "is stored nowhere else unless --maildir or --handler is given", readPage),
        Flag("inbox-max", "N", "keep at most so many messages; the oldest go [default: 10000]",
             readAtLeastOne),
        Flag("inbox-size", "OCTETS", "keep at most so many octets; the oldest go [default: 256M]",
             readOctets),
        Flag("inbox-db", "FILE", "keep them in this SQLite database [default: in memory]"),
        Flag("inbox-password-file", "FILE", "the first line is what the page asks for: "
             "NAME:PASSWORD, or a password for any name", readPassword),
        Flag("inbox-any-login", "", "offer logins to clients that insist on one, with or without "
             "TLS, and accept every one"),
        Flag("inbox-release", "URL", "offer to send a message on by this server, such as "
             "smtp+starttls://user@smtp.example.org"),
        Flag("inbox-release-password-file", "FILE", "the first line is that user's password",
             readFirstLine),
        Flag("inbox-host", "NAME", "a name that the page may be called by, besides localhost and "
             "addresses", str, joinWords),
    ),
    "TLS": (
        _flag("cert", "FILE", "the certificate, and behind it its chain; it is read again when it "
              "has changed, and at SIGHUP"),
        _flag("key", "FILE", "its private key"),
        _flag("passphrase", "FILE", "the first line is what the key is encrypted with",
              readFirstLine, name="passphrase-file"),
        _flag("selfSigned", "", "make a certificate for localhost, to try things out"),
        _flag("sniOptions", "NAME:CERT:KEY", "the files for clients that ask for this host name",
              readCertified, dict),
        Flag("renewal-interval", "SECONDS", "how often to look whether these files have changed; 0 "
             f"to read them at SIGHUP only [default: {INTERVAL:g}]", readInterval),
        _flag("tlsRequired", "", "before TLS, take nothing but NOOP, EHLO, STARTTLS and QUIT"),
        _flag("secured", "", "TLS ended upstream: connections count as protected"),
        _flag("minVersion", "VERSION", "TLSv1.2 or TLSv1.3"),
        _flag("ciphers", "LIST", "cipher suites, as OpenSSL writes them"),
        _flag("requestCert", "", "ask clients for a certificate"),
        _flag("rejectUnauthorized", "yes|no", "whether to refuse those without a valid one",
              readYesOrNo),
        _flag("ca", "FILE", "the certificates that clients' ones must be signed by"),
        _flag("handshakeTimeout", "SECONDS", "the time for a handshake", readSeconds),
    ),
    "Logins": (
        Flag("auth", "METHOD", "require a login, and check it so: htpasswd:FILE for users with "
             "hashed passwords, dovecot:SOCKET to ask Dovecot, file:PASSWD for lines such as "
             "joe:secret; for others see --help-auth"),
        Flag("auth-plain-text", "", "the file of --auth htpasswd: may have passwords in plain "
             "text"),
        Flag("submission", "", "require TLS and a login, for users' mail programs (RFC 6409)"),
        _flag("authOptional", "", "offer the login without requiring it"),
        _flag("authRequiredMessage", "TEXT", "the answer to mail before a login"),
        _flag("authMethods", "NAMES", "the SASL mechanisms to offer", str, joinWords),
        _flag("allowInsecureAuth", "", "offer the login without TLS, too"),
        _flag("maxAuthAttempts", "N", "failed logins before the connection is closed", readWhole),
        _flag("scramIterations", "N", "the iterations of your users' SCRAM secrets", readWhole),
        _flag("authFailureDelay", "SECONDS", "how long to delay the answer to a failed login",
              readSeconds),
        _flag("loginDelay", "SECONDS", "how much later from an address's fourth failed login on; "
              "twice as much with each more", readSeconds),
        _flag("maxAllowedUnauthenticatedCommands", "N", "commands before a login that is required; "
              "0 for no limit", readWholeOrOff),
        Flag("help-auth", "", "list the methods of --auth, and exit"),
        Flag("help-auth-type", "METHOD", "explain one of them, and exit"),
    ),
    "Policies, before any handler; a RATE is such as 600/h or 20/10m": (
        Flag("rate-connections", "RATE", "connections from one address, or one /64 of IPv6; "
             "beyond that 421", readRate),
        Flag("rate-messages", "RATE",
             "messages from one address, or of one user from all addresses; "
             "beyond that 450", readRate),
        Flag("rate-recipients", "RATE",
             "recipients from one address, or of one user; beyond that 450",
             readRate),
        Flag("dnsbl", "ZONES", "refuse clients that one of these DNS lists names", readZones,
             joinLists),
        Flag("sender-matches-login", "",
             "let users send only from the address that is their login name"),
        Flag("senders", "FILE", "let users send from their login name, and from the addresses that "
             "this file has for it: joe sales@example.com, @example.org"),
        Flag("tarpit", "SECONDS",
             "delay each recipient's answer by so much more than the one before",
             readSeconds),
        Flag("tarpit-after", "N", "so many recipients of a connection aren't delayed "
             "[default: 20]", readWhole),
        Flag("greylist", "FILE", "refuse the first try to send to somebody; who has come again is "
             "remembered in this SQLite database, or with the word shared in --shared-state"),
        Flag("greylist-delay", "SECONDS", "for how long the first try is refused [default: 300]",
             readSeconds),
        Flag("shared-state", "URL", "rates, --login-delay and --max-clients-per-address count for "
             "all servers and workers with this Redis: redis://HOST:PORT/DATABASE, rediss://… for "
             "TLS, unix:///PATH"),
        Flag("shared-state-password-file", "FILE", "the first line is its password", readFirstLine),
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
             readMethods, joinLists),
        Flag("require-fields", "", "refuse messages without From, Date or Message-ID, or with two "
             "From"),
        Flag("block-attachments", "KINDS", "refuse attachments with such names or types: "
             ".exe,.js,video/*; or programs, for what Windows runs", readKinds, joinLists),
    ),
    "The conversation": (
        _flag("name", "NAME", "our host name [default: the system's]"),
        _flag("banner", "TEXT", "what the greeting says behind it"),
        _flag("heloResponse", "TEXT", "the answer to a hello, with our and the client's name"),
        _flag("greetingDelay", "SECONDS",
              "delay the greeting, to catch clients that don't wait for it",
              readSeconds),
        _flag("disabledCommands", "VERBS", "commands to refuse", str, joinWords),
        _flag("hide", "KEYWORDS", "extensions that work, but aren't announced", str, joinWords),
        _flag("extensions", "NAMES", "extensions to add to those on by default", str, joinWords,
              name="extension"),
        _flag("lenientAddressParsing", "", "check addresses only for what could do harm"),
        _flag("disableReverseLookup", "", "don't look up clients' names", name="no-reverse-lookup"),
        _flag("disableReverseLookup", "", "the same as --no-reverse-lookup"),
        _flag("resolver", "ADDRESS[:PORT]", "the name server to ask [default: the system's]",
              readNameServer),
    ),
    "Peers to trust: addresses and networks, or any": (
        _flag("useProxy", "NETWORKS", "proxies, which must send PROXY headers", str, joinPeers,
              name="proxy-from"),
        _flag("useXClient", "NETWORKS", "clients that may use XCLIENT",
              str, joinPeers, name="xclient-from"),
        _flag("useXForward", "NETWORKS", "clients that may use XFORWARD",
              str, joinPeers, name="xforward-from"),
        _flag("ignoredHosts", "NETWORKS", "clients that aren't logged", str, joinWords),
    ),
    "Watching": (
        Flag("metrics", "ENDPOINT", "figures for Prometheus at /metrics, and /healthz and /readyz "
             "beside it: a port of 127.0.0.1, tcp:9154:interface=10.0.0.5, "
             "unix:/run/smtpserver/metrics …"),
        Flag("transcript", "FILE", "at SIGUSR2 read there whose transcripts are wanted, and write "
             "them: an address or a network, a path, and for how many minutes in each line"),
        Flag("log-format", "WORD", "how the log is written: text; json, an object in each line; "
             "systemd, with priorities for journald [default: text]", readLogFormat),
        Flag("log-size", "OCTETS", "begin a new log file after so many; 0 for never, where "
             "logrotate does it [default: 1000000]", readOctets),
    ),
    "Limits": (
        _flag("maxClients", "N", "connections at a time, for each of --listen, --listen-tls and "
              "--listen-lmtp [default: what the limit of open files allows, for all]", readWhole),
        _flag("maxClientsPerAddress", "N", "of those, connections from one address, or from one "
              "/64 of IPv6, for each worker [default: no such limit]", readWhole),
        _flag("maxCommandLength", "OCTETS", "the longest command line", readOctets),
        _flag("maxUnrecognizedCommands", "N", "unknown commands before the connection is closed",
              readWhole),
        _flag("maxJunkCommands", "N", "commands that bring no message any further, as NOOP and "
              "RSET, before the connection is closed", readWhole),
        _flag("maxErrors", "N", "refused commands before the connection is closed", readWhole),
        _flag("errorDelay", "SECONDS", "from half of that on, how much later each refusal comes "
              "than the one before", readSeconds),
        _flag("maxMessages", "N", "messages before the connection is closed", readWhole),
        _flag("maxRefusedRecipients", "N", "recipients of one connection that may be refused",
              readWhole),
        _flag("minDataRate", "OCTETS", "the least octets of a message in a second; 0 for no limit",
              readOctets),
        _flag("maxSessionTime", "SECONDS", "the longest time of a connection", readSeconds),
        _flag("socketTimeout", "SECONDS", "the longest silence of a client", readSeconds),
        _flag("handlerTimeout", "SECONDS", "how long the handler may take", readSeconds),
        _flag("closeTimeout", "SECONDS", "how long a stop waits for messages in flight",
              readSeconds),
        _flag("noDelay", "yes|no", "whether TCP_NODELAY is set", readYesOrNo),
        _flag("immediateWrites", "yes|no", "whether replies skip the queue", readYesOrNo),
    ),
    "Configuration": (
        Flag("config", "FILE", "read flags from this TOML file; what is on the command line counts "
             "more. SMTPSERVER_CONFIG in the environment names one, too"),
        Flag("check-config", "", "say what would run, and exit; nothing is opened or stored"),
        Flag("example-config", "", "print such a file with every key, and exit"),
    ),
    "Help": (
        Flag("help", "", "show this, and exit"),
        Flag("version", "", "show our version, Twisted's, OpenSSL's and Python's, and exit"),
    ),
}
# fmt: on

#: The flags that name listeners, and the options that each of them sets.
LISTENERS: dict[str, dict[str, bool]] = {
    "listen": {},
    "listen-tls": {"secure": True},
    "listen-lmtp": {"lmtp": True},
}

#: All flags by name.
BY_NAME = {flag.name: flag for flags in FLAGS.values() for flag in flags}

#: Flags that only the command line has.
COMMAND_LINE_ONLY = frozenset(
    {flag.name for heading in ("Configuration", "Help") for flag in FLAGS[heading]}
    | {"help-auth", "help-auth-type"}
)

# Flags under these headings may be different for each listener; all others, and those named here,
# are for all of them together.
_FOR_EACH = (
    *("Where to listen", "What to do with messages", "Recipients", "TLS", "Logins"),
    "Policies, before any handler; a RATE is such as 600/h or 20/10m",
    *("Filters, which see each message before it is stored", "The conversation"),
    *("Peers to trust: addresses and networks, or any", "Limits"),
)
_FOR_ALL = {"workers", "renewal-interval", "shared-state", "shared-state-password-file"}

#: Flags that a ``[[listener]]`` in a file of configuration may have for itself.
FOR_EACH_LISTENER = frozenset(
    {flag.name for heading in _FOR_EACH for flag in FLAGS[heading]} - _FOR_ALL - COMMAND_LINE_ONLY
)


def tableOf(heading: str) -> str:
    """
    The name of the table that has a heading's flags in a file of configuration: the heading's last
    word, ``messages`` of "What to do with messages".

    :param heading: a key of :data:`FLAGS`.
    """
    return re.split("[,:;]", heading)[0].split()[-1].lower()


#: For each flag that may stand in a file of configuration, the name of its table.
TABLE_OF = {
    flag.name: tableOf(heading)
    for heading, flags in FLAGS.items()
    for flag in flags
    if flag.name not in COMMAND_LINE_ONLY
}

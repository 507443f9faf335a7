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
        Flag("port", "N", "listen on this TCP port of --host [default: 2525, unless there is a "
             "--listen…]", readPort, list),
        Flag("host", "ADDRESS", f"the address for ports given by number [default: {DEFAULT_HOST}]"),
        Flag("listen", "ENDPOINT", "listen here: a port, or a Twisted endpoint such as tcp:25, "
             "tcp6:25, tcp:25:interface=192.0.2.1, unix:/run/smtp or systemd:domain=INET:index=0",
             str, list),
        Flag("listen-tls", "ENDPOINT", "like --listen, with implicit TLS", str, list),
        Flag("listen-lmtp", "ENDPOINT", "like --listen, for LMTP", str, list),
        _flag("secure", "", "use implicit TLS on --port and --listen"),
        _flag("lmtp", "", "speak LMTP on --port and --listen"),
        Flag("workers", "N", "run this many processes, to use more cores [default: 1]",
             readWorkers),
    ),
    "What to do with messages": (
        Flag("maildir", "DIR", f"store messages in this Maildir [default: ./{DEFAULT_MAILDIR}]"),
        Flag("discard", "", "throw messages away"),
        Flag("handler", "NAME", "give messages to your own handler: the dotted name of an object, "
             "or of a class or function that makes one"),
        Flag("forward", "URL", "pass messages on to another server as they arrive: smtp://HOST, "
             "smtps://HOST, smtp+starttls://HOST, lmtp://HOST or lmtp:unix:PATH; if given several "
             "times, the first server that can be reached gets them", str, list),
        Flag("forward-password-file", "FILE", "read the password for smtps://USER@HOST from the "
             "first line of this file", readFirstLine),
        Flag("forward-ca", "FILE", "check that server's certificate against these CA certificates "
             "[default: the system's]"),
        Flag("webhook", "URL", "post messages to this URL, signed"),
        Flag("webhook-secret-file", "FILE", "read the signing secret, at least 16 octets, from the "
             "first line of this file", readFirstLine),
        Flag("webhook-ca", "FILE", "check the certificate of the URL's server against these CA "
             "certificates [default: the system's]"),
        Flag("webhook-parsed", "", "also post the parsed message, its attachments as files"),
        Flag("webhook-allow-private", "", "allow a URL that leads to a private address, such as "
             "localhost"),
        Flag("postgres", "DSN", "store messages in PostgreSQL: postgresql://USER@HOST/DATABASE; "
             "run python -m twisted_smtpserver.stores.postgres migrate first"),
        Flag("postgres-table", "NAME", "store messages in this table [default: mail]"),
        Flag("postgres-password-file", "FILE", "read the database password from the first line of "
             "this file", readFirstLine),
        Flag("postgres-retention", "SECONDS", "delete messages this long after they were consumed "
             "[default: never]", readSeconds),
        Flag("amqp", "URLS", "publish messages to RabbitMQ: amqp://USER@HOST:PORT/VIRTUALHOST or "
             "amqps://…; list several URLs for a cluster", str, joinWords),
        Flag("amqp-queue", "NAME", "publish to this queue; it is created if it doesn't exist"),
        Flag("amqp-exchange", "NAME", "publish to this exchange instead; it must exist"),
        Flag("amqp-routing-key", "TEXT", "the routing key; {address}, {local} and {domain} stand "
             "for the parts of a recipient"),
        Flag("amqp-max-size", "OCTETS", "the broker's max_message_size [default: 128M; for "
             "RabbitMQ 4, 16M]", readOctets),
        Flag("amqp-password-file", "FILE", "read the broker's password from the first line of this "
             "file", readFirstLine),
        _flag("size", "OCTETS", "the largest message to accept; 0 for no limit [default: 50M]",
              readOctets),
        _flag("hideSize", "", "don't tell clients the limit on size"),
        _flag("maxRecipients", "N", "recipients of one message", readWhole),
        _flag("bareNewlines", "WORD", "what to do with a message that contains a CR without LF, or "
              "an LF without CR: reject, normalize or accept"),
    ),
    "Recipients": (
        Flag("recipients", "FILE", "accept mail only for the addresses in this file, one per line: "
             "joe@example.com, @example.com for a domain, sales@example.com joe@example.com for an "
             "alias"),
        Flag("recipient-delimiter", "CHARACTERS", "characters that separate a name from a detail, "
             "as in joe+news@example.com; the word none for no details [default: +]"),
        Flag("relay-for-users", "", "let users who have logged in send to any address, not only to "
             "--recipients"),
    ),
    "The inbox: a page for developers of programs that send mail": (
        Flag("inbox", "[ADDRESS:]PORT", "show mail on a web page here, for example 127.0.0.1:8025; "
             "mail is stored nowhere else unless --maildir or --handler is given", readPage),
        Flag("inbox-max", "N", "keep at most this many messages; the oldest are deleted [default: "
             "10000]", readAtLeastOne),
        Flag("inbox-size", "OCTETS", "keep at most this many octets; the oldest messages are "
             "deleted [default: 256M]", readOctets),
        Flag("inbox-db", "FILE", "keep messages in this SQLite database "
             "[default: until the server stops]"),
        Flag("inbox-password-file", "FILE", "make the page ask for a login, read from the first "
             "line of this file: NAME:PASSWORD, or a password for any name", readPassword),
        Flag("inbox-any-login", "", "offer AUTH to clients that insist on it, with or without TLS, "
             "and accept every login"),
        Flag("inbox-release", "URL", "offer on the page to send a message on through this server, "
             "such as smtp+starttls://user@smtp.example.org"),
        Flag("inbox-release-password-file", "FILE", "read that user's password from the first line "
             "of this file", readFirstLine),
        Flag("inbox-host", "NAME", "also answer to this host name, besides localhost and IP "
             "addresses", str, joinWords),
    ),
    "TLS": (
        _flag("cert", "FILE", "the certificate, followed by its chain; read again when it changes, "
              "and at SIGHUP"),
        _flag("key", "FILE", "the certificate's private key"),
        _flag("passphrase", "FILE", "read the key's passphrase from the first line of this file",
              readFirstLine, name="passphrase-file"),
        _flag("selfSigned", "", "make a certificate for localhost, to try things out"),
        _flag("sniOptions", "NAME:CERT:KEY", "use this certificate and key for clients that ask "
              "for this host name", readCertified, dict),
        Flag("renewal-interval", "SECONDS",
             "how often to check whether certificates have changed; 0 to read them only at "
             f"SIGHUP [default: {INTERVAL:g}]", readInterval),
        _flag("tlsRequired", "", "before TLS, accept only NOOP, EHLO, STARTTLS and QUIT"),
        _flag("secured", "", "treat connections as encrypted: TLS ends at a proxy in front of this "
              "server"),
        _flag("minVersion", "VERSION", "the oldest TLS version to accept: TLSv1.2 or TLSv1.3"),
        _flag("ciphers", "LIST", "cipher suites, in the form of OpenSSL's cipher list"),
        _flag("requestCert", "", "ask clients for a certificate"),
        _flag("rejectUnauthorized", "yes|no", "whether --request-cert refuses clients without a "
              "valid certificate", readYesOrNo),
        _flag("ca", "FILE", "check clients' certificates against these CA certificates"),
        _flag("handshakeTimeout", "SECONDS", "how long a TLS handshake may take", readSeconds),
    ),
    "Logins": (
        Flag("auth", "METHOD", "require a login, checked by this method: htpasswd:FILE for users "
             "with hashed passwords, dovecot:SOCKET to ask Dovecot, file:PASSWD for lines such as "
             "joe:secret; --help-auth lists all"),
        Flag("auth-plain-text", "", "allow passwords in plain text in the file of --auth "
             "htpasswd:FILE"),
        Flag("submission", "", "require TLS and a login, for users' mail programs (RFC 6409)"),
        _flag("authOptional", "", "offer logins without requiring one"),
        _flag("authRequiredMessage", "TEXT", "the text of the reply to MAIL before a login"),
        _flag("authMethods", "NAMES", "the SASL mechanisms to offer", str, joinWords),
        _flag("allowInsecureAuth", "", "offer logins without TLS, too"),
        _flag("maxAuthAttempts", "N", "failed logins before the connection is closed", readWhole),
        _flag("scramIterations", "N", "the iteration count of your users' SCRAM secrets",
              readWhole),
        _flag("authFailureDelay", "SECONDS", "how long to delay the reply to a failed login",
              readSeconds),
        _flag("loginDelay", "SECONDS", "the additional delay from the fourth failed login of an "
              "address on; it doubles with each further one", readSeconds),
        _flag("maxAllowedUnauthenticatedCommands", "N", "commands before a required login; 0 for "
              "no limit", readWholeOrOff),
        Flag("help-auth", "", "list the methods of --auth, and exit"),
        Flag("help-auth-type", "METHOD", "explain one of these methods, and exit"),
    ),
    "Policies, before any handler; a RATE is written 600/h or 20/10m": (
        Flag("rate-connections", "RATE", "connections from one address (IPv6: from one /64); more "
             "get 421", readRate),
        Flag("rate-messages", "RATE", "messages from one address, or of one user from all "
             "addresses; more get 450", readRate),
        Flag("rate-recipients", "RATE", "recipients from one address, or of one user; more get 450",
             readRate),
        Flag("dnsbl", "ZONES", "refuse clients that one of these DNS block lists contains",
             readZones, joinLists),
        Flag("sender-matches-login", "", "let users send only from the address that is their login "
             "name"),
        Flag("senders", "FILE", "let users send only from their login name and from the addresses "
             "that this file lists for it: joe sales@example.com, @example.org"),
        Flag("tarpit", "SECONDS", "answer each RCPT this much later than the one before",
             readSeconds),
        Flag("tarpit-after", "N", "don't delay the first recipients of a connection, this many "
             "[default: 20]", readWhole),
        Flag("greylist", "FILE", "refuse the first attempt of an unknown client, sender and "
             "recipient; known ones are kept in this SQLite database, or in --shared-state if FILE "
             "is the word shared"),
        Flag("greylist-delay", "SECONDS", "how long the first attempt is refused [default: 300]",
             readSeconds),
        Flag("shared-state", "URL", "count rates, --login-delay and --max-clients-per-address for "
             "all servers and workers together, in this Redis: redis://HOST:PORT/DATABASE, "
             "rediss://… for TLS, unix:///PATH"),
        Flag("shared-state-password-file", "FILE", "read the password of Redis from the first line "
             "of this file", readFirstLine),
    ),
    "Filters, which see each message before it is stored": (
        Flag("milter", "ENDPOINT[,onFailure=WORD]", "ask this milter: unix:/run/milter.sock, "
             "tcp:127.0.0.1:11332 …; if it fails, tempfail mail [default], reject or accept it. "
             "Also: connectTimeout=, commandTimeout= and messageTimeout=SECONDS", readMilter, list),
        Flag("quarantine", "DIR", "store the messages that a milter quarantines in this Maildir "
             "[default: refuse them for now]"),
        Flag("require-authentication", "METHODS", "refuse mail for which no milter reports one of "
             "these as passed, unless its user has logged in: dmarc, dkim, spf, arc",
             readMethods, joinLists),
        Flag("require-fields", "", "refuse messages without From, Date or Message-ID, or with two "
             "From fields"),
        Flag("block-attachments", "KINDS", "refuse attachments with these names or types: "
             ".exe,.js,video/*; the word programs means all that Windows runs",
             readKinds, joinLists),
    ),
    "The conversation": (
        _flag("name", "NAME", "this server's host name [default: the system's]"),
        _flag("banner", "TEXT", "the text after the host name in the greeting"),
        _flag("heloResponse", "TEXT", "the reply to a hello; the two %s are the server's name and "
              "the client's"),
        _flag("greetingDelay", "SECONDS", "delay the greeting, to catch clients that don't wait "
              "for it", readSeconds),
        _flag("disabledCommands", "VERBS", "refuse these commands", str, joinWords),
        _flag("hide", "KEYWORDS", "don't announce these extensions, though they work",
              str, joinWords),
        _flag("extensions", "NAMES", "offer these extensions, besides those on by default",
              str, joinWords, name="extension"),
        _flag("lenientAddressParsing", "", "refuse malformed addresses only if they could do harm"),
        _flag("disableReverseLookup", "", "don't look up clients' host names",
              name="no-reverse-lookup"),
        _flag("disableReverseLookup", "", "the same as --no-reverse-lookup"),
        _flag("resolver", "ADDRESS[:PORT]", "the DNS server to ask [default: the system's]",
              readNameServer),
    ),
    "Peers to trust: addresses and networks, or the word any": (
        _flag("useProxy", "NETWORKS", "proxies, which must send a PROXY header",
              str, joinPeers, name="proxy-from"),
        _flag("useXClient", "NETWORKS", "clients that may use XCLIENT",
              str, joinPeers, name="xclient-from"),
        _flag("useXForward", "NETWORKS", "clients that may use XFORWARD",
              str, joinPeers, name="xforward-from"),
        _flag("ignoredHosts", "NETWORKS", "clients that aren't logged", str, joinWords),
    ),
    "Watching": (
        Flag("metrics", "ENDPOINT", "serve Prometheus metrics at /metrics, with /healthz and "
             "/readyz: a port of 127.0.0.1, tcp:9154:interface=10.0.0.5, "
             "unix:/run/smtpserver/metrics …"),
        Flag("transcript", "FILE", "at SIGUSR2, read from this file which transcripts to write: "
             "each line has a client's address or network, the path to write to, and how many "
             "minutes"),
        Flag("log-format", "WORD", "the form of the log: text; json, one object per line; systemd, "
             "with priorities for journald [default: text]", readLogFormat),
        Flag("log-size", "OCTETS", "start a new log file after this many octets; 0 if logrotate "
             "does that [default: 1000000]", readOctets),
    ),
    "Limits": (
        _flag("maxClients", "N", "connections at a time, for each of --listen, --listen-tls and "
              "--listen-lmtp [default: what the limit on open files allows, for all of them]",
              readWhole),
        _flag("maxClientsPerAddress", "N", "connections at a time from one address (IPv6: from one "
              "/64), for each worker [default: no limit]", readWhole),
        _flag("maxCommandLength", "OCTETS", "the longest command line", readOctets),
        _flag("maxUnrecognizedCommands", "N", "unknown commands before the connection is closed",
              readWhole),
        _flag("maxJunkCommands", "N", "commands that don't lead to a message, such as NOOP and "
              "RSET, before the connection is closed", readWhole),
        _flag("maxErrors", "N", "refused commands before the connection is closed", readWhole),
        _flag("errorDelay", "SECONDS", "after half of --max-errors, send each refusal this much "
              "later than the one before", readSeconds),
        _flag("maxMessages", "N", "messages before the connection is closed", readWhole),
        _flag("maxRefusedRecipients", "N", "refused recipients before the connection takes no more "
              "recipients", readWhole),
        _flag("minDataRate", "OCTETS", "the least octets per second while a message comes in; 0 "
              "for no limit", readOctets),
        _flag("maxSessionTime", "SECONDS", "how long a connection may last", readSeconds),
        _flag("socketTimeout", "SECONDS", "how long a client may be silent", readSeconds),
        _flag("handlerTimeout", "SECONDS", "how long a handler may take", readSeconds),
        _flag("closeTimeout", "SECONDS", "how long a stop waits for messages in flight",
              readSeconds),
        _flag("noDelay", "yes|no", "whether to set TCP_NODELAY", readYesOrNo),
        _flag("immediateWrites", "yes|no", "whether to write replies at once, past the reactor's "
              "queue", readYesOrNo),
        _flag("jointReads", "yes|no", "whether to read from all connections in one step of the "
              "reactor, if that is Twisted's for epoll", readYesOrNo),
    ),
    "Configuration": (
        Flag("config", "FILE", "read flags from this TOML file; the command line has precedence. "
             "The variable SMTPSERVER_CONFIG may name the file instead"),
        Flag("check-config", "", "say what would run, and exit; nothing is opened or stored"),
        Flag("example-config", "", "print a file for --config with every key, and exit"),
    ),
    "Help": (
        Flag("help", "", "show this text, and exit"),
        Flag("version", "", "show the versions of this package, Twisted, OpenSSL and Python, and "
             "exit"),
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
    "Policies, before any handler; a RATE is written 600/h or 20/10m",
    *("Filters, which see each message before it is stored", "The conversation"),
    *("Peers to trust: addresses and networks, or the word any", "Limits"),
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

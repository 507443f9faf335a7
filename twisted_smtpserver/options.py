"""The server's options: one frozen object, checked once."""

from __future__ import annotations

import difflib
import math
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.sasl.scramsecret import checkIterations
from twisted_smtpserver.wire.dotdata import BareNewlines
from twisted_smtpserver.wire.ip import Networks

#: Versions of TLS that can be the least one.
VERSIONS = ("TLSv1.2", "TLSv1.3")

BARE_NEWLINES = ("reject", "normalize", "accept")


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    How a server behaves. Times are in seconds, sizes in octets.

    :ivar secure: start TLS on each connection at once ("implicit TLS", RFC 8314 §3).
    :ivar secured: TLS ends upstream: treat the connection as protected.
    :ivar tls: a context factory, for example :class:`twisted.internet.ssl.CertificateOptions`;
        instead of :attr:`key` and :attr:`cert` and the options about them, from :attr:`ca` to
        :attr:`rejectUnauthorized`, and :attr:`sniOptions`.
    :ivar key: the private key, PEM or the path of a PEM file.
    :ivar cert: the certificate, followed by its chain, PEM or a path.
    :ivar ca: certificates that clients' certificates are checked against, PEM or a path.
    :ivar ciphers: an OpenSSL cipher list for TLS 1.2.
    :ivar minVersion: ``"TLSv1.2"`` or ``"TLSv1.3"``.
    :ivar passphrase: what the key is encrypted with.
    :ivar selfSigned: make a certificate for localhost at start, to try things out.
    :ivar requestCert: ask clients for a certificate.
    :ivar rejectUnauthorized: with :attr:`requestCert`, refuse those without a valid one.
    :ivar handshakeTimeout: how long a TLS handshake may take.
    :ivar sniOptions: certificates by server name (RFC 6066 §3).
    :ivar tlsRequired: before TLS, answer 530 to everything but NOOP, EHLO, STARTTLS and QUIT
        (RFC 3207 §4).
    :ivar name: our host name, in the greeting and headers.
    :ivar banner: text behind the greeting.
    :ivar heloResponse: the answer to a hello; ``%s`` twice: our name, the client's.
    :ivar size: the largest message accepted, in octets; 0 is unlimited (RFC 1870).
    :ivar hideSize: don't tell clients the limit.
    :ivar authMethods: SASL mechanisms offered, by name.
    :ivar authOptional: offer AUTH without requiring it.
    :ivar authRequiredMessage: the text of the 530 to MAIL before AUTH.
    :ivar allowInsecureAuth: offer AUTH without TLS, too.
    :ivar maxAuthAttempts: failed logins before 421.
    :ivar authFailureDelay: how long after its command a failed login is answered, in seconds.
    :ivar loginDelay: from the fourth failed login of an address on, of IPv6 of a /64, how much
        later it is answered than that; twice as much with each more, 10 s at most. 0 for no delay.
    :ivar scramIterations: the iterations that a user who doesn't exist seems to have; give what
        your users' SCRAM secrets have, or the difference tells who exists.
    :ivar scramSaltKey: at least 16 octets that the salts of such users are made from; by default
        random for each process. Give one that stays the same if a restart must not reveal them,
        either.
    :ivar disabledCommands: verbs answered 502 and not offered.
    :ivar hide: EHLO keywords not shown, though they work.
    :ivar extensions: extensions, or their names, in addition to those on by default.
    :ivar disableReverseLookup: don't look the client's name up.
    :ivar resolver: an :class:`~twisted.internet.interfaces.IResolver` to ask instead of
        twisted.names' own.
    :ivar logger: a :class:`twisted.logger.Logger` for the events; ``False`` for silence.
    :ivar metrics: an :class:`~twisted_smtpserver.interfaces.IMetrics`, for example a
        :class:`~twisted_smtpserver.metrics.Metrics`, that counts what the server does.
    :ivar maxClients: connections at the same time; ``None`` takes it from RLIMIT_NOFILE.
    :ivar maxClientsPerAddress: connections at the same time from one address; of IPv6, from one
        /64. ``None`` leaves them to :attr:`maxClients`.
    :ivar state: an :class:`~twisted_smtpserver.interfaces.ISharedState`, for example a
        :class:`~twisted_smtpserver.shared.RedisState`: :attr:`loginDelay` and
        :attr:`maxClientsPerAddress` then count over all servers that share it.
    :ivar maxRecipients: recipients of one message.
    :ivar maxRefusedRecipients: recipients refused in one session (5yz) before the handler isn't
        asked any more: 452 while the message has others, else 421.
    :ivar maxMessages: MAIL commands in one session before 421.
    :ivar maxCommandLength: octets in a command line, CRLF included.
    :ivar bareNewlines: what to do with a CR or LF in a message that is no part of a CRLF:
        ``"reject"`` the message, ``"normalize"`` it to CRLF (CR CR LF too, to one) or
        ``"accept"`` it.
    :ivar maxAllowedUnauthenticatedCommands: commands before a login where one is required;
        ``False`` for no limit.
    :ivar maxUnrecognizedCommands: unknown commands before 421.
    :ivar maxJunkCommands: commands that bring no message any further (NOOP, RSET, VRFY, HELP,
        hellos, empty chunks) before 421; an accepted message sets the count back.
    :ivar maxErrors: commands refused with 5yz in one session before 421; recipients that the
        handler refused, and messages, aren't counted.
    :ivar errorDelay: after half of :attr:`maxErrors`, each refusal comes this much later than the
        one before; 10 s at most. 0 for no delay.
    :ivar useProxy: who sends a PROXY header: ``True`` for everyone, or networks.
    :ivar useXClient: who may use XCLIENT: ``True`` for everyone, or networks.
    :ivar useXForward: who may use XFORWARD: ``True`` for everyone, or networks.
    :ivar ignoredHosts: addresses and networks whose connections aren't logged.
    :ivar lmtp: speak LMTP (RFC 2033).
    :ivar lenientAddressParsing: check addresses only for what could do harm.
    :ivar socketTimeout: how long the client may be silent.
    :ivar minDataRate: octets a second that a message must come with, judged over each five minutes;
        0 for no such limit.
    :ivar maxSessionTime: how long a session may last.
    :ivar handlerTimeout: how long a hook may take.
    :ivar closeTimeout: how long a stop waits for messages in flight.
    :ivar greetingDelay: wait so long before the greeting, to catch clients that don't.
    :ivar noDelay: set TCP_NODELAY.
    :ivar immediateWrites: offer replies to the socket before queueing them, which spares the
        reactor a good part of its work; off, to write in Twisted's usual way only.
    :ivar jointReads: read from all connections in one step of the reactor, which spares it most of
        its work for an event; off, to let it watch each connection by itself. It has an effect with
        Twisted's epoll reactor, the default on Linux.
    :raises ConfigurationError: if a value is invalid; the text names the option.
    """

    secure: bool = False
    secured: bool = False
    tls: Any = None
    key: Any = field(default=None, repr=False)
    cert: Any = field(default=None, repr=False)
    ca: Any = field(default=None, repr=False)
    ciphers: str | None = None
    minVersion: str = "TLSv1.2"
    passphrase: str | bytes | None = field(default=None, repr=False)
    selfSigned: bool = False
    requestCert: bool = False
    rejectUnauthorized: bool = True
    handshakeTimeout: float = 30
    sniOptions: Mapping[str, Any] | None = field(default=None, repr=False)
    tlsRequired: bool = False
    name: str = field(default_factory=socket.gethostname)
    banner: str = ""
    heloResponse: str = "%s Nice to meet you, %s"
    size: int = 0
    hideSize: bool = False
    authMethods: Sequence[str] = ("PLAIN", "LOGIN")
    authOptional: bool = False
    authRequiredMessage: str = ""
    allowInsecureAuth: bool = False
    maxAuthAttempts: int = 3
    authFailureDelay: float = 1
    loginDelay: float = 1
    scramIterations: int = 4096
    scramSaltKey: Any = field(default=None, repr=False)
    disabledCommands: Collection[str] = ()
    hide: Collection[str] = ()
    extensions: Sequence[Any] = ()
    disableReverseLookup: bool = False
    resolver: Any = None
    state: Any = None
    logger: Any = None
    metrics: Any = None
    maxClients: int | None = None
    maxClientsPerAddress: int | None = None
    maxRecipients: int = 1000
    maxRefusedRecipients: int = 100
    maxMessages: int = 100_000
    maxCommandLength: int = 2048
    bareNewlines: BareNewlines = "reject"
    maxAllowedUnauthenticatedCommands: int | bool = 10
    maxUnrecognizedCommands: int = 10
    maxJunkCommands: int = 1_000_000
    maxErrors: int = 100
    errorDelay: float = 0.1
    useProxy: bool | Collection[str] = False
    useXClient: bool | Collection[str] = False
    useXForward: bool | Collection[str] = False
    ignoredHosts: Collection[str] = ()
    lmtp: bool = False
    lenientAddressParsing: bool = False
    socketTimeout: float = 300
    minDataRate: int = 32
    maxSessionTime: float = 21600
    handlerTimeout: float = 300
    closeTimeout: float = 30
    greetingDelay: float = 0
    noDelay: bool = True
    immediateWrites: bool = True
    jointReads: bool = True

    # Derived once, for the protocol.
    proxyNetworks: Networks = field(init=False, repr=False, compare=False)
    xClientNetworks: Networks = field(init=False, repr=False, compare=False)
    xForwardNetworks: Networks = field(init=False, repr=False, compare=False)
    ignoredNetworks: Networks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("disabledCommands", "hide"):
            self._set(name, frozenset(word.upper() for word in _strings(name, self)))
        self._set("authMethods", tuple(word.upper() for word in _strings("authMethods", self)))
        if self.resolver is not None and not hasattr(self.resolver, "lookupPointer"):
            raise ConfigurationError("resolver: doesn't provide IResolver")
        if self.state is not None and not hasattr(self.state, "loginFailed"):
            raise ConfigurationError("state: doesn't provide ISharedState, as a RedisState does")
        if self.metrics is not None and not hasattr(self.metrics, "messageEnded"):
            raise ConfigurationError("metrics: doesn't provide IMetrics, as Metrics() does")
        if isinstance(self.extensions, str) or not isinstance(self.extensions, Collection):
            raise ConfigurationError(f"extensions: {self.extensions!r} is not a list")
        self._set("proxyNetworks", Networks(self.useProxy, "useProxy"))
        self._set("xClientNetworks", Networks(self.useXClient, "useXClient"))
        self._set("xForwardNetworks", Networks(self.useXForward, "useXForward"))
        self._set("ignoredNetworks", Networks(self.ignoredHosts, "ignoredHosts"))
        self._checkSwitches()
        self._checkNumbers()
        self._checkTexts()
        self._checkTLS()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the way to fill a frozen instance

    def _checkSwitches(self) -> None:
        for name in _SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool):  # "no" would count as yes
                raise ConfigurationError(f"{name}: {value!r} is neither True nor False")

    def _checkNumbers(self) -> None:
        for name, (kinds, least) in _LEAST.items():
            value = getattr(self, name)
            if name in _NO_LIMIT and value is _NO_LIMIT[name]:
                continue
            # NaN isn't between anything; an infinite time is too much for the reactor's poll.
            isNumber = isinstance(value, kinds) and not isinstance(value, bool)
            if not isNumber or not least <= value < math.inf:
                noun = "whole number" if kinds is int else "number"
                unlimited = _NO_LIMIT.get(name)
                hint = "" if unlimited is None else f"; {unlimited!r} is no limit"
                raise ConfigurationError(
                    f"{name}: {value!r} is not a {noun} of at least {least}{hint}"
                )

    def _checkTexts(self) -> None:
        if self.bareNewlines not in BARE_NEWLINES:
            raise ConfigurationError(
                f"bareNewlines: {self.bareNewlines!r} is not one of {', '.join(BARE_NEWLINES)}"
            )
        for name in ("name", "banner", "heloResponse", "authRequiredMessage"):
            value = getattr(self, name)
            if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"{name}: {value!r} is not printable ASCII text")
        if not self.name or " " in self.name:
            raise ConfigurationError(f"name: {self.name!r} is not a host name")
        try:
            checkIterations(self.scramIterations)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"scramIterations: {error}") from None
        key = self.scramSaltKey
        if key is not None and (not isinstance(key, bytes) or len(key) < 16):
            raise ConfigurationError("scramSaltKey: must be bytes, at least 16")

    def _checkTLS(self) -> None:
        sources = [self.tls is not None, self.key is not None or self.cert is not None]
        if sum([*sources, self.selfSigned]) > 1:
            raise ConfigurationError("tls, key with cert, and selfSigned: choose one of them")
        settled = [o for o in _SETTLED_BY_TLS if getattr(self, o) != getattr(Options, o)]
        if self.minVersion not in VERSIONS:
            raise ConfigurationError(
                f"minVersion: {self.minVersion!r} is not one of {', '.join(VERSIONS)}"
            )
        if not (self.sniOptions is None or isinstance(self.sniOptions, Mapping)):
            raise ConfigurationError("sniOptions: is not a mapping from host names to certificates")
        if settled and not self.hasCertificate:
            raise ConfigurationError(
                f"{', '.join(settled)}: needs tls, key and cert, or selfSigned"
            )
        if self.tls is not None and settled:
            raise ConfigurationError(
                f"tls: can't be combined with {', '.join(settled)}: set that in the context factory"
            )
        if (self.key is None) != (self.cert is None):
            raise ConfigurationError("key and cert go together: one of them is missing")
        if self.secure and self.secured:
            raise ConfigurationError("secure and secured: TLS ends either here or upstream")
        if self.secure and not self.hasCertificate:
            raise ConfigurationError("secure: implicit TLS needs tls, key and cert, or selfSigned")
        if self.tlsRequired and not (self.hasCertificate or self.secured):
            raise ConfigurationError("tlsRequired: needs tls, key and cert, or selfSigned")
        if self.hasCertificate and self.secured:
            raise ConfigurationError("secured: TLS ends upstream: leave out the certificate")

    @property
    def hasCertificate(self) -> bool:
        """Whether TLS can be started here."""
        return self.tls is not None or self.key is not None or self.selfSigned


#: What has no meaning together with a context factory, which contains all that.
_SETTLED_BY_TLS = (
    *("ca", "ciphers", "minVersion", "passphrase"),
    *("requestCert", "rejectUnauthorized", "sniOptions"),
)

_SECONDS = (int, float)

#: The type of each number, and the smallest value that makes sense.
_LEAST: dict[str, tuple[Any, float]] = {
    "handshakeTimeout": (_SECONDS, 0.001),
    "size": (int, 0),
    "maxAuthAttempts": (int, 1),
    "authFailureDelay": (_SECONDS, 0),
    "loginDelay": (_SECONDS, 0),
    "maxClients": (int, 1),
    "maxClientsPerAddress": (int, 1),
    "maxRecipients": (int, 1),
    "maxRefusedRecipients": (int, 1),
    "maxMessages": (int, 1),
    "maxCommandLength": (int, 512),  # RFC 5321 §4.5.3.1.4
    "maxAllowedUnauthenticatedCommands": (int, 1),
    "maxUnrecognizedCommands": (int, 1),
    "maxJunkCommands": (int, 1),
    "maxErrors": (int, 1),
    "errorDelay": (_SECONDS, 0),
    "socketTimeout": (_SECONDS, 0.001),
    "minDataRate": (int, 0),
    "maxSessionTime": (_SECONDS, 0.001),
    "handlerTimeout": (_SECONDS, 0.001),
    "closeTimeout": (_SECONDS, 0),
    "greetingDelay": (_SECONDS, 0),
}
_NO_LIMIT: dict[str, Any] = {
    "size": 0,
    "minDataRate": 0,
    "maxClients": None,
    "maxClientsPerAddress": None,
    "maxAllowedUnauthenticatedCommands": False,
}


def _strings(name: str, options: Options) -> list[str]:
    value = getattr(options, name)
    isList = isinstance(value, Collection) and not isinstance(value, (str, bytes))
    if not isList or not all(isinstance(word, str) for word in value):
        raise ConfigurationError(f"{name}: {value!r} is not a list of names")
    return list(value)


#: The options that are on or off.
_SWITCHES = [f.name for f in fields(Options) if f.type == "bool"]

#: The options' names.
OPTION_NAMES = frozenset(f.name for f in fields(Options) if f.init)


def makeOptions(keywords: Mapping[str, Any]) -> Options:
    """
    Make options from keyword arguments.

    :raises ConfigurationError: for a name that isn't an option's; the text says which one was
        probably meant.
    """
    for name in keywords:
        if name not in OPTION_NAMES:
            raise ConfigurationError(unknownName(name, OPTION_NAMES, "option"))
    return Options(**keywords)


# Options of Node's smtp-server, and of bun-smtp, that have no equal here, and what to do instead.
_INSTEAD = {
    "hideDSN": "DSN is off; extensions=['DSN'] turns it on",
    "hideREQUIRETLS": "REQUIRETLS is off; extensions=['REQUIRETLS'] turns it on",
    "rejectOversized": "leave it out, a message over size is always refused with 552",
    "needsUpgrade": "leave it out, secure=True starts TLS itself; bun-smtp's is tlsRequired=True",
    "component": "give a logger with that namespace, logger=twisted.logger.Logger('…')",
    **dict.fromkeys(
        (
            *("pfx", "maxVersion", "honorCipherOrder", "dhparam", "ecdhCurve", "secureOptions"),
            *("secureProtocol", "sessionIdContext", "SNICallback", "ALPNProtocols", "crl"),
        ),
        "give a context factory with it, tls=…",
    ),
    **dict.fromkeys(
        ("allowHalfOpen", "pauseOnConnect", "keepAlive", "keepAliveInitialDelay", "backlog"),
        "leave it out, or see to it in the endpoint",
    ),
}


def unknownName(name: str, known: Collection[str], kind: str) -> str:
    """
    The text for a misspelled name.

    :param name: what was given.
    :param known: what could have been meant.
    :param kind: what it is a name of, ``"option"``.
    """
    if name in _INSTEAD and name not in known:
        return f"there is no {kind} {name!r}: {_INSTEAD[name]}"
    if kind != "command" and name[:4] == "hide" and name[4:].isupper():  # the reference's way
        return f"there is no {kind} {name!r}; did you mean hide=[{name[4:]!r}]?"
    close = difflib.get_close_matches(name, known, 1, 0.5)
    if not close:  # another case, or a part of the word
        close = [word for word in sorted(known) if word.lower() == name.lower()]
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"there is no {kind} {name!r}{hint}"

"""
Certificates, handshakes and what they tell: the server's side of TLS.

:class:`TLSSettings` holds what the administrator wrote; :class:`ServerContextFactory` reads every
file once, builds one OpenSSL context per certificate, and hands Twisted a connection for each
client; :func:`describeTLS` tells what a finished handshake came to. Nothing here is ever changed
after it was built: new certificates mean a new factory, and old connections keep theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import SSL, crypto
from twisted.internet import tcp
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, ISSLTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementedBy, implementer
from zope.interface.declarations import Provides

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.certificates import (
    KeyMismatchError,
    TLSSettings,
    patternName,
    readCertificates,
    readKey,
    selfSignedCertificate,
)
from twisted_smtpserver.tls.info import TLSInfo
from twisted_smtpserver.wire.hostname import hostName

__all__ = [
    "ALPN_PROTOCOLS",
    "ServerContextFactory",
    "TLSInfo",
    "TLSSettings",
    "channelBinding",
    "describeTLS",
    "opensslVersion",
    "selfSignedCertificate",
]

#: What an ALPN list must have one of (RFC 7301), the preferred one first.
ALPN_PROTOCOLS = (b"smtp", b"esmtp")

_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

# Forward secrecy always (RFC 9325 section 4.1). The two CBC lines are for the Exchange servers on
# Windows 2012, which with an RSA certificate know nothing better and would send in clear instead.
# Of TLS 1.3's suites the one that every implementation has (RFC 8446 section 9.1) comes first: its
# hash makes a handshake cheaper, and nobody breaks 128 bits.
_CIPHERS = (
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    ":ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES+SHA256:ECDHE+AES+SHA384"
)

# No session is ever resumed: OpenSSL's ticket key lives as long as the context and would undo
# forward secrecy, a resumed session carries one name's verified client over to another name, and
# without tickets a full handshake costs a third less.
_OPTIONS = (
    SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_NO_TICKET
)

# What is forced on a context of the user's own; the rest of it is the user's choice.
_FLOOR = (
    SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_SSLv3
    | SSL.OP_NO_TLSv1
    | SSL.OP_NO_TLSv1_1
)

# For each TLS connection Twisted declares all interfaces of the transport, one in place of the
# other. zope.interface keeps what it computes for that as long as somebody refers to it, and then
# it needn't be computed for the next connection: three hundredths of a STARTTLS session.
_DECLARATIONS = [
    Provides(TLSMemoryBIOFactory.protocol, interface)
    for interface in (*implementedBy(tcp.Server), ISSLTransport)
] + [Provides(tcp.Server, ISSLTransport)]


#: How many certificates may be between a client's and one of ``ca``. Each costs time to verify, and
#: what real ones have is two or three.
MAX_INTERMEDIATES = 10


def _reason(error: SSL.Error) -> str:
    """
    What OpenSSL has against it.
    """
    return ", ".join(entry[-1] for entry in error.args[0])


def _selectALPN(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """
    Refuse clients that believe to speak another protocol, which ends cross-protocol attacks such
    as ALPACA. Clients without ALPN, that is nearly all of mail, don't come here.

    :raises SSL.Error: this makes pyOpenSSL send the fatal alert no_application_protocol (RFC 7301
        §3.2), and Twisted flush it; NO_OVERLAPPING_PROTOCOLS would let the handshake succeed.
    """
    for protocol in ALPN_PROTOCOLS:
        if protocol in offered:
            return protocol
    raise SSL.Error([("SSL routines", "", "no application protocol")])


def _noteUnverified(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """
    Let a certificate that can't be verified pass, but remember it.
    """
    if not ok:
        cast(_Connection, connection).unverified = True
    return True


def _setCiphers(context: SSL.Context, label: str, ciphers: str) -> None:
    """
    Set the suites of both generations from one string; OpenSSL has one call for each, and would
    skip the other's names without a word.

    :raises ConfigurationError: if nothing usable is in it.
    """
    names = ciphers.split(":")
    modern = [name for name in names if name.startswith("TLS_")]
    older = [name for name in names if not name.startswith("TLS_")]
    try:
        if modern:
            context.set_tls13_ciphersuites(":".join(modern).encode())
        if older:
            # Suites without encryption or without certificate are never meant.
            context.set_cipher_list(":".join([*older, "!aNULL", "!eNULL"]).encode())
    except SSL.Error as error:
        raise ConfigurationError(f"{label}ciphers: {ciphers!r}: {_reason(error)}") from None


def _setVerification(context: SSL.Context, label: str, settings: TLSSettings) -> None:
    """
    Say whether clients show a certificate, and who may have signed it.

    :raises ConfigurationError: if ``ca`` can't be read, or is needed and missing.
    """
    if settings.ca is not None:
        store = cast(crypto.X509Store, context.get_cert_store())
        for authority in readCertificates(f"{label}ca", settings.ca):
            # The one thing of pyOpenSSL that doesn't take cryptography's certificates.
            store.add_cert(crypto.X509.from_cryptography(authority))
            context.add_client_ca(authority)
    context.set_verify_depth(MAX_INTERMEDIATES)
    if settings.requestCert and settings.rejectUnauthorized:
        if settings.ca is None:
            raise ConfigurationError(
                f"{label}ca: missing, requestCert with rejectUnauthorized needs it"
            )
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    elif settings.requestCert:
        context.set_verify(SSL.VERIFY_PEER, _noteUnverified)


def _setCertificate(
    context: SSL.Context, label: str, key: Any, chain: list[x509.Certificate]
) -> None:
    """
    Give the context its key, its certificate and what is sent with it.

    :raises ConfigurationError: if they don't belong together, or OpenSSL doesn't want them.
    """
    try:
        isPair = key.public_key() == chain[0].public_key()
        if isPair:
            context.use_certificate(chain[0])
            context.use_privatekey(key)
            for certificate in chain[1:]:
                context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        reason = _reason(error)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        reason = "this kind of key is not supported"
    else:
        if isPair:
            return
        raise KeyMismatchError(f"{label}key and cert: the key doesn't belong to the certificate")
    raise ConfigurationError(f"{label}key and cert: {reason}")


def _makeContext(label: str, settings: TLSSettings) -> tuple[SSL.Context, x509.Certificate]:
    """
    Build the context for one certificate.

    It is made from pyOpenSSL's class and not with Twisted's CertificateOptions, because that one
    has no way to forbid renegotiation, to report an unverified client or to refuse ALPN lists with
    the right alert, and still wants its certificates in pyOpenSSL's deprecated types.

    :param label: what names of options in messages begin with.
    :returns: the context and the certificate.
    :raises ConfigurationError: if it can't be done; the text names the option.
    """
    key = readKey(f"{label}key", settings)
    chain = readCertificates(f"{label}cert", settings.cert)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.minVersion])
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Frees some 34 KiB of buffers per idle connection.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_alpn_select_callback(_selectALPN)
    _setCiphers(context, label, settings.ciphers or _CIPHERS)
    _setVerification(context, label, settings)
    _setCertificate(context, label, key, chain)
    return context, chain[0]


def _serverName(connection: SSL.Connection) -> str | None:
    """
    The name that the client asked for. RFC 6066 has it in A-labels; some send UTF-8.

    :returns: ``None`` if there was none, or not a host name: these are the peer's octets.
    """
    name = connection.get_servername()
    return None if name is None else hostName(name.decode("utf-8", "replace"))


def _contextOf(value: object) -> SSL.Context | None:
    """
    The context of a user's context factory, or the user's context itself.
    """
    if isinstance(value, SSL.Context):
        return value
    getContext = getattr(value, "getContext", None)
    context = getContext() if callable(getContext) else None
    return context if isinstance(context, SSL.Context) else None


def _namedSettings(label: str, value: object, server: TLSSettings) -> TLSSettings:
    """
    What holds for one name of ``sniOptions``.

    :raises ConfigurationError: if it is invalid, or asks for what can't differ by name:
        OpenSSL decides the version before it knows the name, and a client must not escape
        ``requestCert`` by asking for another name.
    """
    if isinstance(value, Mapping):
        unknown = set(value) - {field.name for field in dataclasses.fields(TLSSettings)}
        if unknown:
            raise ConfigurationError(f"{label}: unknown options: {sorted(map(str, unknown))}")
        value = TLSSettings(**value)
    if not isinstance(value, TLSSettings):
        raise ConfigurationError(f"{label}: neither settings nor a context factory")
    default = TLSSettings()
    for name in ("minVersion", "requestCert", "rejectUnauthorized", "sniOptions"):
        if getattr(value, name) not in (getattr(default, name), getattr(server, name)):
            raise ConfigurationError(
                f"{label}: {name} applies to all names, so it can't be set here"
            )
    return dataclasses.replace(
        server,
        key=value.key,
        cert=value.cert,
        passphrase=value.passphrase,
        ca=server.ca if value.ca is None else value.ca,
        ciphers=value.ciphers or server.ciphers,
    )


class _Connection(SSL.Connection):
    """
    A connection that remembers what pyOpenSSL has no question for.
    """

    #: Whether the client's certificate failed the verification, and was let pass.
    unverified = False

    def __init__(self, owner: ServerContextFactory, context: SSL.Context):
        super().__init__(context)
        # OpenSSL may call the first context's callbacks even after the name switched to another
        # context; pyOpenSSL keeps only that one alive, and a replaced factory would be gone.
        self._owner = owner


@implementer(IOpenSSLServerConnectionCreator)
class ServerContextFactory:
    """
    What ``startTLS`` and TLS endpoints want: it makes the server's side of each TLS connection.

    All files are read here, once. The minimum is TLS 1.2, and there is no renegotiation, no
    compression and no resumption of sessions. A client that names protocols by ALPN must name one
    of ``smtp`` and ``esmtp``.

    :param settings: the certificate and the rest.
    :param tls: instead of ``settings``, a context factory of your own, for example a
        :class:`twisted.internet.ssl.CertificateOptions`. It decides everything except what is
        forced on every connection: TLS 1.2 at least, no renegotiation, no compression. ALPN is
        its business as well; give CertificateOptions ``acceptableProtocols=[b"smtp"]``, or
        clients that offer ``smtp`` are refused.
    :raises ConfigurationError: if a certificate can't be used. The text is one line that names
        the option and the file, and has nothing of the key in it.
    """

    def __init__(self, settings: TLSSettings | None = None, *, tls: object = None):
        if (settings is None) == (tls is None):
            raise ConfigurationError("tls: give either a context factory, or key and cert")
        self._creator = tls if IOpenSSLServerConnectionCreator.providedBy(tls) else None
        self._wrapped = tls
        self._context: SSL.Context | None = None
        #: The certificates that were read, without those that are sent along with them.
        self.certificates: list[x509.Certificate] = []
        self._named: dict[str, SSL.Context] = {}
        if settings is not None:
            self._context = self._makeContext("", settings)
            self._named = dict(self._readNamed(settings))
            if self._named:
                self._context.set_tlsext_servername_callback(self._selectCertificate)
        elif self._creator is None and _contextOf(tls) is None:
            raise ConfigurationError("tls: is not a context factory")

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        Make the OpenSSL connection for a client; called by Twisted.

        :param tlsProtocol: Twisted's TLS protocol object.
        """
        if self._context is not None:
            return _Connection(self, self._context)
        if self._creator is not None:
            connection = self._creator.serverConnectionForTLS(tlsProtocol)
        else:
            # Asked again each time: a context factory may have new certificates by now.
            connection = SSL.Connection(cast(SSL.Context, _contextOf(self._wrapped)))
        connection.set_options(_FLOOR)
        return connection

    def _readNamed(self, settings: TLSSettings) -> Iterable[tuple[str, SSL.Context]]:
        for name, value in settings.sniOptions.items():
            label = f"sniOptions[{name!r}]"
            pattern = patternName(name)
            if pattern is None:
                raise ConfigurationError(f"{label}: is not a host name")
            context = _contextOf(value)
            if context is None:
                named = _namedSettings(label, value, settings)
                context = self._makeContext(f"{label}.", named)
            yield pattern, context

    def _makeContext(self, label: str, settings: TLSSettings) -> SSL.Context:
        context, certificate = _makeContext(label, settings)
        self.certificates.append(certificate)
        return context

    def _selectCertificate(self, connection: SSL.Connection) -> None:
        name = _serverName(connection) or ""
        context = self._named.get(name) or self._named.get(f"*.{name.partition('.')[2]}")
        if context is not None:
            connection.set_context(context)


def _connectionOf(transport: object) -> SSL.Connection | None:
    """
    The OpenSSL connection of a transport; ``None`` if there is none, or it is a plain socket.
    """
    getHandle = getattr(transport, "getHandle", None)
    handle = getHandle() if callable(getHandle) else None
    return handle if isinstance(handle, SSL.Connection) else None


def handshakeTrouble(error: BaseException | None) -> str:
    """
    Tell why a handshake failed.

    :param error: what the connection was lost with.
    :returns: OpenSSL's words, which may be those for a client's alert; empty if it has none.
    """
    return _reason(error) if isinstance(error, SSL.Error) and error.args else ""


def describeTLS(transport: object) -> TLSInfo:
    """
    Tell what was agreed upon.

    :param transport: a Twisted transport whose TLS handshake is complete. Any other object yields
        a :class:`TLSInfo` without facts.
    """
    connection = _connectionOf(transport)
    if connection is None:
        return TLSInfo()
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
    except Exception:
        # The peer's octets, which OpenSSL takes more leniently than cryptography does; what
        # can't be shown to a handler isn't authorized either.
        certificate = None
    alpn = connection.get_alpn_proto_negotiated()
    return TLSInfo(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name(),
        cipherBits=connection.get_cipher_bits(),
        serverName=_serverName(connection),
        peerCertificate=certificate,
        # Any other client with a certificate passed verification: OpenSSL saw to that.
        authorized=certificate is not None and not getattr(connection, "unverified", False),
        alpn=alpn.decode("ascii", "backslashreplace") or None,
    )


def channelBinding(transport: object) -> bytes | None:
    """
    The ``tls-exporter`` channel binding, for SASL mechanisms that end in -PLUS (RFC 9266).

    :param transport: a Twisted transport.
    :returns: 32 octets; ``None`` before the handshake, without TLS, and below TLS 1.3, where the
        value would be unique only with an extension that pyOpenSSL can't tell about.
    """
    connection = _connectionOf(transport)
    if connection is None or connection.get_protocol_version_name() != "TLSv1.3":
        return None
    try:
        return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    except SSL.Error:
        return None


def opensslVersion() -> str:
    """OpenSSL's name and version, and its day."""
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii")

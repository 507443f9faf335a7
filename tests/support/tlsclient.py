"""
A TLS client in memory, and certificates for both sides.
"""

from __future__ import annotations

import contextlib
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from tests.support.certificates import Certified, makeCA, makeCertificate
from twisted_smtpserver.tls.context import TLSInfo, TLSSettings, describeTLS

CA = makeCA()
SERVER = makeCertificate(CA, ["mail.example.com"])
OTHER = makeCertificate(CA, ["other.example.net"])
CLIENT = makeCertificate(CA, [], clientName="client")
STRANGER = makeCertificate(makeCA("Another CA"), [], clientName="stranger")


def settingsFor(certified: Certified = SERVER, **options) -> TLSSettings:
    """The least settings that make a server."""
    return TLSSettings(key=certified.keyPEM, cert=certified.certPEM, **options)


@implementer(IHandshakeListener)
class Server(Protocol):
    """The protocol inside of TLS: it remembers what happened to it."""

    completed = False
    lost = None

    def handshakeCompleted(self):
        """Remember it."""
        self.completed = True

    def connectionLost(self, reason):
        """Remember it."""
        self.lost = reason


def makeClient(
    name=None, *, alpn=(), certificate=None, ciphers=None, suites=None, version=None, trusts=None
) -> SSL.Connection:
    """A TLS client without a socket, as little choosy as its OpenSSL allows."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(ciphers or b"ALL:@SECLEVEL=0")
    if suites:
        context.set_tls13_ciphersuites(suites)
    if version:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if isinstance(certificate, Certified):
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
    if trusts:
        store: Any = context.get_cert_store()
        store.add_cert(crypto.X509.from_cryptography(trusts.certificate))
        context.set_verify(SSL.VERIFY_PEER, lambda *args: bool(args[-1]))
    connection = SSL.Connection(context)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name)
    return connection


class Handshake:
    """
    A handshake through Twisted's TLS, carried to its end.

    :ivar error: what the client came to know of a failure, in words.
    """

    error: str | None = None

    def __init__(self, factory: Any, client: SSL.Connection | None = None):
        self.client = client or makeClient()
        wrapped = TLSMemoryBIOFactory(factory, False, Factory.forProtocol(Server), Clock())
        self.tls: Any = wrapped.buildProtocol(None)
        self.wire = StringTransport()
        self.tls.makeConnection(self.wire)
        self.server: Any = self.tls.wrappedProtocol
        self.clientDo(self.client.do_handshake)
        # In TLS 1.3 the client learns of a refused certificate when it reads.
        self.clientDo(self.client.recv, 1)

    def clientDo(self, function, *args):
        """Call the client's function until it has what it needs, or nothing moves any more."""
        while self.error is None:
            try:
                function(*args)
            except SSL.WantReadError:
                if not self.carry():
                    return
            except SSL.Error as error:
                # OpenSSL's versions begin the words differently: "sslv3 alert …", "tls alert …".
                reason = error.args[0][-1][-1]
                self.error = reason.rpartition(" alert ")[2]
            else:
                self.carry()
                return
        self.carry()

    def carry(self) -> bool:
        """Carry what is on its way, and say whether the client got something."""
        with contextlib.suppress(SSL.WantReadError):
            self.tls.dataReceived(self.client.bio_read(2**16))
        octets = self.wire.value()
        self.wire.clear()
        if octets:
            self.client.bio_write(octets)
        return bool(octets)

    @property
    def info(self) -> TLSInfo:
        """What the server tells of the handshake."""
        return describeTLS(self.server.transport)

    @property
    def certificate(self) -> x509.Certificate | None:
        """The certificate that the client was shown."""
        return self.client.get_peer_certificate(as_cryptography=True)

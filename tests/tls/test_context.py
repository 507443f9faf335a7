"""
Tests for twisted_smtpserver.tls.context, with real handshakes.
"""

from __future__ import annotations

import gc
import socket
import ssl
import weakref

from OpenSSL import SSL, crypto
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementedBy
from zope.interface.declarations import Provides
from zope.interface.verify import verifyObject

from tests.support.tlsclient import (
    CA,
    CLIENT,
    OTHER,
    SERVER,
    Handshake,
    makeClient,
    settingsFor,
)
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.context import (
    ServerContextFactory,
    TLSInfo,
    channelBinding,
    describeTLS,
    selfSignedCertificate,
)


class HandshakeTests(SynchronousTestCase):
    def test_interface(self):
        """
        The factory provides what Twisted asks for.
        """
        factory = ServerContextFactory(settingsFor())
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, factory))

    def test_defaults(self):
        """
        With the defaults the parties agree on TLS 1.3, and the facts are told.
        """
        shaken = Handshake(ServerContextFactory(settingsFor()))
        self.assertTrue(shaken.server.completed)
        self.assertEqual(
            TLSInfo(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", cipherBits=128), shaken.info
        )
        self.assertEqual(SERVER.certificate, shaken.certificate)

    def test_versions(self):
        """
        TLS 1.2 is accepted unless minVersion says 1.3; TLS 1.1 and 1.0 never.
        """
        for least, version, expected in (
            ("TLSv1.2", SSL.TLS1_2_VERSION, "TLSv1.2"),
            ("TLSv1.2", SSL.TLS1_1_VERSION, None),
            ("TLSv1.2", SSL.TLS1_VERSION, None),
            ("TLSv1.3", SSL.TLS1_3_VERSION, "TLSv1.3"),
            ("TLSv1.3", SSL.TLS1_2_VERSION, None),
        ):
            factory = ServerContextFactory(settingsFor(minVersion=least))
            shaken = Handshake(factory, makeClient(version=version))
            if expected:
                self.assertEqual(expected, shaken.info.version)
            else:
                self.assertEqual("protocol version", shaken.error)
                self.assertFalse(shaken.server.completed)

    def test_options(self):
        """
        Renegotiation, compression and session tickets are off; idle connections hold no buffers.
        """
        factory = ServerContextFactory(settingsFor())
        mode = factory._context.set_mode(0)
        self.assertTrue(mode & SSL.MODE_RELEASE_BUFFERS)
        connection = factory.serverConnectionForTLS(None)
        wanted = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET
        self.assertEqual(wanted, connection.set_options(0) & wanted)
        self.assertEqual(SSL.SESS_CACHE_OFF, connection.get_context().get_session_cache_mode())

    def test_noRenegotiation(self):
        """
        A client that wants to renegotiate is turned down.
        """
        own = CertificateOptions(SERVER.key, SERVER.certificate)
        for factory in (ServerContextFactory(settingsFor()), ServerContextFactory(tls=own)):
            shaken = Handshake(factory, makeClient(version=SSL.TLS1_2_VERSION))
            shaken.client.renegotiate()
            shaken.clientDo(shaken.client.do_handshake)
            self.assertEqual("no renegotiation", shaken.error)

    def test_serverPrefers(self):
        """
        The order of the server's suites counts, not the client's.
        """
        first, second = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
        for order in (f"{first}:{second}", f"{second}:{first}"):
            shaken = Handshake(
                ServerContextFactory(settingsFor(ciphers=order)),
                makeClient(ciphers=f"{first}:{second}".encode(), version=SSL.TLS1_2_VERSION),
            )
            self.assertEqual(order.split(":")[0], shaken.info.cipher)

    def test_defaultSuites(self):
        """
        By default every suite has forward secrecy.
        """
        connection = ServerContextFactory(settingsFor()).serverConnectionForTLS(None)
        for suite in connection.get_cipher_list():
            self.assertTrue(suite.startswith(("TLS_", "ECDHE-ECDSA-", "ECDHE-RSA-")), suite)

    def test_noSuiteInCommon(self):
        """
        Suites without encryption or without certificate can't be had, whatever ciphers says.
        """
        for ciphers, offered in (
            ("ALL:@SECLEVEL=0", b"aNULL:@SECLEVEL=0"),
            ("COMPLEMENTOFALL:ALL:@SECLEVEL=0", b"eNULL:@SECLEVEL=0"),
        ):
            shaken = Handshake(
                ServerContextFactory(settingsFor(ciphers=ciphers)),
                makeClient(ciphers=offered, version=SSL.TLS1_2_VERSION),
            )
            self.assertEqual("handshake failure", shaken.error)

    def test_suitesOfBothGenerations(self):
        """
        One string chooses the suites of TLS 1.2 and of TLS 1.3.
        """
        suite = "ECDHE-ECDSA-AES128-GCM-SHA256"
        for ciphers in (f"TLS_AES_128_GCM_SHA256:{suite}", "TLS_AES_128_GCM_SHA256"):
            factory = ServerContextFactory(settingsFor(ciphers=ciphers))
            self.assertEqual("TLS_AES_128_GCM_SHA256", Handshake(factory).info.cipher)
        factory = ServerContextFactory(settingsFor(ciphers=f"TLS_AES_128_GCM_SHA256:{suite}"))
        shaken = Handshake(factory, makeClient(version=SSL.TLS1_2_VERSION))
        self.assertEqual(suite, shaken.info.cipher)
        shaken = Handshake(
            factory, makeClient(suites=b"TLS_AES_256_GCM_SHA384", version=SSL.TLS1_3_VERSION)
        )
        self.assertEqual("handshake failure", shaken.error)

    def test_factoriesDontMeet(self):
        """
        A new factory has the new certificate, and a connection of the old one goes on.
        """
        old = Handshake(ServerContextFactory(settingsFor()))
        new = Handshake(ServerContextFactory(settingsFor(OTHER)))
        self.assertEqual(OTHER.certificate, new.certificate)
        old.tls.write(b"220 still here\r\n")
        old.tls._aggregator.flush()
        old.carry()
        self.assertEqual(b"220 still here\r\n", old.client.recv(100))

    def test_factoryLivesAsLongAsItsConnections(self):
        """
        A connection keeps the factory that OpenSSL may still call into; after it nothing does.
        """
        factory = ServerContextFactory(settingsFor(sniOptions={"a.example": settingsFor(OTHER)}))
        alive = weakref.ref(factory)
        connection = factory.serverConnectionForTLS(None)
        connection.set_context(SSL.Context(SSL.TLS_SERVER_METHOD))
        del factory
        gc.collect()
        self.assertIsNotNone(alive())
        del connection
        gc.collect()
        self.assertIsNone(alive())


class DeclarationTests(SynchronousTestCase):
    def test_kept(self):
        """
        What Twisted has zope.interface compute for each TLS connection is there already.
        """
        for interface in (*implementedBy(Server), ISSLTransport):
            declaration = weakref.ref(Provides(TLSMemoryBIOFactory.protocol, interface))
            gc.collect()
            self.assertIsNotNone(declaration(), interface)


class DescribeTests(SynchronousTestCase):
    def test_withoutTLS(self):
        """
        Transports in clear, and objects that aren't transports, have no facts and no binding.
        """

        class Plain:
            def getHandle(self):
                return socket

        for transport in (Plain(), StringTransport(), object(), None):
            self.assertEqual(TLSInfo(), describeTLS(transport))
            self.assertIsNone(channelBinding(transport))

    def test_frozen(self):
        """
        The facts can't be changed, and have no room for others.
        """
        info = TLSInfo()
        with self.assertRaises(AttributeError):
            info.authorized = True
        self.assertFalse(hasattr(info, "__dict__"))

    def test_channelBinding(self):
        """
        Both sides have the same 32 octets, and each connection has its own (RFC 9266).
        """
        factory = ServerContextFactory(settingsFor())
        one, two = Handshake(factory), Handshake(factory)
        binding = channelBinding(one.server.transport)
        self.assertEqual(32, len(binding))
        self.assertEqual(
            binding, one.client.export_keying_material(b"EXPORTER-Channel-Binding", 32)
        )
        self.assertNotEqual(binding, channelBinding(two.server.transport))

    def test_noChannelBinding(self):
        """
        There is none below TLS 1.3, and none before the handshake.
        """
        factory = ServerContextFactory(settingsFor())
        shaken = Handshake(factory, makeClient(version=SSL.TLS1_2_VERSION))
        self.assertIsNone(channelBinding(shaken.server.transport))

        class Young:
            def getHandle(self):
                return factory.serverConnectionForTLS(None)

        self.assertIsNone(channelBinding(Young()))


class OwnContextTests(SynchronousTestCase):
    def test_certificateOptions(self):
        """
        CertificateOptions of the user's serve, and keep their own ALPN.
        """
        own = CertificateOptions(SERVER.key, SERVER.certificate, acceptableProtocols=[b"smtp"])
        factory = ServerContextFactory(tls=own)
        shaken = Handshake(factory, makeClient(b"mx.example.com", alpn=[b"smtp"]))
        self.assertEqual(SERVER.certificate, shaken.certificate)
        self.assertEqual("smtp", shaken.info.alpn)
        self.assertEqual("mx.example.com", shaken.info.serverName)
        self.assertIsNotNone(channelBinding(shaken.server.transport))

    def test_ownVerification(self):
        """
        What their verification let in is authorized, if it was asked for at all.
        """
        for trusted, authorized in ((CA, True), (None, False)):
            own = CertificateOptions(
                SERVER.key,
                SERVER.certificate,
                verify=bool(trusted),
                caCerts=trusted and [crypto.X509.from_cryptography(trusted.certificate)],
            )
            shaken = Handshake(ServerContextFactory(tls=own), makeClient(certificate=CLIENT))
            self.assertTrue(shaken.server.completed)
            self.assertEqual(authorized, shaken.info.authorized)

    def test_floor(self):
        """
        Even a context that would speak TLS 1.0 doesn't do it here.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(SERVER.certificate)
        context.use_privatekey(SERVER.key)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")

        class Lax:
            def getContext(self):
                return context

        for own in (context, Lax()):
            factory = ServerContextFactory(tls=own)
            self.assertEqual("TLSv1.3", Handshake(factory).info.version)
            connection = factory.serverConnectionForTLS(None)
            self.assertTrue(connection.set_options(0) & SSL.OP_NO_RENEGOTIATION)
            for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
                shaken = Handshake(factory, makeClient(version=version))
                self.assertEqual("protocol version", shaken.error)

    def test_newContexts(self):
        """
        A context factory is asked for each connection: it may have new certificates.
        """

        class Rotating:
            served = SERVER

            def getContext(self):
                context = SSL.Context(SSL.TLS_SERVER_METHOD)
                context.use_certificate(self.served.certificate)
                context.use_privatekey(self.served.key)
                return context

        own = Rotating()
        factory = ServerContextFactory(tls=own)
        self.assertEqual(SERVER.certificate, Handshake(factory).certificate)
        own.served = OTHER
        self.assertEqual(OTHER.certificate, Handshake(factory).certificate)

    def test_nonsense(self):
        """
        Both ways at once, neither, and objects that make no contexts are refused.
        """
        for arguments, options in (
            ((), {}),
            ((settingsFor(),), {"tls": SSL.Context(SSL.TLS_SERVER_METHOD)}),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                ServerContextFactory(*arguments, **options)
            self.assertEqual(
                "tls: give either a context factory, or key and cert", str(caught.exception)
            )
        with self.assertRaises(ConfigurationError) as caught:
            ServerContextFactory(tls=17)
        self.assertEqual("tls: is not a context factory", str(caught.exception))


class Greeter(Protocol):
    """Greets in TLS, and tells what it saw."""

    def connectionMade(self):
        """Greet."""
        self.transport.write(b"220 hello\r\n")

    def connectionLost(self, reason):
        """Tell what is still there to tell."""
        self.factory.facts.put(describeTLS(self.transport))


class LoopbackTests(TestCase):
    def setUp(self):
        """Listen with a certificate that is known here only."""
        made = selfSignedCertificate()
        self.factory = Factory.forProtocol(Greeter)
        self.factory.facts = DeferredQueue()
        self.port = reactor.listenSSL(
            0, self.factory, ServerContextFactory(made), interface="127.0.0.1"
        )
        self.addCleanup(self.port.stopListening)
        self.context = ssl.create_default_context(cadata=made.cert.decode())
        self.context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.context.set_alpn_protocols(["smtp"])

    async def connect(self, session=None):
        """Read the greeting in a thread; return the closed socket, and what the server saw."""

        def client(port):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
                self.context.wrap_socket(
                    plain, server_hostname="localhost", session=session
                ) as secured,
            ):
                greeting = secured.recv(100)
                return greeting, secured.version(), secured.session, secured.session_reused

        seen = await deferToThread(client, self.port.getHost().port)
        return (*seen, await self.factory.facts.get())

    def test_standardLibrary(self):
        """
        The standard library's client, which verifies the name strictly, gets through a socket.
        """

        async def check():
            greeting, version, _, _, facts = await self.connect()
            self.assertEqual((b"220 hello\r\n", "TLSv1.3"), (greeting, version))
            self.assertEqual(("TLSv1.3", "localhost"), (facts.version, facts.serverName))
            self.assertEqual("smtp", facts.alpn)

        return Deferred.fromCoroutine(check())

    def test_noResumption(self):
        """
        A client that comes back with its session gets a whole new handshake, in both versions.
        """

        async def check():
            for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
                self.context.maximum_version = version
                _, _, session, _, _ = await self.connect()
                _, _, _, reused, _ = await self.connect(session)
                self.assertFalse(reused)

        return Deferred.fromCoroutine(check())

"""
Tests for twisted_smtpserver.tls: what clients say of themselves, by ALPN and by certificate.
"""

from __future__ import annotations

import warnings

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from tests.support.tlsclient import CA, CLIENT, OTHER, STRANGER, Handshake, makeClient, settingsFor
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.context import ServerContextFactory


class ALPNTests(SynchronousTestCase):
    factory = ServerContextFactory(
        settingsFor(sniOptions={"other.example.net": settingsFor(OTHER)})
    )

    def test_accepted(self):
        """
        No list at all, and lists with smtp or esmtp in them, are accepted (RFC 7301).
        """
        for offered, expected in (
            ((), None),
            ((b"smtp",), "smtp"),
            ((b"esmtp",), "esmtp"),
            ((b"esmtp", b"smtp"), "smtp"),
            ((b"http/1.1", b"esmtp"), "esmtp"),
        ):
            shaken = Handshake(self.factory, makeClient(alpn=offered))
            self.assertTrue(shaken.server.completed)
            self.assertEqual(expected, shaken.info.alpn)
            self.assertEqual((expected or "").encode(), shaken.client.get_alpn_proto_negotiated())

    def test_refused(self):
        """
        A client that wants another protocol gets the fatal alert, in both versions, for all names.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for name in (None, b"other.example.net"):
                for offered in ((b"http/1.1",), (b"h2", b"http/1.1"), (b"SMTP",), (b"lmtp",)):
                    client = makeClient(name, alpn=offered, version=version)
                    shaken = Handshake(self.factory, client)
                    self.assertEqual("no application protocol", shaken.error)
                    self.assertFalse(shaken.server.completed)
                    self.assertTrue(shaken.wire.disconnecting)


class ClientCertificateTests(SynchronousTestCase):
    def shake(self, certificate, version=None, **options):
        """Let a client come with its certificate."""
        factory = ServerContextFactory(settingsFor(requestCert=True, **options))
        return Handshake(factory, makeClient(certificate=certificate, version=version))

    def test_notRequested(self):
        """
        By default no certificate is asked for, and none is reported.
        """
        shaken = Handshake(
            ServerContextFactory(settingsFor(ca=CA.certPEM)), makeClient(certificate=CLIENT)
        )
        self.assertIsNone(shaken.info.peerCertificate)
        self.assertFalse(shaken.info.authorized)

    def test_authorized(self):
        """
        A certificate that ca has signed is reported as authorized, in both versions and modes.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for reject in (True, False):
                shaken = self.shake(CLIENT, version, ca=CA.certPEM, rejectUnauthorized=reject)
                self.assertEqual(CLIENT.certificate, shaken.info.peerCertificate)
                self.assertTrue(shaken.info.authorized)

    def test_rejected(self):
        """
        A missing certificate, and one that can't be verified, fail the handshake.
        """
        server = makeCertificate(CA, ["client.example"])
        for certificate, version, alert in (
            (None, SSL.TLS1_3_VERSION, "certificate required"),
            (None, SSL.TLS1_2_VERSION, "handshake failure"),
            (STRANGER, SSL.TLS1_3_VERSION, "unknown ca"),
            (STRANGER, SSL.TLS1_2_VERSION, "unknown ca"),
            # Signed by the authority, but for a server.
            (server, SSL.TLS1_3_VERSION, "unsupported certificate"),
        ):
            shaken = self.shake(certificate, version, ca=CA.certPEM)
            self.assertFalse(shaken.server.completed)
            self.assertEqual(alert, shaken.error)

    def test_reported(self):
        """
        Without rejectUnauthorized such clients are let in, and it is told what they are.
        """
        for certificate in (None, STRANGER, makeCertificate(CA, ["client.example"])):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                for ca in (CA.certPEM, None):
                    shaken = self.shake(certificate, version, ca=ca, rejectUnauthorized=False)
                    self.assertTrue(shaken.server.completed)
                    self.assertFalse(shaken.info.authorized)
                    self.assertEqual(
                        certificate and certificate.certificate, shaken.info.peerCertificate
                    )

    def test_oneClientDoesntSpeakForAnother(self):
        """
        A client that isn't verified leaves no mark on the next one, nor the other way around.
        """
        factory = ServerContextFactory(
            settingsFor(requestCert=True, rejectUnauthorized=False, ca=CA.certPEM)
        )
        for certificate in (CLIENT, STRANGER, CLIENT, None, CLIENT):
            shaken = Handshake(factory, makeClient(certificate=certificate))
            self.assertEqual(certificate is CLIENT, shaken.info.authorized)

    def test_authorityIsNamed(self):
        """
        The client is told which authorities count.
        """
        shaken = self.shake(CLIENT, ca=CA.certPEM)
        with warnings.catch_warnings():
            # The way that doesn't use a deprecated type is there since pyOpenSSL 26.3 only.
            warnings.simplefilter("ignore", DeprecationWarning)
            (name,) = shaken.client.get_client_ca_list()
            self.assertEqual("Test CA", name.CN)

    def test_authorityIsNeeded(self):
        """
        To require certificates without ca makes no sense.
        """
        with self.assertRaises(ConfigurationError) as caught:
            ServerContextFactory(settingsFor(requestCert=True))
        self.assertEqual(
            "ca: missing, requestCert with rejectUnauthorized needs it", str(caught.exception)
        )

    def test_certificateThatOnlyOpenSSLCanRead(self):
        """
        A certificate that cryptography refuses to parse counts as none.
        """
        der = CLIENT.certificate.public_bytes(serialization.Encoding.DER)
        # The version field: v3 becomes a v9 that doesn't exist.
        broken = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08", 1)
        client = makeClient()
        with warnings.catch_warnings():
            # To hand over what cryptography can't read, pyOpenSSL's deprecated type is needed.
            warnings.simplefilter("ignore", DeprecationWarning)
            client.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, broken))
        client.use_privatekey(CLIENT.key)
        shaken = Handshake(
            ServerContextFactory(settingsFor(requestCert=True, rejectUnauthorized=False)), client
        )
        self.assertTrue(shaken.server.completed)
        self.assertIsNotNone(shaken.tls.getPeerCertificate())
        self.assertIsNone(shaken.info.peerCertificate)
        self.assertFalse(shaken.info.authorized)

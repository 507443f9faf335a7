"""
Tests for twisted_smtpserver.tls.context: a certificate for each name.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCA, makeCertificate
from tests.support.tlsclient import CA, CLIENT, OTHER, SERVER, Handshake, makeClient, settingsFor
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.context import ServerContextFactory


class ServerNameTests(SynchronousTestCase):
    def serve(self, name, sniOptions, **options):
        """Let a client ask for the name."""
        factory = ServerContextFactory(settingsFor(sniOptions=sniOptions, **options))
        return Handshake(factory, makeClient(name))

    def assertNamed(self, name, pattern):
        """Assert that the name gets the certificate of the pattern."""
        shaken = self.serve(name, {pattern: settingsFor(OTHER)})
        self.assertEqual(OTHER.certificate, shaken.certificate, (name, pattern))

    def assertDefault(self, name, pattern):
        """Assert that the name gets the default certificate."""
        shaken = self.serve(name, {pattern: settingsFor(OTHER)})
        self.assertIsNone(shaken.error)
        self.assertEqual(SERVER.certificate, shaken.certificate, (name, pattern))

    def test_names(self):
        """
        A name selects its certificate, whatever its case, its last dot and its form (RFC 6066 §3).
        """
        for name, pattern in (
            (b"mx.example.com", "mx.example.com"),
            (b"MX.Example.COM", "mx.example.com"),
            (b"mx.example.com", "Mx.Example.com."),
            (b"mx.example.com.", "mx.example.com"),
            (b"xn--mnchen-3ya.example", "München.example"),
            (b"XN--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("münchen.example".encode(), "xn--mnchen-3ya.example"),
            (b"_mta_1.example", "_mta_1.example"),
            (b"localhost", "localhost"),
        ):
            self.assertNamed(name, pattern)

    def test_wildcards(self):
        """
        A wildcard stands for one label, the first.
        """
        for name in (b"mx.example.com", b"MX2.example.com"):
            self.assertNamed(name, "*.example.com")
        self.assertNamed(b"mx.xn--mnchen-3ya.example", "*.MÜNCHEN.example")
        for name in (
            b"example.com",
            b"a.b.example.com",
            b"mxexample.com",
            b"*.example.com",
            b"com",
        ):
            self.assertDefault(name, "*.example.com")

    def test_exactNameFirst(self):
        """
        A name's own certificate goes before that of a wildcard.
        """
        third = makeCertificate(CA, ["mx.example.com"])
        names = {"*.example.com": settingsFor(OTHER), "mx.example.com": settingsFor(third)}
        self.assertEqual(third.certificate, self.serve(b"mx.example.com", names).certificate)

    def test_unknownNames(self):
        """
        Names that nobody configured, no names and no name at all get the default certificate.
        """
        for name in (None, b"mx.example.net", b".", b"..", b"-", b"\xff\xfe", b"a" * 255, b"x\ny"):
            self.assertDefault(name, "mx.example.com")

    def test_nameIsTold(self):
        """
        The name is told in its normal form, without sniOptions too, if it is a host name.
        """
        for name, told in (
            (b"MX.Example.com", "mx.example.com"),
            ("münchen.example".encode(), "xn--mnchen-3ya.example"),
            (b"mx.example.com\r\nX: y", None),
            (b"192.0.2.1", None),
            (b"\xff\xfe", None),
            (b"a b", None),
            (b".", None),
        ):
            for names in ({}, {"*.example.com": settingsFor(OTHER)}):
                self.assertEqual(told, self.serve(name, names).info.serverName)

    def test_valuesOfOtherKinds(self):
        """
        A mapping, a context and a context factory serve as well as settings.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(OTHER.certificate)
        context.use_privatekey(OTHER.key)
        for value in (
            {"key": OTHER.keyPEM, "cert": OTHER.certPEM},
            {"key": OTHER.encryptedKeyPEM(b"x"), "cert": OTHER.certPEM, "passphrase": "x"},
            context,
            CertificateOptions(OTHER.key, OTHER.certificate),
        ):
            shaken = self.serve(b"a.example", {"a.example": value})
            self.assertEqual(OTHER.certificate, shaken.certificate)

    def test_badValues(self):
        """
        What can't work is refused with the name it was given for.
        """

        class WrongFactory:
            def getContext(self):
                return 17

        good = {"key": OTHER.keyPEM, "cert": OTHER.certPEM}
        for name, value, expected in (
            ("a b", good, "sniOptions['a b']: is not a host name"),
            ("*", good, "sniOptions['*']: is not a host name"),
            ("*.*.b", good, "sniOptions['*.*.b']: is not a host name"),
            ("", good, "sniOptions['']: is not a host name"),
            ("a.b", {**good, "keys": 1}, "sniOptions['a.b']: unknown options: ['keys']"),
            ("a.b", 17, "sniOptions['a.b']: neither settings nor a context factory"),
            ("a.b", WrongFactory(), "sniOptions['a.b']: neither settings nor a context factory"),
            ("a.b", {}, "sniOptions['a.b'].key: missing, TLS needs both key and cert"),
            (
                "a.b",
                {**good, "key": "no/such.pem"},
                "sniOptions['a.b'].key ('no/such.pem'): can't be read: No such file or directory",
            ),
            (
                "a.b",
                {**good, "key": SERVER.keyPEM},
                "sniOptions['a.b'].key and cert: the key doesn't belong to the certificate",
            ),
            (
                "a.b",
                {**good, "ciphers": "no"},
                "sniOptions['a.b'].ciphers: 'no': no cipher match",
            ),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.serve(None, {name: value})
            self.assertEqual(expected, str(caught.exception))

    def test_whatHoldsForAllNames(self):
        """
        Version and client certificates can't differ by name, except that repeating is no offence.
        """
        good = {"key": OTHER.keyPEM, "cert": OTHER.certPEM}
        for option, value in (
            ("minVersion", "TLSv1.3"),
            ("requestCert", True),
            ("rejectUnauthorized", False),
            ("sniOptions", {"b.c": good}),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.serve(None, {"a.b": {**good, option: value}})
            self.assertEqual(
                f"sniOptions['a.b']: {option} applies to all names, so it can't be set here",
                str(caught.exception),
            )
        shaken = self.serve(
            b"a.b", {"a.b": {**good, "minVersion": "TLSv1.3"}}, minVersion="TLSv1.3"
        )
        self.assertEqual(OTHER.certificate, shaken.certificate)

    def test_noEscapeFromClientCertificates(self):
        """
        A client certificate that the server requires is required for every name.
        """
        names = {"a.example": settingsFor(OTHER)}
        options = {"requestCert": True, "ca": CA.certPEM}
        factory = ServerContextFactory(settingsFor(sniOptions=names, **options))
        for name in (None, b"a.example"):
            shaken = Handshake(factory, makeClient(name))
            self.assertFalse(shaken.server.completed)
            self.assertEqual("certificate required", shaken.error)
            shaken = Handshake(factory, makeClient(name, certificate=CLIENT))
            self.assertTrue(shaken.info.authorized)

    def test_ownAuthority(self):
        """
        A name's own ca replaces the server's.
        """
        ca = makeCA("A third CA")
        names = {"a.example": settingsFor(OTHER, ca=ca.certPEM)}
        factory = ServerContextFactory(
            settingsFor(sniOptions=names, requestCert=True, ca=CA.certPEM)
        )
        named = makeCertificate(ca, [], clientName="named")
        for name, certificate, authorized in (
            (None, CLIENT, True),
            (None, named, False),
            (b"a.example", named, True),
            (b"a.example", CLIENT, False),
        ):
            shaken = Handshake(factory, makeClient(name, certificate=certificate))
            self.assertEqual(authorized, shaken.server.completed)

    def test_ownCiphers(self):
        """
        A name's own ciphers replace the server's, and are the server's otherwise.
        """
        first, second = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
        names = {"own.example": settingsFor(OTHER, ciphers=second), "a.example": settingsFor(OTHER)}
        factory = ServerContextFactory(settingsFor(sniOptions=names, ciphers=first))
        for name, cipher in ((None, first), (b"own.example", second), (b"a.example", first)):
            shaken = Handshake(factory, makeClient(name, version=SSL.TLS1_2_VERSION))
            self.assertEqual(cipher, shaken.info.cipher)

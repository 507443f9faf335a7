"""The factory's certificates: where they come from, and new ones in a running server."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Certified, makeCA, makeCertificate
from tests.support.talk import HELLO
from twisted_smtpserver import ConfigurationError, SMTPServerFactory
from twisted_smtpserver.testing import Client, connect, makeFactory

CA = makeCA()
ONE = makeCertificate(CA, ["one.test"])
TWO = makeCertificate(CA, ["two.test"])


class SecureTests(SynchronousTestCase):
    """Certificates: where they come from, and new ones."""

    def options(self, certified: Certified) -> dict[str, Any]:
        return {"key": certified.keyPEM, "cert": certified.certPEM}

    def shown(self, client: Client) -> Any:
        """The certificate that the server shows."""
        client.startTLS()
        assert client._tls is not None
        return client._tls.get_peer_certificate(as_cryptography=True)

    def overSTARTTLS(self, factory: SMTPServerFactory) -> Any:
        """The certificate that a new client is shown."""
        client = connect(factory)
        self.assertIn("STARTTLS", client.say(HELLO).lines)
        self.assertEqual(client.say("STARTTLS").code, 220)
        return self.shown(client)

    def test_contextFactories(self):
        """A context factory of one's own: pyOpenSSL's, Twisted's, or one that has getContext."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(ONE.certificate)
        context.use_privatekey(ONE.key)

        class Old:
            def getContext(self):
                return context

        for tls in (context, Old(), self.twisteds(ONE)):
            for secure in (False, True):
                factory = makeFactory(tls=tls, secure=secure)
                certificate = self.shown(connect(factory)) if secure else self.overSTARTTLS(factory)
                self.assertEqual(certificate, ONE.certificate)

    def twisteds(self, certified: Certified) -> CertificateOptions:
        """Twisted's own context factory."""
        key: Any = certified.key  # the annotations know pyOpenSSL's types only
        certificate: Any = certified.certificate
        return CertificateOptions(key, certificate)

    def test_noContextFactory(self):
        """What is none is refused when the factory is made."""
        with self.assertRaisesRegex(ConfigurationError, "^tls: is not a context factory"):
            makeFactory(tls=object())

    def test_notBesides(self):
        """Beside a context factory nothing is accepted that would have no effect."""
        for name, value in (
            *(("ca", CA.certPEM), ("ciphers", "HIGH"), ("minVersion", "TLSv1.3")),
            *(("requestCert", True), ("rejectUnauthorized", False)),
            *(("sniOptions", {"one.test": self.options(ONE)}), ("passphrase", "x")),
        ):
            with self.assertRaisesRegex(ConfigurationError, f"^tls: can't be .* with .*{name}"):
                makeFactory(tls=object(), **{name: value})

    def test_implicit(self):
        """With ``secure`` the handshake comes before the greeting."""
        client = connect(secure=True, **self.options(ONE))
        self.assertIsNone(client.greeting)
        self.assertEqual(self.shown(client), ONE.certificate)
        self.assertEqual(client.answer().code, 220)
        self.assertTrue(client.session.secure)
        self.assertNotIn("STARTTLS", client.say(HELLO).lines)

    def test_changed(self):
        """New handshakes see the new certificate; connections go on as they were."""
        for secure in (False, True):
            factory = makeFactory(secure=secure, **self.options(ONE))
            show = (lambda f: self.shown(connect(f))) if secure else self.overSTARTTLS
            self.assertEqual(show(factory), ONE.certificate)
            (open_,) = factory.connections
            idle = connect(factory)
            factory.updateSecureContext(**self.options(TWO))
            self.assertEqual(show(factory), TWO.certificate)
            self.assertIn(open_, factory.connections)
            if not secure:
                # It was connected before, but its handshake comes now.
                idle.pipeline(HELLO, "STARTTLS")
                self.assertEqual(self.shown(idle), TWO.certificate)

    def test_readAgain(self):
        """Without changes the files that the options name are read again."""
        key, cert = self.mktemp(), self.mktemp()

        def write(certified: Certified) -> None:
            for path, octets in ((key, certified.keyPEM), (cert, certified.certPEM)):
                with open(path, "wb") as file:
                    file.write(octets)

        write(ONE)
        factory = makeFactory(key=key, cert=cert)
        write(TWO)
        self.assertEqual(self.overSTARTTLS(factory), ONE.certificate)
        factory.updateSecureContext()
        self.assertEqual(self.overSTARTTLS(factory), TWO.certificate)

    def test_firstCertificate(self):
        """A server that had none offers STARTTLS from then on, but not in open sessions."""
        factory = makeFactory()
        old = connect(factory)
        self.assertNotIn("STARTTLS", old.say(HELLO).lines)
        factory.updateSecureContext(**self.options(ONE))
        self.assertEqual(self.overSTARTTLS(factory), ONE.certificate)
        self.assertEqual(old.say("STARTTLS").code, 502)

    def test_otherSource(self):
        """A certificate from elsewhere takes the place of the one before."""
        factory = makeFactory(selfSigned=True)
        own = self.overSTARTTLS(factory)
        factory.updateSecureContext(**self.options(ONE))
        self.assertEqual(self.overSTARTTLS(factory), ONE.certificate)
        factory.updateSecureContext(tls=self.twisteds(TWO))
        self.assertEqual(self.overSTARTTLS(factory), TWO.certificate)
        factory.updateSecureContext(**self.options(ONE))
        self.assertEqual(self.overSTARTTLS(factory), ONE.certificate)
        factory.updateSecureContext(selfSigned=True)
        self.assertEqual(self.overSTARTTLS(factory).issuer, own.issuer)

    def test_nothingChanges(self):
        """Changes that make no sense are refused, and change nothing."""
        factory = makeFactory(**self.options(ONE))
        before = factory.options, factory.contextFactory, factory.verbs
        for changes, pattern in (
            ({"certs": "x"}, "no TLS option 'certs'; did you mean 'cert'"),
            ({"size": 5}, "no TLS option 'size'"),
            ({"cert": b"nonsense"}, "cert: it has no PEM certificate"),
            ({"key": TWO.keyPEM}, "key doesn't belong to the certificate"),
            ({"key": None, "cert": None}, "a certificate is needed"),
            ({"requestCert": True}, "ca: missing"),
            ({"minVersion": "SSLv3"}, "minVersion"),
            ({"tls": object()}, "tls: is not a context factory"),
        ):
            with self.assertRaisesRegex(ConfigurationError, pattern):
                factory.updateSecureContext(**changes)
        self.assertEqual((factory.options, factory.contextFactory, factory.verbs), before)
        self.assertEqual(self.overSTARTTLS(factory), ONE.certificate)

    def test_allOptions(self):
        """All of TLS's options reach the context: here a client without a certificate fails."""
        factory = makeFactory(
            secure=True,
            requestCert=True,
            ca=CA.certPEM,
            minVersion="TLSv1.2",
            ciphers="ECDHE+AESGCM",
            sniOptions={"two.test": self.options(TWO)},
            **self.options(ONE),
        )
        client = connect(factory)
        self.assertRaises(SSL.Error, client.startTLS)
        self.assertTrue(client.isClosed)

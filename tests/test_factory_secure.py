"""The factory's certificates: where they come from, and new ones in a running server."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Certified, makeCA, makeCertificate
from tests.talk import HELLO
from twisted_smtpserver import ConfigurationError, SMTPServerFactory
from twisted_smtpserver.testing import Client, connect, makeFactory


class SecureTests(SynchronousTestCase):
    """Certificates: where they come from, and new ones."""

    authority: Certified
    first: Certified
    second: Certified

    @classmethod
    def setUpClass(cls) -> None:
        """An authority, and two certificates."""
        cls.authority = makeCA()
        cls.first = makeCertificate(cls.authority, ["one.test"])
        cls.second = makeCertificate(cls.authority, ["two.test"])

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
        context.use_certificate(self.first.certificate)
        context.use_privatekey(self.first.key)

        class Old:
            def getContext(self):
                return context

        for tls in (context, Old(), self.twisteds(self.first)):
            for secure in (False, True):
                factory = makeFactory(tls=tls, secure=secure)
                certificate = self.shown(connect(factory)) if secure else self.overSTARTTLS(factory)
                self.assertEqual(certificate, self.first.certificate)

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
            *(("ca", self.authority.certPEM), ("ciphers", "HIGH"), ("minVersion", "TLSv1.3")),
            *(("requestCert", True), ("rejectUnauthorized", False)),
            *(("sniOptions", {"one.test": self.options(self.first)}), ("passphrase", "x")),
        ):
            with self.assertRaisesRegex(ConfigurationError, f"^tls: .* settles by itself .*{name}"):
                makeFactory(tls=object(), **{name: value})

    def test_implicit(self):
        """With ``secure`` the handshake comes before the greeting."""
        client = connect(secure=True, **self.options(self.first))
        self.assertIsNone(client.greeting)
        self.assertEqual(self.shown(client), self.first.certificate)
        self.assertEqual(client.answer().code, 220)
        self.assertTrue(client.session.secure)
        self.assertNotIn("STARTTLS", client.say(HELLO).lines)

    def test_changed(self):
        """New handshakes see the new certificate; connections go on as they were."""
        for secure in (False, True):
            factory = makeFactory(secure=secure, **self.options(self.first))
            show = (lambda f: self.shown(connect(f))) if secure else self.overSTARTTLS
            self.assertEqual(show(factory), self.first.certificate)
            (open_,) = factory.connections
            idle = connect(factory)
            factory.updateSecureContext(**self.options(self.second))
            self.assertEqual(show(factory), self.second.certificate)
            self.assertIn(open_, factory.connections)
            if not secure:
                # It was connected before, but its handshake comes now.
                idle.pipeline(HELLO, "STARTTLS")
                self.assertEqual(self.shown(idle), self.second.certificate)

    def test_readAgain(self):
        """Without changes the files that the options name are read again."""
        key, cert = self.mktemp(), self.mktemp()

        def write(certified: Certified) -> None:
            for path, octets in ((key, certified.keyPEM), (cert, certified.certPEM)):
                with open(path, "wb") as file:
                    file.write(octets)

        write(self.first)
        factory = makeFactory(key=key, cert=cert)
        write(self.second)
        self.assertEqual(self.overSTARTTLS(factory), self.first.certificate)
        factory.updateSecureContext()
        self.assertEqual(self.overSTARTTLS(factory), self.second.certificate)

    def test_firstCertificate(self):
        """A server that had none offers STARTTLS from then on, but not in open sessions."""
        factory = makeFactory()
        old = connect(factory)
        self.assertNotIn("STARTTLS", old.say(HELLO).lines)
        factory.updateSecureContext(**self.options(self.first))
        self.assertEqual(self.overSTARTTLS(factory), self.first.certificate)
        self.assertEqual(old.say("STARTTLS").code, 502)

    def test_otherSource(self):
        """A certificate from elsewhere takes the place of the one before."""
        factory = makeFactory(selfSigned=True)
        own = self.overSTARTTLS(factory)
        factory.updateSecureContext(**self.options(self.first))
        self.assertEqual(self.overSTARTTLS(factory), self.first.certificate)
        factory.updateSecureContext(tls=self.twisteds(self.second))
        self.assertEqual(self.overSTARTTLS(factory), self.second.certificate)
        factory.updateSecureContext(**self.options(self.first))
        self.assertEqual(self.overSTARTTLS(factory), self.first.certificate)
        factory.updateSecureContext(selfSigned=True)
        self.assertEqual(self.overSTARTTLS(factory).issuer, own.issuer)

    def test_nothingChanges(self):
        """Changes that make no sense are refused, and change nothing."""
        factory = makeFactory(**self.options(self.first))
        before = factory.options, factory.contextFactory, factory.verbs
        for changes, pattern in (
            ({"certs": "x"}, "no TLS option 'certs'; did you mean 'cert'"),
            ({"size": 5}, "no TLS option 'size'"),
            ({"cert": b"nonsense"}, "cert: no PEM certificate"),
            ({"key": self.second.keyPEM}, "key is not that of the certificate"),
            ({"key": None, "cert": None}, "a certificate is needed"),
            ({"requestCert": True}, "ca: missing"),
            ({"minVersion": "SSLv3"}, "minVersion"),
            ({"tls": object()}, "tls: is not a context factory"),
        ):
            with self.assertRaisesRegex(ConfigurationError, pattern):
                factory.updateSecureContext(**changes)
        self.assertEqual((factory.options, factory.contextFactory, factory.verbs), before)
        self.assertEqual(self.overSTARTTLS(factory), self.first.certificate)

    def test_allOptions(self):
        """All of TLS's options reach the context: here a client without a certificate fails."""
        factory = makeFactory(
            secure=True,
            requestCert=True,
            ca=self.authority.certPEM,
            minVersion="TLSv1.2",
            ciphers="ECDHE+AESGCM",
            sniOptions={"two.test": self.options(self.second)},
            **self.options(self.first),
        )
        client = connect(factory)
        self.assertRaises(SSL.Error, client.startTLS)
        self.assertTrue(client.isClosed)

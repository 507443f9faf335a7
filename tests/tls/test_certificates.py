"""
Tests for twisted_smtpserver.tls.certificates, whose settings are tried in handshakes.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import shutil
import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Certified, makeCA, makeCertificate
from tests.support.tlsclient import CA, OTHER, SERVER, Handshake, makeClient, settingsFor
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.certificates import (
    FileContent,
    TLSSettings,
    certificateNames,
    selfSignedCertificate,
)
from twisted_smtpserver.tls.context import ServerContextFactory


class SettingsTests(SynchronousTestCase):
    def test_leastVersion(self):
        """
        Versions below TLS 1.2, and words that are no version, are refused.
        """
        for version in ("TLSv1.1", "TLSv1", "SSLv3", "", "1.3", None):
            with self.assertRaises(ConfigurationError) as caught:
                TLSSettings(minVersion=version)
            self.assertEqual(
                f"minVersion: {version!r} is not one of TLSv1.2, TLSv1.3", str(caught.exception)
            )

    def test_reprKeepsSecrets(self):
        """
        The repr has neither PEM nor passphrase, not even those of other names.
        """
        shown = repr(
            settingsFor(
                passphrase="sesame",
                ca=CA.certPEM,
                ciphers="HIGH",
                sniOptions={"a.example": {"key": SERVER.keyPEM, "passphrase": "open"}},
            )
        )
        self.assertIn("HIGH", shown)
        for secret in ("BEGIN", "sesame", "open", "passphrase"):
            self.assertNotIn(secret, shown)

    def test_frozen(self):
        """
        Settings can't be changed, only replaced.
        """
        with self.assertRaises(AttributeError):
            settingsFor().key = OTHER.keyPEM


class ReadingTests(SynchronousTestCase):
    def write(self, *pems: bytes) -> str:
        """Write a file, and tell its path."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = pathlib.Path(folder, "file.pem")
        path.write_bytes(b"".join(pems))
        return str(path)

    def refusal(self, *args, **options) -> str:
        """The one line with which settings are refused, which has nothing of the key."""
        with self.assertRaises(ConfigurationError) as caught:
            ServerContextFactory(*args, **options)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        for line in SERVER.keyPEM.decode().splitlines()[1:-1]:
            self.assertNotIn(line, text)
        return text

    def assertServes(self, certified: Certified, factory: ServerContextFactory):
        """Assert that clients are shown this certificate."""
        self.assertEqual(certified.certificate, Handshake(factory).certificate)

    def test_sources(self):
        """
        PEM is taken as octets, as text, and from files named by text or by path objects.
        """
        key, cert = SERVER.keyPEM, SERVER.certPEM
        keyPath, certPath = self.write(key), self.write(cert)
        for keySource, certSource in (
            (key, cert),
            (key.decode(), cert.decode()),
            (keyPath, certPath),
            (pathlib.Path(keyPath), pathlib.Path(certPath)),
        ):
            self.assertServes(
                SERVER, ServerContextFactory(TLSSettings(key=keySource, cert=certSource))
            )

    def test_oneFileForBoth(self):
        """
        Key and certificate may stand in the same file, in any order.
        """
        for pems in ((SERVER.keyPEM, SERVER.certPEM), (SERVER.certPEM, SERVER.keyPEM)):
            path = self.write(*pems)
            self.assertServes(SERVER, ServerContextFactory(TLSSettings(key=path, cert=path)))

    def test_filesAreReadOnce(self):
        """
        No handshake reads a file: they may be gone, and so may be the files of other names.
        """
        paths = [self.write(pem) for pem in (SERVER.keyPEM, SERVER.certPEM)]
        named = [self.write(pem) for pem in (OTHER.keyPEM, OTHER.certPEM)]
        factory = ServerContextFactory(
            TLSSettings(*paths, sniOptions={"other.example.net": TLSSettings(*named)})
        )
        for path in paths + named:
            os.remove(path)
        self.assertServes(SERVER, factory)
        shaken = Handshake(factory, makeClient(b"other.example.net"))
        self.assertEqual(OTHER.certificate, shaken.certificate)

    def test_encryptedKey(self):
        """
        A passphrase, text or octets, opens an encrypted key, and doesn't disturb another.
        """
        for key in (SERVER.encryptedKeyPEM("grün".encode()), SERVER.keyPEM):
            for passphrase in ("grün", "grün".encode()):
                self.assertServes(
                    SERVER, ServerContextFactory(TLSSettings(key, SERVER.certPEM, None, passphrase))
                )

    def test_encryptedKeyOfOldForm(self):
        """
        The older form of encryption, which says so in a header, is understood too.
        """
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"sesame"),
        )
        self.assertIn(b"Proc-Type: 4,ENCRYPTED", pem)
        self.assertEqual(
            "key: is encrypted, and needs its passphrase",
            self.refusal(TLSSettings(pem, SERVER.certPEM)),
        )
        self.assertEqual(
            "key and cert: the key doesn't belong to the certificate",
            self.refusal(TLSSettings(pem, SERVER.certPEM, passphrase="sesame")),
        )

    def test_badPassphrase(self):
        """
        A missing, empty or wrong passphrase is told apart.
        """
        key = SERVER.encryptedKeyPEM(b"sesame")
        for passphrase in (None, "", b""):
            self.assertEqual(
                "key: is encrypted, and needs its passphrase",
                self.refusal(TLSSettings(key, SERVER.certPEM, passphrase=passphrase)),
            )
        self.assertEqual(
            "key: the passphrase is wrong, or the key damaged",
            self.refusal(TLSSettings(key, SERVER.certPEM, passphrase="wrong")),
        )

    def test_missing(self):
        """
        Neither key nor certificate may be missing.
        """
        self.assertEqual(
            "key: missing, TLS needs both key and cert",
            self.refusal(TLSSettings(cert=SERVER.certPEM)),
        )
        self.assertEqual(
            "cert: missing, TLS needs both key and cert",
            self.refusal(TLSSettings(key=SERVER.keyPEM)),
        )

    def test_mismatch(self):
        """
        A key that belongs to another certificate is refused, of whatever kind it is.
        """
        rsaKey, edKey = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
        for key in (OTHER.key, rsaKey, edKey):
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            self.assertEqual(
                "key and cert: the key doesn't belong to the certificate",
                self.refusal(TLSSettings(pem, SERVER.certPEM)),
            )

    def test_damagedKey(self):
        """
        An RSA key that makes no good signatures is refused; it is read without its primes' check.
        """
        good = rsa.generate_private_key(65537, 2048)
        numbers = good.private_numbers()
        parts = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
        parts |= {"d": parts["d"] - 2, "dmp1": parts["dmp1"] - 2}
        damaged = rsa.RSAPrivateNumbers(**parts, public_numbers=numbers.public_numbers)
        pem = damaged.private_key(unsafe_skip_rsa_key_validation=True).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.assertEqual("key: the key is damaged", self.refusal(TLSSettings(pem, SERVER.certPEM)))

    def test_fileContent(self):
        """
        What was in a file stands for it, and is named by it; its repr shows nothing of it.
        """
        path = self.write(SERVER.keyPEM)
        content = FileContent.read(path)
        pathlib.Path(path).write_bytes(b"nothing")
        ServerContextFactory(TLSSettings(content, SERVER.certPEM))
        self.assertEqual(repr(content), f"<FileContent of {path!r}>")
        self.assertEqual(
            f"key ({path!r}): no PEM key in it",
            self.refusal(TLSSettings(FileContent.read(path), SERVER.certPEM)),
        )

    def test_unusableKeys(self):
        """
        A key that is no good for TLS is refused with the reason.
        """
        agreement = x25519.X25519PrivateKey.generate()
        weak = rsa.generate_private_key(65537, 1024)
        name = SERVER.certificate.subject
        now = datetime.datetime.now(datetime.timezone.utc)
        for key, reason in (
            (agreement, "unknown certificate type"),
            (weak, "ee key too small"),
        ):
            certificate = (
                x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
                .sign(CA.key, SERVER.certificate.signature_hash_algorithm)
                .public_bytes(serialization.Encoding.PEM)
            )
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            self.assertEqual(f"key and cert: {reason}", self.refusal(TLSSettings(pem, certificate)))

    def test_curveNobodyKnows(self):
        """
        A certificate with a public key that cryptography has no name for is refused.
        """
        der = SERVER.certificate.public_bytes(serialization.Encoding.DER)
        curve = bytes.fromhex("2a8648ce3d0301")
        pem = ssl.DER_cert_to_PEM_cert(der.replace(curve + b"\x07", curve + b"\x7f"))
        self.assertEqual(
            "key and cert: this kind of key is not supported",
            self.refusal(TLSSettings(SERVER.keyPEM, pem)),
        )

    def test_unreadableFiles(self):
        """
        A file that can't be read is named, with the system's reason.
        """
        good = self.write(SERVER.keyPEM)
        self.assertEqual(
            "key ('no/such/key.pem'): can't be read: No such file or directory",
            self.refusal(TLSSettings("no/such/key.pem", SERVER.certPEM)),
        )
        self.assertEqual(
            "cert ('no/such/cert.pem'): can't be read: No such file or directory",
            self.refusal(TLSSettings(good, pathlib.Path("no/such/cert.pem"))),
        )
        self.assertEqual(
            "cert ('.'): can't be read: Is a directory", self.refusal(TLSSettings(good, "."))
        )
        for source in (17, "nul\0in it"):
            self.assertIn(
                "can't be read: neither PEM nor a path", self.refusal(TLSSettings(source, good))
            )

    def test_notPEM(self):
        """
        What holds no key or no certificate is named, with its file.
        """
        path = self.write(b"-----BEGIN NONSENSE-----\n")
        self.assertEqual(
            f"key ({path!r}): no PEM key in it", self.refusal(TLSSettings(path, SERVER.certPEM))
        )
        self.assertEqual(
            f"cert ({path!r}): it has no PEM certificate, or a damaged one",
            self.refusal(TLSSettings(SERVER.keyPEM, path)),
        )
        self.assertEqual(
            "ca: it has no PEM certificate, or a damaged one", self.refusal(settingsFor(ca=b"no"))
        )

    def test_keysAreNotQuoted(self):
        """
        A key that isn't recognized as PEM is taken for a path, but no message shows it.
        """
        pem = SERVER.keyPEM.decode()
        body = "".join(pem.splitlines()[1:-1])
        for source in (pem.replace("-----", "----"), body, body[:64], body.encode(), pem[:90]):
            text = self.refusal(TLSSettings(source, SERVER.certPEM))
            self.assertTrue(text.startswith("key: "), text)
            self.assertNotIn(body[:20], text)
        text = self.refusal(TLSSettings("two short\nlines", SERVER.certPEM))
        self.assertEqual("key: can't be read: No such file or directory", text)

    def test_chain(self):
        """
        The certificates after the first are sent as the chain, in their order.
        """
        between = makeCA("Intermediate CA", issuer=CA)
        server = makeCertificate(between, ["mail.example.com"])
        factory = ServerContextFactory(
            TLSSettings(server.keyPEM, server.certPEM + between.certPEM + CA.certPEM)
        )
        shaken = Handshake(factory, makeClient(trusts=CA))
        self.assertIsNone(shaken.error)
        self.assertEqual(
            [server.certificate, between.certificate, CA.certificate],
            shaken.client.get_peer_cert_chain(as_cryptography=True),
        )

    def test_chainFromCA(self):
        """
        A single certificate's chain is completed from ca.
        """
        between = makeCA("Intermediate CA", issuer=CA)
        server = makeCertificate(between, ["mail.example.com"])
        shaken = Handshake(
            ServerContextFactory(settingsFor(server, ca=between.certPEM)), makeClient(trusts=CA)
        )
        self.assertIsNone(shaken.error)

    def test_ciphersNobodyKnows(self):
        """
        A cipher string without any usable suite is refused.
        """
        for ciphers in ("nonsense", "TLS_NONSENSE", "aNULL", ":"):
            self.assertEqual(
                f"ciphers: {ciphers!r}: no cipher match", self.refusal(settingsFor(ciphers=ciphers))
            )


class SelfSignedTests(SynchronousTestCase):
    def subjects(self, *names):
        """What a self-signed certificate is for."""
        made = selfSignedCertificate(names) if names else selfSignedCertificate()
        certificate = x509.load_pem_x509_certificate(made.cert)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return [str(name.value) for name in extension.value]

    def test_names(self):
        """
        The certificate is for localhost in all its forms, and for what was asked.
        """
        here = ["localhost", "127.0.0.1", "::1"]
        self.assertEqual(here, self.subjects())
        self.assertEqual(
            ["xn--mnchen-3ya.example", "*.example.com", "192.0.2.1", *here],
            self.subjects("München.example", "*.example.com", "192.0.2.1"),
        )
        self.assertEqual(
            ["::1", "a.example", "localhost", "127.0.0.1"], self.subjects("::1", "a.example")
        )

    def test_badName(self):
        """
        What is not a host name can't be certified.
        """
        with self.assertRaises(ConfigurationError) as caught:
            selfSignedCertificate(["a b"])
        self.assertEqual("selfSigned: 'a b' is not a host name", str(caught.exception))

    def test_keyAndTime(self):
        """
        Each has a new P-256 key and serial number, and is valid for 30 days from now.
        """
        made, another = selfSignedCertificate(), selfSignedCertificate()
        self.assertNotEqual(made.key, another.key)
        key = serialization.load_pem_private_key(made.key, None)
        self.assertEqual("secp256r1", key.curve.name)
        certificate = x509.load_pem_x509_certificate(made.cert)
        other = x509.load_pem_x509_certificate(another.cert)
        self.assertNotEqual(certificate.serial_number, other.serial_number)
        span = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertEqual(datetime.timedelta(days=30), span)
        now = datetime.datetime.now(datetime.timezone.utc)
        self.assertLessEqual(certificate.not_valid_before_utc, now)


class DescriptionTests(SynchronousTestCase):
    """What the log says of a certificate."""

    def test_names(self):
        """
        Its alternative names; without any, its subject.
        """
        made = makeCertificate(None, ["a.example", "b.example"]).certificate
        self.assertEqual("a.example, b.example", certificateNames(made))
        person = makeCertificate(None, ["192.0.2.1"], clientName="joe").certificate
        self.assertIn("CN=joe", certificateNames(person))
        self.assertEqual("CN=Some\\u0085CA", certificateNames(makeCA("Some\x85CA").certificate))

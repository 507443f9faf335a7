"""
Certificate authorities and certificates for the tests, made when they are needed.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclasses.dataclass(frozen=True)
class Certified:
    """
    A key and its certificate.
    """

    key: ec.EllipticCurvePrivateKey = dataclasses.field(repr=False)
    certificate: x509.Certificate

    @property
    def keyPEM(self) -> bytes:
        """The private key, not encrypted."""
        return self.encryptedKeyPEM(None)

    @property
    def certPEM(self) -> bytes:
        """The certificate, without its chain."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def encryptedKeyPEM(self, passphrase: bytes | None) -> bytes:
        """The private key, encrypted if there is a passphrase."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase),
        )


def _issue(
    commonName: str,
    issuer: Certified | None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
    key: ec.EllipticCurvePrivateKey | None = None,
    days: float = 1,
) -> Certified:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, commonName)])
    issuerName = name if issuer is None else issuer.certificate.subject
    issuerKey = key if issuer is None else issuer.key
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(
        issuerName, name, key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now - datetime.timedelta(days=100))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    # With both identifiers the certificates also pass OpenSSL's strict verification.
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuerKey.public_key()), critical=False
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Certified(key, builder.sign(issuerKey, hashes.SHA256()))


def makeCA(name: str = "Test CA", issuer: Certified | None = None) -> Certified:
    """
    Make a certificate authority.

    :param issuer: the authority above, for an intermediate one.
    """
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return _issue(name, issuer, [(constraints, True), (usage, True)])


def makeCertificate(
    ca: Certified | None,
    names: Iterable[str],
    clientName: str | None = None,
    emails: Iterable[str] = (),
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    days: float = 1,
) -> Certified:
    """
    Make a certificate for a server, or with ``clientName`` for a client.

    :param ca: who signs it; ``None`` makes it self-signed.
    :param names: host names and IP addresses of a server.
    :param clientName: the common name of a client.
    :param emails: its e-mail addresses.
    :param key: its key; by default a new one.
    :param days: when it ends, from now.
    """
    subjects: list[x509.GeneralName] = [x509.RFC822Name(email) for email in emails]
    for name in names:
        try:
            subjects.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            subjects.append(x509.DNSName(name))
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if clientName else ExtendedKeyUsageOID.SERVER_AUTH
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]
    if subjects:
        extensions.append((x509.SubjectAlternativeName(subjects), False))
    return _issue(clientName or "Test server", ca, extensions, key, days)

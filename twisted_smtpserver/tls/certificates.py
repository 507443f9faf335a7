"""
Certificates and keys, before they become OpenSSL's: the settings, the reading of PEM, the names.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.options import VERSIONS
from twisted_smtpserver.wire.hostname import hostName
from twisted_smtpserver.wire.ip import normalizeAddress, parseAddress
from twisted_smtpserver.wire.text import escape

#: PEM text, or the path of a file with it. A ``str`` is PEM if it has a ``-----BEGIN`` in it.
PEMSource = str | bytes | os.PathLike[str]


class FileContent(bytes):
    """
    What was in a file when it was read. An option may have it in the place of the file's path: so
    what was checked is what is used, whatever becomes of the file meanwhile.

    :ivar path: the file's path, for messages, and for reading it again.
    """

    path: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FileContent:
        """
        Read a file.

        :param path: where it is.
        :raises OSError: if it can't be read.
        """
        with open(path, "rb") as file:
            content = cls(file.read())
        content.path = os.fsdecode(path)
        return content

    def __repr__(self) -> str:
        return f"<FileContent of {self.path!r}>"


# Base64 DER begins with M: a key pasted where a path belongs must not get into a message.
_LIKE_A_KEY = re.compile(r"[\r\n]|M[A-Za-z0-9+/]{39}")


@dataclasses.dataclass(frozen=True)
class TLSSettings:
    """
    A certificate, and how clients that want TLS are to be treated.

    Nothing is read before the :class:`~twisted_smtpserver.tls.ServerContextFactory` is built. The
    ``repr`` shows no key, no passphrase and no PEM.

    :param key: the private key.
    :param cert: the certificate; all that follow it in the PEM are sent as its chain.
    :param ca: the certificates that may have signed a client's. They are named to the client, and
        OpenSSL also completes the chain from them if ``cert`` holds one certificate only.
    :param passphrase: what the key is encrypted with, if it is.
    :param ciphers: an OpenSSL cipher string for TLS 1.2; names that begin with ``TLS_`` select the
        suites of TLS 1.3.
    :param minVersion: ``"TLSv1.2"`` or ``"TLSv1.3"``.
    :param requestCert: ask the client for a certificate.
    :param rejectUnauthorized: fail the handshake if the certificate asked for is missing or isn't
        signed by ``ca``. Otherwise :attr:`~twisted_smtpserver.tls.TLSInfo.authorized` tells.
    :param sniOptions: host name, or ``*.`` and a host name, to the certificate for clients that ask
        for it (RFC 6066 §3): settings, a mapping with the same keys, or a context factory. It
        chooses the certificate, ``ca`` and ``ciphers`` (both inherited if absent); the other
        options are the server's, and apply to every name.
    :raises ConfigurationError: if ``minVersion`` is neither of the two.
    """

    key: PEMSource | None = dataclasses.field(default=None, repr=False)
    cert: PEMSource | None = dataclasses.field(default=None, repr=False)
    ca: PEMSource | None = dataclasses.field(default=None, repr=False)
    passphrase: str | bytes | None = dataclasses.field(default=None, repr=False)
    ciphers: str | None = None
    minVersion: str = "TLSv1.2"
    requestCert: bool = False
    rejectUnauthorized: bool = True
    sniOptions: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.minVersion not in VERSIONS:
            raise ConfigurationError(
                f"minVersion: {self.minVersion!r} is not one of {', '.join(VERSIONS)}"
            )


class KeyMismatchError(ConfigurationError):
    """A key and a certificate that don't belong together; one of them may be renewed later."""


def pathOf(source: PEMSource | None) -> str | None:
    """
    The path of the file that an option names; ``None`` if it has PEM text, or nothing.

    :param source: the option's value.
    """
    if isinstance(source, FileContent):
        return source.path
    if source is None or isinstance(source, bytes):
        return None
    path = os.fsdecode(source)
    return None if "-----BEGIN" in path else path


def _readPEM(label: str, source: PEMSource | None) -> tuple[str, bytes]:
    """
    Get the PEM that an option stands for.

    :returns: how messages are to name it, and the octets.
    :raises ConfigurationError: if there is none.
    """
    if source is None:
        raise ConfigurationError(f"{label}: missing, TLS needs both key and cert")
    if isinstance(source, FileContent):
        return f"{label} ({source.path!r})", source
    if isinstance(source, bytes):
        return label, source
    try:
        path = os.fsdecode(source)
        if "-----BEGIN" in path:
            return label, path.encode()
        if not _LIKE_A_KEY.search(path):
            label = f"{label} ({path!r})"
        return label, FileContent.read(path)
    except (OSError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "neither PEM nor a path"
    # Outside of the except clause, so that no traceback shows an error with the path in it.
    raise ConfigurationError(f"{label}: can't be read: {reason}")


def readFiles(options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Read the files that TLS options name, each once.

    :param options: options by name. What :func:`readFiles` has read before is read again.
    :returns: those of them that a certificate consists of, with what was in the files.
    :raises ConfigurationError: if a file can't be read.
    """
    found: dict[str, Any] = _readEach("", options)
    if "passphrase" in options:
        found["passphrase"] = options["passphrase"]
    if "sniOptions" in options:
        found["sniOptions"] = {
            host: {**files, **_readEach(f"sniOptions[{host!r}].", files)}
            for host, files in options["sniOptions"].items()
        }
    return found


def _readEach(label: str, options: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        name: _readAgain(f"{label}{name}", options[name])
        for name in ("cert", "key", "ca")
        if name in options
    }


def _readAgain(label: str, source: PEMSource) -> bytes:
    return _readPEM(label, source.path if isinstance(source, FileContent) else source)[1]


def readKey(label: str, settings: TLSSettings) -> Any:
    """
    Read and decrypt the private key.

    OpenSSL's own check of an RSA key looks for primes: a quarter of a second for 4096 bits, in
    which no other thread runs. That the key signs what its public key verifies is enough to know
    that it isn't damaged.

    :returns: one of cryptography's private keys.
    :raises ConfigurationError: if that can't be done.
    """
    label, pem = _readPEM(label, settings.key)
    passphrase = settings.passphrase
    if isinstance(passphrase, str):
        passphrase = passphrase.encode()
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise ConfigurationError(f"{label}: is encrypted, and needs its passphrase")
    try:
        key = serialization.load_pem_private_key(
            pem, passphrase if encrypted else None, unsafe_skip_rsa_key_validation=True
        )
    except (TypeError, ValueError, UnsupportedAlgorithm):
        problem = "the passphrase is wrong, or the key damaged" if encrypted else "no PEM key in it"
    else:
        if not isinstance(key, rsa.RSAPrivateKey) or _canSign(key):
            return key
        problem = "the key is damaged"
    raise ConfigurationError(f"{label}: {problem}")


def _canSign(key: rsa.RSAPrivateKey) -> bool:
    """Whether a key makes signatures that its public key verifies."""
    scheme, text = (padding.PKCS1v15(), hashes.SHA256()), b"text"
    try:
        key.public_key().verify(key.sign(text, *scheme), text, *scheme)
    except (InvalidSignature, ValueError):
        return False
    return True


def readCertificates(label: str, source: PEMSource | None) -> list[x509.Certificate]:
    """
    Read one or more certificates.

    :raises ConfigurationError: if that can't be done.
    """
    label, pem = _readPEM(label, source)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigurationError(f"{label}: it has no PEM certificate, or a damaged one") from None


def certificateNames(certificate: x509.Certificate) -> str:
    """
    The names that a certificate is for, for people to read: its alternative names, else its
    subject.
    """
    names = ", ".join(alternativeNames(certificate, x509.DNSName))
    return escape(names or certificate.subject.rfc4514_string())


def alternativeNames(
    certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.RFC822Name]
) -> list[str]:
    """
    A certificate's alternative names of a kind; none if it has none, or they can't be read.

    :param kind: :class:`cryptography.x509.DNSName`, for example.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(kind)
    except (x509.ExtensionNotFound, ValueError):
        return []


def patternName(name: str) -> str | None:
    """
    :func:`~twisted_smtpserver.wire.hostname.hostName` for a name that may begin with ``*.``.
    """
    suffix = hostName(name.removeprefix("*."))
    return f"*.{suffix}" if suffix and name.startswith("*.") else suffix


def selfSignedCertificate(names: Iterable[str] = ("localhost",)) -> TLSSettings:
    """
    Make a certificate for trying things out. Neither it nor its key is written anywhere.

    :param names: host names and IP addresses it is for, besides localhost, 127.0.0.1 and ::1.
    :returns: settings with an EC P-256 key and a certificate that is valid for 30 days.
    :raises ConfigurationError: if a name is not a host name.
    """
    subjects: list[x509.GeneralName] = []
    for name in dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]):
        address = parseAddress(normalizeAddress(name))
        if address is not None:
            subjects.append(x509.IPAddress(address))
            continue
        pattern = patternName(name)
        if pattern is None:
            raise ConfigurationError(f"selfSigned: {name!r} is not a host name")
        subjects.append(x509.DNSName(pattern))
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name.from_rfc4514_string("CN=twisted_smtpserver self-signed")
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return TLSSettings(
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        cert=certificate.public_bytes(serialization.Encoding.PEM),
    )

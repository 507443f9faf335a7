"""
What a session knows of its TLS.
"""

from __future__ import annotations

import dataclasses

from cryptography import x509

__all__ = ["TLSInfo"]


@dataclasses.dataclass(frozen=True, slots=True)
class TLSInfo:
    """
    What a handshake came to. All is ``None`` or ``False`` where there was none.
    """

    #: The version of the protocol, ``"TLSv1.3"`` for example.
    version: str | None = None
    #: OpenSSL's name of the cipher suite.
    cipher: str | None = None
    #: How many secret bits the cipher has.
    cipherBits: int | None = None
    #: The name the client asked for (RFC 6066 §3), if it is a host name: A-labels, lower case.
    serverName: str | None = None
    #: The client's certificate, whether it could be verified or not.
    peerCertificate: x509.Certificate | None = dataclasses.field(default=None, repr=False)
    #: Whether the client has a certificate that was verified.
    authorized: bool = False
    #: The protocol agreed upon by ALPN (RFC 7301).
    alpn: str | None = None

"""Where a server's certificate comes from: :class:`TLSSettings`, :func:`selfSignedCertificate`."""

from twisted_smtpserver.tls.certificates import TLSSettings, selfSignedCertificate

__all__ = ["TLSSettings", "selfSignedCertificate"]

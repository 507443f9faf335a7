"""TLS: contexts, certificates, and what is known of a connection's TLS."""

from twisted_smtpserver.tls.context import ServerContextFactory, TLSInfo

__all__ = ["ServerContextFactory", "TLSInfo"]

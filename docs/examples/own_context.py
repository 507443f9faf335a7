"""TLS with a context factory of your own."""

from twisted.internet.ssl import CertificateOptions, PrivateCertificate

from twisted_smtpserver import SMTPServerFactory


def makeFactory(handler, pem):
    certificate = PrivateCertificate.loadPEM(pem)
    contextFactory = CertificateOptions(
        privateKey=certificate.privateKey.original,
        certificate=certificate.original,
        acceptableProtocols=[b"smtp"],  # else clients that offer it by ALPN are refused
    )
    return SMTPServerFactory(handler, tls=contextFactory)

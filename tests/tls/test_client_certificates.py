"""Attacks with client certificates: none that isn't in order makes anybody somebody."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Certified, makeCA, makeCertificate
from tests.support.tlsclient import CA, SERVER
from twisted_smtpserver import Discard
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.testing import Client, connect
from twisted_smtpserver.tls.context import MAX_INTERMEDIATES


def presenting(certified: Certified, chain: Sequence[Certified] = ()) -> SSL.Context:
    """A client's TLS context with a certificate, and others that it sends along."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(certified.certificate)
    context.use_privatekey(certified.key)
    for each in chain:
        context.add_extra_chain_cert(each.certificate)
    return context


def dated(begin: int, end: int) -> Certified:
    """A client's certificate that is valid for some days, from now."""
    good = makeCertificate(CA, [], "joe", ["joe@example.org"])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(
        CA.certificate.subject,
        good.certificate.subject,
        good.key.public_key(),
        x509.random_serial_number(),
        now + datetime.timedelta(days=begin),
        now + datetime.timedelta(days=end),
        list(good.certificate.extensions),
    )
    return Certified(good.key, builder.sign(CA.key, hashes.SHA256()))


def chained(length: int) -> tuple[Certified, list[Certified]]:
    """A client's certificate with so many authorities between it and ours."""
    between = [CA]
    for number in range(length):
        between.append(makeCA(f"CA {number}", between[-1]))
    joe = makeCertificate(between[-1], [], "joe", ["joe@example.org"])
    return joe, between[:0:-1]


def connected(context: SSL.Context, reject: bool, **hooks: Any) -> Client:
    """A client that has done its handshake with a server that wants a certificate."""
    client = connect(
        fromFunctions(**hooks) if hooks else Discard(),
        secure=True,
        cert=SERVER.certPEM,
        key=SERVER.keyPEM,
        ca=CA.certPEM,
        requestCert=True,
        rejectUnauthorized=reject,
        authMethods=["EXTERNAL"],
    )
    client.startTLS(context=context)
    return client


class RefusedTests(SynchronousTestCase):
    """Certificates that aren't in order."""

    def bad(self) -> dict[str, SSL.Context]:
        """What OpenSSL calls each of them."""
        stranger = makeCertificate(makeCA("Test CA"), [], "joe", ["joe@example.org"])
        return {
            "certificate expired": presenting(dated(-9, -2)),
            "bad certificate": presenting(dated(2, 9)),
            "unsupported certificate": presenting(makeCertificate(CA, ["client.example"])),
            "unknown ca": presenting(stranger),
            "unknown ca ": presenting(makeCertificate(None, [], "joe")),
            "unknown ca  ": presenting(*chained(MAX_INTERMEDIATES + 1)),
        }

    def test_refused(self) -> None:
        """
        One that has expired, isn't valid yet, is for servers, is from elsewhere, even under our
        authority's name, or comes with an endless chain, ends the handshake.
        """
        for reason, context in self.bad().items():
            with self.assertRaises(SSL.Error) as caught:
                connected(context, True).send(b"EHLO client.example\r\n")
            self.assertIn(reason.strip(), caught.exception.args[0][-1][-1])

    def test_unauthorized(self) -> None:
        """Where such are let in, they aren't authorized, and EXTERNAL logs nobody in."""
        for reason, context in self.bad().items():
            client = connected(context, False, onAuth=lambda credentials, session: "joe")
            assert client.session.tls is not None
            self.assertIs(client.session.tls.authorized, False, reason)
            client.send(b"EHLO client.example\r\n")
            client.answers()
            code = client.say("AUTH EXTERNAL " + base64.b64encode(b"joe@example.org").decode()).code
            self.assertGreaterEqual(code, 500, reason)
            self.assertIsNone(client.session.user)

    def test_longest(self) -> None:
        """A chain that is just short enough is in order."""
        for reject in (True, False):
            client = connected(presenting(*chained(MAX_INTERMEDIATES)), reject)
            assert client.session.tls is not None
            self.assertIs(client.session.tls.authorized, True)

"""
SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: client and server prove to each other that they know the
password, or what is stored of it, and send neither (RFC 5802, RFC 7677).

::

    client                                server
    gs2-header n=name,r=nonce       ->                  client-first-message
                                    <-    r=nonce+,s=salt,i=iterations    server-first-message
    c=binding,r=nonce+,p=proof      ->                  client-final-message
                                    <-    v=signature                     server-final-message
    (empty)                         ->

The last line is there because a 235 can't carry data (RFC 4954 §4).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from twisted_smtpserver.sasl.gs2 import Gs2Header, decodeSaslname, parseGs2
from twisted_smtpserver.sasl.mechanism import Mechanism, SaslContext
from twisted_smtpserver.sasl.names import decodeName, decodeText, saslprep
from twisted_smtpserver.sasl.scramsecret import ScramSecret
from twisted_smtpserver.sasl.steps import MALFORMED, REFUSED, Done, ScramQuery, Step

# RFC 5802 §7. Optional extensions are tolerated, but not under a letter that means something: "m"
# announces what the server would have to understand (§5.1), and a second "r" would be a trap.
_EXTENSIONS = rb"(?:,[bdf-hj-loqtuw-zA-Z]=[^,\0]+)*"
# The server's first message repeats the client's nonce, so its length has to be bounded.
_FIRST = re.compile(
    rb"n=(?P<name>[^,]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,512})" + _EXTENSIONS, re.DOTALL
)
_FINAL = re.compile(
    rb"(?P<unproved>c=(?P<binding>[A-Za-z0-9+/]+={0,2}),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)"
    + _EXTENSIONS
    # 32 octets of canonical base64 (RFC 4648 §3.5), so that a proof has one spelling only.
    + rb"),p=(?P<proof>[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)",
    re.DOTALL,
)


class ScramSha256(Mechanism):
    """SCRAM-SHA-256: without binding to the TLS channel."""

    name = "SCRAM-SHA-256"

    def _first(self, response: bytes) -> Step:
        parsed = parseGs2(response)
        if parsed is None or decodeText(response) is None:
            return MALFORMED
        header, self._firstBare = parsed
        match = _FIRST.fullmatch(self._firstBare)
        if match is None:
            return MALFORMED
        username = _preparedName(match["name"])
        if username is None:
            return MALFORMED
        expected = self._bindingInput(header)
        if not isinstance(expected, bytes):
            return expected
        self._binding = base64.b64encode(expected)
        self._nonce = match["nonce"]
        self._username = username
        self._authzid = header.authzid
        return self.ask(ScramQuery(username, self.name), self._found)

    def _bindingInput(self, header: Gs2Header) -> bytes | Step:
        """What the client will have to repeat in ``c=``, or why the exchange fails (§6)."""
        if header.flag == "p":
            return MALFORMED
        if header.flag == "y" and self.context.plusOffered:
            # The client can bind and didn't see that we can: somebody took -PLUS from the list.
            return REFUSED
        return header.octets

    def _found(self, secret: ScramSecret | None) -> Step:
        self._known = secret is not None
        self._secret = secret or self.context.fakes.secretOf(self._username)
        self._nonce += _serverNonce(self.context)
        self._serverFirst = b"r=%s,s=%s,i=%d" % (
            self._nonce,
            base64.b64encode(self._secret.salt),
            self._secret.iterations,
        )
        return self.challenge(self._serverFirst, self._final)

    def _final(self, response: bytes) -> Step:
        match = _FINAL.fullmatch(response)
        if match is None or decodeText(response) is None:
            return MALFORMED
        authMessage = b",".join((self._firstBare, self._serverFirst, match["unproved"]))
        signature = hmac.digest(self._secret.storedKey, authMessage, "sha256")
        proof = base64.b64decode(match["proof"])
        clientKey = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        # All of it is always computed, so that the time doesn't tell which part was wrong.
        checks = [
            hmac.compare_digest(match["binding"], self._binding),
            hmac.compare_digest(match["nonce"], self._nonce),
            hmac.compare_digest(hashlib.sha256(clientKey).digest(), self._secret.storedKey),
            self._known,
        ]
        if not all(checks):
            return REFUSED
        serverSignature = hmac.digest(self._secret.serverKey, authMessage, "sha256")
        self._serverFinal = b"v=" + base64.b64encode(serverSignature)
        return self.challenge(self._serverFinal, self._acknowledged)

    def _acknowledged(self, response: bytes) -> Step:
        if response:
            return MALFORMED
        return Done(
            self.context.credentials(
                self.name,
                self._username,
                authcid=self._username,
                authzid=self._authzid,
                verified=True,
            ),
            self._serverFinal,
        )


class ScramSha256Plus(ScramSha256):
    """
    SCRAM-SHA-256-PLUS: the proof holds on this TLS connection only, so nobody can be in between.
    The binding is ``tls-exporter`` (RFC 9266).
    """

    name = "SCRAM-SHA-256-PLUS"

    def _bindingInput(self, header: Gs2Header) -> bytes | Step:
        if header.binding != "tls-exporter":
            return MALFORMED
        data = self.context.bindingData()
        return header.octets + data if data else REFUSED


def _preparedName(octets: bytes) -> str | None:
    """
    A name, prepared for looking up (§5.1); the hash takes it as received. Preparation can make a
    name empty, or much longer, so the bounds have to hold again.
    """
    name = decodeSaslname(octets)
    prepared = saslprep(name) if name is not None else None
    return decodeName(prepared.encode("utf-8")) if prepared is not None else None


def _serverNonce(context: SaslContext) -> bytes:
    """The server's part of the nonce: 144 bits, free of commas."""
    return base64.b64encode(context.random(18))

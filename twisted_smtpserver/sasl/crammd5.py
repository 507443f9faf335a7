"""
CRAM-MD5: the client proves that it knows the password, without sending it (RFC 2195).

The server needs the password in clear for that, and MD5 is old. SCRAM does it better.
"""

from __future__ import annotations

import hmac
import re

from twisted_smtpserver.sasl.mechanism import Mechanism
from twisted_smtpserver.sasl.names import decodeName
from twisted_smtpserver.sasl.steps import MALFORMED, REFUSED, Done, Step

# Names may have spaces in them, so the digest stands behind the last one.
_RESPONSE = re.compile(rb"(.+) ([0-9a-f]{32})", re.DOTALL)


class CramMD5(Mechanism):
    """The server speaks first: an initial response is malformed."""

    name = "CRAM-MD5"

    def _open(self) -> Step:
        # RFC 2195 §2: random digits, a timestamp, the server's name. Only the first is
        # unpredictable, and it suffices.
        self._sent = b"<%s.%d@%s>" % (
            self.context.random(16).hex().encode("ascii"),
            self.context.clock(),
            self.context.hostName.encode("ascii", "replace"),
        )
        return self.challenge(self._sent, self._verify)

    def _first(self, response: bytes) -> Step:
        return MALFORMED

    def _verify(self, response: bytes) -> Step:
        match = _RESPONSE.fullmatch(response)
        if match is None:
            return MALFORMED
        username = decodeName(match[1])
        if username is None:
            return MALFORMED
        # The empty password, which everybody knows (or one of NULs: HMAC pads with them). PLAIN and
        # LOGIN can't bring it, and no handler that checks the digest by itself must fall for it.
        if hmac.compare_digest(hmac.digest(b"", self._sent, "md5").hex().encode(), match[2]):
            return REFUSED
        return Done(
            self.context.credentials(
                self.name,
                username,
                authcid=username,
                challenge=self._sent,
                challengeResponse=match[2].decode("ascii"),
            )
        )

"""
OAUTHBEARER: an OAuth 2.0 bearer token (RFC 7628).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from twisted_smtpserver.sasl.bearer import BearerMechanism, bearerToken
from twisted_smtpserver.sasl.gs2 import Gs2Header, parseGs2
from twisted_smtpserver.sasl.steps import MALFORMED, REFUSED, Done, Step

# RFC 7628 §3.1; unknown keys are ignored.
_PAIRS = re.compile(rb"\x01(?:[A-Za-z]+=[\x20-\x7e\t\r\n]*\x01)*\x01")
_HOST = re.compile(rb"[\x21-\x7e]{1,255}")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")


class OAuthBearer(BearerMechanism):
    """
    A GS2 header and key-value pairs. The user name is the header's authorization identity, empty if
    it has none: then the token says who it is. After the error challenge the client sends a single
    ``^A``.
    """

    name = "OAUTHBEARER"
    errorDefaults: ClassVar[Mapping[str, str]] = {"status": "invalid_token"}

    def _first(self, response: bytes) -> Step:
        parsed = parseGs2(response)
        # There is no binding to a channel here (RFC 7628 §3): a client that requires one fails.
        if parsed is None or parsed[0].flag == "p":
            return MALFORMED
        header, rest = parsed
        values = _pairs(rest)
        if values is None or b"auth" not in values:
            return MALFORMED
        if not values[b"auth"]:
            # A client without a token asks in this way what it needs (RFC 7628 §4.3).
            return self.challenge(self.errorChallenge({}), lambda dummy: REFUSED)
        return self._credentials(header, values)

    def _credentials(self, header: Gs2Header, values: dict[bytes, bytes]) -> Step:
        token = bearerToken(values[b"auth"])
        host, port = values.get(b"host"), values.get(b"port")
        if (
            token is None
            or (host is not None and not _HOST.fullmatch(host))
            or (port is not None and (not _PORT.fullmatch(port) or int(port) > 65535))
        ):
            return MALFORMED
        return Done(
            self.context.credentials(
                self.name,
                header.authzid or "",
                accessToken=token,
                authzid=header.authzid,
                host=host.decode("ascii") if host is not None else None,
                port=int(port) if port is not None else None,
            )
        )


def _pairs(octets: bytes) -> dict[bytes, bytes] | None:
    """The keys and values behind the header; ``None`` if they are malformed or one comes twice."""
    if not _PAIRS.fullmatch(octets):
        return None
    pairs = octets[1:-1].split(b"\x01")[:-1]
    values = dict(pair.split(b"=", 1) for pair in pairs)
    return values if len(values) == len(pairs) else None

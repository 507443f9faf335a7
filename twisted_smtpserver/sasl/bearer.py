"""
What the two OAuth 2.0 mechanisms share: the bearer token and the challenge that explains a refusal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import ClassVar

from twisted_smtpserver.sasl.mechanism import Mechanism

# RFC 6750 §2.1; the scheme's case doesn't matter (RFC 9110 §11.1, RFC 7628 §4).
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")


class BearerMechanism(Mechanism):
    """A mechanism whose credential is an OAuth 2.0 bearer token."""

    usesErrorChallenge = True

    #: What the error challenge says unless the handler says otherwise.
    errorDefaults: ClassVar[Mapping[str, str]]

    def errorChallenge(self, data: Mapping[str, str]) -> bytes:
        """
        The error result as JSON (RFC 7628 §3.2.2).

        :param data: keys and values; a ``status`` is added if it has none.
        """
        return json.dumps({**self.errorDefaults, **data}).encode("ascii")


def bearerToken(authorization: bytes) -> str | None:
    """
    Read what would be an HTTP ``Authorization`` header.

    :param authorization: for example ``Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==``.
    :returns: the token, or ``None`` if it is malformed.
    """
    match = _BEARER.fullmatch(authorization)
    return match[1].decode("ascii") if match else None

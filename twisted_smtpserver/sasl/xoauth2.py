"""
XOAUTH2: an OAuth 2.0 bearer token, as Google and Microsoft defined it before RFC 7628.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from twisted_smtpserver.sasl.bearer import BearerMechanism, bearerToken
from twisted_smtpserver.sasl.names import decodeName
from twisted_smtpserver.sasl.steps import MALFORMED, Done, Step

_RESPONSE = re.compile(rb"user=([^\x01]*)\x01auth=([^\x01]*)\x01\x01")


class XOAuth2(BearerMechanism):
    """
    ``user=name ^A auth=Bearer token ^A ^A``. After the error challenge the client sends an empty
    response.
    """

    name = "XOAUTH2"
    errorDefaults: ClassVar[Mapping[str, str]] = {"status": "401", "schemes": "bearer"}

    def _first(self, response: bytes) -> Step:
        match = _RESPONSE.fullmatch(response)
        if match is None:
            return MALFORMED
        username, token = decodeName(match[1]), bearerToken(match[2])
        if username is None or token is None:
            return MALFORMED
        return Done(self.context.credentials(self.name, username, accessToken=token))

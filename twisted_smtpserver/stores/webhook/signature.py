"""
The signature of a request, as the Standard Webhooks specification has it.

There are libraries for it in most languages; what they check is three headers: ``webhook-id``,
``webhook-timestamp`` (against replays) and ``webhook-signature``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterable

from twisted_smtpserver.errors import ConfigurationError

_PREFIX = "whsec_"

#: Octets that a secret must have at least.
MIN_SECRET = 16


def readSecret(secret: str) -> bytes:
    """
    The key that a secret stands for.

    :param secret: ``whsec_`` and base64, as the specification writes it; else its UTF-8 octets are
        the key.
    :raises ConfigurationError: if it is too short to be one, or no base64.
    """
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ConfigurationError("Webhook: the secret isn't base64 after whsec_") from None
    else:
        key = secret.encode("utf-8")
    if len(key) < MIN_SECRET:
        raise ConfigurationError(f"Webhook: the secret must have at least {MIN_SECRET} octets")
    return key


async def sign(key: bytes, identifier: str, timestamp: int, body: AsyncIterable[bytes]) -> str:
    """
    Sign a request.

    :param key: the key.
    :param identifier: what ``webhook-id`` says.
    :param timestamp: what ``webhook-timestamp`` says, in seconds since 1970.
    :param body: the body's octets.
    :returns: what ``webhook-signature`` is to say.
    """
    signing = hmac.new(key, f"{identifier}.{timestamp}.".encode("ascii"), hashlib.sha256)
    async for octets in body:
        signing.update(octets)
    return "v1," + base64.b64encode(signing.digest()).decode("ascii")

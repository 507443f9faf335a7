"""
The GS2 header that OAUTHBEARER and SCRAM begin with (RFC 5801 §4, RFC 5802 §7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_smtpserver.sasl.names import decodeName

# The "F" of a non-standard GSS mechanism has no meaning for either mechanism, and isn't allowed.
_HEADER = re.compile(
    rb"(?P<flag>[ny]|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,]+))?,", re.DOTALL
)
_SASLNAME = re.compile(rb"(?:[^=,\0]|=2C|=3D)+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Gs2Header:
    """
    What the client says about channel binding, and whom it wants to act as.

    :ivar flag: ``"n"``: it can't bind to the channel; ``"y"``: it can, but believes the server
        can't; ``"p"``: it does.
    :ivar binding: the binding's name with ``"p"`` (RFC 5056 §7), else ``None``.
    :ivar authzid: the authorization identity, or ``None``.
    :ivar octets: the header as sent, its last comma included.
    """

    flag: str
    binding: str | None
    authzid: str | None
    octets: bytes


def parseGs2(message: bytes) -> tuple[Gs2Header, bytes] | None:
    """
    Split the part of a message after its GS2 header.

    :returns: the header and the rest of the message, or ``None`` if it is malformed.
    """
    match = _HEADER.match(message)
    if match is None:
        return None
    authzid = None
    if match["authzid"] is not None:
        authzid = decodeSaslname(match["authzid"])
        if authzid is None:
            return None
    binding = match["binding"].decode("ascii") if match["binding"] is not None else None
    header = Gs2Header(chr(message[0]), binding, authzid, match[0])
    return header, message[match.end() :]


def decodeSaslname(octets: bytes) -> str | None:
    """
    Read a ``saslname``, in which ``=2C`` stands for a comma and ``=3D`` for an equals sign.

    :returns: the name, or ``None`` if it is malformed or no name
        (:func:`~twisted_smtpserver.sasl.names.decodeName`).
    """
    if not _SASLNAME.fullmatch(octets):
        return None
    # In this order: the other way round, "=3D2C" would become a comma.
    return decodeName(octets.replace(b"=2C", b",").replace(b"=3D", b"="))

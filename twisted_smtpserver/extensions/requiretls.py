"""REQUIRETLS (RFC 8689): a message that must never travel in clear."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver.extensions.base import Extension, ParameterParser, flag, forParameters
from twisted_smtpserver.session import Address, Envelope, Session


class RequireTLS(Extension):
    """
    RFC 8689: MAIL's ``REQUIRETLS``, found in ``envelope.requireTLS``.

    Off until asked for: whoever takes such a message may pass it on only over TLS, to servers that
    have this extension, and the same goes for a notification that it failed (§4.2.1, §5).
    """

    keyword = "REQUIRETLS"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType({"REQUIRETLS": flag})

    def advertise(self, session: Session) -> str | None:
        """Only under TLS (RFC 8689 §2)."""
        return "" if session.secure else None

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.requireTLS`` is whether MAIL said so."""
        envelope.requireTLS = "REQUIRETLS" in address.values

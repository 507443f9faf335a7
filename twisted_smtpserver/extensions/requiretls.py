"""REQUIRETLS (RFC 8689): a message that must never be sent without TLS."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver.extensions.base import Extension, ParameterParser, flag, forParameters
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address, Envelope, Session


class RequireTLS(Extension):
    """
    RFC 8689: MAIL's ``REQUIRETLS``, found in ``envelope.requireTLS``.

    Off by default: a server that takes such a message may pass it on only over TLS, to servers that
    have this extension, and the same goes for a notification that it failed (§4.2.1, §5).
    """

    keyword = "REQUIRETLS"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType({"REQUIRETLS": flag})
    # The session must employ TLS (RFC 8689 §2). The RFC names no reply for one that doesn't; 555
    # would say that the parameter is unknown, and 530 says what is missing (RFC 3207 §4).
    notOffered = Reply(530, "5.7.0", "REQUIRETLS needs TLS: issue a STARTTLS command first")

    def advertise(self, session: Session) -> str | None:
        """Only under TLS (RFC 8689 §2)."""
        return "" if session.secure else None

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.requireTLS`` is whether MAIL said so."""
        envelope.requireTLS = "REQUIRETLS" in address.values

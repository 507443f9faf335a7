"""PRDR: a reply for each recipient after the message, over SMTP as LMTP has it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver.extensions.base import Extension, ParameterParser, flag, forParameters
from twisted_smtpserver.session import Address, Envelope, Session


class PRDR(Extension):
    """
    draft-hall-prdr-00, which Exim speaks: MAIL's ``PRDR``.

    Where the client says so, ``envelope.perRecipient`` is true, and ``onData`` may return a result
    for each recipient. See :func:`~twisted_smtpserver.results.perRecipientBlock` for the replies.

    Off until asked for: the handler must be able to tell the recipients apart.
    """

    keyword = "PRDR"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType({"PRDR": flag})

    def advertise(self, session: Session) -> str | None:
        """LMTP has it anyway."""
        return None if session.lmtp else ""

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.perRecipient`` is whether MAIL said so."""
        if "PRDR" in address.values:
            envelope.perRecipient = True

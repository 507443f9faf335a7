"""STARTTLS (RFC 3207)."""

from __future__ import annotations

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.extensions.base import Extension
from twisted_smtpserver.options import Options
from twisted_smtpserver.session import Session


class StartTLS(Extension):
    """
    RFC 3207: from cleartext to TLS.

    :param available: whether the server has a certificate.
    """

    keyword = "STARTTLS"

    def __init__(self, available: bool) -> None:
        self._available = available
        self.verbs: dict[str, Verb] = {"STARTTLS": self._startTLS}

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> StartTLS:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        return cls(options.hasCertificate)

    def advertise(self, session: Session) -> str | None:
        """Only with a certificate, and not a second time (RFC 3207 §4.2)."""
        return "" if self._available and not session.secure else None

    def _startTLS(self, dialogue: Dialogue, argument: bytes) -> Outcome:
        if not self._available:
            return replies.NOT_IMPLEMENTED
        if dialogue.session.secure:
            return replies.TLS_ALREADY
        if argument:
            return replies.NO_ARGUMENT_ALLOWED
        return dialogue.startTLS()

"""
XFORWARD, as Postfix documents it: a trusted filter says whom it has a message from, for the log.
"""

from __future__ import annotations

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.extensions.base import Extension
from twisted_smtpserver.extensions.xclient import attributes, isTrusted
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.ip import Networks
from twisted_smtpserver.wire.xclient import XFORWARD_ATTRIBUTES, parseXForward


class XForward(Extension):
    """
    Postfix's XFORWARD_README. On for the peers that the option ``useXForward`` names.

    It is found in ``session.xForward`` and nowhere else: nothing is allowed or forbidden to anybody
    because of it. It holds for the next message.

    :param networks: who may use it.
    """

    keyword = "XFORWARD"

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._isOn = bool(networks)
        self.verbs: dict[str, Verb] = {"XFORWARD": self._xForward}

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> XForward:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        return cls(options.xForwardNetworks)

    def advertise(self, session: Session) -> str | None:
        """The attributes, for clients that may send them, and haven't sent ADDR by XCLIENT."""
        if not self._isOn or "ADDR" in session.xClient or not isTrusted(session, self._networks):
            return None
        return " ".join(XFORWARD_ATTRIBUTES)

    def _xForward(self, dialogue: Dialogue, argument: bytes) -> Outcome:
        session = dialogue.session
        if not self._isOn:
            return replies.NOT_IMPLEMENTED
        if not isTrusted(session, self._networks):
            return replies.NOT_TRUSTED
        if "ADDR" in session.xClient:
            return replies.AFTER_XCLIENT
        request = parseXForward(argument)
        if isinstance(request, Reply):
            return request
        if not session.xForward:  # with the first of them, the others are known to be unknown
            session.xForward.update(dict.fromkeys(XFORWARD_ATTRIBUTES))
        session.xForward.update(attributes(XFORWARD_ATTRIBUTES, request))
        return replies.OK

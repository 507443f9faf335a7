"""
XCLIENT, as Postfix documents it: a trusted proxy says who its client is, and the session starts
over as that client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple

from twisted_smtpserver import replies
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.auth.exchange import askForLogin
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.extensions.base import Extension
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.ip import Networks, clientLiteral
from twisted_smtpserver.wire.xclient import (
    XCLIENT_ATTRIBUTES,
    Unavailable,
    XClientRequest,
    XForwardRequest,
    parseXClient,
)

#: What a client is called whose address isn't known; the word is Postfix's.
UNKNOWN = "unknown"

_OPENING_COMMANDS = {"SMTP": "HELO", "ESMTP": "EHLO", "LMTP": "LHLO"}


def isTrusted(session: Session, networks: Networks) -> bool:
    """
    Whether a peer may name the client that it speaks for.

    It is judged by the socket's address, or by the one in the PROXY header; never by an address
    that XCLIENT claims. Otherwise a client could claim itself trusted.

    :param networks: those that are.
    """
    return session.trustedAddress in networks


def attributes(
    names: Sequence[str], request: XClientRequest | XForwardRequest
) -> dict[str, str | int | None]:
    """
    What a request says, by the attributes' names; ``None`` is a value that isn't known.

    :param names: the names in the order of the request's fields.
    """
    return {
        name: None if isinstance(value, Unavailable) else value
        for name, value in zip(names, astuple(request), strict=True)
        if value is not None
    }


class XClient(Extension):
    """
    Postfix's XCLIENT_README. On for the peers that the option ``useXClient`` names.

    Each value stays until it is sent again, because one client may need several commands; it is
    found in ``session.xClient``, and in the session's own attributes.

    :param networks: who may use it.
    """

    keyword = "XCLIENT"

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._isOn = bool(networks)
        self.verbs: dict[str, Verb] = {"XCLIENT": self._xClient}

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> XClient:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        return cls(options.xClientNetworks)

    def advertise(self, session: Session) -> str | None:
        """The attributes, for clients that may send them."""
        isOffered = self._isOn and isTrusted(session, self._networks)
        return " ".join(XCLIENT_ATTRIBUTES) if isOffered else None

    def _xClient(self, dialogue: Dialogue, argument: bytes) -> Outcome:
        session = dialogue.session
        if not self._isOn:
            return replies.NOT_IMPLEMENTED
        if not isTrusted(session, self._networks):
            return replies.NOT_TRUSTED
        request = parseXClient(argument)
        if isinstance(request, Reply):
            return request
        session.beginClaim()
        session.xClient.update(attributes(XCLIENT_ATTRIBUTES, request))
        return dialogue.startOver(lambda: _claim(session), lambda _: _logIn(dialogue))


def _claim(session: Session) -> None:
    """Write what XCLIENT says to the session."""
    said = session.xClient
    if "ADDR" in said:
        session.remoteAddress = said["ADDR"]
        session.remotePort = None
    if "PORT" in said:
        session.remotePort = said["PORT"]
    if "DESTADDR" in said:
        session.localAddress = said["DESTADDR"]
        session.localPort = None
    if "DESTPORT" in said:
        session.localPort = said["DESTPORT"]
    if "NAME" in said or "ADDR" in said:
        # The name that we found out is the proxy's.
        isUnknown = "ADDR" in said and said["ADDR"] is None
        literal = UNKNOWN if isUnknown else clientLiteral(session.remoteAddress)
        session.clientHostname = said.get("NAME") or literal
    session.hostNameAppearsAs = said.get("HELO")
    session.openingCommand = _OPENING_COMMANDS.get(said.get("PROTO", ""))


def _logIn(dialogue: Dialogue) -> Outcome:
    """Let the handler's ``onAuth`` find the user, where LOGIN names one."""
    login = dialogue.session.xClient.get("LOGIN")
    # With nobody to ask nobody is logged in; the handler may still look the name up.
    if login is None or dialogue.hook("onAuth") is None:
        return dialogue.greeting()
    credentials = Credentials("XCLIENT", login, authcid=login, verified=True)

    def refused(reply: Reply, data: Mapping[str, str]) -> Reply:
        dialogue.loginFailed("XCLIENT", login, isGuess=False)
        return reply

    return askForLogin(dialogue, credentials, lambda message: dialogue.greeting(), refused)

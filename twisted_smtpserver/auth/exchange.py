"""
Logging in: runs a SASL mechanism over SMTP (RFC 4954 §4) and asks the handler.

Every refused login is answered on the same schedule, whatever the reason, so that the time doesn't
tell an unknown user from a wrong password.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred

from twisted_smtpserver import replies
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.auth.failures import answerFailure
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.errors import AuthenticationFailed
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.sasl import (
    MECHANISMS,
    Ask,
    Authenticated,
    Challenge,
    Done,
    FakeSecrets,
    Mechanism,
    Reason,
    SaslContext,
    ScramSecret,
    Step,
)
from twisted_smtpserver.sasl import credentials as sasl
from twisted_smtpserver.session import Session
from twisted_smtpserver.tls.certificates import alternativeNames
from twisted_smtpserver.wire.text import escape

_PLUS = "SCRAM-SHA-256-PLUS"
_SCRAM = frozenset({"SCRAM-SHA-256", _PLUS})

#: What to do with a login that the handler refused: called with the reply, and with what the
#: handler says to the client's program about it.
Refused = Callable[[Reply, Mapping[str, str]], Outcome]

_NO_DATA: Mapping[str, str] = MappingProxyType({})


def availableMechanisms(handler: object, session: Session, methods: Sequence[str]) -> list[str]:
    """
    The mechanisms that can work in a session.

    :param handler: the handler: without its ``scramSecret`` there is no SCRAM.
    :param session: the session: without TLS 1.3 there is no -PLUS, without a verified client
        certificate no EXTERNAL.
    :param methods: the mechanisms that were configured.
    """
    missing: set[str] = set()
    if not _SCRAM.isdisjoint(methods) and findHook(handler, "scramSecret") is None:
        missing |= _SCRAM
    if session.tls is None or session.tls.version != "TLSv1.3":
        missing.add(_PLUS)
    if "EXTERNAL" in methods and peerIdentity(session) is None:
        missing.add("EXTERNAL")
    return [method for method in methods if method not in missing]


def peerIdentity(session: Session) -> str | None:
    """
    The name in a verified client certificate, for EXTERNAL (RFC 4422 appendix A).

    :returns: its first e-mail address, else its common name; ``None`` without such.
    """
    if session.tls is None or not session.tls.authorized or session.tls.peerCertificate is None:
        return None
    certificate = session.tls.peerCertificate
    addresses = alternativeNames(certificate, x509.RFC822Name)
    if addresses:
        return addresses[0]
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else None


def authenticate(
    dialogue: Dialogue,
    name: str,
    initial: bytes | None,
    *,
    offered: Sequence[str],
    fakes: FakeSecrets,
    began: float,
) -> Outcome:
    """
    Begin an exchange.

    :param dialogue: the conversation.
    :param name: the mechanism's name.
    :param initial: the initial response in base64; ``None`` if there was none.
    :param offered: the mechanisms offered in this session.
    :param fakes: what users who don't exist seem to have stored.
    :param began: when the command came, by the dialogue's clock.
    :returns: what a verb returns.
    """
    # RFC 4954 §4: a single "=" is an initial response of no octets.
    response = None if initial is None else _decode(b"" if initial == b"=" else initial)
    if isinstance(response, Reply):
        return response
    context = SaslContext(
        hostName=dialogue.options.name,
        channelBinding=dialogue.channelBinding,
        plusOffered=_PLUS in offered,
        peerIdentity=peerIdentity(dialogue.session) if name == "EXTERNAL" else None,
        fakes=fakes,
        credentials=Credentials,
    )
    mechanism = MECHANISMS[name](context)
    step = mechanism.step(response)
    return Exchange(dialogue, mechanism, began).act(step)


def _decode(encoded: bytes) -> bytes | Reply:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return replies.AUTH_BAD_BASE64


class Exchange:
    """
    One AUTH command, until its final reply.

    :param dialogue: the conversation.
    :param mechanism: the client's side speaks to this.
    :param began: when the client's last line came, by the dialogue's clock.
    """

    def __init__(self, dialogue: Dialogue, mechanism: Mechanism, began: float) -> None:
        self._dialogue = dialogue
        self._mechanism = mechanism
        self._began = began
        self._username = ""
        self._secret: ScramSecret | None = None

    def act(self, step: Step) -> Outcome:
        """
        Do what the mechanism says.

        :param step: its step.
        :returns: what a verb returns.
        """
        if isinstance(step, Challenge):
            return self._challenge(step.data, self._responded)
        if isinstance(step, Ask):
            query = step.query
            session = self._dialogue.session
            self._username = query.username
            arguments = (query.username, query.mechanism, session)
            failed = _failing(self._dialogue, "scramSecret", self._fail)
            return self._dialogue.ask("scramSecret", arguments, self._answerQuery, failed)
        if isinstance(step, Done):
            self._username = step.credentials.username
            return self._logIn(step.credentials)
        if step.reason is Reason.MALFORMED:
            return replies.AUTH_MALFORMED
        return self._fail(replies.AUTH_FAILED)

    def _responded(self, line: bytes) -> Outcome:
        self._began = self._dialogue.seconds()
        if line == b"*":
            return replies.AUTH_CANCELED
        response = _decode(line)
        if isinstance(response, Reply):
            return response
        return self.act(self._mechanism.step(response))

    def _challenge(self, data: bytes, taker: Callable[[bytes], Outcome]) -> Reply:
        self._dialogue.takeLine(taker)
        return Reply(334, None, base64.b64encode(data).decode("ascii"))

    def _answerQuery(self, secret: object) -> Outcome:
        if secret is not None and not isinstance(secret, ScramSecret):
            raise TypeError("scramSecret must return a ScramSecret or None")
        self._secret = secret
        return self.act(self._mechanism.answer(secret))

    # -- The handler's verdict ---------------------------------------------------------------------

    def _logIn(self, credentials: sasl.Credentials) -> Outcome:
        secret = self._secret
        if secret is None:
            return askForLogin(self._dialogue, credentials, self._accept, self._refused)
        # Only after the proof: a failed login costs nothing, and takes as long for everybody.
        checking: Deferred[bool] = self._dialogue.runInThread(secret.isOfEmptyPassword)
        return checking.addCallback(self._checked, credentials)

    def _checked(self, isOfEmptyPassword: bool, credentials: sasl.Credentials) -> Outcome:
        if not isOfEmptyPassword:
            return askForLogin(self._dialogue, credentials, self._accept, self._refused)
        error = ValueError(
            f"scramSecret returned a secret of the empty password for {escape(self._username)}: "
            "give this user another password"
        )
        return _failing(self._dialogue, "scramSecret", self._fail)(error)

    def _accept(self, message: str | None) -> Reply:
        self._dialogue.loginSucceeded(self._username)
        return Reply(235, "2.7.0", message or replies.AUTHENTICATED.lines[0])

    def _refused(self, reply: Reply, data: Mapping[str, str]) -> Outcome:
        if not self._mechanism.usesErrorChallenge:
            return self._fail(reply)
        # RFC 7628 §3.2.3: the client gets the reason, and answers with something meaningless. It
        # has failed already, and may know that and leave.
        more = self._count(reply)
        reason = self._mechanism.errorChallenge(data)
        return self._challenge(reason, lambda dummy: self._explained(dummy, reply, more))

    def _explained(self, line: bytes, reply: Reply, more: float | Deferred[float]) -> Outcome:
        if line == b"*":  # canceled, which the failed login was not
            reply = replies.AUTH_CANCELED
        return answerFailure(self._dialogue, reply, more, self._dialogue.seconds())

    def _fail(self, reply: Reply, data: Mapping[str, str] = _NO_DATA) -> Outcome:
        return answerFailure(self._dialogue, reply, self._count(reply), self._began)

    def _count(self, reply: Reply) -> float | Deferred[float]:
        """
        Count a failed login, unless it isn't the client's fault.

        :returns: how much later than others it is answered, in seconds.
        """
        if reply.code < 500:
            return 0
        # It depends on the address alone: so it doesn't tell who exists, either.
        return self._dialogue.loginFailed(self._mechanism.name, self._username)


def askForLogin(
    dialogue: Dialogue,
    credentials: sasl.Credentials,
    accepted: Callable[[str | None], Reply],
    refused: Refused,
) -> Outcome:
    """
    Ask the handler who someone is, and log them in.

    :param dialogue: the conversation.
    :param credentials: what was presented.
    :param accepted: called with the message for the client, or ``None``; returns a Reply.
    :param refused: called with the reply, and with what else the handler says.
    :returns: what a verb returns.
    """

    def answered(result: object) -> Outcome:
        if result is None:
            return refused(replies.AUTH_FAILED, _NO_DATA)
        granted = _granted(result)
        if credentials.authzidDiffers and granted.authzid != credentials.authzid:
            return refused(replies.AUTH_FAILED, _NO_DATA)
        reply = accepted(granted.message)
        session = dialogue.session
        session.user, session.authMethod = granted.user, credentials.method  # all went well
        return reply

    arguments = (credentials, dialogue.session)
    return dialogue.ask("onAuth", arguments, answered, _failing(dialogue, "onAuth", refused))


def _failing(dialogue: Dialogue, hook: str, refused: Refused) -> Callable[[BaseException], Outcome]:
    """
    What to do with an exception of one of the hooks for logins.

    :param refused: called if it refuses the login.
    """

    def failed(error: BaseException) -> Outcome:
        reply = dialogue.refuse(error, hook)
        if reply.code < 500:
            dialogue.loginUndecided()
        if isinstance(error, AuthenticationFailed):
            return refused(reply, error.data or _NO_DATA)
        return reply if reply.code < 500 else refused(reply, _NO_DATA)

    return failed


def _granted(result: object) -> Authenticated:
    if isinstance(result, Authenticated):
        return result
    if isinstance(result, (str, bytes)) and result:
        return Authenticated(result)
    # {"user": None} and its like must never log anybody in.
    raise TypeError(
        f"onAuth returned {type(result).__name__}: return the user's name, Authenticated(user), or "
        "None to refuse"
    )

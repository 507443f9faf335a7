"""
Logging in: runs a SASL mechanism over SMTP (RFC 4954 §4) and asks the handler.

Every refused login is answered on the same schedule, whatever the reason, so that the time doesn't
tell an unknown user from a wrong password.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred

from twisted_smtpserver import replies
from twisted_smtpserver.auth.credentials import Credentials
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
    Reason,
    SaslContext,
    ScramSecret,
    Step,
)
from twisted_smtpserver.sasl import credentials as sasl
from twisted_smtpserver.sasl.mechanism import PROCESS_KEY
from twisted_smtpserver.session import Session
from twisted_smtpserver.tls.certificates import alternativeNames

_PLUS = "SCRAM-SHA-256-PLUS"
_SCRAM = frozenset({"SCRAM-SHA-256", _PLUS})

#: What to do with a login that the handler refused.
Refused = Callable[[AuthenticationFailed], Outcome]


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
    if peerIdentity(session) is None:
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


class Exchange:
    """
    One AUTH command, until its final reply.

    :param dialogue: the conversation.
    :param name: the mechanism's name.
    :param offered: the mechanisms offered in this session.
    """

    def __init__(self, dialogue: Dialogue, name: str, offered: Sequence[str]) -> None:
        self._dialogue = dialogue
        self._begun = dialogue.seconds()
        self._username = ""
        context = SaslContext(
            hostName=dialogue.options.name,
            channelBinding=dialogue.channelBinding,
            plusOffered=_PLUS in offered,
            peerIdentity=peerIdentity(dialogue.session),
            fakeIterations=dialogue.options.scramIterations,
            fakeSaltKey=dialogue.options.scramSaltKey or PROCESS_KEY,
        )
        self._mechanism = MECHANISMS[name](context)

    def begin(self, initial: bytes | None) -> Outcome:
        """
        :param initial: the initial response in base64; ``None`` if there was none.
        :returns: what a verb returns.
        """
        if initial is None:
            return self._act(self._mechanism.step(None))
        # RFC 4954 §4: a single "=" is an initial response of no octets.
        return self._respond(b"" if initial == b"=" else initial)

    def _responded(self, line: bytes) -> Outcome:
        self._begun = self._dialogue.seconds()
        if line == b"*":
            return replies.AUTH_CANCELED
        return self._respond(line)

    def _respond(self, encoded: bytes) -> Outcome:
        try:
            response = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return replies.AUTH_BAD_BASE64
        return self._act(self._mechanism.step(response))

    def _act(self, step: Step) -> Outcome:
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
            return self._judge(step.credentials)
        if step.reason is Reason.MALFORMED:
            return replies.AUTH_MALFORMED
        return self._fail(AuthenticationFailed())

    def _challenge(self, data: bytes, taker: Callable[[bytes], Outcome]) -> Reply:
        self._dialogue.takeLine(taker)
        return Reply(334, None, base64.b64encode(data).decode("ascii"))

    def _answerQuery(self, secret: object) -> Outcome:
        if secret is not None and not isinstance(secret, ScramSecret):
            raise TypeError("scramSecret must return a ScramSecret or None")
        return self._act(self._mechanism.answer(secret))

    # -- The handler's verdict ---------------------------------------------------------------------

    def _judge(self, credentials: sasl.Credentials) -> Outcome:
        self._username = credentials.username
        return askForLogin(self._dialogue, credentials, self._accept, self._refused)

    def _accept(self, message: str | None) -> Reply:
        self._dialogue.loginSucceeded(self._username)
        return Reply(235, "2.7.0", message or replies.AUTHENTICATED.lines[0])

    def _refused(self, refusal: AuthenticationFailed) -> Outcome:
        if not self._mechanism.usesErrorChallenge:
            return self._fail(refusal)
        # RFC 7628 §3.2.3: the client gets the reason, and answers with something meaningless. It
        # has failed already, and may know that and leave.
        reply = refusal.toReply(replies.AUTH_FAILED)
        more = self._count(reply)
        reason = self._mechanism.errorChallenge(refusal.data or {})
        return self._challenge(reason, lambda dummy: self._explained(dummy, reply, more))

    def _explained(self, line: bytes, reply: Reply, more: float | Deferred[float]) -> Outcome:
        self._begun = self._dialogue.seconds()
        if line == b"*":  # canceled, which the failed login was not
            reply = replies.AUTH_CANCELED
        return self._answerFailure(reply, more)

    def _fail(self, refusal: AuthenticationFailed) -> Outcome:
        reply = refusal.toReply(replies.AUTH_FAILED)
        return self._answerFailure(reply, self._count(reply))

    def _count(self, reply: Reply) -> float | Deferred[float]:
        """
        Count a failed login, unless it isn't the client's fault.

        :returns: how much later than others it is answered, in seconds.
        """
        if reply.code < 500:
            return 0
        # It depends on the address alone: so it doesn't tell who exists, either.
        return self._dialogue.loginFailed(self._mechanism.name, self._username)

    def _answerFailure(self, reply: Reply, more: float | Deferred[float]) -> Outcome:
        if reply.code < 500:
            return reply
        if isinstance(more, Deferred):  # other servers count, too
            answer: Deferred[Outcome] = more.addCallbacks(
                lambda known: self._answerFailure(reply, known),
                lambda _: reply,  # canceled: nobody waits for it
            )
            return answer
        dialogue = self._dialogue
        answers = [reply]
        if dialogue.failedLogins >= dialogue.options.maxAuthAttempts:
            answers.append(replies.TOO_MANY_AUTH_FAILURES)
        # errorDelay isn't for lists: nothing is delayed twice.
        passed = dialogue.seconds() - self._begun
        slot = self._untilNextSlot(passed)
        # That much more must not be what makes the handler's time run out.
        delay = slot + min(more, max(0, dialogue.options.handlerTimeout / 2 - passed - slot))
        if delay <= 0:
            return answers
        return dialogue.later(delay, answers)

    def _untilNextSlot(self, passed: float) -> float:
        interval = self._dialogue.options.authFailureDelay
        if not interval:
            return 0
        return float(max(1, math.ceil(passed / interval)) * interval - passed)


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
    :param refused: called with the :class:`~twisted_smtpserver.errors.AuthenticationFailed`.
    :returns: what a verb returns.
    """

    def answered(result: object) -> Outcome:
        if result is None:
            return refused(AuthenticationFailed())
        granted = _granted(result)
        if credentials.authzidDiffers and granted.authzid != credentials.authzid:
            return refused(AuthenticationFailed())
        reply = accepted(granted.message)
        session = dialogue.session
        session.user, session.authMethod = granted.user, credentials.method  # all went well
        return reply

    arguments = (Credentials.of(credentials), dialogue.session)
    return dialogue.ask("onAuth", arguments, answered, _failing(dialogue, "onAuth", refused))


def _failing(dialogue: Dialogue, hook: str, refused: Refused) -> Callable[[BaseException], Outcome]:
    """
    What to do with an exception of one of the hooks for logins.

    :param refused: called with an :class:`~twisted_smtpserver.errors.AuthenticationFailed`, if that
        is what it comes to.
    """

    def failed(error: BaseException) -> Outcome:
        if isinstance(error, AuthenticationFailed):
            return refused(error)
        reply = dialogue.refuse(error, hook)
        if reply.code < 500:
            return reply
        return refused(AuthenticationFailed(reply.text, reply.code, enhanced=reply.enhanced))

    return failed


def _granted(result: object) -> Authenticated:
    if isinstance(result, Authenticated):
        return result
    if isinstance(result, (str, bytes)) and result:
        return Authenticated(result)
    # {"user": None} and its like must never log anybody in.
    raise TypeError(f"onAuth returned {type(result).__name__}: return text, Authenticated or None")
